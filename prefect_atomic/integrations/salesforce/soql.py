"""What a SOQL query says of itself: its object, its columns, and whether Bulk API 2.0 takes it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FROM = re.compile(r"\sFROM\s+(\w+)", re.IGNORECASE)
_SELECT = re.compile(r"\s*SELECT\s+(.*?)\sFROM\s", re.IGNORECASE | re.DOTALL)
_FIELD = re.compile(r"\w+(?:\.\w+)*")
_NOT_BULK = re.compile(r"\b(?:GROUP\s+BY|OFFSET)\b", re.IGNORECASE)  # nor what selects more than fields
_TEXT = re.compile(r"'(?:[^'\\]|\\.)*'")


@dataclass(frozen=True, slots=True)
class Soql:
    """A query, read as far as needed.

    Attributes:
        text: The query.
        sobject: The object that it asks for; None where that cannot be told.
        columns: The fields that it selects, as they are written; None where it selects more than fields.
        is_for_bulk: Whether Bulk API 2.0 takes it: no aggregates, no subqueries, no OFFSET, no TYPEOF.
    """

    text: str
    sobject: str | None
    columns: tuple[str, ...] | None
    is_for_bulk: bool


def read_soql(text: str) -> Soql:
    """Reads a query; a query that Salesforce would refuse is left for it to refuse."""
    bare = _TEXT.sub("''", text)
    selected = _SELECT.match(bare)
    columns: tuple[str, ...] | None = None
    if selected:
        fields = [field.strip() for field in selected[1].split(",")]
        if all(_FIELD.fullmatch(field) for field in fields):
            columns = tuple(fields)
    found = _FROM.search(bare)
    return Soql(
        text=text,
        sobject=found[1] if found else None,
        columns=columns,
        is_for_bulk=bool(found and columns) and not _NOT_BULK.search(bare),
    )
