"""Blocks given by the slug of a saved one."""

from __future__ import annotations

import re

import httpx
from prefect.blocks.core import Block

from prefect_atomic.errors import AtomicError

_SLUG = re.compile("[a-z0-9-]+/[a-z0-9-]+")  # what Prefect allows in the slug of a type and the name of a block


def is_slug(text: str) -> bool:
    return bool(_SLUG.fullmatch(text))


class Saved:
    """Loads what an argument names by its slug, such as `atomic-basic-auth/crm`.

    Args:
        argument: What the slug is given as; messages begin with it.
        example: A slug that would fit.
        error: What is raised where there is no such block.
    """

    def __init__(self, argument: str, example: str, error: type[AtomicError]) -> None:
        self.argument = argument
        self.example = example
        self.error = error

    def load(self, slug: str) -> object:
        self._refuse_unless_slug(slug)
        try:
            return Block.load(slug, _sync=True)  # type: ignore[call-arg]  # hidden by Prefect's dispatch
        except Exception as error:  # noqa: BLE001 - Prefect raises many kinds, and some quote what was stored
            raise self._not_loaded(slug, error) from None

    async def aload(self, slug: str) -> object:
        """The same as `load`, for an event loop."""
        self._refuse_unless_slug(slug)
        try:
            return await Block.aload(slug)
        except Exception as error:  # noqa: BLE001 - as above
            raise self._not_loaded(slug, error) from None

    def _refuse_unless_slug(self, slug: str) -> None:
        if not is_slug(slug):  # not quoted: it may be the secret itself
            raise self.error(
                f"{self.argument}: is text, but not the slug of a saved block, which looks like {self.example}."
            )

    def _not_loaded(self, slug: str, error: Exception) -> AtomicError:
        if isinstance(error, httpx.TransportError):
            return self.error(
                f"{self.argument}: {slug!r} could not be loaded, as the Prefect API does not answer.", transient=True
            )
        if isinstance(error, ValueError) and "Unable to find" in str(error):
            return self.error(
                f"{self.argument}: there is no saved block {slug!r}; `prefect block ls` lists the ones there are."
            )
        return self.error(
            f"{self.argument}: {slug!r} could not be loaded ({type(error).__name__}); "
            f"`prefect block inspect {slug}` shows what is saved."
        )
