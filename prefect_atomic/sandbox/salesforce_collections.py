"""sObject Collections: up to 200 records in a request, each with its own outcome."""

from collections import Counter
from collections.abc import Callable
from itertools import groupby
from typing import Any

from prefect_atomic.sandbox.salesforce_door import Call
from prefect_atomic.sandbox.salesforce_errors import RecordRefused, not_found, refuse, wrong_method
from prefect_atomic.sandbox.salesforce_org import lookup
from prefect_atomic.sandbox.salesforce_schema import OBJECTS, SObject, find_object
from prefect_atomic.sandbox.salesforce_state import SalesforceState
from prefect_atomic.sandbox.wire import Answer

MOST = 200
MOST_CHUNKS = 10
# what makes Salesforce refuse the whole request, for it reads all records before it writes any
UNREADABLE = frozenset({"JSON_PARSER_ERROR", "INVALID_FIELD"})
ROLLED_BACK = {
    "statusCode": "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "message": "Record rolled back because not all records were valid and the request was using AllOrNone header",
    "fields": [],
}

Outcome = dict[str, Any]
Write = Callable[[], Outcome]


def collections(state: SalesforceState, call: Call) -> Answer:
    """Serves `composite/sobjects` and below."""
    match call.method, call.parts[2:]:
        case "POST", ():
            return _written(state, call, [_insert(state, data) for data in _records(call)])
        case "PATCH", ():
            return _written(state, call, [_update(state, data) for data in _records(call)])
        case "DELETE", ():
            return _deleted(state, call)
        case "PATCH", (name, field):
            return _upserted(state, call, name, field)
        case _, () | (_, _):
            wrong_method(call.method)
    return not_found()


def _insert(state: SalesforceState, data: dict[str, Any]) -> Write:
    sobject = _type(data)
    values = _deferred(lambda: state.org.values(sobject, data))
    return lambda: _outcome(state.org.insert(sobject, values()))


def _update(state: SalesforceState, data: dict[str, Any]) -> Write:
    sobject = _type(data)
    text = _taken(data, "Id")
    values = _deferred(lambda: state.org.values(sobject, data))

    def write() -> Outcome:
        if text is None:
            raise RecordRefused("MISSING_ARGUMENT", "Id not specified in an update call", ["Id"])
        record_id = state.org.record_id(sobject, text)
        state.org.update(sobject, record_id, values())
        return _outcome(record_id)

    return write


def _upserted(state: SalesforceState, call: Call, name: str, field_name: str) -> Answer:
    sobject = find_object(name) or not_found()
    field = lookup(sobject, field_name)
    records = _records(call)
    keys = []
    for data in records:
        if _type(data) is not sobject:
            refuse(400, "INVALID_TYPE", f"the records should be of type {sobject.name}, as the path says")
        keys.append(str(_taken(data, field.name) or "").strip())
    often = Counter(key.casefold() for key in keys if key)

    def write(key: str, values: Callable[[], dict[str, Any]]) -> Outcome:
        if often[key.casefold()] > 1:
            raise RecordRefused("DUPLICATE_VALUE", f"Duplicate external id specified: {key}", [field.name])
        record_id, created = state.org.upsert(sobject, field, key, values())
        return _outcome(record_id) | {"created": created}

    def deferred(key: str, data: dict[str, Any]) -> Write:
        values = _deferred(lambda: state.org.values(sobject, data))
        return lambda: write(key, values)

    return _written(state, call, [deferred(key, data) for key, data in zip(keys, records, strict=True)])


def _deleted(state: SalesforceState, call: Call) -> Answer:
    ids = [text.strip() for text in call.parameters.get("ids", "").split(",") if text.strip()]
    if not ids:
        refuse(400, "MISSING_ARGUMENT", "ids is missing")
    _require_few(len(ids))

    def deleted(text: str) -> Outcome:
        sobject = next((each for each in OBJECTS.values() if text.startswith(each.prefix)), None)
        if sobject is None:
            raise RecordRefused("MALFORMED_ID", f"malformed id {text}")
        record_id = state.org.record_id(sobject, text)
        state.org.delete(sobject, record_id)
        return _outcome(record_id)

    def write(text: str) -> Write:
        return lambda: deleted(text)

    all_or_none = call.parameters.get("allOrNone", "").lower() == "true"
    return Answer.of_json(_run(state, [write(text) for text in ids], all_or_none=all_or_none))


def _records(call: Call) -> list[dict[str, Any]]:
    records = call.json_object().get("records")
    if not isinstance(records, list) or not all(isinstance(data, dict) for data in records):
        refuse(400, "JSON_PARSER_ERROR", "records should be an array of objects")
    _require_few(len(records))
    if len(list(groupby(_type(data).name for data in records))) > MOST_CHUNKS:
        refuse(
            400, "LIMIT_EXCEEDED", f"the records change their type too often; at most {MOST_CHUNKS} chunks are taken"
        )
    return records


def _require_few(count: int) -> None:
    if count > MOST:
        refuse(400, "EXCEEDED_ID_LIMIT", f"record limit reached. cannot submit more than {MOST} records in this call")


def _type(data: dict[str, Any]) -> SObject:
    attributes = data.get("attributes")
    name = attributes.get("type") if isinstance(attributes, dict) else None
    sobject = find_object(str(name or ""))
    if sobject is None:
        refuse(400, "INVALID_TYPE", f"sObject type '{name}' is not supported; it is in attributes.type of a record")
    return sobject


def _taken(data: dict[str, Any], name: str) -> Any:
    key = next((key for key in data if key.lower() == name.lower()), None)
    return data.pop(key) if key else None


def _deferred(read: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """Reads at once, but raises what concerns one record only when that is written."""
    try:
        values = read()
    except RecordRefused as refused:
        if refused.code in UNREADABLE:
            raise
        reason = refused  # the name in `except` does not outlive it

        def refuse_later() -> dict[str, Any]:
            raise reason

        return refuse_later
    return lambda: values


def _written(state: SalesforceState, call: Call, writes: list[Write]) -> Answer:
    return Answer.of_json(_run(state, writes, all_or_none=call.json_object().get("allOrNone") is True))


def _run(state: SalesforceState, writes: list[Write], *, all_or_none: bool) -> list[Outcome]:
    for table in state.org.tables():
        table.begin()
    outcomes = [_tried(write) for write in writes]
    undo = all_or_none and not all(outcome["success"] for outcome in outcomes)
    for table in state.org.tables():
        table.roll_back() if undo else table.commit()
    if not undo:
        return outcomes
    return [{"success": False, "errors": [ROLLED_BACK]} if each["success"] else each for each in outcomes]


def _tried(write: Write) -> Outcome:
    try:
        return write()
    except RecordRefused as refused:
        return {"success": False, "errors": [refused.in_list()]}


def _outcome(record_id: str) -> Outcome:
    return {"id": record_id, "success": True, "errors": []}
