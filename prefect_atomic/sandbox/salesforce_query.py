"""Runs SOQL over the org, and writes its rows as records in JSON."""

from typing import Any

from prefect_atomic.sandbox.salesforce_filters import Row2
from prefect_atomic.sandbox.salesforce_org import Org
from prefect_atomic.sandbox.salesforce_schema import OBJECTS, SObject
from prefect_atomic.sandbox.salesforce_soql import Query
from prefect_atomic.sandbox.salesforce_table import Row


def run(org: Org, query: Query, *, deleted: bool) -> list[Row2]:
    """The rows that a query finds, each with the one it refers to."""
    rows = [(row, _parent(org, query.sobject, row)) for row in org.table(query.sobject).rows(deleted=deleted)]
    if query.condition:
        rows = [row for row in rows if query.condition(row)]
    if query.order:
        path, descends, nulls_last = query.order
        empty = [row for row in rows if path.value(row) is None]
        rows = sorted(
            (row for row in rows if path.value(row) is not None),
            key=lambda row: path.key(path.value(row)),
            reverse=descends,
        )
        rows = rows + empty if nulls_last else empty + rows
    return rows if query.limit is None else rows[: query.limit]


def record(query: Query, rows: Row2, base: str) -> dict[str, Any]:
    """A row as the record of an answer in JSON."""
    content: dict[str, Any] = {"attributes": attributes(query.sobject, rows[0], base)}
    for path in query.fields:
        if path.reference is None:
            content[path.field.name] = rows[0][path.field.name]
            continue
        parent, name = rows[1], str(path.reference.relationship)
        if parent is None:
            content[name] = None
            continue
        target = OBJECTS[(path.reference.refers_to or "").lower()]
        inner = content.setdefault(name, {"attributes": attributes(target, parent, base)})
        inner[path.field.name] = parent[path.field.name]
    return content


def attributes(sobject: SObject, row: Row, base: str) -> dict[str, str]:
    """The type and the address of a record."""
    return {"type": sobject.name, "url": f"{base}/sobjects/{sobject.name}/{row['Id']}"}


def _parent(org: Org, sobject: SObject, row: Row) -> Row | None:
    for reference in sobject.by_relationship.values():
        if row[reference.name]:
            return org.table(OBJECTS[(reference.refers_to or "").lower()]).get(row[reference.name])
    return None
