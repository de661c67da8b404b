"""The delivery of one event: its attempts, the schedule, and what is left to redelivery."""

from __future__ import annotations

import http
import logging
import os
import random
import time
from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

import httpx
from prefect.exceptions import MissingContextError
from prefect.filesystems import WritableFileSystem
from prefect.logging import get_logger, get_run_logger

from prefect_atomic.credentials.base import now
from prefect_atomic.errors import AtomicError, OutboxError, ResponseError, TransportError
from prefect_atomic.settings import outbox_folder, settings
from prefect_atomic.tasks.course import Course, Do, Send, Step, Wait
from prefect_atomic.tasks.saved import Saved
from prefect_atomic.transport import Policy, Retry, outgoing
from prefect_atomic.transport.logs import hide_in_logs
from prefect_atomic.transport.redaction import scrub
from prefect_atomic.transport.retry import retry_after
from prefect_atomic.webhooks.entry import Attempt, Delivery, Entry
from prefect_atomic.webhooks.event import Event, complete
from prefect_atomic.webhooks.outbox import FolderOutbox, Held, Outbox
from prefect_atomic.webhooks.pausing import key_of, name_of, pause
from prefect_atomic.webhooks.signature import sign
from prefect_atomic.webhooks.subscription import WebhookSubscription

_MOST_OF_AN_ANSWER = 64 * 1024  # its status is all that counts; what is read to its end leaves the connection usable
_LONGEST_RETRY_AFTER = 24 * 3600.0
_JITTER = 0.1
_GONE = 410
THROTTLED = frozenset({429, 503})
Verdict = Literal["delivered", "retry", "exhausted", "gone"]
"""What an attempt says of the event; the last two, that the subscription is to be paused."""

_OUTBOXES = Saved("outbox", "local-file-system/outbox", OutboxError)


def deliver(event: Event, subscription: WebhookSubscription, *, fallback_id: str, max_wait: float) -> Course[Delivery]:
    """The course of an event from its acceptance to its delivery, or to where redelivery goes on with it."""
    accepted = complete(event, fallback_id=fallback_id)
    if not subscription.wants(accepted["type"]):
        return Delivery(event_id=accepted["id"], subscription=name_of(subscription), state="unwanted")
    subscription.body_of(accepted)  # what the template cannot shape is refused before it is stored
    outbox = yield Do(partial(outbox_of, subscription, max_wait=max_wait))
    moment = now()
    held: Held = yield from _stored(outbox, Entry(event=accepted, stored_at=moment, due=moment), subscription)
    try:
        if subscription.paused:
            yield from recorded(held.leave, held.entry)
            return outcome(subscription, held.entry, "paused")
        while True:
            entry, verdict = yield from attempt(held.entry, subscription)
            if verdict == "delivered":
                yield from removed(held)
                return outcome(subscription, entry, "delivered")
            if verdict in ("gone", "exhausted"):
                yield from recorded(held.leave, entry)
                yield Do(partial(pause, subscription, entry))
                return outcome(subscription, entry, "paused")
            if (wait := entry.due - now()) > max_wait:
                yield from recorded(held.leave, entry)
                _logger().info("Webhook %s waits for redelivery, in %.0f s or later.", accepted["id"], wait)
                return outcome(subscription, entry, "waiting")
            yield from recorded(held.keep, entry)
            held.entry = entry
            yield Wait(max(0.0, wait))
    finally:
        held.release()


def attempt(entry: Entry, subscription: WebhookSubscription) -> Course[tuple[Entry, Verdict]]:
    """One attempt. Returns the entry with it, and when the next is due."""
    made, asked = yield from _sent(entry.event, subscription)
    if made.problem is None:
        return entry.after(made), "delivered"
    number, delays = len(entry.attempts) + 1, subscription.retry_delays
    _logger().warning(
        "Webhook %s to %s: attempt %d failed: %s", entry.event["id"], name_of(subscription), number, made.problem
    )
    if made.status_code == _GONE:
        return entry.after(made, due=now()), "gone"
    if number > len(delays):
        return entry.after(made, due=now(), is_exhausted=True), "exhausted"
    if made.status_code in THROTTLED and asked is not None:
        delay = min(asked, _LONGEST_RETRY_AFTER)
    else:
        delay = delays[number - 1] * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - jitter
    return entry.after(made, due=now() + delay), "retry"


def outcome(
    subscription: WebhookSubscription, entry: Entry, state: Literal["delivered", "waiting", "paused"]
) -> Delivery:
    return Delivery(
        event_id=entry.event["id"],
        subscription=name_of(subscription),
        state=state,
        attempts=entry.attempts,
        next_attempt_at=datetime.fromtimestamp(entry.due, UTC) if state == "waiting" else None,
    )


def removed(held: Held) -> Generator[Step, Any, None]:
    """Removes what was delivered; where that fails it will be delivered once more, and that is all."""
    try:
        yield Do(held.remove)
    except Exception as error:  # noqa: BLE001 - a block may raise anything
        _logger().warning("Webhook %s was delivered, and cannot be removed: %s", held.entry.event["id"], said(error))


def outbox_of(subscription: WebhookSubscription, *, max_wait: float = 0.0) -> Outbox:
    """Where the events of a subscription wait.

    Raises:
        OutboxError: The block that the subscription names is not there, or can keep no events.
    """
    if subscription.outbox is None:
        return FolderOutbox(outbox_folder() / key_of(subscription))
    block = _OUTBOXES.load(subscription.outbox)
    if not isinstance(block, WritableFileSystem):
        raise OutboxError(
            f"outbox: {subscription.outbox!r} is a {type(block).__name__}, which is no file system that can be written."
        )
    from prefect_atomic.webhooks.block_outbox import BlockOutbox

    # An attempt that gets its token, connects, sends and receives as slowly as it may, and the wait before the next.
    lease = settings().token_lease + settings().token_request_timeout + 4 * subscription.timeout + max_wait + 30.0
    return BlockOutbox(block, subscription.outbox, key_of(subscription), lease=lease)


def _sent(event: Mapping[str, Any], subscription: WebhookSubscription) -> Course[tuple[Attempt, float | None]]:
    moment, started = now(), time.perf_counter()
    status: int | None = None
    asked: float | None = None
    problem: str | None = None
    try:
        body = subscription.body_of(event)
        headers = {"Content-Type": "application/json"}
        if subscription.headers:
            own = subscription.headers.get_secret_value()
            headers = {**({} if "content-type" in {name.lower() for name in own} else headers), **own}
        headers |= {"webhook-id": event["id"], "webhook-timestamp": str(int(moment))}
        if subscription.signing_secret:
            secret = subscription.signing_secret.get_secret_value()
            headers["webhook-signature"] = sign(event["id"], int(moment), body, secret)
        hide_in_logs(subscription.known_secrets())
        request = outgoing(
            subscription.method, subscription.url, content=body, headers=headers, timeout=subscription.timeout
        )
        response = yield Send(request, subscription.credential, _policy(subscription))
        status, asked = response.status_code, retry_after(response.headers)
    except ResponseError as error:  # an answer that is too long, or does not decode
        status, asked = error.response.status_code, retry_after(error.response.headers)
    except TransportError as error:
        problem = error.reason  # its text has the path of the URL, often a secret, and may quote what was received
    except AtomicError as error:
        problem = scrub(str(error), subscription.known_secrets())
    if status is not None and not 200 <= status < 300:
        problem = f"answered {status} {_phrase(status)}".rstrip()
    made = Attempt(
        at=datetime.fromtimestamp(moment, UTC),
        status_code=status,
        problem=problem,
        elapsed=time.perf_counter() - started,
    )
    return made, asked


def _policy(subscription: WebhookSubscription) -> Policy:
    return Policy(
        retry=Retry(attempts=1),
        raise_for_status=False,
        max_response_bytes=_MOST_OF_AN_ANSWER,
        allow_private_networks=subscription.allow_private_networks,
        patience=subscription.timeout,
    )


def _stored(outbox: Outbox, entry: Entry, subscription: WebhookSubscription) -> Generator[Step, Any, Held]:
    try:
        held: Held = yield Do(partial(outbox.put, entry))
    except Exception as error:  # noqa: BLE001 - a block may raise anything
        why, passes = said(error), isinstance(error, OSError | httpx.TransportError)
    else:
        return held
    where = subscription.outbox or "the folder of PREFECT_HOME, or of PREFECT_ATOMIC_OUTBOX_PATH"
    # Out here, so that it has no context: the text of that may quote the event.
    raise OutboxError(f"outbox: the event could not be stored in {where}, so it was not sent: {why}.", transient=passes)


def recorded(store: Any, entry: Entry) -> Generator[Step, Any, None]:
    """Stores what became of an event; where that fails, the outbox still has it as it was before."""
    try:
        yield Do(partial(store, entry))
    except Exception as error:  # noqa: BLE001 - a block may raise anything
        _logger().warning("The attempts of webhook %s cannot be recorded: %s", entry.event["id"], said(error))


def said(error: Exception) -> str:
    # The text of others' errors may quote what they were to write, or how they signed in.
    if isinstance(error, OSError) and error.errno:
        return f"{os.strerror(error.errno)} ({error.filename})"
    return type(error).__name__


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""


def _logger() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("atomic.webhooks")
