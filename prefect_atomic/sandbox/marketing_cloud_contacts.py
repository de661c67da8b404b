"""Contacts: created or changed, and deleted. The least that is known of both, and strict."""

import uuid
from typing import Any

from prefect_atomic.sandbox.marketing_cloud_request import TYPE, VALUE, json_object, now, query, refuse
from prefect_atomic.sandbox.marketing_cloud_state import MarketingCloudState
from prefect_atomic.sandbox.wire import Answer, Received


def upsert(state: MarketingCloudState, received: Received) -> Answer:
    """`POST /contacts/v1/contacts`: replaces the attribute sets that are there, by name."""
    query(received, ())
    content = json_object(received, required=("contactKey", "attributeSets"))
    key, sets = content["contactKey"], content["attributeSets"]
    if not isinstance(key, str):
        refuse("contactKey should be a text", TYPE)
    if not isinstance(sets, list) or not all(_is_set(each) for each in sets):
        refuse("attributeSets should be like [{name, items: [{values: [{name, value}]}]}]", TYPE)
    new = key not in state.contacts
    contact = state.contacts.setdefault(key, {"contactKey": key, "attributeSets": {}})
    contact["attributeSets"] |= {each["name"]: each["items"] for each in sets}
    answer = {"contactKey": key, "contactId": list(state.contacts).index(key) + 1, "isNewContactKey": new}
    return Answer.of_json({**answer, **_outcome()})


def delete(state: MarketingCloudState, received: Received) -> Answer:
    """`POST /contacts/v1/contacts/actions/delete?type=keys`."""
    if query(received, ("type",)).get("type") != "keys":
        refuse("the parameter type should be keys", VALUE)
    content = json_object(received, required=("values", "deleteOperationType"))
    keys = content["values"]
    if not isinstance(keys, list) or not keys or not all(isinstance(key, str) and key for key in keys):
        refuse("values should be texts, at least one", TYPE)
    if content["deleteOperationType"] != "ContactAndAttributes":
        refuse("deleteOperationType should be ContactAndAttributes", VALUE)
    for key in keys:
        state.contacts.pop(key, None)
    operation = {"operationID": len(keys), "operationInitiated": True}
    return Answer.of_json({**operation, **_outcome()})


def _is_set(given: Any) -> bool:
    if not isinstance(given, dict) or given.keys() != {"name", "items"} or not isinstance(given["items"], list):
        return False
    rows = [item.get("values") if isinstance(item, dict) else None for item in given["items"]]
    if not all(isinstance(row, list) for row in rows):
        return False
    return all(isinstance(value, dict) and value.keys() == {"name", "value"} for row in rows for value in row or ())


def _outcome() -> dict[str, Any]:
    message = str(uuid.uuid4())
    return {
        "requestServiceMessageID": message,
        "serviceMessageID": message,
        "responseDateTime": now(),
        "hasErrors": False,
        "resultMessages": [],
    }
