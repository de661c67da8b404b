"""Rows of a data extension, read in pages.

Column names come back in lower case, and values as texts, an empty one for none, as users report; their documentation
was not found. `links.next` is a path behind `/data`, as users report too. A filter is a comparison, or several with
`and` between them; one that is not understood is refused.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from prefect_atomic.sandbox.marketing_cloud_request import VALUE, page, part, query, refuse
from prefect_atomic.sandbox.marketing_cloud_schema import Extension
from prefect_atomic.sandbox.marketing_cloud_state import MarketingCloudState, extension_of
from prefect_atomic.sandbox.wire import Answer, Received

PARAMETERS = ("$page", "$pageSize", "$filter", "$orderBy")
COMPARISON = re.compile(
    r"\s*(\w+)\s+(eq|ne|neq|gt|gte|lt|lte)\s+(?:'((?:[^']|'')*)'|(-?\d+))\s*(?:and\b|$)", re.IGNORECASE
)
Row = dict[str, Any]


def rowset(state: MarketingCloudState, received: Received) -> Answer:
    """`GET /data/v1/customobjectdata/key/{key}/rowset`."""
    given = query(received, PARAMETERS)
    number, size = page(given, usual=50, most=2500)
    key = part(received, 4)
    extension = extension_of(key)
    rows = _ordered(extension, _filtered(extension, list(state.rows[key].values()), given.get("$filter")), given)
    first = (number - 1) * size
    content: dict[str, Any] = {
        "links": {"self": _link(key, given, number)},
        "requestToken": "00000000-0000-0000-0000-000000000000",
        "customObjectKey": key,
        "page": number,
        "pageSize": size,
        "count": len(rows),
        "items": [_item(extension, row) for row in rows[first : first + size]],
    }
    if first + size < len(rows):
        content["links"]["next"] = _link(key, given, number + 1)
    return Answer.of_json(content)


def _link(key: str, given: Mapping[str, str], number: int) -> str:
    return f"/v1/customobjectdata/key/{quote(key, safe='')}/rowset?{urlencode({**given, '$page': number}, safe='$')}"


def _item(extension: Extension, row: Row) -> dict[str, dict[str, str]]:
    return {
        "keys": {name.lower(): _text(row[name]) for name in extension.keys},
        "values": {name.lower(): _text(row[name]) for name in extension.values},
    }


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _column(extension: Extension, name: str) -> str:
    found = next((column for column in extension.columns if column.lower() == name.lower()), None)
    return found or refuse(f"{name} is not a column of the data extension", VALUE)


def _filtered(extension: Extension, rows: list[Row], condition: str | None) -> list[Row]:
    if condition is None:
        return rows
    at = 0
    while at < len(condition) or not condition:
        match = COMPARISON.match(condition, at)
        if not match:
            refuse(f"$filter is not understood from {condition[at:]!r}", VALUE)
        column, operator, text, number = match.groups()
        value = number if text is None else text.replace("''", "'")
        name = _column(extension, column)
        rows = [row for row in rows if _holds(extension, name, row, operator.lower(), value)]
        at = match.end()
        if at == len(condition) and match[0].rstrip().lower().endswith(" and"):
            refuse("$filter ends with and", VALUE)
    return rows


def _holds(extension: Extension, name: str, row: Row, operator: str, value: str) -> bool:
    left, right = _comparable(extension, name, row[name]), _comparable(extension, name, value)
    return {
        "eq": left == right,
        "ne": left != right,
        "neq": left != right,
        "gt": left > right,
        "gte": left >= right,
        "lt": left < right,
        "lte": left <= right,
    }[operator]


def _ordered(extension: Extension, rows: list[Row], given: Mapping[str, str]) -> list[Row]:
    for order in reversed(given.get("$orderBy", next(iter(extension.keys))).split(",")):
        column, *direction = order.split()[:3] or [""]
        if direction and (len(direction) > 1 or direction[0].lower() not in ("asc", "desc")):
            refuse("$orderBy should be like Column desc", VALUE)
        name, descending = _column(extension, column), [word.lower() for word in direction] == ["desc"]
        rows = sorted(rows, key=lambda row, name=name: _comparable(extension, name, row[name]), reverse=descending)  # type: ignore[misc]
    return rows


def _comparable(extension: Extension, name: str, value: object) -> tuple[int, str]:
    if extension.columns[name].type == "number":
        text = _text(value)
        return (int(text), "") if text.removeprefix("-").isdecimal() else (0, text)
    return 0, _text(value).lower()
