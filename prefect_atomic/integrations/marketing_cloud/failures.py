"""What a refusal says, and what an error means for what was under way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from prefect_atomic.errors import AtomicError, ResponseError, TransportError
from prefect_atomic.transport import Response

Verdict = Literal["refused", "unknown", "stop"]
"""Of a batch: it is at fault itself; it may have been processed; or all others would fare the same."""

NO_CODE = frozenset({"", "0", "none"})
"""What stands where an error code would, and there is no error."""

_REFUSED = frozenset({400, 413, 415, 422})
_NEVER_ARRIVED = ("could not connect", "did not trust", "waited too long for a free connection")


class Complaint(NamedTuple):
    """What is wrong, as Marketing Cloud says it.

    Attributes:
        code: Its error code, such as `10006`; the HTTP status where it has none.
        message: The reason.
        fields: The columns that were named.
    """

    code: str
    message: str
    fields: tuple[str, ...] = ()


def complaint_of(response: Response) -> Complaint:
    """What a refusal says; of several reasons, those that stand in its details."""
    try:
        found = response.json()
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return Complaint(str(response.status_code), "")
    details = [each for name in ("additionalErrors", "validationErrors") for each in _objects(found.get(name))]
    reasons = [text for each in details if (text := _text(each.get("message")))]
    message = _text(found.get("message")) or _text(found.get("error_description")) or _text(found.get("error"))
    if reasons:
        message = f"{message}: {'; '.join(reasons)}" if message else "; ".join(reasons)
    fields = dict.fromkeys(name for each in details if (name := _text(each.get("name") or each.get("field"))))
    code = found.get("errorcode", found.get("errorCode"))
    return Complaint(str(response.status_code if code is None else code), message, tuple(fields))


def said_of(error: AtomicError) -> Complaint:
    """The reason of an error in few words, and its code."""
    if not isinstance(error, ResponseError):
        return Complaint(type(error).__name__, str(error))
    found = complaint_of(error.response)
    return found if found.message else found._replace(message=str(error))


def verdict(error: AtomicError) -> Verdict:
    """What an error says of the batch that it befell."""
    if isinstance(error, ResponseError):
        status = error.response.status_code
        if status in _REFUSED:
            return "refused"
        # An answer that says yes and cannot be read says no more than one that is lost. Whoever answers with a redirect
        # may have done what was asked, and a conflict may be one with the same request, delivered before.
        return "unknown" if status >= 500 or status in (408, 409) or 200 <= status < 400 else "stop"
    if isinstance(error, TransportError) and not never_arrived(error):
        return "unknown"
    return "stop"


def never_arrived(error: AtomicError) -> bool:
    """Whether no connection was made, so that nothing can have been processed."""
    return isinstance(error, TransportError) and error.reason.startswith(_NEVER_ARRIVED)


def is_throttled(error: AtomicError) -> bool:
    """Whether Marketing Cloud asks to come again later, without having processed anything."""
    return isinstance(error, ResponseError) and error.response.status_code == 429


def reasons_in(answer: Mapping[str, Any]) -> str:
    """The `resultMessages` of an answer, which are what is wrong although the status is 200."""
    texts = [
        _text(each.get("message")) or _text(each.get("resultCode")) for each in _objects(answer.get("resultMessages"))
    ]
    return "; ".join(text for text in texts if text)


def _objects(found: object) -> list[dict[str, Any]]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _text(found: object) -> str:
    return found.strip() if isinstance(found, str) else ""
