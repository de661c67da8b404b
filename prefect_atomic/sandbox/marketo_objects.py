"""Custom objects: their types, and their records.

Source: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/lead-database/custom-objects

Not known, and so here: a record of a link to a lead that there is not is taken. `filterValues` go with one field; where
several fields tell a record, they are in the body of a POST with `_method=GET`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from prefect_atomic.sandbox.marketo_answers import Reason, fail, ok
from prefect_atomic.sandbox.marketo_leads import PAGED, length
from prefect_atomic.sandbox.marketo_lists import MADE_AT
from prefect_atomic.sandbox.marketo_object_table import Key, ObjectTable, Record
from prefect_atomic.sandbox.marketo_pages import page
from prefect_atomic.sandbox.marketo_request import MOST, Query, json_object, one_of, part, records
from prefect_atomic.sandbox.marketo_schema import ObjectType
from prefect_atomic.sandbox.marketo_state import MarketoState
from prefect_atomic.sandbox.wire import Answer, Received

ACTIONS = ("createOrUpdate", "createOnly", "updateOnly")
BY = ("dedupeFields", "idField")


def types(state: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/customobjects.json`."""
    names = Query(received, (), several=("names",)).texts("names")
    kinds = [table.kind for table in state.custom_objects.values() if not names or table.kind.name in names]
    return ok([{name: value for name, value in _described(kind).items() if name != "fields"} for kind in kinds])


def describe(state: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/customobjects/{apiName}/describe.json`."""
    Query(received, ())
    return ok([_described(_table(state, received).kind)])


def read(state: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/customobjects/{apiName}.json`, or a POST with `_method=GET` and a body of JSON."""
    table = _table(state, received)
    query = Query(received, ("filterType", *PAGED), several=("filterValues", "fields"))
    if received.body:
        return _read_by_body(table, received, query)
    name, values = query.required("filterType"), query.texts("filterValues")
    query.required("filterValues")
    if len(values) > MOST:
        fail(1003, f"Invalid value for 'filterValues': there are more than {MOST}")
    wanted = {value.lower() for value in values}
    field = _searched(table.kind, name)
    found = [record for record in table.records.values() if str(record.get(field)).lower() in wanted]
    return _listed(table, found, query)


def sync(state: MarketoState, received: Received) -> Answer:
    """`POST /rest/v1/customobjects/{apiName}.json`."""
    Query(received, ())
    table = _table(state, received)
    content = json_object(received, required=("input",), known=("action", "dedupeBy"))
    action = one_of(content.get("action") or "createOrUpdate", "action", ACTIONS)
    by = one_of(content.get("dedupeBy") or "dedupeFields", "dedupeBy", BY)
    if by == "idField" and action != "updateOnly":
        fail(1003, "Invalid value 'idField' for dedupeBy: it goes with updateOnly")
    seen: set[Key] = set()
    results: list[dict[str, Any]] = []
    for seq, fields in enumerate(records(content)):
        try:
            _once(table, fields, by, seen)
            guid, status = state.upsert_object(table.kind.name, fields, action=action, dedupe_by=by)
            results.append({"seq": seq, "marketoGUID": guid, "status": status})
        except Reason as reason:
            results.append({"seq": seq, "status": "skipped", **state.failure(reason)})
    return ok(results)


def delete(state: MarketoState, received: Received) -> Answer:
    """`POST /rest/v1/customobjects/{apiName}/delete.json`."""
    Query(received, ())
    table = _table(state, received)
    content = json_object(received, required=("input",), known=("deleteBy",))
    by = one_of(content.get("deleteBy") or "dedupeFields", "deleteBy", BY)
    results: list[dict[str, Any]] = []
    for seq, fields in enumerate(records(content)):
        try:
            guid = table.find(table.key(fields, by=by), by=by)
            if guid is None:
                raise Reason(1013, "Object not found")
            table.remove(guid)
            results.append({"seq": seq, "marketoGUID": guid, "status": "deleted"})
        except Reason as reason:
            results.append({"seq": seq, "status": "skipped", **state.failure(reason)})
    return ok(results)


def _read_by_body(table: ObjectTable, received: Received, query: Query) -> Answer:
    paging = ("batchSize", "nextPageToken")
    content = json_object(received, required=("input",), known=("filterType", "fields", *paging))
    fields = content.get("fields") or []
    if not isinstance(fields, list) or not all(isinstance(name, str) for name in fields):
        fail(1001, "Invalid value for 'fields'. Required of type 'array of String'")
    by = one_of(content.get("filterType") or query.text("filterType") or "dedupeFields", "filterType", BY)
    found = []
    for record in records(content):
        try:
            guid = table.find(table.key(record, by=by), by=by)
        except Reason as reason:
            fail(reason.code, reason.message)
        if guid is not None:
            found.append(table.records[guid])
    query.add("fields", fields)
    query.add("input", (table.key(record, by=by) for record in content["input"]))
    for name in paging:
        if content.get(name) is not None:
            query.add(name, (content[name],))
    return _listed(table, found, query)


def _listed(table: ObjectTable, found: Iterable[Record], query: Query) -> Answer:
    usual = ("marketoGUID", *table.kind.dedupe_fields, "createdAt", "updatedAt")
    # Adobe's examples spell it so too
    names = ["marketoGUID" if name == "marketoGuid" else name for name in query.texts("fields")] or list(usual)
    for name in names:
        if name not in table.kind.fields:
            fail(1006, f"Field '{name}' not found")
    once = {record["marketoGUID"]: record for record in found}
    shown, token = page([once[guid] for guid in sorted(once)], query, key=lambda record: record["marketoGUID"])
    result = [
        {"seq": seq, "marketoGUID": record["marketoGUID"], **{name: record.get(name) for name in names}}
        for seq, record in enumerate(shown)
    ]
    return ok(result, nextPageToken=token)


def _once(table: ObjectTable, fields: Mapping[str, Any], by: str, seen: set[Key]) -> None:
    key = table.key(fields, by=by)
    if key in seen:
        raise Reason(1036, "Duplicate object found in input")
    seen.add(key)


def _searched(kind: ObjectType, name: str) -> str:
    """The field that a filter is about."""
    if name == "dedupeFields":
        return kind.dedupe_fields[0]
    if name == "idField":
        return "marketoGUID"
    if name not in kind.searchable:
        fail(1003, f"Invalid value '{name}' for filterType")
    return name


def _table(state: MarketoState, received: Received) -> ObjectTable:
    name = part(received, 1)
    return state.custom_objects.get(name) or fail(1013, f"Object '{name}' not found")


def _described(kind: ObjectType) -> dict[str, Any]:
    fields = [
        {
            "name": field.name,
            "displayName": field.shown_as,
            "dataType": field.type,
            **length(field.type),
            "updateable": field.updateable,
            "crmManaged": False,
        }
        for field in kind.fields.values()
    ]
    return {
        "name": kind.name,
        "apiName": kind.name,
        "displayName": kind.shown_as,
        "pluralName": kind.plural,
        "description": "",
        "createdAt": MADE_AT,
        "updatedAt": MADE_AT,
        "idField": "marketoGUID",
        "dedupeFields": list(kind.dedupe_fields),
        "searchableFields": [[name] for name in kind.searchable],
        "relationships": [{"field": "leadId", "type": "child", "relatedTo": {"name": "Lead", "field": "Id"}}],
        "fields": fields,
        "state": "approved",
        "version": "approved",
    }
