"""Version 3 of the query API: a query has an id, a state to look at, and parts to fetch as often as one likes.

Known is that the id comes in the header `x-hyperdb-status`, taken to be JSON that says what a look at the query says.
An ADAPTIVE query that is done at once has its first chunk in the answer as well. Not known: rows before there are
results, and those behind the last one, are refused with 400; `/rows` answers a chunk's worth at most, whatever the
limit; nothing waits for `waitTimeMs`.
"""

import base64
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from prefect_atomic.sandbox.data_360_parameters import binder
from prefect_atomic.sandbox.data_360_request import json_object, only, query, refuse, whole
from prefect_atomic.sandbox.data_360_sql import SQLError, read
from prefect_atomic.sandbox.data_360_state import Data360State, Query
from prefect_atomic.sandbox.data_360_table import execute
from prefect_atomic.sandbox.wire import Answer, Received

PROPERTIES = ("sql", "transferMode", "paramStyle", "parameters", "settings", "resultRange")
MOST_BYTES = 20_000_000
MOST_ROWS = 10**9


def start(state: Data360State, received: Received) -> Answer:
    """`POST /api/v3/query`: executes a statement."""
    _require(state, received)
    query(received, ())
    content = json_object(received)
    only(received, content, PROPERTIES)
    mode = content.get("transferMode", "ADAPTIVE")
    if mode not in ("ADAPTIVE", "ASYNC"):
        refuse(received, "transferMode should be ADAPTIVE or ASYNC")
    if not isinstance(content.get("sql"), str):
        refuse(received, "sql should be a text")
    _check_objects(received, content, mode)
    state.requests["v3_queries"] += 1
    try:
        bind = binder(content.get("paramStyle", "QUESTION_MARK"), content.get("parameters", []))
        table = execute(read(content["sql"], bind), state.objects)
    except SQLError as error:
        refuse(received, str(error))
    query_id = base64.b64encode(b"127.0.0.1:7484").decode().rstrip("=") + "_" + secrets.token_hex(16)
    expires = (datetime.now(UTC) + timedelta(hours=24)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    found = state.queries[query_id] = Query(table, expires)
    status = json.dumps(_status(state, query_id, found))
    at_once = mode == "ADAPTIVE" and not state.settings.query_polls
    body = _part(found, 0, state.settings.chunk_rows) if at_once else {}
    return Answer.of_json(body, headers={"x-hyperdb-status": status})


def serve(state: Data360State, received: Received) -> Answer:
    """`GET` and `DELETE /api/v3/query/{queryId}`: how far it is; cancels it."""
    query_id, found = _find(state, received)
    given = query(received, ("waitTimeMs",))
    if received.method == "DELETE":
        del state.queries[query_id]
        return Answer(204)
    whole(received, given, "waitTimeMs", usual=0, least=0, most=10_000)
    found.polls += 1
    return Answer.of_json(_status(state, query_id, found))


def rows(state: Data360State, received: Received) -> Answer:
    """`GET /api/v3/query/{queryId}/rows`: as many as are asked for, a chunk at most."""
    found = _results(state, received)
    given = query(received, ("offset", "limit", "byteLimit", "omitSchema"))
    if "offset" not in given:
        refuse(received, "offset is missing")
    offset = whole(received, given, "offset", usual=0, least=0, most=MOST_ROWS)
    limit = whole(received, given, "limit", usual=MOST_ROWS, least=1, most=MOST_ROWS)
    most_bytes = whole(received, given, "byteLimit", usual=MOST_BYTES, least=1, most=MOST_BYTES)
    if offset > found.table.count:
        refuse(received, f"offset {offset} is behind the last of {found.table.count} rows")
    part = _part(found, offset, offset + min(limit, state.settings.chunk_rows))
    while len(part["data"]) > 1 and len(json.dumps(part["data"])) > most_bytes:
        part["data"] = part["data"][: len(part["data"]) // 2]
        part["returnedRows"] = len(part["data"])
    return _answer(received, given, part)


def chunk(state: Data360State, received: Received) -> Answer:
    """`GET /api/v3/query/{queryId}/chunks/{n}`: the chunks are numbered from 0."""
    found, size = _results(state, received), state.settings.chunk_rows
    given = query(received, ("omitSchema",))
    number = unquote(received.path.split("/")[6])
    if not number.isdecimal() or int(number) * size >= found.table.count:
        refuse(received, f"there is no chunk {number}", status=404)
    return _answer(received, given, _part(found, int(number) * size, (int(number) + 1) * size))


def metadata(state: Data360State, received: Received) -> Answer:
    """`GET /api/v3/query/{queryId}/metadata`: its columns."""
    query(received, ())
    return Answer.of_json({"metadata": _metadata(_results(state, received))})


def _require(state: Data360State, received: Received) -> None:
    if not state.settings.v3:
        refuse(received, "there is nothing at this path", status=404)
    if "arrow" in (received.header("accept") or ""):
        refuse(received, "the sandbox answers JSON only", status=406)


def _check_objects(received: Received, content: Mapping[str, Any], mode: str) -> None:
    settings = content.get("settings", {})
    if not isinstance(settings, dict) or settings.keys() - {"timezone", "language"}:
        refuse(received, "settings should be an object with timezone and language")
    if "resultRange" in content and (mode != "ADAPTIVE" or not isinstance(content["resultRange"], dict)):
        refuse(received, "resultRange should be an object, and is for ADAPTIVE only")


def _find(state: Data360State, received: Received) -> tuple[str, Query]:
    _require(state, received)
    query_id = unquote(received.path.split("/")[4])
    if query_id not in state.queries:
        refuse(received, f"there is no query {query_id}", status=404)
    return query_id, state.queries[query_id]


def _results(state: Data360State, received: Received) -> Query:
    _, found = _find(state, received)
    if _runs(state, found):
        refuse(received, "the query is still running")
    return found


def _runs(state: Data360State, found: Query) -> bool:
    return 0 < state.settings.query_polls >= found.polls


def _status(state: Data360State, query_id: str, found: Query) -> dict[str, Any]:
    # the result is complete when it is produced, and may be fetched; finished is when it is stored as well
    running, polls = _runs(state, found), state.settings.query_polls
    done = "FINISHED" if found.polls > polls + bool(polls) else "RESULTS_PRODUCED"
    size, count = state.settings.chunk_rows, found.table.count
    return {
        "queryId": query_id,
        "completionStatus": "RUNNING_OR_UNSPECIFIED" if running else done,
        "chunkCount": 0 if running else -(-count // size),
        "rowCount": 0 if running else count,
        "progress": 0.5 if running else 1.0,
        "expirationTime": found.expires,
        "executionStats": {"wallClockTime": 0.01, "rowsProcessed": 0 if running else count},
    }


def _metadata(found: Query) -> dict[str, Any]:
    return {"columns": [{"name": name, "type": kind, "nullable": True} for name, kind in found.table.columns]}


def _part(found: Query, first: int, end: int) -> dict[str, Any]:
    data = found.table.rows(first, min(end, found.table.count))
    return {"metadata": _metadata(found), "data": data, "returnedRows": len(data)}


def _answer(received: Received, given: Mapping[str, str], part: dict[str, Any]) -> Answer:
    if given.get("omitSchema", "false") not in ("true", "false"):
        refuse(received, "omitSchema should be true or false")
    if given.get("omitSchema") == "true":
        del part["metadata"]
    return Answer.of_json(part)
