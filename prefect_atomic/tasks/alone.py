"""One at a time, on all hosts that share a Prefect server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency

_LEASE = 60.0
"""Seconds after which the next one may begin where one was killed; Prefect takes no less."""

_PATIENCE = 5.0
"""Seconds to wait for a Prefect server that is slow to say whether somebody else is at it."""


@contextmanager
def alone(name: str) -> Iterator[bool]:
    """Whether nobody else is in such a `with` block under this name; until its end nobody else will be.

    It is a global concurrency limit of Prefect's, with a lease that is renewed for as long as the process lives.
    """
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(name, 1)
    slot = concurrency(name, timeout_seconds=_PATIENCE, lease_duration=_LEASE, strict=True)
    try:
        slot.__enter__()
    except TimeoutError:
        yield False
        return
    try:
        yield True
    finally:
        slot.__exit__(None, None, None)
