"""Programs: their members, and how far along each is.

Source: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/lead-database/program-members

Not known, and so here: a lead that is not a member is skipped with 1004, whether it is there or not. A member has
reached success with the last status of the program.
"""

from collections.abc import Callable
from typing import Any

from prefect_atomic.sandbox.marketo_answers import Reason, fail, ok
from prefect_atomic.sandbox.marketo_leads import PAGED, chosen, told
from prefect_atomic.sandbox.marketo_lists import MADE_AT
from prefect_atomic.sandbox.marketo_pages import page
from prefect_atomic.sandbox.marketo_request import MOST, Query, json_object, number, number_in, records, whole
from prefect_atomic.sandbox.marketo_schema import LEAD, MEMBER_FIELDS, PROGRAMS
from prefect_atomic.sandbox.marketo_state import MarketoState
from prefect_atomic.sandbox.wire import Answer, Received

FILTERS = ("leadId", "statusName", "reachedSuccess", *MEMBER_FIELDS)
ABOUT = ("leadId", "reachedSuccess", "programId", "acquiredBy", "membershipDate")


def members(state: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/programs/{programId}/members.json`."""
    query = Query(received, ("filterType", *PAGED), several=("filterValues", "fields"))
    program_id = _program_id(received, 1)
    name = query.required("filterType")
    if name not in FILTERS:
        fail(1003, f"Invalid value '{name}' for filterType, which is one of {', '.join(FILTERS)}")
    query.required("filterValues")
    values = query.texts("filterValues")
    if len(values) > MOST:
        fail(1003, f"Invalid value for 'filterValues': there are more than {MOST}")
    fields = query.texts("fields")
    for field in fields:
        if field not in LEAD and field not in (*ABOUT, *FILTERS):
            fail(1006, f"Field '{field}' not found")
    wanted = {value.lower() for value in values}
    everybody = (_member(state, program_id, lead_id) for lead_id in sorted(state.members[program_id]))
    found = [member for member in everybody if str(member[name]).lower() in wanted]
    shown, token = page(found, query, key=lambda member: member["leadId"])
    result = []
    for number_of, member in enumerate(shown):
        of_lead = {field: state.leads[member["leadId"]].get(field) for field in fields if field in LEAD}
        others = {field: member[field] for field in fields if field not in LEAD}
        result.append({"seq": number_of, **{field: member[field] for field in ABOUT}, **of_lead, **others})
    return ok(result, nextPageToken=token)


def leads(state: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/leads/programs/{programId}.json`."""
    query = Query(received, PAGED, several=("fields",))
    program_id = _program_id(received, 2)
    fields = chosen(query)
    ids, token = page(sorted(state.members[program_id]), query, key=lambda lead_id: lead_id)
    result = []
    for lead_id in ids:
        member = _member(state, program_id, lead_id)
        membership = {name: member[name] for name in ("acquiredBy", "membershipDate", "reachedSuccess")}
        membership["progressionStatus"] = member["statusName"]
        result.append({**told(state.leads[lead_id], fields), "membership": membership})
    return ok(result, nextPageToken=token)


def set_status(state: MarketoState, received: Received) -> Answer:
    """`POST /rest/v1/programs/{programId}/members/status.json`; it makes members of those that are not."""
    program_id = _program_id(received, 1)
    content = json_object(received, required=("statusName", "input"))
    status = content["statusName"]

    def do(record: dict[str, Any], lead_id: int) -> str:
        _only(record, ("leadId",))
        state.set_member(program_id, lead_id, str(status))
        return "updated"

    return _each(state, content, do)


def change(state: MarketoState, received: Received) -> Answer:
    """`POST /rest/v1/programs/{programId}/members.json`."""
    program_id = _program_id(received, 1)

    def do(record: dict[str, Any], lead_id: int) -> str:
        _only(record, ("leadId", *MEMBER_FIELDS))
        _require_member(state, program_id, lead_id)
        changes = {name: value for name, value in record.items() if name != "leadId"}
        if not all(isinstance(value, str | None) for value in changes.values()):
            raise Reason(1001, "Invalid value. Required of type 'string'")
        state.member_fields[program_id, lead_id] |= changes
        return "updated"

    return _each(state, json_object(received, required=("input",)), do)


def delete(state: MarketoState, received: Received) -> Answer:
    """`POST /rest/v1/programs/{programId}/members/delete.json`."""
    program_id = _program_id(received, 1)

    def do(record: dict[str, Any], lead_id: int) -> str:
        _only(record, ("leadId",))
        _require_member(state, program_id, lead_id)
        state.remove_member(program_id, lead_id)
        return "deleted"

    return _each(state, json_object(received, required=("input",)), do)


def describe(_: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/programs/members/describe.json`."""
    Query(received, ())
    kinds = dict.fromkeys(FILTERS, "string") | {"leadId": "integer", "reachedSuccess": "boolean"}
    fields = [
        {
            "name": name,
            "displayName": name,
            "dataType": kind,
            "updateable": name in MEMBER_FIELDS,
            "crmManaged": False,
            **({"length": 255} if kind == "string" else {}),
        }
        for name, kind in kinds.items()
    ]
    about = {
        "name": "API Program Member",
        "description": "API Program Member Map",
        "createdAt": MADE_AT,
        "updatedAt": MADE_AT,
        "dedupeFields": ["leadId", "programId"],
        "searchableFields": [[name] for name in FILTERS],
        "fields": fields,
    }
    return ok([about])


def _each(state: MarketoState, content: dict[str, Any], do: Callable[[dict[str, Any], int], str]) -> Answer:
    results: list[dict[str, Any]] = []
    for seq, record in enumerate(records(content)):
        lead_id = number(record.get("leadId", ""))
        try:
            results.append({"seq": seq, "leadId": lead_id, "status": do(record, whole(record, "leadId"))})
        except Reason as reason:
            results.append({"seq": seq, "leadId": lead_id, "status": "skipped", **state.failure(reason)})
    return ok(results)


def _member(state: MarketoState, program_id: int, lead_id: int) -> dict[str, Any]:
    status, more = state.members[program_id][lead_id], state.member_fields[program_id, lead_id]
    about = {"leadId": lead_id, "programId": program_id, "statusName": status, "acquiredBy": False}
    reached = status == PROGRAMS[program_id].statuses[-1]
    return {**dict.fromkeys(MEMBER_FIELDS), **about, "reachedSuccess": reached, **more}


def _require_member(state: MarketoState, program_id: int, lead_id: int) -> None:
    if lead_id not in state.members[program_id]:
        raise Reason(1004, f"Lead '{lead_id}' not found in program '{program_id}'")


def _only(record: dict[str, Any], known: tuple[str, ...]) -> None:
    unknown = record.keys() - set(known)
    if unknown:
        raise Reason(1006, f"Field '{min(unknown)}' not found")


def _program_id(received: Received, position: int) -> int:
    program_id = number_in(received, position)
    if program_id not in PROGRAMS:
        fail(1013, f"Program '{program_id}' not found")
    return program_id
