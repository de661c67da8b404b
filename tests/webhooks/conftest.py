"""A receiver, subscriptions to it, both ways to tell it of an event, an outbox of the test's own, and a clock."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import time_machine
from hypothesis import strategies as st

from prefect_atomic import WebhookSubscription, awebhook, webhook
from prefect_atomic.settings import settings
from prefect_atomic.tasks import course
from prefect_atomic.webhooks import Delivery
from prefect_atomic.webhooks.entry import Entry
from prefect_atomic.webhooks.outbox import FolderOutbox
from prefect_atomic.webhooks.pausing import key_of
from tests.e2e.servers.faulty import FaultServer

Subscribe = Callable[..., WebhookSubscription]
Tell = Callable[..., Delivery]

CONTENT = "unmistakable-content-of-the-event"
"""What no message may quote."""

NOW = 1_767_323_045  # 2026-01-02T03:04:05Z

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
EVENTS = st.fixed_dictionaries({"type": st.just("t"), "data": JSON})


def event(number: int = 1, **fields: Any) -> dict[str, Any]:
    return {"type": "card-completed", "id": f"evt_{number}", "data": {"note": CONTENT}, **fields}


@pytest.fixture(autouse=True)
def outbox_path(tmp_path: Path, token_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all outboxes; it is not there yet."""
    path = tmp_path / "outbox"
    monkeypatch.setenv("PREFECT_ATOMIC_OUTBOX_PATH", str(path))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    settings.cache_clear()
    return path


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
def subscribe(server: FaultServer) -> Subscribe:
    def subscribe(**fields: Any) -> WebhookSubscription:
        return WebhookSubscription(**{"url": f"{server.url}/hook", "timeout": 10, **fields})

    return subscribe


@pytest.fixture(params=["webhook", "awebhook"])
def tell(request: pytest.FixtureRequest) -> Tell:
    """`webhook`, and the same promise once more of `awebhook`."""
    if request.param == "webhook":
        return webhook.fn
    return lambda *arguments, **options: asyncio.run(awebhook.fn(*arguments, **options))


@pytest.fixture
def outbox_of(outbox_path: Path) -> Callable[[WebhookSubscription], FolderOutbox]:
    return lambda subscription: FolderOutbox(outbox_path / key_of(subscription))


@pytest.fixture
def waiting(outbox_of: Any) -> Callable[[WebhookSubscription], list[Entry]]:
    """What waits in the outbox, oldest first; none of it may be held."""

    def waiting(subscription: WebhookSubscription) -> list[Entry]:
        outbox, entries = outbox_of(subscription), []
        for name in outbox.waiting():
            held = outbox.claim(name)
            assert held, f"{name} is held"
            entries.append(held.entry)
            held.release()
        return entries

    return waiting


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Time that passes only where the course waits: `waits` has how long; `shift` lets more of it pass."""
    waits: list[float] = []
    with time_machine.travel(NOW, tick=False) as traveller:

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            traveller.shift(seconds)

        async def asleep(seconds: float) -> None:
            sleep(seconds)

        monkeypatch.setattr(course, "sleep", sleep)
        monkeypatch.setattr(course, "asleep", asleep)
        yield SimpleNamespace(waits=waits, shift=traveller.shift)


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What webhooks log."""
    lines: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, listener = logging.getLogger("prefect.atomic.webhooks"), Listener(logging.WARNING)
    logger.addHandler(listener)
    yield lines
    logger.removeHandler(listener)
