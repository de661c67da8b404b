"""Atomic's Action Flows: started for users, or tested."""

import re
import time
import uuid
from typing import Any
from urllib.parse import unquote

from prefect_atomic.sandbox.atomic_request import MOST, refuse
from prefect_atomic.sandbox.atomic_state import ActionFlow, AtomicState, now
from prefect_atomic.sandbox.wire import Answer, Received, read_json

MOST_BULK = 5
BULK = frozenset({"tags", "segment", "segmentId", "filter"})
ENTRY = frozenset({"target", "payload", "flowInvocationId"})
PAYLOAD = frozenset({"variables", "cardOptions", "metadata", "notificationDetail"})


def run(state: AtomicState, received: Received) -> Answer:
    """`/action-flow/{id}/start` and `/test`: all flows of the request, or none."""
    operation = re.search(r"/action-flow/([^/]+)/(start|test)$", received.path)
    if operation is None:
        refuse("the path should end with /action-flow/{id}/start or /action-flow/{id}/test", status=404)
    flow_id, test = unquote(operation[1]), operation[2] == "test"
    flow = state.flows.get(flow_id)
    if flow is None:
        refuse(f"there is no Action Flow {flow_id}; there are {', '.join(state.flows)}", status=404)
    if not (flow.published or test):
        refuse(f"the Action Flow {flow_id} is a draft: publish it, or use /test", status=409)
    entries = _entries(read_json(received), flow)
    _begin_bulk(state, sum(not BULK.isdisjoint(entry["target"]) for entry in entries))
    return Answer.of_json({"data": {"flows": [_invoked(state, flow_id, entry, test=test) for entry in entries]}})


def _entries(content: dict[str, Any], flow: ActionFlow) -> list[dict[str, Any]]:
    entries = content.get("flows")
    if content.keys() != {"flows"} or not isinstance(entries, list) or not entries:
        refuse('the body should be {"flows": [...]}, with at least one entry')
    if len(entries) > MOST:
        refuse(f"a request has at most {MOST} flows, not {len(entries)}")
    for index, entry in enumerate(entries):
        problem = _problem(entry, flow)
        if problem:
            refuse(f"flows[{index}]: {problem}; nothing was started")
    return entries


def _problem(entry: Any, flow: ActionFlow) -> str | None:
    if not isinstance(entry, dict):
        return "an entry is an object"
    unknown = entry.keys() - ENTRY
    if unknown:
        return f"an entry has no {', '.join(sorted(unknown))}"
    invocation = entry.get("flowInvocationId", "generated")
    if not isinstance(invocation, str) or not invocation:
        return "flowInvocationId should be a text"
    return _problem_of_target(entry.get("target")) or _problem_of_payload(entry.get("payload", {}), flow)


def _problem_of_target(target: Any) -> str | None:
    if not isinstance(target, dict) or not target:
        return 'target is missing; it is an object such as {"usersById": ["123"]}'
    users = target.get("usersById", ["123"])
    if not isinstance(users, list) or not users or not all(isinstance(user, str) and user for user in users):
        return "target.usersById should be an array with at least one user id, each a text"
    return None


def _problem_of_payload(payload: Any, flow: ActionFlow) -> str | None:
    if not isinstance(payload, dict):
        return "payload should be an object"
    unknown = payload.keys() - PAYLOAD
    if unknown:
        return f"payload has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(PAYLOAD))}"
    for name, part in payload.items():
        if not isinstance(part, dict):
            return f"payload.{name} should be an object"
    missing = [name for name in flow.required if name not in payload.get("variables", {})]
    if missing:
        return f"this Action Flow requires a variable that is missing: {', '.join(missing)}"
    priority = payload.get("cardOptions", {}).get("priority", 1)
    if type(priority) is not int or not 1 <= priority <= 10:
        return "payload.cardOptions.priority should be a whole number from 1 to 10"
    return None


def _begin_bulk(state: AtomicState, asked: int) -> None:
    if not asked:
        return
    running = state.bulk_running()
    if running + asked > MOST_BULK:
        reason = f"{running} bulk tasks run, {asked} more were asked for, and {MOST_BULK} may run; nothing was started"
        refuse(reason, status=429, headers={"Retry-After": "1"})
    state.bulk_started += [time.monotonic()] * asked


def _invoked(state: AtomicState, flow_id: str, entry: dict[str, Any], *, test: bool) -> dict[str, Any]:
    target, payload = entry["target"], entry.get("payload", {})
    invocation = entry.get("flowInvocationId", str(uuid.uuid4()))
    # a repeated flowInvocationId starts the flow again: whether Atomic would de-duplicate it is not known
    state.invocations.append(
        {"actionFlowId": flow_id, "flowInvocationId": invocation, "target": target, "payload": payload, "test": test}
    )
    instances = {user: str(uuid.uuid4()) for user in target.get("usersById", [])}
    if not test:  # a test reaches test users only, and the sandbox has none
        created = now()
        state.cards += [
            {
                "cardInstanceId": str(uuid.uuid4()),
                "cardTemplateId": f"{flow_id}-card",
                "flowInstanceId": instance,
                "flowInvocationId": invocation,
                "lifecycleId": payload.get("metadata", {}).get("lifecycleId"),
                "userId": user,
                "status": "active",
                "created": created,
                "updated": created,
                "payload": {**payload, "target": target},
            }
            for user, instance in instances.items()
        ]
    return {"flowInvocationId": invocation, "flowInstanceIds": list(instances.values())}
