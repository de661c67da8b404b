"""What Atomic's operations ask of a request: parameters that they know, each once, and a body of the right shape."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from prefect_atomic.sandbox.wire import Answer, Received, Refused

MOST = 1000  # of a page, and of the entries of one request


def refuse(reason: str, *, status: int = 400, headers: Mapping[str, str] | None = None) -> NoReturn:
    """Refuses a request with a sentence. The shape is ours: that of Atomic's refusals is not known."""
    raise Refused(Answer.of_json({"error": reason}, status=status, headers=headers))


def query(received: Received, known: Iterable[str]) -> dict[str, str]:
    """The parameters of the query by name. One that is misspelt must not widen a cancel, so it is refused."""
    names = list(known)
    found: dict[str, str] = {}
    for name, value in received.query_pairs:
        if name not in names:
            refuse(f"there is no parameter {name} here; there are {', '.join(names)}")
        if name in found:
            refuse(f"{name} is there more than once")
        if not value:
            refuse(f"{name} is empty; leave it out")
        found[name] = value
    return found


def whole(given: Mapping[str, str], name: str, *, usual: int, least: int = 1, most: int | None = MOST) -> int:
    """A parameter that is a whole number within bounds."""
    sent = given.get(name, str(usual))
    bounds = f"a whole number from {least}" + (f" to {most}" if most is not None else "")
    if not (sent.isascii() and sent.isdecimal() and len(sent) < 12):
        refuse(f"{name} should be {bounds}")
    number = int(sent)
    if number < least or (most is not None and number > most):
        refuse(f"{name} should be {bounds}")
    return number


def page(given: Mapping[str, str], items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The page of a list that `limit` and `offset` ask for."""
    limit, offset = whole(given, "limit", usual=100), whole(given, "offset", usual=0, least=0, most=None)
    return list(items)[offset : offset + limit]


def json_list(received: Received) -> list[Any]:
    """The body as a JSON array; refuses anything else."""
    try:
        content = json.loads(received.body)
    except ValueError as error:
        refuse(f"the body is not JSON: {error}")
    if not isinstance(content, list):
        refuse("the body is not a JSON array")
    return content
