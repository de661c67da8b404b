"""What can go wrong, told so that a person can act on it. No text here ever holds a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from prefect_atomic.integrations.atomic import InvocationOutcome
    from prefect_atomic.integrations.data_360.bulk import BulkIngest
    from prefect_atomic.integrations.records import Outcomes
    from prefect_atomic.transport.response import Response


class AtomicError(Exception):
    """Anything this package raises on purpose.

    Attributes:
        transient: Whether the same call may succeed later without anybody changing anything.
        retry_after: Seconds the other side asked to wait, where it said so.
    """

    _may_be_done = False  # whether an attempt before the one that failed may have done what was asked

    def __init__(self, message: str, *, transient: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.transient = transient
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments are lost by the default reduction; results and process pools pickle errors.
        return _restore, (type(self), self.args, self.__dict__)


class CredentialError(AtomicError):
    """A credential could not be found, or could not get its proof; the request was not sent."""


class DestinationError(AtomicError):
    """The request points somewhere it must not, or cannot, go; it was not sent there."""


class RequestError(AtomicError, ValueError):
    """The arguments do not make a request; nothing was sent."""


class OutboxError(AtomicError):
    """A webhook event cannot be stored, so it was not sent; or what is stored cannot be read."""


class SignatureError(AtomicError):
    """A webhook was not signed with the secret, or was changed or delayed on the way."""


class InvocationError(AtomicError):
    """Action Flows were not started, or it is not known whether they were.

    Attributes:
        outcomes: What became of each invocation, those that were started too.
    """

    def __init__(self, message: str, *, outcomes: tuple[InvocationOutcome, ...]) -> None:
        # Never transient: the same call would start once more what was started.
        super().__init__(message)
        self.outcomes = outcomes


class QuotaError(AtomicError):
    """A quota that others need too is used up, or nearly; the request was not sent.

    Attributes:
        used: How much of it is used.
        total: How much there is.
    """

    def __init__(self, message: str, *, used: int, total: int) -> None:
        super().__init__(message)
        self.used = used
        self.total = total


class RecordsError(AtomicError):
    """Some records were refused, or it is not known whether they arrived; the others did.

    Attributes:
        outcomes: What became of each record, those that arrived too.
    """

    def __init__(self, message: str, *, outcomes: Outcomes) -> None:
        # Never transient: the same call would send once more what arrived.
        super().__init__(message)
        self.outcomes = outcomes


class BulkIngestError(AtomicError):
    """Some jobs of a bulk ingestion did not complete, or not in time.

    Attributes:
        result: What was sent, with the jobs as they were seen last.
    """

    def __init__(self, message: str, *, result: BulkIngest) -> None:
        super().__init__(message)
        self.result = result


class MarketoError(AtomicError):
    """Marketo refused a call as a whole. What to do about it is told by the kind; this one is for all others.

    Attributes:
        code: What Marketo calls it, such as `1003`; where the refusal is HTTP's, its status, such as `HTTP 413`.
        response: The answer; None where nothing was sent.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        response: Response | None = None,
        transient: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, transient=transient, retry_after=retry_after)
        self.code = code
        self.response = response


class MarketoBusyError(MarketoError):
    """Marketo asks to come again later, and still did after a while of waiting."""


class MarketoQuotaError(MarketoError):
    """A quota of the day is used up: calls, or bytes to export. Nothing goes before `until`, so nothing is retried.

    Attributes:
        until: When the quota begins anew, midnight in US Central time.
    """

    def __init__(self, message: str, *, code: str, until: datetime, response: Response | None = None) -> None:
        super().__init__(message, code=code, response=response)
        self.until = until


class MarketoTokenError(MarketoError):
    """Marketo does not accept the token, not even a new one."""


class MarketoAccessError(MarketoError):
    """The API user's role, or the list of IP addresses that may call, does not allow it."""


class MarketoInputError(MarketoError):
    """What was asked for cannot be; says why, as Marketo does."""


class StorageError(AtomicError):
    """A bucket, or an object in it, cannot be used.

    Attributes:
        code: What S3 calls it, such as `NoSuchKey` or `AccessDenied`.
    """

    def __init__(self, message: str, *, code: str, transient: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message, transient=transient, retry_after=retry_after)
        self.code = code


class TransportError(AtomicError):
    """No complete answer arrived: refused, timed out, cut off, or TLS failed.

    Attributes:
        reason: What happened in a few words, such as `got no answer in time`; neither the URL nor anything received.
    """

    def __init__(
        self, message: str, *, reason: str = "", transient: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message, transient=transient, retry_after=retry_after)
        self.reason = reason


class ResponseError(AtomicError):
    """An answer arrived and says no, or cannot be used.

    Attributes:
        response: The answer; its content is empty where it was too long or could not be decoded.
    """

    def __init__(
        self, message: str, *, response: Response, transient: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message, transient=transient, retry_after=retry_after)
        self.response = response


def _restore(kind: type[AtomicError], args: tuple[object, ...], state: dict[str, object]) -> AtomicError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error
