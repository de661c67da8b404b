"""One at a time, on all hosts that share a Prefect server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import get_client
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency

_LEASE = 60.0
"""Seconds after which the next one may begin where one was killed; Prefect takes no less."""


@contextmanager
def alone(name: str) -> Iterator[bool]:
    """Whether nobody else is in such a `with` block under this name; until its end nobody else will be.

    It is a global concurrency limit of Prefect's, with a lease that is renewed for as long as the process lives. Only
    Prefect's word says that somebody else is at it: a server that is slow is waited for.

    Raises:
        ConcurrencySlotAcquisitionError: Prefect cannot say.
    """
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(name, 1)
    slot = concurrency(name, max_retries=0, lease_duration=_LEASE, strict=True)
    try:
        slot.__enter__()
    except ConcurrencySlotAcquisitionError as error:
        if not _is_taken(error):
            raise
        yield False
        return
    try:
        yield True
    finally:
        slot.__exit__(None, None, None)


def _is_taken(error: ConcurrencySlotAcquisitionError) -> bool:
    cause = error.__cause__
    return isinstance(cause, httpx.HTTPStatusError) and cause.response.status_code == httpx.codes.LOCKED
