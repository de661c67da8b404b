"""REST for one record at a time, for queries, and for what the org says of itself."""

from typing import Any

from prefect_atomic.sandbox.salesforce_door import Call
from prefect_atomic.sandbox.salesforce_errors import RecordRefused, not_found, refuse, wrong_method
from prefect_atomic.sandbox.salesforce_ids import full_id, make_id
from prefect_atomic.sandbox.salesforce_org import lookup
from prefect_atomic.sandbox.salesforce_query import attributes, record, run
from prefect_atomic.sandbox.salesforce_schema import OBJECTS, Field, SObject, find_object
from prefect_atomic.sandbox.salesforce_soql import parse
from prefect_atomic.sandbox.salesforce_state import SalesforceState
from prefect_atomic.sandbox.wire import Answer

DONE = Answer(204)


def sobjects(state: SalesforceState, call: Call) -> Answer:
    """Serves `sobjects` and below."""
    match call.parts[1:]:
        case ():
            _require(call, "GET")
            listed = [sobject.listed(call.base) for sobject in OBJECTS.values()]
            return Answer.of_json({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": listed})
        case (name,):
            _require(call, "GET", "POST")
            sobject = _object(name)
            if call.method == "GET":
                return Answer.of_json({"objectDescribe": sobject.listed(call.base), "recentItems": []})
            record_id = state.org.insert(sobject, state.org.values(sobject, call.json_object()))
            return Answer.of_json({"id": record_id, "success": True, "errors": []}, status=201)
        case (name, "describe"):
            _require(call, "GET")
            return Answer.of_json(_object(name).described(call.base))
        case (name, record_id):
            return _record(state, call, _object(name), record_id)
        case (name, field, value):
            sobject = _object(name)
            return _by_key(state, call, sobject, lookup(sobject, field), value)
    return not_found()


def query(state: SalesforceState, call: Call) -> Answer:
    """Serves `query` and `queryAll`, and the pages that follow."""
    _require(call, "GET")
    page = _page(state, call)
    if len(call.parts) == 2:
        cursor, _, start = call.parts[1].rpartition("-")
        if cursor not in state.cursors or not start.isdecimal():
            refuse(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        return _rows(state, call, cursor, int(start), page)
    if "q" not in call.parameters:
        refuse(400, "MALFORMED_QUERY", "SOQL is missing; it is the parameter q")
    asked = parse(call.parameters["q"])
    found = run(state.org, asked, deleted=call.parts[0].lower() == "queryall")
    if not asked.fields:
        return Answer.of_json({"totalSize": len(found), "done": True, "records": []})
    cursor = make_id("01g", state.next_number())
    state.cursors[cursor] = asked, found
    answer = _rows(state, call, cursor, 0, page)
    if len(found) <= page:
        del state.cursors[cursor]
    return answer


def limits(state: SalesforceState, call: Call) -> Answer:
    """Serves `limits`."""
    _require(call, "GET")
    most, used = state.number("api_limit"), state.number("api_used")
    return Answer.of_json(
        {
            "DailyApiRequests": {"Max": most, "Remaining": max(0, most - used)},
            "DailyBulkApiBatches": {"Max": 15_000, "Remaining": 15_000},
            "DailyBulkV2QueryJobs": {"Max": 10_000, "Remaining": 10_000 - len(state.query_jobs)},
        }
    )


def _record(state: SalesforceState, call: Call, sobject: SObject, text: str) -> Answer:
    _require(call, "GET", "PATCH", "DELETE")
    if full_id(text) is None:
        lookup(sobject, text)  # says that there is no such field, as Salesforce does
        not_found()
    record_id = state.org.record_id(sobject, text)
    row = state.org.table(sobject).get(record_id)
    if row is None:
        not_found()
    if call.method == "GET":
        return _shown(state, call, sobject, record_id)
    if call.method == "DELETE":
        state.org.delete(sobject, record_id)
    else:
        data = _without(call.json_object(), "Id")
        state.org.update(sobject, record_id, state.org.values(sobject, data))
    return DONE


def _by_key(state: SalesforceState, call: Call, sobject: SObject, field: Field, key: str) -> Answer:
    _require(call, "GET", "PATCH", "DELETE")
    org = state.org
    if field.name == "Id":
        return _record(state, call, sobject, key)
    found = org.table(sobject).find(field.name, key)
    if len(found) > 1:
        return Answer.of_json([f"{call.base}/sobjects/{sobject.name}/{each}" for each in found], status=300)
    if call.method == "PATCH":
        data = _without(call.json_object(), field.name)
        record_id, created = org.upsert(sobject, field, key, org.values(sobject, data))
        content = {"id": record_id, "success": True, "errors": [], "created": created}
        return Answer.of_json(content, status=201 if created else 200)
    if not found:
        not_found()
    if call.method == "GET":
        return _shown(state, call, sobject, found[0])
    org.delete(sobject, found[0])
    return DONE


def _shown(state: SalesforceState, call: Call, sobject: SObject, record_id: str) -> Answer:
    try:
        row = state.org.existing(sobject, record_id)
    except RecordRefused:
        not_found()
    names = [field.name for field in sobject.fields]
    if "fields" in call.parameters:
        names = []
        for name in call.parameters["fields"].split(","):
            field = sobject.field(name.strip())
            if field is None:
                refuse(400, "INVALID_FIELD", f"No such column '{name.strip()}' on sobject of type {sobject.name}")
            names.append(field.name)
    content = {"attributes": attributes(sobject, row, call.base)} | {name: row[name] for name in names}
    return Answer.of_json(content)


def _rows(state: SalesforceState, call: Call, cursor: str, start: int, page: int) -> Answer:
    asked, found = state.cursors[cursor]
    end = start + page
    content: dict[str, Any] = {"totalSize": len(found), "done": end >= len(found)}
    if end < len(found):
        content["nextRecordsUrl"] = f"{call.base}/query/{cursor}-{end}"
    content["records"] = [record(asked, rows, call.base) for rows in found[start:end]]
    return Answer.of_json(content)


def _page(state: SalesforceState, call: Call) -> int:
    page = state.number("query_page")
    for option in (call.received.header("sforce-query-options") or "").split(","):
        name, _, value = option.strip().partition("=")
        if name.lower() == "batchsize" and value.isdecimal():
            page = min(page, max(200, int(value)))
    return page


def _without(data: dict[str, Any], name: str) -> dict[str, Any]:
    # what the path says already may not be in the body
    if any(key.lower() == name.lower() for key in data):
        refuse(400, "INVALID_FIELD", f"The {name} field should not be specified in the sobject data.")
    return data


def _object(name: str) -> SObject:
    return find_object(name) or not_found()


def _require(call: Call, *methods: str) -> None:
    if call.method not in methods:
        wrong_method(call.method)
