"""Marketo Engage: its identity, its REST API for leads and what belongs to them, and its bulk API.

Sources: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/rest-api and the pages below it, and
Adobe's description of the API. Where they leave something open, the sandbox is strict; each module says how.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from prefect_atomic.sandbox import (
    marketo_activities,
    marketo_bulk,
    marketo_campaigns,
    marketo_leads,
    marketo_lists,
    marketo_objects,
    marketo_programs,
    marketo_usage,
)
from prefect_atomic.sandbox.accounts import MarketoAccount
from prefect_atomic.sandbox.marketo_answers import fail
from prefect_atomic.sandbox.marketo_door import Door
from prefect_atomic.sandbox.marketo_request import stood_for
from prefect_atomic.sandbox.marketo_state import MarketoState
from prefect_atomic.sandbox.marketo_token import Identity
from prefect_atomic.sandbox.tokens import Tokens
from prefect_atomic.sandbox.wire import Answer, Received, Refused, Route

BASE = "/marketo"
Operation = Callable[[MarketoState, Received], Answer]
OPERATIONS: tuple[tuple[str, str, Operation, str], ...] = (
    ("GET", "leads", marketo_leads.read, "leads"),
    ("POST", "leads", marketo_leads.sync, "writes leads"),
    ("GET", "lead/{leadId}", marketo_leads.one, "a lead"),
    ("GET", "leads/describe", marketo_leads.describe, "fields of leads"),
    ("GET", "leads/describe2", marketo_leads.describe2, "fields of leads, and which may be searched"),
    ("POST", "leads/delete", marketo_leads.delete, "deletes leads"),
    ("POST", "leads/push", marketo_leads.push, "writes leads into a program"),
    ("GET", "leads/partitions", marketo_leads.partitions, "partitions"),
    ("POST", "leads/{leadId}/merge", marketo_leads.merge, "merges leads"),
    ("POST", "leads/{leadId}/associate", marketo_leads.associate, "associates a lead with a cookie"),
    ("GET", "leads/programs/{programId}", marketo_programs.leads, "leads of a program"),
    ("GET", "lists", marketo_lists.all_lists, "static lists"),
    ("GET", "lists/{listId}", marketo_lists.one, "a static list"),
    ("GET", "lists/{listId}/leads", marketo_lists.members, "leads on a list"),
    ("POST", "lists/{listId}/leads", marketo_lists.add, "puts leads on a list"),
    ("DELETE", "lists/{listId}/leads", marketo_lists.remove, "takes leads off a list"),
    ("GET", "lists/{listId}/leads/ismember", marketo_lists.is_member, "whether leads are on a list"),
    ("GET", "campaigns", marketo_campaigns.all_campaigns, "smart campaigns"),
    ("GET", "campaigns/{campaignId}", marketo_campaigns.one, "a smart campaign"),
    ("POST", "campaigns/{campaignId}/schedule", marketo_campaigns.schedule, "schedules a batch campaign"),
    ("POST", "campaigns/{campaignId}/trigger", marketo_campaigns.trigger, "requests a trigger campaign"),
    ("GET", "programs/members/describe", marketo_programs.describe, "fields of program members"),
    ("GET", "programs/{programId}/members", marketo_programs.members, "program members"),
    ("POST", "programs/{programId}/members", marketo_programs.change, "changes program members"),
    ("POST", "programs/{programId}/members/status", marketo_programs.set_status, "sets a status in a program"),
    ("POST", "programs/{programId}/members/delete", marketo_programs.delete, "takes leads out of a program"),
    ("GET", "customobjects", marketo_objects.types, "custom objects"),
    ("GET", "customobjects/{apiName}", marketo_objects.read, "records of a custom object"),
    ("POST", "customobjects/{apiName}", marketo_objects.sync, "writes records of a custom object"),
    ("GET", "customobjects/{apiName}/describe", marketo_objects.describe, "a custom object"),
    ("POST", "customobjects/{apiName}/delete", marketo_objects.delete, "deletes records of a custom object"),
    ("GET", "activities", marketo_activities.read, "activities"),
    ("GET", "activities/pagingtoken", marketo_activities.paging_token, "where to begin with activities"),
    ("GET", "activities/types", marketo_activities.types, "types of activities"),
    ("GET", "activities/leadchanges", marketo_activities.lead_changes, "changes of leads"),
    ("GET", "activities/deletedleads", marketo_activities.deleted_leads, "deleted leads"),
    ("POST", "activities/external", marketo_activities.add, "adds custom activities"),
)


class Marketo:
    """One instance, with one custom service."""

    def __init__(self, account: MarketoAccount, tokens: Tokens) -> None:
        self._state = MarketoState()
        self._identity = Identity(account, tokens)
        self._door = Door(self._state, self._identity)

    def routes(self) -> list[Route]:
        """All that it serves."""
        operations: dict[str, dict[str, Operation]] = {}
        about: dict[str, list[str]] = {}
        for path, method, operation, what in self._operations():
            operations.setdefault(path, {})[method] = operation
            about.setdefault(path, []).append(what)
        identity = Route(f"{BASE}/identity/oauth/token", self._issue, "Marketo: a token", frozenset({"GET", "POST"}))
        served = [self._route(path, by_method, ", ".join(about[path])) for path, by_method in operations.items()]
        nowhere = [self._route(path, {}, "nothing else", below=True) for path in ("/rest", "/bulk")]
        return [identity, *served, *nowhere]

    def shown(self) -> dict[str, object]:
        """What it has, and how it was called."""
        return {
            **self._state.shown(),
            "calls": self._door.meter.shown(),
            "tokens_issued": self._identity.issued,
        }

    def set(self, data: Mapping[str, Any]) -> None:
        """Sets what a test wants of it; raises ValueError with a sentence that says what is wrong."""
        self._state.set(data)

    def reset(self) -> None:
        """Forgets all that it has."""
        self._state.reset()
        self._identity.reset()
        self._door.reset()

    def _operations(self) -> list[tuple[str, str, Operation, str]]:
        rest = [(f"/rest/v1/{path}.json", method, operation, about) for method, path, operation, about in OPERATIONS]
        for name, counted in (("usage", marketo_usage.calls), ("errors", marketo_usage.errors)):
            operation = partial(self._counted, counted)
            rest += [
                (f"/rest/v1/stats/{name}.json", "GET", operation, f"{name} of today"),
                (f"/rest/v1/stats/{name}/last7days.json", "GET", operation, f"{name} of seven days"),
            ]
        bulk = [
            (path, method, operation, about)
            for path, operation, methods, about in marketo_bulk.routes()
            for method in sorted(methods)
        ]
        return rest + bulk

    def _route(self, path: str, operations: Mapping[str, Operation], about: str, *, below: bool = False) -> Route:
        # a call of another method is refused at the door, as Marketo does it
        around = partial(self._door.visit, path, frozenset(operations))
        serve = partial(self._serve, operations)
        return Route(f"{BASE}{path}", serve, f"Marketo: {about}", below=below, around=around)

    def _issue(self, received: Received) -> Answer:
        return self._identity.issue(self._state.settings, received)

    def _serve(self, operations: Mapping[str, Operation], received: Received) -> Answer:
        call = stood_for(received)
        try:
            operation = operations.get(call.method) or fail(610, "Requested resource not found")
            return operation(self._state, call)
        except Refused as refusal:
            self._door.note(refusal)
            raise

    def _counted(self, count: Callable[..., Answer], _: MarketoState, received: Received) -> Answer:
        return count(self._door.meter, received)
