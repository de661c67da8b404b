"""Saves subscriptions without registering their type with each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
