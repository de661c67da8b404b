"""Rows for a data extension: what is wrong with one before it is sent, and what it is in a request."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Any

from prefect_atomic.errors import RequestError

Row = Mapping[str, Any]


class RowShape:
    """What all rows of a call have in common.

    Args:
        keys: The columns of the primary key.
        max_text: The most characters of a value.

    Raises:
        RequestError: `keys` are no columns.
    """

    def __init__(self, keys: object, max_text: int) -> None:
        if not isinstance(keys, list | tuple) or not keys or not all(isinstance(k, str) and k.strip() for k in keys):
            raise RequestError('keys: is a list of the columns of the primary key, such as ["EventId"].')
        if len({key.lower() for key in keys}) != len(keys):
            raise RequestError("keys: names a column more than once; letters' case does not tell columns apart.")
        self._keys = {key.lower(): key for key in keys}
        self._max_text = max_text

    def fault(self, row: Mapping[Any, Any]) -> str | None:
        """What is wrong with a row, as far as that is known before it is sent."""
        sent: dict[str, Any] = {}
        for name, value in row.items():
            if not isinstance(name, str) or not name.strip():
                return "a column's name is text, and not empty"
            if name.lower() in sent:
                return f"{name} is there more than once; letters' case does not tell columns apart"
            value = _without_enum(value)
            sent[name.lower()] = value
            if fault := self._fault_of_value(value):
                return f"{name}: {fault}"
        for lower, key in self._keys.items():
            value = sent.get(lower)
            if value is None or (isinstance(value, str) and not value):
                return f"{key} is missing or empty, which is in the primary key"
        return None

    def plain(self, row: Row) -> dict[str, Any]:
        """A row as asynchronous requests have it."""
        return {name: _exact(value) for name, value in row.items()}

    def keyed(self, row: Row) -> dict[str, dict[str, Any]]:
        """A row as synchronous requests have it."""
        row = self.plain(row)
        keys = {name: value for name, value in row.items() if name.lower() in self._keys}
        return {"keys": keys, "values": {name: value for name, value in row.items() if name not in keys}}

    def _fault_of_value(self, value: object) -> str | None:
        if isinstance(value, Mapping | list | tuple | set | bytes):
            return f"is a {type(value).__name__}; a column takes text, a number, a date or nothing, and JSON as text"
        if isinstance(value, str) and len(value) > self._max_text:
            return f"has {len(value):,} characters, and a column takes {self._max_text:,} (`max_text` of the block)"
        return None


def _without_enum(value: object) -> object:
    """The value of a member of an enumeration, which is what is sent of it."""
    while isinstance(value, Enum):
        value = value.value
    return value


def _exact(value: object) -> object:
    """A decimal number as text where a number in JSON would be another one; all else as it is."""
    value = _without_enum(value)
    if isinstance(value, Decimal) and value.is_finite() and Decimal(repr(float(value))) != value:
        return f"{value:f}"
    return value
