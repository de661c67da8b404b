"""Queries: version 3, whose rows can be asked for again, and version 2, whose batches come once.

Sources: https://developer.salesforce.com/docs/data/data-cloud-query-guide/references/data-cloud-query-api-reference/
query-api-v3-post.html, c360a-api-query-v2.html and those beside them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

from prefect.logging import get_logger

from prefect_atomic.errors import AtomicError, RequestError, ResponseError
from prefect_atomic.integrations.data_360.api import Api, check_wait, is_id, object_of
from prefect_atomic.integrations.data_360.sql_types import Convert, converter, parameters_of
from prefect_atomic.tasks.aside import aside
from prefect_atomic.transport import Response, Retry
from prefect_atomic.transport.retry import sleep

QueryApi = Literal["auto", "v2", "v3"]
Parameters = Sequence[Any] | Mapping[str, Any]
Rows: TypeAlias = Generator[dict[str, Any], None, None]

_V2 = ("api", "v2", "query")
_V3 = ("api", "v3", "query")
_WAIT_MS = 10_000
_PAGE_ROWS = 10_000
_PAGE_BYTES = 4_000_000
_DONE = frozenset({"RESULTS_PRODUCED", "FINISHED"})

_ONCE = (
    "Version 2 of the query API gives out each batch once, within 3 minutes of the one before, so it was not asked for "
    "again: run the query anew, or use version 3."
)

logger = get_logger("atomic.data_360")


def query(api: Api, sql: str, *, parameters: Parameters | None, version: QueryApi, wait: float) -> Rows:
    """The rows of a query; see `SalesforceData360.query`."""
    statement: object = sql
    if not isinstance(statement, str) or not statement.strip():
        raise RequestError("sql: is a statement, as text, and not empty.")
    if version not in ("auto", "v2", "v3"):
        raise RequestError("api: is 'auto', 'v2' or 'v3'.")
    check_wait(wait)
    if version == "v2" and parameters:
        raise RequestError("parameters: version 2 of the query API has none; take version 3.")
    return _rows(api, {"sql": sql, "transferMode": "ASYNC", **parameters_of(parameters)}, version, wait)


def _rows(api: Api, statement: dict[str, Any], version: QueryApi, wait: float) -> Rows:
    if version != "v2":
        try:
            started = api.ask("POST", *_V3, json=statement)
        except ResponseError as error:
            if version == "v3" or error.response.status_code != 404:
                raise
            if statement.get("parameters"):
                raise RequestError(
                    "parameters: this tenant has no version 3 of the query API, and version 2 has none."
                ) from None
        else:
            yield from _rows_of_v3(api, _id_of(started), wait)
            return
    yield from _rows_of_v2(api, statement["sql"])


def _rows_of_v3(api: Api, query_id: str, wait: float) -> Rows:
    is_over = False
    try:
        count = _row_count(api, query_id, wait)
        shape: _Shape | None = None
        offset = 0
        while offset < count:
            params = {"offset": offset, "limit": _PAGE_ROWS, "byteLimit": _PAGE_BYTES}
            response = api.ask("GET", *_V3, query_id, "rows", params=params)
            page = object_of(response)
            rows = _list_of(page, response)
            if not rows:
                raise ResponseError(f"{response.url} answered without the rows from {offset} on.", response=response)
            shape = shape or _Shape(page.get("metadata"), response)
            yield from map(shape.named, rows)
            offset += len(rows)
        is_over = True
    finally:
        if not is_over:
            aside(partial(_cancel, api, query_id))


def _row_count(api: Api, query_id: str, wait: float) -> int:
    """How many rows a query has, once they are there."""
    ends = time.monotonic() + wait
    pause = 0.1
    while True:
        response = api.ask("GET", *_V3, query_id, params={"waitTimeMs": _WAIT_MS})
        status = object_of(response)
        state = status.get("completionStatus")
        if isinstance(state, str) and state in _DONE and isinstance(status.get("rowCount"), int):
            return int(status["rowCount"])
        if state != "RUNNING_OR_UNSPECIFIED":
            raise ResponseError(f"{response.url} answered that the query is {str(state)[:100]}.", response=response)
        if time.monotonic() > ends:
            raise AtomicError(
                f"The query had no result after {wait:g} seconds, and was cancelled; `wait` is that limit."
            )
        # A tenant waits for a change by itself; one that does not is not asked in a rush.
        sleep(max(0.0, pause - response.elapsed))
        pause = min(pause * 2, 5.0)


def _cancel(api: Api, query_id: str) -> None:
    try:
        api.ask("DELETE", *_V3, query_id)
    except AtomicError as error:
        logger.warning("A query that nobody wants any more could not be cancelled: %s", error)


def _rows_of_v2(api: Api, sql: str) -> Rows:
    response = api.ask("POST", *_V2, json={"sql": sql})
    read = 0
    shape: _Shape | None = None
    following: object = None
    while True:
        page = object_of(response)
        rows = _list_of(page, response)
        if rows:
            shape = shape or _Shape(page.get("metadata"), response)
            yield from map(shape.named, rows)
            read += len(rows)
        before, following = following, page.get("nextBatchId")
        if page.get("done") is True or (page.get("done") is None and not following):
            return
        if not is_id(following) or following == before:
            raise ResponseError(f"{response.url} answered that there is more, but not where.", response=response)
        try:
            # Asked for again, it would be refused, or skipped.
            response = api.ask("GET", *_V2, following, retry=Retry(attempts=1))
        except AtomicError as error:
            error.args = (f"{error} {read} rows were read. {_ONCE}",)
            raise


class _Shape:
    """The columns of a result."""

    def __init__(self, metadata: object, response: Response) -> None:
        columns = list(_columns(metadata))
        self._names = [name for name, _ in columns]
        if not columns:
            raise ResponseError(f"{response.url} answered rows without the names of their columns.", response=response)
        if len(set(self._names)) != len(columns):
            raise RequestError("sql: two columns of the result have the same name; name them with AS.")
        found = ((name, converter(type_name)) for name, type_name in columns)
        self._converters: list[tuple[str, Convert]] = [(name, convert) for name, convert in found if convert]
        self._response = response

    def named(self, row: object) -> dict[str, Any]:
        """A row by the names of its columns."""
        if isinstance(row, Mapping):
            found = dict(row)
        elif isinstance(row, list) and len(row) == len(self._names):
            found = dict(zip(self._names, row, strict=True))
        else:
            raise ResponseError(f"{self._response.url} answered a row of another shape.", response=self._response)
        for name, convert in self._converters:
            if name in found:
                found[name] = convert(found[name])
        return found


def _columns(metadata: object) -> Iterator[tuple[str, object]]:
    """Names and types: version 3 lists them, version 2 has them by name, each with its place."""
    if isinstance(metadata, Mapping) and isinstance(metadata.get("columns"), list):
        metadata = metadata["columns"]
    if isinstance(metadata, list):
        yield from ((str(each.get("name")), each.get("type")) for each in metadata if isinstance(each, Mapping))
    elif isinstance(metadata, Mapping):
        described = [(name, each) for name, each in metadata.items() if isinstance(each, Mapping)]
        described.sort(key=_place)
        yield from ((name, each.get("type")) for name, each in described)


def _place(column: tuple[str, Mapping[str, Any]]) -> int:
    place = column[1].get("placeInOrder")
    return place if isinstance(place, int) else 0


def _list_of(page: Mapping[str, Any], response: Response) -> list[Any]:
    rows = page.get("data")
    if not isinstance(rows, list):
        raise ResponseError(f"{response.url} answered without rows.", response=response)
    return rows


def _id_of(response: Response) -> str:
    """The query's id, of the header `x-hyperdb-status`: it alone, or in JSON."""
    status: Any = response.headers.get("x-hyperdb-status", "").strip()
    if status.startswith("{"):
        try:
            status = json.loads(status).get("queryId")
        except (ValueError, RecursionError):
            status = None
    if not status:
        answer = object_of(response)
        inner = answer.get("status")
        status = answer.get("queryId") or (inner.get("queryId") if isinstance(inner, Mapping) else None)
    if not is_id(status):
        raise ResponseError(f"{response.url} answered without the query's id.", response=response)
    return status
