"""Version 2 of the query API: batches that are fetched forward only, each of them once.

Not known is what a batch answers that was fetched before; here 400. `rowCount` is that of the batch.
"""

import uuid
from typing import Any
from urllib.parse import unquote

from prefect_atomic.sandbox.data_360_request import json_object, now, only, query, refuse
from prefect_atomic.sandbox.data_360_sql import SQLError, Value, read
from prefect_atomic.sandbox.data_360_state import Data360State
from prefect_atomic.sandbox.data_360_table import Table, execute
from prefect_atomic.sandbox.wire import Answer, Received

TYPE_CODES = {  # those of java.sql.Types
    "VARCHAR": 12,
    "INTEGER": 4,
    "DECIMAL": 3,
    "BOOLEAN": 16,
    "DATE": 91,
    "TIMESTAMP WITH TIME ZONE": 2014,
}


def start(state: Data360State, received: Received) -> Answer:
    """`POST /api/v2/query`: executes a statement, and answers its first batch."""
    query(received, ())
    if (received.header("enable-arrow-stream") or "").lower() == "true":
        refuse(received, "the sandbox answers JSON only; leave enable-arrow-stream out")
    content = json_object(received)
    only(received, content, ("sql",))
    if not isinstance(content.get("sql"), str):
        refuse(received, "sql should be a text")
    state.requests["v2_queries"] += 1
    try:
        table = execute(read(content["sql"], _unbound), state.objects)
        return _batch(state, str(uuid.uuid4()), table, 0)
    except SQLError as error:
        refuse(received, str(error))


def go_on(state: Data360State, received: Received) -> Answer:
    """`GET /api/v2/query/{nextBatchId}`: the next batch, which this spends."""
    query(received, ())
    batch_id = unquote(received.path.split("/")[4])
    if batch_id in state.spent:
        refuse(received, f"the batch {batch_id} was fetched before; a query goes forward only")
    if batch_id not in state.batches:
        refuse(received, f"there is no batch {batch_id}", status=404)
    state.spent.add(batch_id)
    return _batch(state, *state.batches.pop(batch_id))


def _batch(state: Data360State, query_id: str, table: Table, first: int) -> Answer:
    started, end = now(), first + state.settings.v2_batch
    rows = table.rows(first, min(end, table.count))
    content: dict[str, Any] = {
        "data": rows,
        "startTime": started,
        "endTime": now(),
        "rowCount": len(rows),
        "queryId": query_id,
        "done": end >= table.count,
        "metadata": {
            name: {"type": kind, "placeInOrder": place, "typeCode": TYPE_CODES[kind]}
            for place, (name, kind) in enumerate(table.columns)
        },
    }
    if end < table.count:
        content["nextBatchId"] = str(uuid.uuid4())
        state.batches[content["nextBatchId"]] = (query_id, table, end)
    return Answer.of_json(content)


def _unbound(_: str, placeholder: str) -> Value:
    raise SQLError(f"syntax error near {placeholder}: this version has no parameters")
