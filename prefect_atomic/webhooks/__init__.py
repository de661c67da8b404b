"""Webhooks: events that are signed, retried and never lost, on their way to other systems."""

from prefect_atomic.webhooks.entry import Attempt, Delivery
from prefect_atomic.webhooks.redelivery import Redelivery, redeliver, saved_subscriptions
from prefect_atomic.webhooks.signature import verify_webhook
from prefect_atomic.webhooks.subscription import WebhookSubscription
from prefect_atomic.webhooks.webhook import awebhook, webhook

__all__ = [
    "Attempt",
    "Delivery",
    "Redelivery",
    "WebhookSubscription",
    "awebhook",
    "redeliver",
    "saved_subscriptions",
    "verify_webhook",
    "webhook",
]
