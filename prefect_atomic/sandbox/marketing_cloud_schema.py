"""The data extensions of the sandbox, and whether a row fits one.

Columns are found whatever their letters' case, as in Marketing Cloud. What it makes of other spellings of a date than
ISO 8601, and of numbers with a fraction, depends on the account; both are refused here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Type = Literal["text", "number", "date"]


@dataclass(frozen=True)
class Column:
    """A column: its type, for how many characters, and whether a row may do without it."""

    type: Type
    length: int = 0
    required: bool = False


@dataclass(frozen=True)
class Extension:
    """A data extension: the columns of its primary key, and the others."""

    keys: Mapping[str, Column]
    values: Mapping[str, Column]

    @property
    def columns(self) -> Mapping[str, Column]:
        """All columns by name."""
        return {**self.keys, **self.values}


EXTENSIONS: Mapping[str, Extension] = {
    "Events": Extension(
        {"EventId": Column("text", 100, required=True)},
        {
            "UserId": Column("text", 254),
            "Type": Column("text", 100),
            "OccurredAt": Column("date"),
            "Payload": Column("text", 4000),
        },
    ),
    "Scores": Extension({"ContactKey": Column("text", 254, required=True)}, {"Score": Column("number", required=True)}),
}


def faults_of(columns: Mapping[str, Column], row: Mapping[str, Any]) -> list[str]:
    """What of a row does not fit these columns."""
    known = {name.lower(): column for name, column in columns.items()}
    sent = [name.lower() for name in row]
    faults = [f"{name} is not a column of the data extension" for name in row if name.lower() not in known]
    if len(set(sent)) < len(sent):
        faults.append("a column is there more than once")
    for name, column in columns.items():
        if name.lower() not in sent and column.required:
            faults.append(f"{name} is missing")
    for name, value in row.items():
        fault = _fault_of_value(known[name.lower()], value) if name.lower() in known else None
        if fault:
            faults.append(f"{name}: {fault}")
    return faults


def named(columns: Iterable[str], row: Mapping[str, Any]) -> dict[str, Any]:
    """A row that fits, with its columns spelled as in the data extension."""
    spelled = {name.lower(): name for name in columns}
    return {spelled[name.lower()]: value for name, value in row.items()}


def _fault_of_value(column: Column, value: object) -> str | None:
    if value is None or value == "":
        return "a value is required" if column.required else None
    if column.type == "number":
        return None if _is_whole(value) else "this is not a whole number"
    if isinstance(value, int | float | bool) and column.type == "text":
        value = str(value)
    if not isinstance(value, str):
        return "this is not a text"
    if column.type == "date":
        return None if _is_instant(value) else "this is not a date like 2026-01-31T09:00:00"
    return f"this is longer than {column.length} characters" if len(value) > column.length else None


def _is_whole(value: object) -> bool:
    if isinstance(value, str):
        return value.removeprefix("-").isdecimal() and value.isascii()
    return isinstance(value, int) and not isinstance(value, bool)


def _is_instant(text: str) -> bool:
    try:
        return bool(datetime.fromisoformat(text)) and "-" in text
    except ValueError:
        return False
