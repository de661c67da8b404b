"""Saves blocks without doing again with each what Prefect does again with each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
from prefect.blocks.core import Block

from tests.e2e.prefect_server import PrefectServer


@contextmanager
def registered_once(server: PrefectServer, kind: type[Block]) -> Iterator[None]:
    """Prefect registers a type, and those of all blocks that it may hold, again with each `save`: dozens of calls."""
    with server.as_client():
        kind.register_type_and_schema()  # type: ignore[unused-coroutine]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "register_type_and_schema", lambda *_, **__: None)
        yield


@contextmanager
def schemas_made_once() -> Iterator[None]:
    """Prefect makes the schema of a class again for each field of each block that it saves: half a second in all."""
    make = cache(Block.model_json_schema.__func__)  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:

        def made(cls: type[Block], *args: Any, **options: Any) -> dict[str, Any]:
            return deepcopy(make(cls, *args, **options))

        patch.setattr(Block, "model_json_schema", classmethod(made))
        yield
