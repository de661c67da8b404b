"""What a statement yields: columns with their types, and rows that are made when they are asked for.

An object is named as it was ingested, or with `__dll` or `__dlm` behind it. `numbers(n)` has n rows of several types,
for results of any size.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from prefect_atomic.sandbox.data_360_schema import BLANK, OBJECTS, Type
from prefect_atomic.sandbox.data_360_sql import SQLError, Statement, Value

Row = list[Any]
Records = Mapping[str, Mapping[str, Mapping[str, Any]]]

MOST_NUMBERS = 10_000_000
MOST_SORTED = 1_000_000  # rows that are held at once
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
SQL_TYPES: Mapping[Type, str] = {
    "text": "VARCHAR",
    "number": "DECIMAL",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "dateTime": "TIMESTAMP WITH TIME ZONE",
}
NUMBERS = (
    ("n", "INTEGER"),
    ("text", "VARCHAR"),
    ("half", "DECIMAL"),
    ("odd", "BOOLEAN"),
    ("day", "DATE"),
    ("moment", "TIMESTAMP WITH TIME ZONE"),
)
COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": lambda left, right: left == right,
    "<>": lambda left, right: left != right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


@dataclass(frozen=True)
class Table:
    """A result; `rows(start, end)` are some of its rows."""

    columns: tuple[tuple[str, str], ...]
    count: int
    rows: Callable[[int, int], list[Row]]


def execute(statement: Statement, records: Records) -> Table:
    """The result of a statement; raises `SQLError` if there is no such object or column."""
    table = _source(statement, records)
    known = {name: position for position, (name, _) in enumerate(table.columns)}
    for column in (*statement.columns, *(each[0] for each in (*statement.conditions, *statement.order))):
        if column not in known:
            raise SQLError(f"column {column} does not exist")
    if statement.conditions or statement.order:
        if table.count > MOST_SORTED:
            raise SQLError(f"the sandbox filters and sorts up to {MOST_SORTED} rows")
        table = _of_list(table.columns, _arranged(statement, table.rows(0, table.count), known))
    if statement.counts:
        table = _of_list((("count", "INTEGER"),), [[table.count]])
    table = _sliced(table, statement)
    return _chosen(table, [known[column] for column in statement.columns]) if statement.columns else table


def _source(statement: Statement, records: Records) -> Table:
    if statement.argument is not None:
        if statement.source != "numbers" or statement.argument > MOST_NUMBERS:
            raise SQLError(f"the only function is numbers(n), with n up to {MOST_NUMBERS}")
        return Table(NUMBERS, statement.argument, lambda start, end: [_number(n) for n in range(start, end)])
    name = statement.source.removesuffix("__dlm").removesuffix("__dll")
    if name not in OBJECTS:
        raise SQLError(f"table {statement.source} does not exist")
    fields = OBJECTS[name].fields
    columns = tuple((field, SQL_TYPES[kind]) for field, kind in fields.items())
    return _of_list(columns, [_row(fields, record) for record in records[name].values()])


def _row(fields: Mapping[str, Type], record: Mapping[str, Any]) -> Row:
    # blank is no data; of a text that cannot be told from an empty one
    return [None if kind != "text" and record.get(name) in BLANK else record.get(name) for name, kind in fields.items()]


def _number(n: int) -> Row:
    moment = EPOCH + timedelta(seconds=n)
    stamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return [n, f"row {n}", n / 2, n % 2 == 1, str((EPOCH + timedelta(days=n % 3650)).date()), stamp]


def _of_list(columns: tuple[tuple[str, str], ...], rows: list[Row]) -> Table:
    return Table(columns, len(rows), lambda start, end: rows[start:end])


def _sliced(table: Table, statement: Statement) -> Table:
    first = min(statement.offset, table.count)
    last = table.count if statement.limit is None else min(first + statement.limit, table.count)
    return Table(
        table.columns,
        last - first,
        lambda start, end: table.rows(min(first + start, last), min(first + end, last)),
    )


def _chosen(table: Table, positions: Sequence[int]) -> Table:
    columns = tuple(table.columns[position] for position in positions)
    return Table(
        columns,
        table.count,
        lambda start, end: [[row[position] for position in positions] for row in table.rows(start, end)],
    )


def _arranged(statement: Statement, rows: list[Row], known: Mapping[str, int]) -> list[Row]:
    for column, comparison, value in statement.conditions:
        position = known[column]
        rows = [row for row in rows if _holds(row[position], comparison, value)]
    for column, descending in reversed(statement.order):
        position = known[column]
        rows = sorted(rows, key=lambda row, at=position: (row[at] is None, row[at]), reverse=descending)  # type: ignore[misc]
    return rows


def _holds(found: Any, comparison: str, value: Value) -> bool:
    if comparison in ("is", "is not"):
        return (found is None) == (comparison == "is")
    if found is None or value is None:
        return False  # whatever is compared with NULL is unknown
    if isinstance(found, int | float) and not isinstance(found, bool):
        found = Decimal(str(found))
    if type(found) is not type(value):
        raise SQLError(f"operator {comparison} cannot compare these types")
    return COMPARE[comparison](found, value)
