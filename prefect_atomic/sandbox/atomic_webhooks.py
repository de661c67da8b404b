"""Atomic's webhook subscriptions: created, listed and removed. The sandbox delivers to none of them."""

import uuid
from typing import Any
from urllib.parse import unquote, urlsplit

from prefect_atomic.sandbox.atomic_request import query, refuse
from prefect_atomic.sandbox.atomic_state import AtomicState, now
from prefect_atomic.sandbox.wire import Answer, Received, read_json

MOST_WEBHOOKS = 100
SCOPES = ("cardTemplateId", "actionFlowConfigId")


def serve(state: AtomicState, received: Received) -> Answer:
    """`GET` and `POST /webhook`, and `DELETE /webhook/{id}`."""
    query(received, ())
    webhook_id = unquote(received.path.rpartition("/webhook")[2].removeprefix("/"))
    if received.method == "DELETE" and webhook_id:
        return _remove(state, webhook_id)
    if webhook_id or received.method == "DELETE":
        refuse("there are GET /webhook, POST /webhook and DELETE /webhook/{id}", status=404)
    return _list(state) if received.method == "GET" else _create(state, read_json(received))


def _list(state: AtomicState) -> Answer:
    webhooks = [{name: webhook[name] for name in webhook if name != "secret"} for webhook in state.webhooks.values()]
    return Answer.of_json({"data": {"webhooks": webhooks}})


def _remove(state: AtomicState, webhook_id: str) -> Answer:
    if state.webhooks.pop(webhook_id, None) is None:
        refuse(f"there is no webhook {webhook_id}", status=404)
    return Answer(204)


def _create(state: AtomicState, given: dict[str, Any]) -> Answer:
    problem = _problem(given)
    if problem:
        refuse(problem)
    if len(state.webhooks) >= MOST_WEBHOOKS:
        refuse(f"an environment has at most {MOST_WEBHOOKS} webhooks; delete one first")
    created = now()
    webhook = {
        "id": str(uuid.uuid4()),
        **given,
        "headers": given.get("headers", {}),
        "secret": str(uuid.uuid4()),
        "created": created,
        "updated": created,
    }
    state.webhooks[webhook["id"]] = webhook
    return Answer.of_json({"data": webhook}, status=201)


def _problem(given: dict[str, Any]) -> str | None:
    unknown = given.keys() - {"types", "url", "headers", *SCOPES}
    if unknown:
        return f"a webhook has no {', '.join(sorted(unknown))}"
    types, url, headers = given.get("types"), given.get("url"), given.get("headers", {})
    if not isinstance(types, list) or not types or not all(isinstance(each, str) and each for each in types):
        return "types should be an array with at least one event type"
    if not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        return "url should be an http or https URL"
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        return "headers should be an object, with a text for each name"
    for scope in SCOPES:
        if not isinstance(given.get(scope, ""), str):
            return f"{scope} should be a text"
    return None
