"""What Atomic's API can do: the method and path of each operation, and the roles that may ask for it.

Paths are relative to `/v1/{environmentId}/`. What the documentation leaves open can be set in the block.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from prefect_atomic.errors import RequestError

_EVENTS = ("events",)
_WORKBENCH = ("workbench",)


class Operation(NamedTuple):
    method: str
    path: str
    roles: tuple[str, ...]


OPERATIONS: Mapping[str, Operation] = {
    # documented: api/action-flow-api, api/card-api, api/users-api, api/webhooks, guide/analytics/overview
    "start_action_flow": Operation("POST", "action-flow/{id}/start", _EVENTS),
    "test_action_flow": Operation("POST", "action-flow/{id}/test", _EVENTS),
    "cards": Operation("GET", "cards", _EVENTS),
    "users": Operation("GET", "users", ("events", "workbench")),
    "create_webhook": Operation("POST", "webhook", _WORKBENCH),
    "analytics": Operation("GET", "analytics/batched", ("events", "workbench")),
    # not confirmed: that there is such an operation is documented, or what others' code does
    "cancel_cards": Operation("PUT", "cards/cancel", _EVENTS),
    "upsert_users": Operation("POST", "users", ("events", "workbench")),
    "webhooks": Operation("GET", "webhook", _WORKBENCH),
    "delete_webhook": Operation("DELETE", "webhook/{id}", _WORKBENCH),
}

_OVERRIDE = re.compile(r"(GET|POST|PUT|PATCH|DELETE) ((?:[A-Za-z0-9._~-]+|\{id\})(?:/(?:[A-Za-z0-9._~-]+|\{id\}))*)")


def check_overrides(overrides: Mapping[str, str]) -> None:
    """Raises ValueError where an override is none: says which, and what it should look like."""
    for name, text in overrides.items():
        if name not in OPERATIONS:
            raise ValueError(f"there is no operation {name!r}; there are {', '.join(OPERATIONS)}")
        operation = OPERATIONS[name]
        usual = f"`{operation.method} {operation.path}`"
        read = _OVERRIDE.fullmatch(text)
        if not read or {".", ".."} & set(read[2].split("/")):
            raise ValueError(f"{name}: is not a method and a path without a slash in front, such as {usual}")
        if read[2].count("{id}") != operation.path.count("{id}"):
            has = "needs {id} once" if "{id}" in operation.path else "has no {id}"
            raise ValueError(f"{name}: {has}, as in {usual}")


def operation_of(name: str, overrides: Mapping[str, str], role: str, who: str) -> Operation:
    """The operation as a block has it.

    Raises:
        RequestError: Clients of the block's role may not ask for it.
    """
    operation = OPERATIONS[name]
    if role not in operation.roles:
        raise RequestError(
            f"{who}: {name} needs a client of the role {' or '.join(operation.roles)}, and role is {role}; "
            "save that client in a block of its own."
        )
    if name in overrides:
        method, _, path = overrides[name].partition(" ")
        return operation._replace(method=method, path=path)
    return operation
