"""Goes on with the events that wait: oldest first, and never where somebody else is at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from prefect.client.orchestration import get_client
from prefect.logging import get_logger
from pydantic import BaseModel, ConfigDict

from prefect_atomic.credentials.base import now
from prefect_atomic.errors import AtomicError, OutboxError
from prefect_atomic.tasks.course import run
from prefect_atomic.webhooks.delivery import THROTTLED, attempt, outbox_of, recorded, removed, said
from prefect_atomic.webhooks.outbox import Held, Outbox
from prefect_atomic.webhooks.pausing import name_of, pause, resume
from prefect_atomic.webhooks.subscription import SUBSCRIPTION_TYPE, WebhookSubscription, resolve

_FAILURES_IN_A_ROW = 3
_PAGE = 200

logger = get_logger("atomic.webhooks")

Report = Callable[[int, int], None]
"""Told how many of how many events were looked at."""


class Redelivery(BaseModel):
    """What redelivery did for a subscription.

    Attributes:
        subscription: The name it is saved under.
        found: How many events waited when it began.
        delivered: How many were delivered.
        failed: How many were tried and failed.
        exhausted: How many the schedule has no further attempt for: they stay until they are tried by hand.
        state: `active`; `paused`: it keeps failing; `busy`: another redelivery was at it, so nothing was done.
    """

    model_config = ConfigDict(frozen=True)

    subscription: str
    found: int = 0
    delivered: int = 0
    failed: int = 0
    exhausted: int = 0
    state: Literal["active", "paused", "busy"] = "active"

    @property
    def waiting(self) -> int:
        """How many of those that were found still wait."""
        return self.found - self.delivered


def redeliver(
    subscription: WebhookSubscription | str, *, retry_all: bool = False, report: Report | None = None
) -> Redelivery:
    """Makes one attempt for each event that is due.

    A paused subscription is probed with one event; if that is delivered it is resumed, and everything that waits is
    tried. Three failures in a row, or a receiver that asks to wait, leave the rest for the next time.

    Args:
        subscription: A `WebhookSubscription`, or the slug of a saved one.
        retry_all: Whether to try every event now, also what is not due yet, and what is exhausted.
        report: Told of the progress.

    Raises:
        RequestError: There is no such subscription.
        OutboxError: Its outbox is not there, or cannot be read.
    """
    to = resolve(subscription)
    outbox = outbox_of(to)
    try:
        with outbox.redelivering() as is_ours:
            if not is_ours:
                return Redelivery(subscription=name_of(to), found=0, state="busy")
            return _Round(to, outbox, retry_all, report or _nobody).played()
    except AtomicError:
        raise
    except Exception as error:  # noqa: BLE001 - a block may raise anything
        why = said(error)
    # Out here, so that it has no context: the text of that may quote an event.
    raise OutboxError(f"outbox: of {name_of(to)} cannot be used: {why}.", transient=True)


def saved_subscriptions() -> list[str]:
    """The slugs of all saved subscriptions, in the order of their names."""
    with get_client(sync_client=True) as client:
        found: list[str] = []
        while True:
            page = {
                "block_types": {"slug": {"any_": [SUBSCRIPTION_TYPE]}},
                "block_documents": {"is_anonymous": {"eq_": False}},
                "limit": _PAGE,
                "offset": len(found),
            }
            answer = client.request("POST", "/block_documents/filter", json=page).json()
            found += [f"{SUBSCRIPTION_TYPE}/{document['name']}" for document in answer]
            if len(answer) < _PAGE:
                return sorted(found)


class _Round:
    """One pass over the events of one subscription."""

    def __init__(self, to: WebhookSubscription, outbox: Outbox, retry_all: bool, report: Report) -> None:
        self._to = to
        self._outbox = outbox
        self._tries_all = retry_all
        self._report = report
        self._found = outbox.count()
        self._delivered = self._failed = self._exhausted = 0

    def played(self) -> Redelivery:
        if not self._to.paused or self._is_well_again():
            self._deliver_the_rest()
        self._report(self._found, self._found)
        return Redelivery(
            subscription=name_of(self._to),
            found=self._found,
            delivered=self._delivered,
            failed=self._failed,
            exhausted=self._exhausted,
            state="paused" if self._to.paused else "active",
        )

    def _is_well_again(self) -> bool:
        """Probes a paused subscription with one event: the oldest that is not known to fail, if there is one."""
        for wants_exhausted in (False, True):
            for held in self._claimed():
                try:
                    if held.entry.is_exhausted is not wants_exhausted:
                        continue
                    # A probe that fails says nothing about its event, so it takes none of its attempts.
                    _, verdict = run(attempt(held.entry, self._to))
                    if verdict != "delivered":
                        self._failed += 1
                        return False
                    run(removed(held))
                    self._delivered += 1
                    resume(self._to)
                    self._tries_all = True  # what failed for days may well be taken now
                    return True
                finally:
                    held.release()
        return False

    def _deliver_the_rest(self) -> None:
        failures, seen = 0, self._delivered
        for held in self._claimed():
            seen += 1
            self._report(min(seen, self._found), self._found)
            try:
                entry = held.entry
                if not self._tries_all and (entry.is_exhausted or entry.due > now()):
                    self._exhausted += entry.is_exhausted
                    continue
                tried, verdict = run(attempt(entry, self._to))
                if verdict == "delivered":
                    run(removed(held))
                    self._delivered += 1
                    failures = 0
                    continue
                run(recorded(held.leave, tried))
                self._failed += 1
                self._exhausted += tried.is_exhausted
                failures += 1
                if verdict == "gone" or (verdict == "exhausted" and not entry.is_exhausted):
                    pause(self._to, tried)
                    return
                if failures == _FAILURES_IN_A_ROW or tried.attempts[-1].status_code in THROTTLED:
                    return
            finally:
                held.release()

    def _claimed(self) -> Iterator[Held]:
        for name in self._outbox.waiting():
            try:
                held = self._outbox.claim(name)
            except ValueError:
                logger.warning("What is stored as %s for %s is no event of this version.", name, name_of(self._to))
                continue
            if held:
                yield held


def _nobody(_done: int, _of: int) -> None:
    pass
