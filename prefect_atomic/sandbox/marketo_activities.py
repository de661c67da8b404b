"""Activities: read from a moment on, page by page, and custom ones added.

Source: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/lead-database/activities

A page may have fewer activities than there are, or none, while `moreResult` says that there are more; here each third
one has none, and a page ends after a while of looking for what was asked for. There is always a token. Not known, and
so here: an activity in the very second that a token was asked for is given. Custom activities are of the past.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect_atomic.sandbox.marketo_activity_log import Activity
from prefect_atomic.sandbox.marketo_answers import Reason, fail, ok
from prefect_atomic.sandbox.marketo_moments import read as read_moment
from prefect_atomic.sandbox.marketo_moments import written
from prefect_atomic.sandbox.marketo_pages import parts_of, token
from prefect_atomic.sandbox.marketo_request import Query, json_object, missing, number, records, whole
from prefect_atomic.sandbox.marketo_schema import ACTIVITY_TYPES, CHANGE, DELETE, LEAD, NEW_LEAD, ActivityType
from prefect_atomic.sandbox.marketo_state import MarketoState
from prefect_atomic.sandbox.wire import Answer, Received

PAGED = ("nextPageToken", "batchSize")
MOST_TYPES = 10
MOST_LEADS = 30
MOST_ON_LIST = 10_000
MOST_ATTRIBUTE_BYTES = 65_536
EMPTY_EVERY = 3  # pages
LOOKS = 3000  # activities, until a page ends
AHEAD = timedelta(minutes=5)  # clocks differ
REQUIRED = ("leadId", "activityDate", "activityTypeId", "primaryAttributeValue")


def paging_token(_: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/activities/pagingtoken.json`."""
    try:
        since = read_moment(Query(received, ("sinceDatetime",)).required("sinceDatetime"))
    except Reason as reason:
        fail(reason.code, reason.message)
    return ok(nextPageToken=token(written(since), 0, 0))


def read(state: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/activities.json`."""
    query = Query(received, ("listId", *PAGED), several=("activityTypeIds", "assetIds", "leadIds"))
    query.required("nextPageToken")
    types_wanted = set(query.numbers("activityTypeIds", most=MOST_TYPES)) or missing("activityTypeIds")
    unknown = types_wanted - ACTIVITY_TYPES.keys()
    if unknown:
        fail(1003, f"Invalid value '{min(unknown)}' for activityTypeIds")
    assets = query.numbers("assetIds")
    of_lead = _of_leads(state, query)

    def wanted(activity: Activity) -> bool:
        return (
            activity["activityTypeId"] in types_wanted
            and of_lead(activity["leadId"])
            and (not assets or activity.get("primaryAttributeValueId") in assets)
        )

    return _page(state, query, wanted, lambda activity: activity)


def lead_changes(state: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/activities/leadchanges.json`: changes of some fields, and new leads."""
    query = Query(received, ("listId", *PAGED), several=("fields", "leadIds"))
    query.required("nextPageToken")
    fields = query.texts("fields") or missing("fields")
    for name in fields:
        if name not in LEAD:
            fail(1006, f"Field '{name}' not found")
    names = {LEAD[name].id: name for name in fields}
    of_lead = _of_leads(state, query)

    def wanted(activity: Activity) -> bool:
        kind = activity["activityTypeId"]
        changed = kind == CHANGE and activity["primaryAttributeValueId"] in names
        return (changed or kind == NEW_LEAD) and of_lead(activity["leadId"])

    return _page(state, query, wanted, lambda activity: _as_change(activity, names))


def deleted_leads(state: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/activities/deletedleads.json`."""
    query = Query(received, PAGED)
    query.required("nextPageToken")
    return _page(state, query, lambda activity: activity["activityTypeId"] == DELETE, lambda activity: activity)


def types(_: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/activities/types.json`."""
    Query(received, ())
    return ok([_described(kind) for kind in ACTIVITY_TYPES.values()])


def add(state: MarketoState, received: Received) -> Answer:
    """`POST /rest/v1/activities/external.json`; what was not added has `errors`, where others have reasons."""
    Query(received, ())
    results: list[dict[str, Any]] = []
    for record in records(json_object(received, required=("input",))):
        try:
            activity = _add(state, record)
            results.append({"id": activity["id"], "marketoGUID": activity["marketoGUID"], "status": "added"})
        except Reason as reason:
            results.append({"status": "skipped", "errors": [reason.as_json()]})
    return ok(results)


def _page(
    state: MarketoState, query: Query, wanted: Callable[[Activity], bool], told: Callable[[Activity], Mapping[str, Any]]
) -> Answer:
    size = query.size()
    since, after, pages = parts_of(query.required("nextPageToken"), 3)
    if not isinstance(since, str) or type(after) is not int or type(pages) is not int:
        fail(1003, "Invalid value for 'nextPageToken'")
    everything = state.activities
    start = position = state.log.position(since, after)
    found: list[Mapping[str, Any]] = []
    is_empty = (pages + 1) % EMPTY_EVERY == 0
    while not is_empty and position < len(everything) and len(found) < size and position < start + LOOKS:
        if wanted(everything[position]):
            found.append(told(everything[position]))
        position += 1
    if position > start:
        since, after = everything[position - 1]["activityDate"], everything[position - 1]["id"]
    more = position < len(everything)
    # the next reading begins its count of pages anew
    return ok(found, nextPageToken=token(since, after, pages + 1 if more else 0), moreResult=more)


def _of_leads(state: MarketoState, query: Query) -> Callable[[int], bool]:
    """Whether a lead is among those that were asked for."""
    leads, list_text = set(query.numbers("leadIds", most=MOST_LEADS)), query.text("listId")
    if list_text is None:
        return lambda lead_id: not leads or lead_id in leads
    list_id = number(list_text)
    if list_id not in state.lists:
        fail(1013, f"List '{list_id}' not found")
    members = state.lists[list_id]
    if len(members) >= MOST_ON_LIST:
        fail(1003, f"Invalid value '{list_id}' for listId: the list has {MOST_ON_LIST} leads or more")
    return lambda lead_id: lead_id in members and (not leads or lead_id in leads)


def _as_change(activity: Activity, names: Mapping[int, str]) -> dict[str, Any]:
    about = {name: value for name, value in activity.items() if not name.startswith("primaryAttribute")}
    if activity["activityTypeId"] != CHANGE:
        return about
    field_id = activity["primaryAttributeValueId"]
    values = {each["name"]: each["value"] for each in activity["attributes"]}
    field = {
        "id": field_id,
        "name": names[field_id],
        "newValue": values["New Value"] or "",
        "oldValue": values["Old Value"] or "",
    }
    others = [each for each in activity["attributes"] if each["name"] == "Source"]
    return {**about, "fields": [field], "attributes": others}


def _add(state: MarketoState, record: Mapping[str, Any]) -> Activity:
    for name in REQUIRED:
        if record.get(name) in (None, ""):
            raise Reason(1002, f"Missing value for required parameter '{name}'")
    unknown = record.keys() - {*REQUIRED, "attributes", "apiName"}
    if unknown:
        raise Reason(1003, f"Invalid parameter '{min(unknown)}'")
    lead_id, at = whole(record, "leadId"), read_moment(record["activityDate"])
    kind = ACTIVITY_TYPES.get(whole(record, "activityTypeId"))
    if kind is None or not kind.api_name or record.get("apiName", kind.api_name) != kind.api_name:
        raise Reason(1003, f"Invalid value '{record['activityTypeId']}' for activityTypeId: it is no custom activity")
    if at > datetime.now(UTC) + AHEAD:
        raise Reason(1003, "Invalid value for activityDate: it is in the future")
    value = record["primaryAttributeValue"]
    if not isinstance(value, str):
        raise Reason(1001, f"Invalid value '{value}'. Required of type 'string'")
    attributes = _attributes(kind, record.get("attributes") or [])
    state.require_lead(lead_id)
    activity = state.log.add(lead_id, kind.id, at=written(at), value=value, attributes=attributes)
    state.log.custom.append(activity)
    return activity


def _attributes(kind: ActivityType, given: object) -> list[dict[str, Any]]:
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise Reason(1001, "Invalid value for 'attributes'. Required of type 'array of objects'")
    found: dict[str, Any] = {}
    for each in given:
        name, value = each.get("name") or each.get("apiName"), each.get("value")
        if name not in kind.attributes or each.keys() - {"name", "apiName", "value"}:
            raise Reason(1006, f"Attribute '{name}' not found")
        if name in found:
            raise Reason(1003, f"Attribute '{name}' is there more than once")
        found[name] = _fitting(value, kind.attributes[name])
    size = sum(len(name.encode()) + len(str(value).encode("utf-8", "replace")) for name, value in found.items())
    if size > MOST_ATTRIBUTE_BYTES:
        raise Reason(1049, f"Attributes have more than {MOST_ATTRIBUTE_BYTES} bytes")
    return [{"name": name, "value": value} for name, value in found.items()]


def _fitting(value: object, kind: str) -> object:
    is_number = type(value) is int or (isinstance(value, str) and value.removeprefix("-").isdecimal())
    if not is_number if kind == "integer" else not isinstance(value, str):
        raise Reason(1001, f"Invalid value '{value}'. Required of type '{kind}'")
    return int(value) if kind == "integer" else value  # type: ignore[call-overload]  # it is a number


def _described(kind: ActivityType) -> dict[str, Any]:
    name, of = kind.primary
    return {
        "id": kind.id,
        "name": kind.name,
        "description": kind.name,
        **({"apiName": kind.api_name} if kind.api_name else {}),
        "primaryAttribute": {"name": name, "dataType": of},
        "attributes": _listed(kind.attributes.items()),
    }


def _listed(attributes: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "dataType": of} for name, of in attributes]
