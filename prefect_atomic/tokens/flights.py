"""Single flight within a process: whoever comes while a token is being fetched waits for it, and shares its fate."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

R = TypeVar("R")


class Abandoned(Exception):  # noqa: N818 - it is no error
    """The thread that led the flight was told to stop; it says nothing about the provider."""


class Flight(Generic[R]):
    """One fetch. The one who leads runs it; everybody reads its `future`."""

    def __init__(self, land: Callable[[], None]) -> None:
        self.future: Future[R] = Future()
        self.future.set_running_or_notify_cancel()  # a waiter that is cancelled must not cancel it for the others
        self._land = land

    def run(self, fetch: Callable[[], R]) -> None:
        try:
            result = fetch()
        except Exception as error:  # noqa: BLE001 - it is passed on to all who wait
            self._land()
            self.future.set_exception(error)
        except BaseException:
            self._land()
            self.future.set_exception(Abandoned())
            raise
        else:
            self._land()
            self.future.set_result(result)


class Flights(Generic[R]):
    """The flights under way, one per key and never one lock for all: a slow provider delays only its own callers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, Flight[R]] = {}

    def join(self, key: Hashable) -> tuple[Flight[R], bool]:
        """The flight for the key, and whether the caller leads it and must run it."""
        with self._lock:
            if flight := self._under_way.get(key):
                return flight, False
            flight = self._under_way[key] = Flight(lambda: self._land(key))
            return flight, True

    def _land(self, key: Hashable) -> None:
        with self._lock:
            del self._under_way[key]
