"""Entries of contacts into journeys: one by one, or up to a hundred at once.

Neither is idempotent: whoever comes again enters again. Members of a batch that cannot enter have `errorcode` and
`message` in the answer, which is a success all the same; not known is its status, here 202. Contacts whose key starts
with `inactive` stand for those that Marketing Cloud does not let in.
"""

import uuid
from typing import Any, NoReturn

from prefect_atomic.sandbox.marketing_cloud_request import MISSING, TYPE, VALUE, json_object, query, refuse
from prefect_atomic.sandbox.marketing_cloud_state import MarketingCloudState
from prefect_atomic.sandbox.wire import Answer, Received

DEFINITIONS = ("APIEvent-welcome", "APIEvent-reminder")
MOST = 100


def one(state: MarketingCloudState, received: Received) -> Answer:
    """`POST /interaction/v1/events`."""
    query(received, ())
    content = json_object(received, required=("ContactKey", "EventDefinitionKey"), known=("Data",))
    definition = _definition(content["EventDefinitionKey"])
    fault = _fault_of(content["ContactKey"], content.get("Data", {}))
    if fault:
        refuse(fault[1], fault[0])
    _enter(state, definition, content["ContactKey"], content.get("Data", {}))
    return Answer.of_json({"eventInstanceId": str(uuid.uuid4())}, status=201)


def batch(state: MarketingCloudState, received: Received) -> Answer:
    """`POST /interaction/v1/async/events`."""
    query(received, ())
    content = json_object(received, required=("eventDefinitionKey", "members"))
    definition, members = _definition(content["eventDefinitionKey"]), content["members"]
    if not isinstance(members, list) or not 1 <= len(members) <= MOST:
        refuse(f"members should be an array of 1 to {MOST}", VALUE)
    for member in members:
        if not isinstance(member, dict) or member.keys() - {"contactKey", "data"}:
            refuse("a member is an object with contactKey and data", TYPE)
    answered = [_member(state, definition, member) for member in members]
    refused = sum("errorcode" in member for member in answered)
    content = {"requestId": str(uuid.uuid4()), "count": len(members), "notQueuedCount": refused, "members": answered}
    return Answer.of_json(content, status=202)


def _member(state: MarketingCloudState, definition: str, member: dict[str, Any]) -> dict[str, Any]:
    key, data = member.get("contactKey"), member.get("data", {})
    fault = _fault_of(key, data)
    if fault:
        return {"contactKey": key, "errorcode": str(fault[0]), "message": fault[1]}
    _enter(state, definition, key, data)
    return {"contactKey": key, "eventInstanceId": str(uuid.uuid4())}


def _definition(key: object) -> str:
    if not isinstance(key, str) or "." in key:
        _unknown("an event definition key is a text without a full stop")
    if key not in DEFINITIONS:
        _unknown(f"there is no event definition {key}; there are {', '.join(DEFINITIONS)}")
    return key


def _unknown(reason: str) -> NoReturn:
    refuse(reason, VALUE)


def _fault_of(key: object, data: object) -> tuple[int, str] | None:
    if not isinstance(key, str) or not key:
        return MISSING, "the contact key is missing, or not a text"
    if not isinstance(data, dict):
        return TYPE, "the data are not an object"
    if key.startswith("inactive"):
        return VALUE, "the contact is not active"
    return None


def _enter(state: MarketingCloudState, definition: str, key: Any, data: dict[str, Any]) -> None:
    state.events.append({"eventDefinitionKey": definition, "contactKey": key, "data": data})
