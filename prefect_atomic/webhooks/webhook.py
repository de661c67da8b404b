"""Tell another system that something happened: Atomic's webhook subscriptions as a Prefect task."""

from __future__ import annotations

from uuid import NAMESPACE_URL, uuid4, uuid5

from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run
from prefect.tasks import task

from prefect_atomic.errors import RequestError
from prefect_atomic.tasks.course import arun, run
from prefect_atomic.tasks.saved import is_slug
from prefect_atomic.webhooks.delivery import deliver
from prefect_atomic.webhooks.entry import Delivery
from prefect_atomic.webhooks.event import Event
from prefect_atomic.webhooks.pausing import name_of
from prefect_atomic.webhooks.subscription import WebhookSubscription, aresolve, resolve

MAX_WAIT = 30.0
"""Seconds that a task waits before another attempt; for a longer delay the event is left to redelivery."""


def _run_name() -> str:
    subscription: object = task_run.parameters.get("subscription")
    if isinstance(subscription, WebhookSubscription):
        return f"webhook {name_of(subscription)}"
    return f"webhook {subscription if isinstance(subscription, str) and is_slug(subscription) else 'nowhere'}"


# Prefect's cache keys leave secrets out: with a cache, an event would not be delivered where it was to another.
@task(name="webhook", task_run_name=_run_name, cache_policy=NO_CACHE)
def webhook(event: Event, subscription: WebhookSubscription | str, *, max_wait: float = MAX_WAIT) -> Delivery:
    """Delivers an event to a subscription, at least once, whatever crashes from now on.

    The event is stored in the subscription's outbox before the first attempt, and removed when it is delivered.

    Args:
        event: A JSON mapping with a `type`. It gets an `id` and a `timestamp` where it has none.
        subscription: A `WebhookSubscription`, or the slug of a saved one, such as
            `atomic-webhook-subscription/crm`.
        max_wait: The longest to wait here before another attempt, in seconds. For a longer delay the event is left to
            redelivery, see `flows/redeliver_webhooks.py`.

    Returns:
        What became of it: delivered, or what it waits for, and all attempts.

    Raises:
        RequestError: The event, the template or the subscription cannot be used; nothing was sent or stored.
        OutboxError: The event could not be stored, so it was not sent.
    """
    _refuse_unless_seconds(max_wait)
    return run(deliver(event, resolve(subscription), fallback_id=_fallback_id(), max_wait=max_wait))


@task(name="awebhook", task_run_name=_run_name, cache_policy=NO_CACHE)
async def awebhook(event: Event, subscription: WebhookSubscription | str, *, max_wait: float = MAX_WAIT) -> Delivery:
    """The same as `webhook`, for asynchronous flows: arguments, result and errors are those."""
    _refuse_unless_seconds(max_wait)
    return await arun(deliver(event, await aresolve(subscription), fallback_id=_fallback_id(), max_wait=max_wait))


def _fallback_id() -> str:
    """An id for an event that has none: the same when Prefect runs the task again."""
    run_id = task_run.id
    return f"evt_{(uuid5(NAMESPACE_URL, f'prefect-task-run:{run_id}') if run_id else uuid4()).hex}"


def _refuse_unless_seconds(max_wait: object) -> None:
    if not isinstance(max_wait, int | float) or isinstance(max_wait, bool) or not 0 <= max_wait <= 3600:
        raise RequestError("max_wait: is a number of seconds, from 0 to 3600.")
