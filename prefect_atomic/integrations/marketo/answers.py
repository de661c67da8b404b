"""What Marketo's answers say: 200 stands for nearly all of them, and errors have a code and a message that both count.

Source: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/error-codes
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from prefect_atomic.errors import (
    MarketoAccessError,
    MarketoBusyError,
    MarketoError,
    MarketoInputError,
    MarketoQuotaError,
    MarketoTokenError,
    ResponseError,
)
from prefect_atomic.integrations.marketo.limits import next_day
from prefect_atomic.transport import Response

Meaning = Literal["busy", "quota", "token", "access", "input", "fault"]

TOKEN = frozenset({"601", "602"})
NOT_DONE = frozenset({"601", "602", "606", "608", "614", "615", "1016", "1019", "1029"})
"""Codes of what surely was not done, so that it may be sent again whatever it is."""

QUEUED = frozenset({"1016", "1019", "1029"})
"""Codes of a queue that is full, for minutes or hours."""

_BUSY = frozenset({"502", "604", "606", "608", "611", "614", "615", "713", "719", "1016", "1019"})
_ACCESS = frozenset({"603", "1008"})
_INPUT = (range(600, 800), range(1001, 1081))
"""Codes of what was not done, as it cannot be: for the call as a whole, and for what it is about."""

_MEANS_A_QUOTA = ("quota", "daily")
_HINTS: Mapping[str, str] = {
    "603": "the role of the API user needs the permission for this call, and its list of IP addresses this host",
    "610": "is the id or the name right?",
    "1008": "the API user may not use this partition",
    "1035": "this kind of filter is not enabled for the instance",
}


class Reason(NamedTuple):
    """Why Marketo refuses something.

    Attributes:
        code: Its code.
        message: The reason.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that says yes.

    Attributes:
        result: What was asked for.
        next_page_token: Of the next page, where there is one.
        more_result: Whether there is more, where the token is always given; None where that is not said.
        warnings: What Marketo warns of.
        response: The answer itself.
        may_be_second: Whether an attempt before may have done it already.
    """

    result: list[dict[str, Any]]
    next_page_token: str | None
    more_result: bool | None
    warnings: tuple[str, ...]
    response: Response
    may_be_second: bool = False


def read(response: Response, *, may_be_second: bool = False) -> Answer:
    """The answer, if it says yes.

    Raises:
        MarketoError: It says no.
        ResponseError: It is none of Marketo's.
    """
    found = object_of(response)
    if found.get("success") is not True:
        reasons = reasons_in(found, "errors")
        if any(reason.code == "702" for reason in reasons):  # nothing was found; most calls say yes to that
            return Answer([], None, None, (), response)
        raise refusal(response, reasons)
    result = found.get("result")
    return Answer(
        result=[each for each in result if isinstance(each, dict)] if isinstance(result, list) else [],
        next_page_token=_text(found.get("nextPageToken")) or None,
        more_result=more if isinstance(more := found.get("moreResult"), bool) else None,
        warnings=tuple(reason.message or reason.code for reason in reasons_in(found, "warnings")),
        response=response,
        may_be_second=may_be_second,
    )


def object_of(response: Response) -> dict[str, Any]:
    """The JSON object of an answer.

    Raises:
        ResponseError: It is none, such as a web page of a proxy.
    """
    try:
        found = json.loads(response.content)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and isinstance(found.get("success"), bool):
        return found
    kind = response.headers.get("content-type", "no content type").partition(";")[0]
    raise ResponseError(
        f"{response.url} answered {response.status_code} with {len(response.content)} bytes of {kind} where an answer "
        "of Marketo was expected; does something in between answer for it?",
        response=response,
    )


def token_codes_in(content: bytes) -> frozenset[str]:
    """The codes of an answer that does not accept the token; none of any other."""
    if not any(code.encode() in content for code in TOKEN):  # spares most answers a second reading
        return frozenset()
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return frozenset()
    if not isinstance(found, dict) or found.get("success") is not False:
        return frozenset()
    return TOKEN & {reason.code for reason in reasons_in(found, "errors")}


def reasons_in(found: Mapping[str, Any], *names: str) -> list[Reason]:
    """The reasons that stand under one of these names."""
    reasons = []
    for name in names:
        stated = found.get(name)
        for each in stated if isinstance(stated, list) else [stated]:
            if isinstance(each, dict):
                reasons.append(Reason(_text(each.get("code")), _text(each.get("message"))))
            elif isinstance(each, str) and each:
                reasons.append(Reason("", each))
    return reasons


def meaning(reason: Reason) -> Meaning:
    """What is to be done about a reason; 1029 and others mean several things, which their message tells apart."""
    code, message = reason.code, reason.message.lower()
    if code in TOKEN:
        return "token"
    if code == "607":
        return "quota"
    if code == "1029":
        if any(word in message for word in _MEANS_A_QUOTA):
            return "quota"
        return "input" if "already" in message else "busy"
    if code in _BUSY:
        return "busy"
    if code in _ACCESS:
        return "access"
    return "input" if code.isascii() and code.isdigit() and any(int(code) in codes for codes in _INPUT) else "fault"


def refusal(response: Response, reasons: list[Reason]) -> MarketoError:
    """The error for an answer that says no; its kind is that of the first reason."""
    first = reasons[0] if reasons else Reason("", "it gives no reason")
    told = "; ".join(f"{reason.code}: {reason.message}".removeprefix(": ") for reason in reasons or [first])
    hint = _HINTS.get(first.code, "")
    text = f"{response.url} was refused: {told[:1000].rstrip('.')}{f' ({hint})' if hint else ''}"
    code = first.code
    match meaning(first):
        case "busy":
            return MarketoBusyError(f"{text}.", code=code, response=response, transient=True)
        case "quota":
            until = next_day(time.time())
            text += f". It may go on at {until.isoformat()}, midnight in US Central time."
            return MarketoQuotaError(text, code=code, until=until, response=response)
        case "token":
            return MarketoTokenError(f"{text}.", code=code, response=response)
        case "access":
            return MarketoAccessError(f"{text}.", code=code, response=response)
        case "input":
            return MarketoInputError(f"{text}.", code=code, response=response)
        case "fault":
            return MarketoError(f"{text}.", code=code, response=response)


def _text(found: object) -> str:
    return str(found).strip() if isinstance(found, str | int) and not isinstance(found, bool) else ""
