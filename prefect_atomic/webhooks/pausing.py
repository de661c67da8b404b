"""Pausing and resuming a subscription, in its saved block, so that every process knows."""

from __future__ import annotations

from typing import Any
from uuid import uuid5

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect.client.schemas.objects import BlockDocument
from prefect.events import emit_event
from prefect.logging import get_logger

from prefect_atomic.tokens import seal_for
from prefect_atomic.webhooks.entry import Entry
from prefect_atomic.webhooks.subscription import WebhookSubscription

PAUSED, RESUMED = "atomic.webhook.paused", "atomic.webhook.resumed"

logger = get_logger("atomic.webhooks")


def key_of(subscription: WebhookSubscription) -> str:
    """What tells the events of a subscription from those of others: the id of its saved block, which never changes.

    One that is not saved is told by all that is in it, secrets included: two tenants of one receiver have one URL.
    """
    if identifier := subscription._block_document_id:
        return str(identifier)
    return f"unsaved-{seal_for(('webhook subscription', *subscription.identity(without=('paused',)))).name[:32]}"


def name_of(subscription: WebhookSubscription) -> str:
    """The name it is saved under; its host where it is not saved."""
    return subscription._block_document_name or httpx.URL(subscription.url).host


def pause(subscription: WebhookSubscription, entry: Entry) -> None:
    """Has events wait from now on; the entry is the one that could not be delivered."""
    reason = entry.attempts[-1].problem or ""
    logger.error("The webhook subscription %s is paused: %s", name_of(subscription), reason)
    _switch(subscription, PAUSED, paused=True, reason=reason, event_id=entry.event["id"], attempts=len(entry.attempts))


def resume(subscription: WebhookSubscription) -> None:
    """Has events delivered again."""
    _switch(subscription, RESUMED, paused=False)


def _switch(subscription: WebhookSubscription, event: str, *, paused: bool, **payload: str | int) -> None:
    subscription.paused = paused
    identifier = subscription._block_document_id
    if identifier is None:
        logger.warning("The subscription to %s is not saved, so nobody else knows of this.", name_of(subscription))
        return
    try:
        with get_client(sync_client=True) as client:
            document = client.read_block_document(identifier, include_secrets=False)
            if document.data.get("paused") is paused:
                return  # another process was first
            # Merged: what somebody entered in the form meanwhile, such as a new secret, stays.
            data = {"paused": paused, **_references(document)}
            client.update_block_document(identifier, BlockDocumentUpdate(data=data))
    except Exception as error:  # noqa: BLE001 - no API, or it does not answer: the event waits all the same
        logger.warning("Whether %s is paused cannot be saved: %s", name_of(subscription), type(error).__name__)
        return
    emit_event(
        event,
        resource={
            "prefect.resource.id": f"prefect.block-document.{identifier}",
            "prefect.resource.name": name_of(subscription),
        },
        payload=dict(payload),
        # The same for all that change it at the same moment: Prefect takes an event with an id once.
        id=uuid5(identifier, f"{event} {document.updated}"),
    )


def _references(document: BlockDocument) -> dict[str, Any]:
    """The credential, if it is a saved one: even an update that is merged drops what it does not refer to again."""
    return {
        name: {"$ref": {"block_document_id": reference["block_document"]["id"]}}
        for name, reference in document.block_document_references.items()
    }
