"""Atomic's own webhook subscriptions: listed, created and deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretStr

from prefect_atomic.errors import RequestError, ResponseError
from prefect_atomic.integrations.atomic.api import Api, listed, parsed, unusable
from prefect_atomic.tasks.course import Course
from prefect_atomic.transport import Response, outgoing
from prefect_atomic.transport.logs import hide_in_logs
from prefect_atomic.transport.redaction import MASK, redact_url
from prefect_atomic.transport.request import header_fault


class AtomicWebhook(BaseModel):
    """A webhook subscription that was created in Atomic.

    Attributes:
        id: What it is deleted by.
        types: The types of events that are delivered.
        url: Where to.
        secret: The secret that came with it. What it is for is not documented; keep it, as it is shown only once.
        created: When it was created, where the answer says so.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, defer_build=True)

    id: str
    types: tuple[str, ...]
    url: str
    secret: SecretStr
    created: datetime | None = None


def body_of(
    types: Sequence[str],
    url: str,
    headers: Mapping[str, str] | None,
    card_template_id: str | None,
    action_flow_config_id: str | None,
) -> dict[str, Any]:
    """What creates a webhook.

    Raises:
        RequestError: An argument cannot be sent.
    """
    if isinstance(types, str) or not types or not all(types):
        raise RequestError('types: takes the types of events to deliver, such as ["card-completed"].')
    outgoing("POST", url)
    for name, value in (headers or {}).items():
        if fault := header_fault(name, value):
            raise RequestError(f"headers: {fault}")
    given = {
        "types": list(types),
        "url": url,
        "headers": dict(headers) if headers else None,
        "cardTemplateId": card_template_id,
        "actionFlowConfigId": action_flow_config_id,
    }
    return {name: value for name, value in given.items() if value is not None}


def create(api: Api, body: Mapping[str, Any]) -> Course[AtomicWebhook]:
    """Creates a webhook."""
    step = api.ask(json=body, secrets=tuple(body.get("headers", {}).values()))
    response: Response = yield step
    answer = parsed(step.request, response, is_secret=True)
    created = answer.get("data", answer) if isinstance(answer, dict) else None
    if not isinstance(created, dict) or not isinstance(created.get("secret"), str) or not created.get("id"):
        raise unusable(step.request, response, '{"data": {"id": ..., "secret": ...}}', is_secret=True)
    hide_in_logs((created["secret"],))
    return AtomicWebhook(
        id=str(created["id"]),
        types=tuple(body["types"]),
        url=body["url"],
        secret=SecretStr(created["secret"]),
        created=_instant(created.get("created")),
    )


def list_all(api: Api) -> Course[list[dict[str, Any]]]:
    """All webhooks, without what is secret of them."""
    step = api.ask()
    response: Response = yield step
    return [_masked(webhook) for webhook in listed(step.request, response, "webhooks", is_secret=True)]


def delete(api: Api, webhook_id: str) -> Course[None]:
    """Deletes a webhook."""
    try:
        yield api.ask(id=webhook_id)
    except ResponseError as error:
        # Whoever asks again because the first answer was lost finds nothing: that was what the first did.
        if error.response.status_code != 404 or error.response.attempts == 1:
            raise


def _instant(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _masked(webhook: dict[str, Any]) -> dict[str, Any]:
    masked = dict(webhook)
    if "secret" in masked:
        masked["secret"] = MASK
    if isinstance(masked.get("headers"), dict):
        masked["headers"] = dict.fromkeys(masked["headers"], MASK)
    if isinstance(masked.get("url"), str):
        masked["url"] = redact_url(masked["url"])
    return masked
