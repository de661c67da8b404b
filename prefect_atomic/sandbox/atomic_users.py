"""Atomic's users: listed, created and changed."""

from typing import Any

from prefect_atomic.sandbox.atomic_request import MOST, json_list, page, query, refuse
from prefect_atomic.sandbox.atomic_state import AtomicState, now
from prefect_atomic.sandbox.wire import Answer, Received


def serve(state: AtomicState, received: Received) -> Answer:
    """`GET /users` and `POST /users`."""
    return _list(state, received) if received.method == "GET" else _upsert(state, received)


def _list(state: AtomicState, received: Received) -> Answer:
    given = query(received, ("limit", "offset", "segmentId"))
    users = list(state.users.values())
    if "segmentId" in given:  # segments are made in the Workbench; here a field of the profile stands for them
        users = [user for user in users if user["profile"].get("segmentId") == given["segmentId"]]
    return Answer.of_json({"data": {"users": page(given, users)}})


def _upsert(state: AtomicState, received: Received) -> Answer:
    query(received, ())
    users = json_list(received)
    if len(users) > MOST:
        refuse(f"a request has at most {MOST} users, not {len(users)}")
    for index, user in enumerate(users):
        if not isinstance(user, dict) or not isinstance(user.get("id"), str) or not user["id"]:
            refuse(f"[{index}]: a user is an object with an id, which is a text; nothing was changed")
        for part in ("profile", "preferences"):
            if not isinstance(user.get(part, {}), dict):
                refuse(f"[{index}]: {part} should be an object; nothing was changed")
    for user in users:
        _change(state, user)
    return Answer.of_json({"data": {"users": [{"id": user["id"]} for user in users]}})


def _change(state: AtomicState, given: dict[str, Any]) -> None:
    known = state.users.setdefault(
        given["id"],
        {"id": given["id"], "preferences": {}, "preferencesUpdated": None, "created": now(), "profile": {}},
    )
    if "preferences" in given:
        known["preferences"] |= given["preferences"]
        known["preferencesUpdated"] = now()
    # where the fields of a profile belong is not known: in `profile`, as a listing has them, or beside the id
    beside = {name: value for name, value in given.items() if name not in known}
    known["profile"] |= beside | given.get("profile", {})
