"""The same limits over many hosts: Prefect's global concurrency limits, where the server has them.

For the instance `123-abc-456.mktorest.com` they are called `marketo-123-abc-456-calls` (with a slot decay) and
`marketo-123-abc-456-concurrency`. One that there is not, limits nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
from prefect.logging import get_logger
from prefect.settings import get_current_settings

from prefect_atomic.transport.retry import sleep

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

logger = get_logger("atomic.marketo")

_LOOKED_UP_EVERY = 60.0
"""Seconds: a limit that is made while a process runs is found by then."""
_LEASE = 600.0
"""Seconds after which the server takes a slot back from a process that was killed; no call takes as long."""
_LOCKED = 423
_USUAL_WAIT = 1.0

_found: dict[str, tuple[float, bool]] = {}
_down_until = 0.0
_warned = False


def limit_names(instance: str) -> tuple[str, str]:
    """What the limits of an instance are called: that of its calls, and that of its calls at the same time."""
    stem = f"marketo-{instance.removesuffix('.mktorest.com')}"
    return f"{stem}-calls", f"{stem}-concurrency"


@contextmanager
def shared_slot(instance: str) -> Iterator[None]:
    """Holds a slot of the server's limits while a call is made, and waits for one first.

    Where the Prefect API fails, the call goes on with the limits of this host alone.
    """
    if not get_current_settings().api.url or time.monotonic() < _down_until:
        yield
        return
    calls, at_once = limit_names(instance)
    lease = None
    try:
        try:
            if _exists(at_once):
                with _client() as client:
                    lease = _waited_for(
                        lambda: client.increment_concurrency_slots_with_lease(
                            [at_once], slots=1, mode="concurrency", lease_duration=_LEASE
                        )
                    ).json()["lease_id"]
            if _exists(calls):
                with _client() as client:
                    _waited_for(lambda: client.increment_concurrency_slots([calls], slots=1, mode="rate_limit"))
        except Exception as error:  # noqa: BLE001 - Prefect raises many kinds
            _warn(error)
        yield
    finally:
        if lease is not None:
            try:
                with _client() as client:
                    client.release_concurrency_slots_with_lease(lease)
            except Exception as error:  # noqa: BLE001 - as above; the lease ends by itself
                _warn(error)


def _client() -> SyncPrefectClient:
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)


def _exists(name: str) -> bool:
    """Whether there is such a limit, as far as was seen within the last minute: most have none, and are not to wait."""
    looked_up_at, exists = _found.get(name, (0.0, False))
    if time.monotonic() - looked_up_at > _LOOKED_UP_EVERY or not looked_up_at:
        from prefect.exceptions import ObjectNotFound

        try:
            with _client() as client:
                client.read_global_concurrency_limit_by_name(name)
            exists = True
        except ObjectNotFound:
            exists = False
        _found[name] = (time.monotonic(), exists)
    return exists


def _waited_for(ask: Any) -> httpx.Response:
    """The answer that says yes; as long as the server has no slot left, it says when to ask again."""
    while True:
        try:
            answer: httpx.Response = ask()
        except httpx.HTTPStatusError as error:
            if error.response.status_code != _LOCKED:
                raise
            answer = error.response
        if answer.status_code != _LOCKED:
            return answer
        try:
            seconds = float(answer.headers.get("retry-after", _USUAL_WAIT))
        except ValueError:
            seconds = _USUAL_WAIT
        sleep(min(seconds, _LEASE))


def _warn(error: Exception) -> None:
    """Tells it once; the API is left alone for a while, as each call would wait for it."""
    global _down_until, _warned
    _down_until = time.monotonic() + _LOOKED_UP_EVERY
    if not _warned:
        _warned = True
        logger.warning("Prefect's global concurrency limits could not be used (%s).", type(error).__name__)
