"""Static lists, and the leads that are on them.

Source: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/lead-database/static-lists

Not known, and so here: a lead that is put on a list again is `added` again. Where the query and the body both name
leads, they name the same.
"""

from collections.abc import Callable
from typing import Any

from prefect_atomic.sandbox.marketo_answers import Reason, fail, ok
from prefect_atomic.sandbox.marketo_leads import PAGED, listed, sent_ids
from prefect_atomic.sandbox.marketo_pages import page
from prefect_atomic.sandbox.marketo_request import Query, number_in
from prefect_atomic.sandbox.marketo_schema import LISTS
from prefect_atomic.sandbox.marketo_state import MarketoState
from prefect_atomic.sandbox.wire import Answer, Received

MADE_AT = "2026-07-01T00:00:00Z"
WORKSPACE = "Default"


def all_lists(_: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/lists.json`."""
    query = Query(received, PAGED, several=("id", "name", "programName", "workspaceName"))
    ids, names, programs = query.numbers("id"), query.texts("name"), query.texts("programName")
    workspaces = query.texts("workspaceName")
    found = [
        list_id
        for list_id, name in LISTS.items()
        if (not ids or list_id in ids)
        and (not names or name in names)
        and not programs
        and (not workspaces or WORKSPACE in workspaces)
    ]
    shown, token = page(found, query, key=lambda list_id: list_id)
    return ok([_told(list_id) for list_id in shown], nextPageToken=token)


def one(_: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/lists/{listId}.json`."""
    Query(received, ())
    return ok([_told(_list_id(received))])


def members(state: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/lists/{listId}/leads.json`."""
    query = Query(received, PAGED, several=("fields",))
    return listed(state, sorted(state.lists[_list_id(received)]), query)


def add(state: MarketoState, received: Received) -> Answer:
    """`POST /rest/v1/lists/{listId}/leads.json`."""

    def put(on: set[int], lead_id: int) -> str:
        on.add(lead_id)
        return "added"

    return _each(state, received, put)


def remove(state: MarketoState, received: Received) -> Answer:
    """`DELETE /rest/v1/lists/{listId}/leads.json`."""

    def take(off: set[int], lead_id: int) -> str:
        if lead_id not in off:
            raise Reason(1015, f"Lead '{lead_id}' not in list")
        off.remove(lead_id)
        return "removed"

    return _each(state, received, take)


def is_member(state: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/lists/{listId}/leads/ismember.json`."""
    return _each(state, received, lambda of, lead_id: "memberof" if lead_id in of else "notmemberof")


def _each(state: MarketoState, received: Received, do: Callable[[set[int], int], str]) -> Answer:
    leads = state.lists[_list_id(received)]
    results: list[dict[str, Any]] = []
    for lead_id in sent_ids(received):
        try:
            state.require_lead(lead_id)
            results.append({"id": lead_id, "status": do(leads, lead_id)})
        except Reason as reason:
            results.append({"id": lead_id, "status": "skipped", **state.failure(reason)})
    return ok(results)


def _list_id(received: Received) -> int:
    list_id = number_in(received, 1)
    if list_id not in LISTS:
        fail(1013, f"List '{list_id}' not found")
    return list_id


def _told(list_id: int) -> dict[str, Any]:
    about = {"createdAt": MADE_AT, "updatedAt": MADE_AT, "workspaceName": WORKSPACE}
    return {"id": list_id, "name": LISTS[list_id], **about}
