"""What a SOQL query says of itself: its object, its columns, and whether Bulk API 2.0 takes it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FROM = re.compile(r"\sFROM\s+(\w+)(?:\s+(?:AS\s+)?(\w+))?\s*(,)?", re.IGNORECASE)
_SELECT = re.compile(r"\s*SELECT\s+(.*?)\sFROM\s", re.IGNORECASE | re.DOTALL)
_FIELD = re.compile(r"\w+(?:\.\w+)*")
_RELATED = re.compile(r"(?<![\w.(])\w+(?:\.\w+)+(?![\w.(])")
_AFTER_THE_OBJECT = frozenset({"using", "where", "with", "group", "having", "order", "limit", "offset", "for", "all"})
_NOT_BULK = re.compile(r"\b(?:GROUP\s+BY|OFFSET)\b", re.IGNORECASE)  # nor what selects more than fields
_TEXT = re.compile(r"'(?:[^'\\]|\\.)*'")
_NESTED = re.compile(r"\([^()]*\)")
_MORE = "§"
"""Stands where something was in parentheses: that is no field."""


@dataclass(frozen=True, slots=True)
class Soql:
    """A query, read as far as needed.

    Attributes:
        text: The query.
        sobject: The object that it asks for; None where that cannot be told.
        columns: The fields that it selects, as they are written, without the object's name or alias; None where it
            selects more than fields.
        related: Those of related records among what it selects, such as `Account.Name`.
        is_for_bulk: Whether Bulk API 2.0 takes it: no aggregates, no subqueries, no OFFSET, no TYPEOF.
    """

    text: str
    sobject: str | None
    columns: tuple[str, ...] | None
    related: tuple[str, ...]
    is_for_bulk: bool


def read_soql(text: str) -> Soql:
    """Reads a query; a query that Salesforce would refuse is left for it to refuse."""
    bare = _TEXT.sub("''", text)
    while (flat := _NESTED.sub(_MORE, bare)) != bare:  # a subquery has a FROM of its own
        bare = flat
    found = _FROM.search(bare)
    sobject, alias = (found[1], found[2] or "") if found else (None, "")
    own = {name.lower() for name in (sobject or "", alias) if name and name.lower() not in _AFTER_THE_OBJECT}
    selected = _SELECT.match(bare)
    columns: tuple[str, ...] | None = None
    related: tuple[str, ...] = ()
    if selected and found and not found[3]:
        fields = [_without(own, field.strip()) for field in selected[1].split(",")]
        if all(map(_FIELD.fullmatch, fields)):
            columns = tuple(fields)
        related = tuple(_without(own, field) for field in _RELATED.findall(selected[1]))
    return Soql(
        text=text,
        sobject=sobject,
        columns=columns,
        related=tuple(field for field in related if "." in field),
        is_for_bulk=bool(sobject and columns) and not _NOT_BULK.search(bare),
    )


def _without(own: set[str], field: str) -> str:
    """`c.Name` and `Contact.Name` are the object's own `Name`."""
    first, dot, rest = field.partition(".")
    return rest if dot and first.lower() in own else field
