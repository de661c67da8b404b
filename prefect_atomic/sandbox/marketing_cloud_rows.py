"""Rows of a data extension that are written before the answer comes: some at once, or one.

All rows of a request are written or none. Known is that a request should have at most 50 rows; here it must.
"""

from typing import Any
from urllib.parse import unquote

from prefect_atomic.sandbox.marketing_cloud_request import (
    TYPE,
    json_body,
    json_object,
    part,
    query,
    refuse,
    refuse_all,
)
from prefect_atomic.sandbox.marketing_cloud_schema import Extension, faults_of
from prefect_atomic.sandbox.marketing_cloud_state import MarketingCloudState, extension_of
from prefect_atomic.sandbox.wire import Answer, Received

MOST = 50


def rowset(state: MarketingCloudState, received: Received) -> Answer:
    """`POST /hub/v1/dataevents/key:{key}/rowset`."""
    query(received, ())
    key = part(received, 3, "key:")
    extension, content = extension_of(key), json_body(received)
    if not isinstance(content, list) or not content:
        refuse("the body should be an array of at least one row", TYPE)
    if len(content) > MOST:
        refuse_all("the request has too many rows", [f"there are {len(content)} rows; there should be at most {MOST}"])
    faults = [f"row {at}: {fault}" for at, row in enumerate(content) for fault in _faults(extension, row)]
    if faults:
        refuse_all(f"no row was saved in the data extension {key}", faults)
    for row in content:
        state.upsert(key, row["keys"] | row["values"])
    return Answer.of_json(content)


def one(state: MarketingCloudState, received: Received) -> Answer:
    """`PUT /hub/v1/dataevents/key:{key}/rows/{pk}:{v}[,{pk2}:{v2}]`."""
    query(received, ())
    key = part(received, 3, "key:")
    extension = extension_of(key)
    # a comma or a colon of a value is percent-encoded, so that the path is taken apart before it is decoded
    pairs = [pair.replace("%3A", ":", 1) for pair in received.path.split("/")[8].split(",")]
    keys = {unquote(name): unquote(value) for name, _, value in (pair.partition(":") for pair in pairs)}
    row = {"keys": keys, "values": json_object(received, required=("values",))["values"]}
    faults = _faults(extension, row)
    if faults:
        refuse_all(f"the row was not saved in the data extension {key}", faults)
    state.upsert(key, row["keys"] | row["values"])
    return Answer.of_json(row)


def _faults(extension: Extension, row: Any) -> list[str]:
    if not isinstance(row, dict) or row.keys() != {"keys", "values"}:
        return ["a row has keys and values"]
    if not isinstance(row["keys"], dict) or not isinstance(row["values"], dict):
        return ["keys and values are objects"]
    return faults_of(extension.keys, row["keys"]) + faults_of(extension.values, row["values"])
