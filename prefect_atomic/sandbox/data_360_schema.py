"""The objects of the sandbox's connector, and whether a record fits one.

Known is: every field of the schema has to be there, blank if there is no data; a date is `yyyy-MM-dd` and a dateTime
`yyyy-MM-ddTHH:mm:ss.SSSZ`, its milliseconds optional. What becomes of a field that nobody knows, or of a number sent as
a text, is not; both are refused here, as they would be lost or wrong elsewhere.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from math import isfinite
from typing import Any, Literal

CONNECTOR = "prefect_connector"
Type = Literal["text", "number", "boolean", "date", "dateTime"]
NUMBER = re.compile(r"-?[0-9]{1,400}(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
DATE = re.compile(r"\d{4}-\d\d-\d\d")
DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3})?Z")
BLANK = (None, "")


@dataclass(frozen=True)
class Schema:
    """The fields of an object by name; which is its primary key, and which says when a record was modified."""

    fields: Mapping[str, Type]
    key: str
    modified: str | None = None


OBJECTS: Mapping[str, Schema] = {
    "contacts_734a9fa2": Schema(
        {
            "id": "text",
            "email": "text",
            "score": "number",
            "active": "boolean",
            "birthdate": "date",
            "modified": "dateTime",
        },
        key="id",
        modified="modified",
    ),
    "orders_1c2d3e4f": Schema({"order_id": "text", "amount": "number", "placed_at": "dateTime"}, key="order_id"),
}


def fault_of(schema: Schema, record: object) -> tuple[str, str] | None:
    """The first field of a record that does not fit, and why; None if all do."""
    if not isinstance(record, dict):
        return "", "a record is a JSON object"
    for name, kind in schema.fields.items():
        if name not in record:
            return name, "the field is missing; send it blank if there is no data"
        reason = _fault_of_value(kind, record[name])
        if reason:
            return name, reason
    unknown = sorted(record.keys() - schema.fields.keys())
    if unknown:
        return unknown[0], "the schema has no such field"
    if record[schema.key] in BLANK:
        return schema.key, "the primary key is blank"
    return None


def of_text(schema: Schema, row: Mapping[str, str]) -> dict[str, Any]:
    """A row of CSV as a record; what cannot be converted stays a text, which then does not fit."""
    fields = schema.fields
    return {name: text if fields[name] == "text" else _converted(fields[name], text) for name, text in row.items()}


def _fault_of_value(kind: Type, value: object) -> str | None:
    if value in BLANK and not isinstance(value, bool):
        return None
    if kind == "number":
        right = isinstance(value, int | float) and not isinstance(value, bool)
        return None if right else "this is not a number"
    if kind == "boolean":
        return None if isinstance(value, bool) else "this is neither true nor false"
    if not isinstance(value, str):
        return "this is not a text"
    if kind == "date":
        return None if _is_date(value) else "this is not a date like 2026-01-31"
    if kind == "dateTime":
        return None if _is_date_time(value) else "this is not a date and time like 2026-01-31T09:00:00.000Z"
    return None


def _is_date(text: str) -> bool:
    try:
        return bool(DATE.fullmatch(text) and date.fromisoformat(text))
    except ValueError:
        return False


def _is_date_time(text: str) -> bool:
    try:
        return bool(DATE_TIME.fullmatch(text) and datetime.fromisoformat(text))
    except ValueError:
        return False


def _converted(kind: Type, text: str) -> Any:
    if kind == "boolean":
        return {"true": True, "false": False}.get(text.lower(), text)
    if kind != "number" or not NUMBER.fullmatch(text):
        return text
    number = float(text)
    if not isfinite(number):
        return text
    return int(text) if text.removeprefix("-").isdecimal() else number
