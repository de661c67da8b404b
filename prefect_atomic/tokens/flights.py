"""Single flight within a process: whoever comes while a token is being fetched waits for it, and shares its fate."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextvars import copy_context
from threading import Lock, Thread
from typing import Generic, TypeVar

R = TypeVar("R")


class Flights(Generic[R]):
    """The flights under way, one per key and never one lock for all: a slow provider delays only its own callers.

    A flight has a thread of its own, a daemon. So nobody who waits can take it down with him, interrupted or
    cancelled as he may be, and an interpreter that ends does not wait for a provider that hangs.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._under_way: dict[Hashable, Future[R]] = {}

    def join(self, key: Hashable, fetch: Callable[[], R]) -> tuple[Future[R], bool]:
        """The flight for the key, and whether it is a new one, which runs `fetch`."""
        with self._lock:
            if flight := self._under_way.get(key):
                return flight, False
            flight = Future()
            flight.set_running_or_notify_cancel()  # a waiter that is cancelled must not cancel it for the others
            try:
                Thread(target=copy_context().run, args=(self._fly, key, flight, fetch), daemon=True).start()
            except RuntimeError:
                pass  # no thread is to be had: the system's limit is reached, or the interpreter ends
            else:
                self._under_way[key] = flight  # it cannot have landed yet: we hold the lock
                return flight, True
        self._fly(key, flight, fetch)
        return flight, True

    def give_up(self, key: Hashable, flight: Future[R]) -> None:
        """Has the next caller start a new flight; this one flies on, and nobody waits for it."""
        self._land(key, flight)

    def _fly(self, key: Hashable, flight: Future[R], fetch: Callable[[], R]) -> None:
        try:
            result = fetch()
        except BaseException as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            self._land(key, flight)
            flight.set_exception(error)
        else:
            self._land(key, flight)
            flight.set_result(result)

    def _land(self, key: Hashable, flight: Future[R]) -> None:
        with self._lock:
            if self._under_way.get(key) is flight:
                del self._under_way[key]
