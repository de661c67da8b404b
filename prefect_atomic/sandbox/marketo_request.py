"""What Marketo's operations ask of a request."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NoReturn
from urllib.parse import parse_qsl, unquote, urlencode

from prefect_atomic.sandbox.marketo_answers import Reason, fail
from prefect_atomic.sandbox.wire import Received

MOST = 300  # of values, and of records in a call or on a page


class Query:
    """The parameters of a call. Those that have several values are there several times, or have commas."""

    def __init__(self, received: Received, known: Iterable[str], *, several: Iterable[str] = ()) -> None:
        repeatable = frozenset(several)
        self._given: dict[str, list[str]] = {}
        for name, value in received.query_pairs:
            if name not in repeatable and (name not in known or name in self._given):
                how = "it is there more than once" if name in known else "it is not known"
                fail(1003, f"Invalid parameter '{name}': {how}")
            self._given.setdefault(name, []).append(value)

    def add(self, name: str, values: Iterable[object]) -> None:
        """Takes what the body says in place of the query."""
        self._given[name] = [str(value) for value in values]

    def text(self, name: str) -> str | None:
        """A value, if it is there."""
        return next(iter(self._given.get(name, [])), None) or None

    def required(self, name: str) -> str:
        """A value that has to be there."""
        return self.text(name) or missing(name)

    def texts(self, name: str) -> list[str]:
        """All values, each once."""
        parts = [part.strip() for value in self._given.get(name, []) for part in value.split(",")]
        return list(dict.fromkeys(part for part in parts if part))

    def numbers(self, name: str, *, most: int = MOST) -> list[int]:
        """All values, which are whole numbers."""
        found = [number(text) for text in self.texts(name)]
        if len(found) > most:
            fail(1003, f"Invalid value for '{name}': there are more than {most}")
        return found

    def size(self) -> int:
        """How many results a page has at most."""
        size = number(self.text("batchSize") or str(MOST))
        if not 1 <= size <= MOST:
            fail(1003, f"Invalid value '{size}' for batchSize, which is from 1 to {MOST}")
        return size

    def scope(self) -> str:
        """What is asked for, whatever the page."""
        about = {name: sorted(self.texts(name)) for name in self._given if name not in ("batchSize", "nextPageToken")}
        return json.dumps(about, sort_keys=True)


def stood_for(received: Received) -> Received:
    """The call that a POST with `_method=GET` stands for: the rest of its query is in the body, unless that is JSON."""
    if received.method != "POST" or ("_method", "GET") not in received.query_pairs:
        return received
    pairs = [(name, value) for name, value in received.query_pairs if name != "_method"]
    if received.is_form:
        pairs += parse_qsl(received.body.decode("utf-8", "replace"), keep_blank_values=True)
    return replace(received, method="GET", query=urlencode(pairs), body=b"" if received.is_form else received.body)


def json_object(received: Received, *, required: Iterable[str], known: Iterable[str] = ()) -> dict[str, Any]:
    """The body as a JSON object with these properties and no others."""
    if (received.header("content-type") or "").partition(";")[0].strip().lower() != "application/json":
        fail(612, "Invalid Content Type")
    try:
        content = json.loads(received.body, parse_constant=_not_json)
    except (ValueError, RecursionError):
        fail(609, "Invalid JSON")
    if not isinstance(content, dict):
        fail(609, "Invalid JSON")
    for name in required:
        if content.get(name) in (None, ""):
            missing(name)
    unknown = content.keys() - {*required, *known}
    if unknown:
        fail(1003, f"Invalid parameter '{min(unknown)}'")
    return content


def records(content: Mapping[str, Any], name: str = "input", *, most: int = MOST) -> list[dict[str, Any]]:
    """The records of a body."""
    found = content[name]
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        fail(1001, f"Invalid value for '{name}'. Required of type 'array of objects'")
    if not 1 <= len(found) <= most:
        fail(1003, f"Invalid value for '{name}': there are {len(found)}, and there may be from 1 to {most}")
    return found


def one_of(value: object, name: str, known: Iterable[str]) -> str:
    """A word among others."""
    if not isinstance(value, str) or value not in known:
        fail(1003, f"Invalid value '{value}' for {name}, which is one of {', '.join(known)}")
    return value


def part(received: Received, position: int) -> str:
    """A part of the path behind `/rest/v1/`, counted from 0 and decoded, without `.json`."""
    return unquote(received.path.split("/")[4 + position]).removesuffix(".json")


def number_in(received: Received, position: int) -> int:
    """A part of the path that is a number."""
    return number(part(received, position))


def number(value: object) -> int:
    """A whole number from 0 on, as a text or as it is."""
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit() and len(text) < 16):
        fail(1001, f"Invalid value '{value}'. Required of type 'Integer'")
    return int(text)


def whole(record: Mapping[str, Any], name: str) -> int:
    """A number of a record; raises `Reason` if it is none."""
    value = record.get(name)
    if value is None:
        raise Reason(1002, f"Missing value for required parameter '{name}'")
    if type(value) is not int or value < 0:
        raise Reason(1001, f"Invalid value '{value}'. Required of type 'Integer'")
    return value


def missing(name: str) -> NoReturn:
    """Refuses a call without what it has to have."""
    fail(1002, f"Missing value for required parameter '{name}'")


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a value")
