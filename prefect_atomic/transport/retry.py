"""When to send again, and how long to wait before.

The defaults: a request that may be repeated is tried three times in all; one that may not (POST, PATCH) is repeated
only if it surely was not processed. Waits grow and are drawn at random (full jitter), so that many processes which
failed together do not come back together; what the server asks for in `Retry-After` is respected, up to a limit.
"""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import anyio
import httpx

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
"""Methods that may be repeated (RFC 9110, section 9.2.2)."""

TRANSIENT = frozenset({408, 429, 502, 503, 504})
"""Status codes that may be gone in a moment."""

_NOT_PROCESSED = frozenset({429, 503})


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often to try, and how long to wait in between.

    Attributes:
        attempts: Tries in all, the first one included.
        backoff: The most to wait before the second try, in seconds; it doubles with every further one.
        max_wait: The most to wait before any try, in seconds, whatever `Retry-After` says.
    """

    attempts: int = 3
    backoff: float = 0.5
    max_wait: float = 30.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError("Retry: attempts counts the first one too, so it is at least 1")
        if self.backoff < 0 or self.max_wait < 0:
            raise ValueError("Retry: backoff and max_wait are seconds and cannot be negative")

    def wait(self, attempt: int, retry_after: float | None) -> float:
        """Seconds to wait after the given attempt (1 is the first)."""
        if retry_after is not None:
            return min(retry_after, self.max_wait)
        return random.uniform(0, min(self.max_wait, self.backoff * 2 ** min(attempt - 1, 32)))  # noqa: S311 - jitter


def may_resend_status(status_code: int, *, repeatable: bool) -> bool:
    """Whether an answer is a reason to send again; `repeatable` says that doing so twice does no harm."""
    return status_code in (TRANSIENT if repeatable else _NOT_PROCESSED)


def may_resend_error(error: httpx.HTTPError, *, repeatable: bool) -> bool:
    """Whether a failure on the wire is a reason to send again."""
    if is_tls_refusal(error) or isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return False
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return True  # no connection was made, so nothing was processed
    return repeatable and isinstance(error, httpx.TransportError)


def is_tls_refusal(error: BaseException | None) -> bool:
    """Whether the certificate was refused: that does not pass by itself."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks to wait, from either of its forms (RFC 9110, section 10.2.3); never negative."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.fromtimestamp(time.time(), UTC)).total_seconds())


_waits: ContextVar[bool] = ContextVar("prefect_atomic_waits", default=True)


@contextmanager
def instant_retries() -> Iterator[None]:
    """Within it, retries happen without a wait: for tests of flows that use this package."""
    token = _waits.set(False)
    try:
        yield
    finally:
        _waits.reset(token)


def sleep(seconds: float) -> None:
    if _waits.get():
        time.sleep(seconds)


async def asleep(seconds: float) -> None:
    await anyio.sleep(seconds if _waits.get() else 0)
