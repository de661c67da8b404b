"""What Marketing Cloud's operations ask of a request, and the shape of its refusals."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn
from urllib.parse import unquote

from prefect_atomic.sandbox.wire import Answer, Received, Refused

GENERIC, TYPE, MISSING, FORMAT, JSON, VALUE, AGGREGATE = range(10_000, 10_007)


def refuse(
    reason: str,
    code: int = GENERIC,
    *,
    status: int = 400,
    headers: Mapping[str, str] | None = None,
    **more: object,
) -> NoReturn:
    """Refuses a request with a sentence and one of Marketing Cloud's codes."""
    content = {"message": reason, "errorcode": code, "documentation": "", **more}
    raise Refused(Answer.of_json(content, status=status, headers=headers))


def refuse_all(reason: str, faults: Iterable[str]) -> NoReturn:
    """Refuses a request for several reasons at once."""
    errors = [{"message": fault, "errorcode": VALUE, "documentation": ""} for fault in faults]
    refuse(reason, AGGREGATE, additionalErrors=errors)


def now() -> str:
    """The current instant, as answers have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def json_body(received: Received) -> Any:
    """The body as JSON that says that it is JSON, and in which letters if it has others than ASCII ones."""
    media_type, _, parameters = (received.header("content-type") or "").partition(";")
    if media_type.strip().lower() != "application/json":
        refuse("send Content-Type: application/json", status=415)
    try:
        content = json.loads(received.body, parse_constant=_not_json)
    except (ValueError, RecursionError) as error:
        refuse(f"the body is not JSON: {error}", JSON)
    if not received.body.isascii() and parameters.strip().lower() != "charset=utf-8":
        refuse("the body is not ASCII; send Content-Type: application/json; charset=UTF-8", FORMAT)
    return content


def json_object(received: Received, *, required: Iterable[str], known: Iterable[str] = ()) -> dict[str, Any]:
    """The body as a JSON object with these properties and no others."""
    content, required = json_body(received), list(required)
    if not isinstance(content, dict):
        refuse("the body is not a JSON object", TYPE)
    missing = [name for name in required if content.get(name) in (None, "")]
    if missing:
        refuse(f"{missing[0]} is missing", MISSING)
    unknown = sorted(content.keys() - {*required, *known})
    if unknown:
        refuse(f"there is no property {unknown[0]} here", VALUE)
    return content


def query(received: Received, known: Iterable[str]) -> dict[str, str]:
    """The parameters of the query by name, each known and there once."""
    found: dict[str, str] = {}
    for name, value in received.query_pairs:
        if name not in known or name in found:
            refuse(f"the parameter {name} is {'there more than once' if name in found else 'not known'}", VALUE)
        found[name] = value
    return found


def page(given: Mapping[str, str], *, usual: int, most: int) -> tuple[int, int]:
    """`$page`, from 1, and `$pageSize`."""
    number, size = _whole(given, "$page", usual=1, most=10**9), _whole(given, "$pageSize", usual=usual, most=most)
    return number, size


def part(received: Received, position: int, prefix: str = "") -> str:
    """A part of the path behind `/marketing-cloud/rest/`, counted from 0 and decoded, without that prefix."""
    text = unquote(received.path.split("/")[3 + position])
    if not text.startswith(prefix):
        refuse(f"{text} should be like {prefix}KEY", status=404)
    return text.removeprefix(prefix)


def _whole(given: Mapping[str, str], name: str, *, usual: int, most: int) -> int:
    sent = given.get(name, str(usual))
    if not (sent.isascii() and sent.isdecimal() and len(sent) < 12 and 1 <= int(sent) <= most):
        refuse(f"{name} should be a whole number from 1 to {most}", VALUE)
    return int(sent)


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a value")
