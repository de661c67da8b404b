"""Leads: written, read, described, deleted, pushed, merged, associated.

Sources: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/lead-database/leads and Adobe's
description of the API.

Not known, and so here: leads come in the order of their ids. A lead that is in the input twice is written twice, one
after the other. Values are converted where a text says a number or true, and refused where they do not fit, also for
their length. `asyncProcessing` changes nothing: the answer says what became of each lead.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prefect_atomic.sandbox.marketo_answers import Reason, fail, ok
from prefect_atomic.sandbox.marketo_lead_table import Lead
from prefect_atomic.sandbox.marketo_pages import page
from prefect_atomic.sandbox.marketo_request import (
    MOST,
    Query,
    json_object,
    number,
    number_in,
    one_of,
    records,
)
from prefect_atomic.sandbox.marketo_schema import FILTERS, FORBIDDEN, LEAD, LENGTHS, LOOKUPS, PARTITIONS, PROGRAMS
from prefect_atomic.sandbox.marketo_state import MarketoState
from prefect_atomic.sandbox.wire import Answer, Received

ACTIONS = ("createOrUpdate", "createOnly", "updateOnly", "createDuplicate")
USUAL = ("id", "email", "updatedAt", "createdAt", "lastName", "firstName")
PAGED = ("batchSize", "nextPageToken")
MOST_MATCHES = 1000
MOST_MERGED = 25


def sync(state: MarketoState, received: Received) -> Answer:
    """`POST /rest/v1/leads.json`."""
    Query(received, ())
    more = ("action", "lookupField", "partitionName", "asyncProcessing")
    content = json_object(received, required=("input",), known=more)
    action = one_of(content.get("action") or "createOrUpdate", "action", ACTIONS)
    lookup = _lookup(content)
    if lookup == "id" and action != "updateOnly":
        fail(1003, "Invalid value 'id' for lookupField: it goes with updateOnly")
    if type(content.get("asyncProcessing", False)) is not bool:
        fail(1001, "Invalid value for asyncProcessing. Required of type 'Boolean'")
    partition = _partition(content)
    results = []
    for fields in records(content):
        try:
            lead_id, status = state.upsert_lead(fields, lookup=lookup, action=action, partition=partition)
            results.append({"id": lead_id, "status": status})
        except Reason as reason:
            results.append({"status": "skipped", **state.failure(reason)})
    return ok(results)


def push(state: MarketoState, received: Received) -> Answer:
    """`POST /rest/v1/leads/push.json`; a result of a lead that was not taken has no status."""
    Query(received, ())
    more = ("programStatus", "lookupField", "source", "reason", "partitionName")
    content = json_object(received, required=("programName", "input"), known=more)
    lookup, partition = _lookup(content), _partition(content)
    program = next((each for each in PROGRAMS.values() if each.name == content["programName"]), None)
    if program is None:
        fail(1013, f"Program '{content['programName']}' not found")
    status = one_of(content.get("programStatus") or program.statuses[0], "programStatus", program.statuses)
    results: list[dict[str, Any]] = []
    for fields in records(content):
        try:
            lead_id, done = state.upsert_lead(fields, lookup=lookup, partition=partition)
            state.set_member(program.id, lead_id, status)
            results.append({"id": lead_id, "status": done})
        except Reason as reason:
            results.append(state.failure(reason))
    return ok(results)


def read(state: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/leads.json`."""
    query = Query(received, ("filterType", *PAGED), several=("filterValues", "fields"))
    name, values = query.required("filterType"), query.texts("filterValues")
    if name not in LEAD:
        fail(1006, f"Field '{name}' not found")
    if name not in FILTERS:
        fail(1011, f"Field '{name}' not supported")
    query.required("filterValues")
    if len(values) > MOST:
        fail(1003, f"Invalid value for 'filterValues': there are more than {MOST}")
    if name in ("id", "leadPartitionId"):
        values = [str(number(value)) for value in values]
    ids = state.table.filter(name, values)
    if len(ids) > MOST_MATCHES:
        fail(1003, "Too many results match the filter")
    return listed(state, ids, query)


def listed(state: MarketoState, ids: Sequence[int], query: Query) -> Answer:
    """A page of leads, by their ids, which are in their order."""
    fields = chosen(query)
    found, token = page(ids, query, key=lambda lead_id: lead_id)
    return ok([told(state.leads[lead_id], fields) for lead_id in found], nextPageToken=token)


def one(state: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/lead/{leadId}.json`."""
    fields = chosen(Query(received, (), several=("fields",)))
    lead_id = number_in(received, 1)
    require(state, lead_id)
    return ok([told(state.leads[lead_id], fields)])


def describe(_: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/leads/describe.json`."""
    Query(received, ())
    result = [
        {
            "id": field.id,
            "displayName": field.shown_as,
            "dataType": field.type,
            **length(field.type),
            "rest": {"name": field.name, "readOnly": not field.updateable},
        }
        for field in LEAD.values()
    ]
    return ok(result)


def describe2(_: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/leads/describe2.json`."""
    Query(received, ())
    fields = [
        {
            "name": field.name,
            "displayName": field.shown_as,
            "dataType": field.type,
            **length(field.type),
            "updateable": field.updateable,
            "crmManaged": False,
        }
        for field in LEAD.values()
    ]
    return ok([{"name": "API Lead", "searchableFields": [[name] for name in FILTERS], "fields": fields}])


def delete(state: MarketoState, received: Received) -> Answer:
    """`POST /rest/v1/leads/delete.json`."""
    results: list[dict[str, Any]] = []
    for lead_id in sent_ids(received):
        try:
            state.delete_lead(lead_id)
            results.append({"id": lead_id, "status": "deleted"})
        except Reason as reason:
            results.append({"id": lead_id, "status": "skipped", **state.failure(reason)})
    return ok(results)


def merge(state: MarketoState, received: Received) -> Answer:
    """`POST /rest/v1/leads/{leadId}/merge.json`."""
    query = Query(received, ("mergeInCRM",), several=("leadIds", "leadId"))
    winner = number_in(received, 1)
    losers = query.numbers("leadIds") or query.numbers("leadId")
    if not losers:
        fail(1002, "Missing value for required parameter 'leadIds'")
    if len(losers) > MOST_MERGED:
        fail(1080, f"Merge of more than {MOST_MERGED} leads is not allowed")
    if one_of(query.text("mergeInCRM") or "false", "mergeInCRM", ("true", "false")) == "true":
        fail(1076, "Merge Lead call with mergeInCRM flag is not supported without a CRM")
    if winner in losers:
        fail(1003, f"Invalid value '{winner}' for 'leadIds': it is the winner")
    require(state, winner, *losers)
    for loser in losers:
        _merge(state, winner, loser)
    state.merges.append({"winner": winner, "losers": losers})
    return ok()


def associate(state: MarketoState, received: Received) -> Answer:
    """`POST /rest/v1/leads/{leadId}/associate.json`."""
    cookie = Query(received, ("cookie",)).required("cookie")
    lead_id = number_in(received, 1)
    require(state, lead_id)
    state.table.change(lead_id, {"cookies": cookie}, at=state.clock.now())
    return ok()


def partitions(_: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/leads/partitions.json`: those that the API user may use."""
    Query(received, ())
    return ok([{"id": PARTITIONS[name], "name": name} for name in PARTITIONS if name not in FORBIDDEN])


def require(state: MarketoState, *leads: int) -> None:
    """Refuses a call that is about leads that there are not."""
    for lead_id in leads:
        try:
            state.require_lead(lead_id)
        except Reason as reason:
            fail(reason.code, reason.message)


def chosen(query: Query, usual: Iterable[str] = USUAL) -> list[str]:
    """The fields that somebody wants of leads."""
    names = query.texts("fields") or list(usual)
    for name in names:
        if name not in LEAD:
            fail(1006, f"Field '{name}' not found")
    return names


def told(lead: Lead, fields: Iterable[str]) -> dict[str, Any]:
    """A lead as answers have it; its id comes unasked."""
    return {"id": lead["id"], **{name: lead.get(name) for name in fields}}


def length(kind: str) -> dict[str, int]:
    """How long a value of a type may be, as descriptions have it."""
    return {"length": LENGTHS[kind]} if kind in LENGTHS else {}


def sent_ids(received: Received) -> list[int]:
    """The ids of leads in the body, or in the query."""
    ids = Query(received, (), several=("id",)).numbers("id")
    if not received.body:
        return ids or fail(1002, "Missing value for required parameter 'input'")
    sent = [number(record.get("id", "")) for record in records(json_object(received, required=("input",)))]
    if ids and set(ids) != set(sent):
        fail(1003, "Invalid value for 'id': the query and the body have other leads")
    return sent


def _lookup(content: Mapping[str, Any]) -> str:
    name = content.get("lookupField") or "email"
    if name not in LEAD:
        fail(1006, f"Field '{name}' not found")
    if name not in LOOKUPS:
        fail(1011, f"Field '{name}' not supported")
    return str(name)


def _partition(content: Mapping[str, Any]) -> str | None:
    name = content.get("partitionName")
    return None if name is None else one_of(name, "partitionName", PARTITIONS)


def _merge(state: MarketoState, winner: int, loser: int) -> None:
    # the winner has what it had, and of the losers what it had not
    lead = state.leads[winner]
    gained = {name: value for name, value in state.leads[loser].items() if name not in lead}
    for members in state.lists.values():
        if loser in members:
            members.add(winner)
    for program_id, statuses in state.members.items():
        if loser in statuses and winner not in statuses:
            state.set_member(program_id, winner, statuses[loser])
    state.delete_lead(loser, merged=True)
    state.table.change(winner, gained, at=state.clock.now())
