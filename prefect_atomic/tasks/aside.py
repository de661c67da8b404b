"""What ends something that nobody reads any more, done in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

_PATIENCE = 5.0


def aside(act: Callable[[], object]) -> None:
    """Does something, and waits a few seconds for it.

    The garbage collector may close a generator at any moment, also within code that holds the lock that a request of
    its `finally` would wait for.
    """
    thread = Thread(target=act, name="prefect-atomic-aside", daemon=True)
    thread.start()
    thread.join(_PATIENCE)
