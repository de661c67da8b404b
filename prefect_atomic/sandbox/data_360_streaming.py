"""Streaming ingestion: a few records at a time, each replaced whole, with no word on what became of one.

Known is that a request has fewer than 200 KB, taken as 200,000 bytes, and that at most 200 records are deleted at once.
How many may be upserted at once is not; a test sets it. What is ingested is there at once, and not minutes later.
"""

from typing import Any
from urllib.parse import unquote

from prefect_atomic.sandbox.data_360_request import json_object, now, only, query, refuse
from prefect_atomic.sandbox.data_360_schema import CONNECTOR, OBJECTS, fault_of
from prefect_atomic.sandbox.data_360_state import Data360State
from prefect_atomic.sandbox.wire import Answer, Received

MOST_BYTES = 200_000
MOST_DELETED = 200


def serve(state: Data360State, received: Received) -> Answer:
    """`POST` and `DELETE /api/v1/ingest/sources/{connector}/{object}`."""
    name = _object(received)
    if received.method == "DELETE":
        return _delete(state, name, received)
    records = _records(state, received)
    for record in records:
        if fault := fault_of(OBJECTS[name], record):
            refuse(received, f"{fault[0]}: {fault[1]}; /actions/test says which record it is")
    state.upsert(name, records)
    state.requests["upserts"] += 1
    state.note("largest_records", len(records))
    return Answer.of_json({"accepted": True}, status=202)


def validate(state: Data360State, received: Received) -> Answer:
    """`POST .../actions/test`: says which record is wrong, and keeps nothing."""
    schema = OBJECTS[_object(received)]
    state.requests["tests"] += 1
    faults = []
    for position, record in enumerate(_records(state, received)):
        if fault := fault_of(schema, record):
            faults.append({"record": position, "field": fault[0], "reason": fault[1]})
    if faults:
        first = faults[0]
        message = f"record {first['record']}, field {first['field']}: {first['reason']}"
        refuse(received, message, details={"validationErrors": faults})
    return Answer.of_json({"accepted": True})


def _object(received: Received) -> str:
    connector, name = (unquote(part) for part in received.path.split("/")[5:7])
    if connector != CONNECTOR:
        refuse(received, f"there is no connector {connector}; this tenant has {CONNECTOR}", status=404)
    if name not in OBJECTS:
        refuse(received, f"the connector has no object {name}; there are {', '.join(OBJECTS)}", status=404)
    return name


def _records(state: Data360State, received: Received) -> list[Any]:
    state.note("largest_body", len(received.body))
    if len(received.body) >= MOST_BYTES:
        reason = f"the body has {len(received.body)} bytes; there should be fewer than {MOST_BYTES}"
        refuse(received, reason, status=413)
    query(received, ())
    content = json_object(received)
    only(received, content, ("data",))
    records = content.get("data")
    if not isinstance(records, list) or not records:
        refuse(received, "data should be an array of at least one record")
    if len(records) > state.settings.max_records:
        refuse(received, f"there are {len(records)} records; there should be at most {state.settings.max_records}")
    return records


def _delete(state: Data360State, name: str, received: Received) -> Answer:
    given = query(received, ("ids",))
    if ("ids" in given) == bool(received.body):
        refuse(received, "send ids either in the query or in the body")
    if "ids" in given:
        keys: Any = given["ids"].split(",")
    else:
        content = json_object(received)
        only(received, content, ("ids",))
        keys = content.get("ids")
    if not isinstance(keys, list) or not keys or not all(isinstance(key, str) and key for key in keys):
        refuse(received, "ids should be texts, at least one, none of them empty")
    if len(keys) > MOST_DELETED:
        refuse(received, f"there are {len(keys)} ids; there should be at most {MOST_DELETED}")
    state.delete(name, keys, now=now())
    state.requests["deletes"] += 1
    state.note("largest_delete", len(keys))
    state.note("longest_query", len(received.query))
    return Answer.of_json({"accepted": True}, status=202)
