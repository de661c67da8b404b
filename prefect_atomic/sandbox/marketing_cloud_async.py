"""Rows of a data extension that are accepted now, and of which one hears later what became of each.

A request whose id nobody knows is answered with 200, as is known. The results name every row in its order, `OK` ones
too; whether Marketing Cloud leaves those out is not known. How large a body may be is not either: a test sets it. Rows
are written at once, and only the word on them comes later.
"""

import uuid
from typing import Any

from prefect_atomic.sandbox.marketing_cloud_request import TYPE, VALUE, json_object, now, page, part, query, refuse
from prefect_atomic.sandbox.marketing_cloud_schema import Extension, faults_of
from prefect_atomic.sandbox.marketing_cloud_state import AsyncRequest, MarketingCloudState, extension_of
from prefect_atomic.sandbox.wire import Answer, Received

MOST = 32_000


def rows(state: MarketingCloudState, received: Received) -> Answer:
    """`POST`, which inserts, and `PUT`, which upserts: `/data/v1/async/dataextensions/key:{key}/rows`."""
    query(received, ())
    key = part(received, 4, "key:")
    extension = extension_of(key)
    if len(received.body) > state.settings.max_async_bytes:
        refuse(f"the body has more than {state.settings.max_async_bytes} bytes", status=413)
    items = json_object(received, required=("items",))["items"]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        refuse("items should be an array of objects", TYPE)
    if not 1 <= len(items) <= MOST:
        refuse(f"there are {len(items)} items; there should be from 1 to {MOST}", VALUE)
    insert, failure = received.method == "POST", state.settings.fail_next_async
    state.set({"fail_next_async": ""})
    outcomes = [] if failure else [_write(state, key, extension, item, insert=insert) for item in items]
    operation = "insert" if insert else "upsert"
    request = AsyncRequest(str(uuid.uuid4()), operation, key, now(), outcomes, failure)
    state.requests[request.request_id] = request
    return Answer.of_json({"requestId": request.request_id, "resultMessages": []}, status=202)


def status(state: MarketingCloudState, received: Received) -> Answer:
    """`GET /data/v1/async/{requestId}/status`."""
    query(received, ())
    request = state.requests.get(part(received, 3))
    if request is None:
        return Answer.of_json(_unknown())
    request.polls += 1
    pending = request.polls <= state.settings.async_polls
    content = {
        "callDateTime": request.called_at,
        "pickupDateTime": None if pending else request.called_at,
        "completionDateTime": None if pending else now(),
        "hasErrors": request.has_errors and not pending,
        "requestStatus": "Pending" if pending else "Error" if request.failure else state.settings.completed_word,
        "resultStatus": "" if pending else "Error" if request.has_errors else "OK",
        "requestId": request.request_id,
    }
    messages = [_message("Error", request.failure)] if request.failure and not pending else []
    return Answer.of_json({"status": content, "requestId": str(uuid.uuid4()), "resultMessages": messages})


def results(state: MarketingCloudState, received: Received) -> Answer:
    """`GET /data/v1/async/{requestId}/results`, in pages."""
    number, size = page(query(received, ("$page", "$pageSize")), usual=50, most=2500)
    request = state.requests.get(part(received, 3))
    if request is None:
        return Answer.of_json(_unknown())
    # until a look at the status said that it is done, there is nothing yet
    polls = state.settings.async_polls
    found = request.outcomes if not polls or request.polls > polls else []
    items = found[(number - 1) * size : number * size]
    content = {"page": number, "pageSize": size, "count": len(found), "items": items}
    return Answer.of_json({**content, "requestId": str(uuid.uuid4()), "resultMessages": []})


def _write(
    state: MarketingCloudState, key: str, extension: Extension, item: dict[str, Any], *, insert: bool
) -> dict[str, str]:
    faults = faults_of(extension.columns, item)
    if faults:
        return {"errorCode": "InvalidRow", "message": "; ".join(faults), "status": "Error"}
    if insert and state.identity(key, item) in state.rows[key]:
        message = f"Violation of PRIMARY KEY constraint: there is a row {', '.join(state.identity(key, item))}"
        return {"errorCode": "UnexpectedError", "message": message, "status": "Error"}
    return {"errorCode": "", "message": "Inserted" if state.upsert(key, item) else "Updated", "status": "OK"}


def _unknown() -> dict[str, Any]:
    return {"requestId": str(uuid.uuid4()), "resultMessages": [_message("Error", "there is no such request")]}


def _message(kind: str, text: str) -> dict[str, str]:
    return {"resultType": kind, "resultClass": kind, "resultCode": "RequestError", "message": text}
