"""The conditions of SOQL: how a field is compared with a literal. Texts are the same in any case."""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from prefect_atomic.sandbox.salesforce_errors import refuse
from prefect_atomic.sandbox.salesforce_ids import full_id
from prefect_atomic.sandbox.salesforce_schema import Field
from prefect_atomic.sandbox.salesforce_table import Row
from prefect_atomic.sandbox.salesforce_values import NUMBERS, instant

Row2 = tuple[Row, Row | None]  # a record, and the one it refers to
Condition = Callable[[Row2], bool]
ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Path:
    """A field of the record, or of the one that a reference leads to."""

    field: Field
    reference: Field | None = None

    @property
    def name(self) -> str:
        """As a column of a CSV is named."""
        return f"{self.reference.relationship}.{self.field.name}" if self.reference else self.field.name

    def value(self, rows: Row2) -> Any:
        """What the record has there."""
        row = rows[1] if self.reference else rows[0]
        return None if row is None else row[self.field.name]

    def key(self, value: Any) -> Any:
        """The value as it is compared and sorted."""
        if value is None:
            return None
        if self.field.type == "datetime":
            return instant(value)
        if self.field.type == "date":
            return date.fromisoformat(value)
        return value.casefold() if isinstance(value, str) and self.field.type not in ("id", "reference") else value


def compare(path: Path, sign: str, literal: tuple[str, Any]) -> Condition:
    """The condition that a field compares so with a literal."""
    wanted = _literal(path, literal)
    if sign == "LIKE":
        return _like(path, wanted)
    if sign == "=":
        return lambda rows: path.key(path.value(rows)) == wanted
    if sign == "!=":
        return lambda rows: path.key(path.value(rows)) != wanted
    if wanted is None or path.field.type == "boolean":
        refuse(400, "INVALID_FIELD", f"the operator {sign} does not suit {path.name}")
    ordered = ORDERS[sign]

    def condition(rows: Row2) -> bool:
        value = path.value(rows)
        return value is not None and ordered(path.key(value), wanted)

    return condition


def condition_in(path: Path, literals: list[tuple[str, Any]], *, negated: bool) -> Condition:
    """The condition that a field has one of these values, or none of them."""
    wanted = {_literal(path, literal) for literal in literals}
    return lambda rows: (path.key(path.value(rows)) in wanted) is not negated


def _like(path: Path, pattern: Any) -> Condition:
    if not isinstance(pattern, str):
        refuse(400, "INVALID_FIELD", f"LIKE does not suit {path.name}")
    shape = "".join({"%": ".*", "_": "."}.get(letter, re.escape(letter)) for letter in pattern)
    matches = re.compile(shape, re.DOTALL).fullmatch
    return lambda rows: bool(matches(path.key(path.value(rows)) or ""))


def _literal(path: Path, literal: tuple[str, Any]) -> Any:
    kind, value = literal
    field = path.field
    if kind == "null":
        return None
    fits = {"boolean": "boolean", "date": "date", "datetime": "datetime"}
    expected = "number" if field.type in NUMBERS else fits.get(field.type, "text")
    if kind != expected:
        quoted = "" if expected == "text" else " not"
        message = f"value of filter criterion for field '{field.name}' must be of type {field.type}"
        refuse(400, "INVALID_FIELD", f"{message} and should{quoted} be enclosed in quotes")
    if field.type in ("id", "reference"):
        found = full_id(value)
        if found is None:
            refuse(400, "INVALID_QUERY_FILTER_OPERATOR", f"invalid ID field: {value}")
        return found
    try:
        if kind == "datetime":
            # a + in a URL that was not encoded arrives as a space, and is refused before this
            return datetime.fromisoformat(value)
        return date.fromisoformat(value) if kind == "date" else path.key(value)
    except ValueError:
        refuse(400, "MALFORMED_QUERY", f"'{value}' is not a {field.type}")
