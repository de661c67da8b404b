"""Records cut into requests: by their number and by their bytes. What fits into no request is told, and left out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.records.outcomes import Outcome, Outcomes

Check = Callable[[Mapping[str, Any]], str | None]
"""What is wrong with a record, as far as that is known before it is sent; None where nothing is."""


_NO_JSON = (TypeError, ValueError, RecursionError)
"""What the encoder raises; a lone surrogate is a ValueError too."""

_MOST_LEVELS = 8
"""At which a fault is looked for: what is in itself has no last one."""


class Batch(NamedTuple):
    """What goes into one request.

    Attributes:
        positions: Where its records stood among those that were given.
        body: The request's body, as JSON.
    """

    positions: tuple[int, ...]
    body: bytes


def json_batches(
    records: Iterable[Mapping[str, Any]],
    outcomes: Outcomes,
    *,
    most: int,
    most_bytes: int,
    wrap: tuple[bytes, bytes] = (b"[", b"]"),
    shape: Callable[[Mapping[str, Any]], Any] | None = None,
    check: Check | None = None,
    first: int = 0,
) -> Iterator[Batch]:
    """Reads records as they are needed, and cuts them into bodies.

    Args:
        records: The records, each a mapping.
        outcomes: Where those are noted that cannot be sent: they are no mapping, no JSON, faulty, or too large.
        most: The most records of a request.
        most_bytes: The most bytes of its body.
        wrap: What stands before and after the records in the body.
        shape: Makes a record what stands in the body; None = as it is.
        check: Finds what is wrong with a record.
        first: The position of the first record.

    Raises:
        RequestError: `records` is not an iterable of mappings at all.
    """
    if isinstance(records, str | bytes | Mapping):
        raise RequestError("records: takes a list, or another iterable, of mappings.")
    room = most_bytes - sum(map(len, wrap))
    positions: list[int] = []
    encoded: list[bytes] = []
    size = 0
    for position, record in enumerate(records, first):
        try:
            item = _encoded(record, shape, check)
            if len(item) > room:
                raise _UnsendableError(
                    "RECORD_TOO_LARGE", f"takes {len(item):,} bytes, and a request may have {room:,} for its records"
                )
        except _UnsendableError as fault:
            outcomes.add([Outcome(position, "not sent", code=fault.code, message=fault.message)])
            continue
        if len(positions) == most or (positions and size + 1 + len(item) > room):
            yield Batch(tuple(positions), wrap[0] + b",".join(encoded) + wrap[1])
            positions, encoded, size = [], [], 0
        size += len(item) + bool(positions)
        positions.append(position)
        encoded.append(item)
    if positions:
        yield Batch(tuple(positions), wrap[0] + b",".join(encoded) + wrap[1])


class _UnsendableError(Exception):
    """Why a record cannot be sent."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def _encoded(record: object, shape: Callable[[Mapping[str, Any]], Any] | None, check: Check | None) -> bytes:
    if not isinstance(record, Mapping):
        raise _UnsendableError("INVALID_RECORD", f"is a {type(record).__name__}, not a mapping of fields to values")
    if check and (fault := check(record)):
        raise _UnsendableError("INVALID_RECORD", fault)
    try:
        return _as_json(shape(record) if shape else record)
    except _NO_JSON as error:
        told = _fault(record, error)
    raise _UnsendableError("INVALID_RECORD", told)


def encoded(content: object) -> bytes:
    """What is no record, as JSON, as it is of records.

    Raises:
        TypeError: It holds something that is no JSON; says what, and in which field.
    """
    try:
        return _as_json(content)
    except _NO_JSON as error:
        told = _fault(content, error)
    raise TypeError(told)


def _as_json(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode()


def _fault(content: object, error: Exception) -> str:
    """What is no JSON, and in which field, as the caller knows it; of a text, no word is repeated."""
    path = ""
    for _ in range(_MOST_LEVELS):
        found = _first_fault(content)
        if found is None:
            break
        step, content, error = found
        path += step
    if isinstance(content, float):
        told = "NaN" if math.isnan(content) else "an infinite number"
    elif isinstance(error, UnicodeEncodeError):
        told = "a text" if isinstance(content, str) else "a name"
        told += " with half of a character, a lone surrogate"
    else:
        told = "it has too many levels" if isinstance(error, RecursionError) else str(error)[:200]
    where = f"{path.removeprefix('.')}: " if path else ""
    return f"{where}holds something that is no JSON ({told})"


def _first_fault(content: object) -> tuple[str, object, Exception] | None:
    """Where in a mapping or list the first thing stands that is no JSON, the thing, and why."""
    parts: Iterable[tuple[str, object]] = ()
    if isinstance(content, Mapping):
        # A name that is no text stands here as the message can show it.
        parts = ((f".{str(name)[:100]}".encode(errors="replace").decode(), each) for name, each in content.items())
    elif isinstance(content, list | tuple):
        parts = ((f"[{place}]", each) for place, each in enumerate(content))
    for step, part in parts:
        try:
            _as_json(part)
        except _NO_JSON as error:
            return step, part, error
    return None


def _plain(value: object) -> object:
    """Mappings of other kinds, and dates as all three systems write them (ISO 8601)."""
    from datetime import date, datetime
    from decimal import Decimal
    from enum import Enum
    from uuid import UUID

    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise TypeError("a datetime without a time zone")
        return value.isoformat(timespec="milliseconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise TypeError("a Decimal that is no number")
        number = float(value)
        return number if Decimal(repr(number)) == value else str(value)  # text, rather than rounded in silence
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__}")
