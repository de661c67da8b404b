"""What Data 360's operations ask of a request, and the shape of its refusals."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, NoReturn

from prefect_atomic.sandbox.wire import Answer, Received, Refused

TENANT = "a360/sandbox/00000000000000000000000000000000"


def refuse(
    received: Received,
    reason: str,
    *,
    status: int = 400,
    headers: Mapping[str, str] | None = None,
    details: Mapping[str, object] | None = None,
) -> NoReturn:
    """Refuses a request in the shape that is known from the ingestion's validation."""
    content = {
        "timestamp": now(),
        "error": HTTPStatus(status).phrase,
        "message": reason,
        "path": f"uri={received.path}",
        "tenantId": TENANT,
        "internalErrorCode": "COMMON_ERROR_GENERIC",
        **(details or {}),
    }
    raise Refused(Answer.of_json(content, status=status, headers=headers))


def now() -> str:
    """The current instant, as answers have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def json_object(received: Received) -> dict[str, Any]:
    """The body as a JSON object that says that it is one; refuses anything else."""
    media_type = (received.header("content-type") or "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        refuse(received, "send Content-Type: application/json", status=415)
    try:
        content = json.loads(received.body, parse_constant=_not_json)
    except (ValueError, RecursionError) as error:
        refuse(received, f"the body is not JSON: {error}")
    if not isinstance(content, dict):
        refuse(received, "the body is not a JSON object")
    return content


def only(received: Received, content: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuses properties that nobody knows: they may be misspelt."""
    unknown = content.keys() - set(known)
    if unknown:
        refuse(received, f"unrecognized property {', '.join(sorted(unknown))}")


def query(received: Received, known: Iterable[str]) -> dict[str, str]:
    """The parameters of the query by name, each known and there once."""
    found: dict[str, str] = {}
    for name, value in received.query_pairs:
        if name not in known or name in found:
            refuse(received, f"the parameter {name} is {'there more than once' if name in found else 'not known'}")
        found[name] = value
    return found


def whole(received: Received, given: Mapping[str, str], name: str, *, usual: int, least: int, most: int) -> int:
    """A parameter that is a whole number within bounds."""
    sent = given.get(name, str(usual))
    if not (sent.isascii() and sent.isdecimal() and len(sent) < 16 and least <= int(sent) <= most):
        refuse(received, f"{name} should be a whole number from {least} to {most}")
    return int(sent)


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a value")
