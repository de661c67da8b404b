"""What a field may hold: read from JSON and from CSV, and written back to CSV."""

import re
from datetime import UTC, date, datetime
from typing import Any

from prefect_atomic.sandbox.salesforce_errors import RecordRefused
from prefect_atomic.sandbox.salesforce_schema import Field

NUMBERS = frozenset({"double", "currency", "int"})
EMAIL = re.compile(r"[^@\s,;<>()\"]+@[^@\s,;<>()\"]+\.[A-Za-z]{2,}")
NULL_IN_CSV = "#N/A"
INT_MAXIMUM = 2**31 - 1


def from_json(field: Field, value: Any) -> Any:
    """A value of a JSON document as the org keeps it."""
    if value is None:
        return _null(field)
    try:
        return _check(field, _read_json(field, value))
    except (ValueError, OverflowError):
        kind = "VALUE_STRING" if isinstance(value, str) else f"VALUE of {type(value).__name__}"
        message = f"Cannot deserialize instance of {field.type} from {kind} value {value}"
        raise RecordRefused("JSON_PARSER_ERROR", message) from None


def from_csv(field: Field, text: str) -> Any:
    """A cell that is not empty as the org keeps it."""
    if text == NULL_IN_CSV:
        return _null(field)
    try:
        return _check(field, _read_text(field, text))
    except (ValueError, OverflowError):
        message = f"{field.name}: value not of required type: {text}"
        raise RecordRefused("INVALID_TYPE_ON_FIELD_IN_RECORD", message, [field.name]) from None


def to_csv(field: Field, value: Any) -> str:
    """A value as a cell of Bulk API 2.0."""
    if value is None:
        return ""
    if value is True or value is False:
        return "true" if value else "false"
    if field.type == "datetime":
        return str(value).replace("+0000", "Z")
    return str(value)


def timestamp() -> str:
    """The current instant, as REST writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "+0000")


def instant(text: str) -> datetime:
    """The instant that a text names; raises ValueError for anything else."""
    read = datetime.fromisoformat(text)
    if read.tzinfo is None:
        raise ValueError("an instant has a time zone")
    return read


def _null(field: Field) -> Any:
    if field.type == "boolean":
        return False
    if field.required:
        raise RecordRefused("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{field.name}]", [field.name])
    return None


def _read_json(field: Field, value: Any) -> Any:
    if field.type == "boolean":
        if not isinstance(value, bool):
            raise ValueError
        return value
    if field.type in NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        return _read_number(field, value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)  # Salesforce takes a number for a text
    if not isinstance(value, str):
        raise ValueError
    return _read_text(field, value)


def _read_text(field: Field, text: str) -> Any:
    if field.type == "boolean":
        return _boolean(text)
    if field.type in NUMBERS:
        return _read_number(field, text)
    if field.type == "date":
        return date.fromisoformat(text[:10] if "T" in text else text).isoformat()
    return text.strip() or None


def _read_number(field: Field, value: int | float | str) -> int | float:
    number = float(value)
    if not abs(number) < 1e18:  # which NaN is not, either
        raise ValueError
    if field.type != "int":
        return number
    if number != int(number) or abs(number) > INT_MAXIMUM:
        raise ValueError
    return int(number)


def _check(field: Field, value: Any) -> Any:
    if not isinstance(value, str):
        return _null(field) if value is None else value
    if field.length and len(value) > field.length:
        message = f"{field.name}: data value too large: {value[:30]} (max length={field.length})"
        raise RecordRefused("STRING_TOO_LONG", message, [field.name])
    if field.type == "email" and not EMAIL.fullmatch(value):
        raise RecordRefused("INVALID_EMAIL_ADDRESS", f"Email: invalid email address: {value}", [field.name])
    return value


def _boolean(text: str) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False, "": False}
    if text.lower() not in known:
        raise ValueError
    return known[text.lower()]
