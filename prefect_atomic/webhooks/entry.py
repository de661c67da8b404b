"""What became of an event: its attempts, for the caller and for whoever goes on with it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Attempt(BaseModel):
    """One request, and what came of it; nothing in it is secret, or of the event's content.

    Attributes:
        at: When it was sent.
        status_code: The HTTP status; None where no answer arrived.
        problem: Why it did not deliver; None where it did.
        elapsed: Seconds it took.
    """

    model_config = ConfigDict(frozen=True)

    at: datetime
    status_code: int | None = None
    problem: str | None = None
    elapsed: float


class Delivery(BaseModel):
    """What became of an event at one subscription.

    Attributes:
        event_id: The event's id, which the receiver sees as `webhook-id`.
        subscription: The name under which the subscription is saved; its host where it is not.
        state: `delivered`; `waiting` for a later attempt, which redelivery makes; `paused`: it waits until the
            subscription is resumed; `unwanted`: the subscription does not take this type.
        attempts: All attempts so far, oldest first.
        next_attempt_at: From when on the next attempt is made, where one is due.
    """

    model_config = ConfigDict(frozen=True)

    event_id: str
    subscription: str
    state: Literal["delivered", "waiting", "paused", "unwanted"]
    attempts: tuple[Attempt, ...] = ()
    next_attempt_at: datetime | None = None

    @property
    def delivered(self) -> bool:
        return self.state == "delivered"


class Entry(BaseModel):
    """An event in the outbox.

    Attributes:
        event: As it was accepted, with its id.
        stored_at: When it was, in seconds since the epoch.
        due: From when on the next attempt may be made, in seconds since the epoch.
        attempts: All attempts so far.
        is_exhausted: Whether the schedule has no further attempt for it.
        held_until: Until when somebody delivers it, in seconds since the epoch, where no lock tells.
    """

    model_config = ConfigDict(frozen=True)

    event: dict[str, Any]
    stored_at: float
    due: float
    attempts: tuple[Attempt, ...] = ()
    is_exhausted: bool = False
    held_until: float = 0.0

    def after(self, attempt: Attempt, **changes: Any) -> Entry:
        return self.model_copy(update={"attempts": (*self.attempts, attempt), **changes})

    def to_json(self) -> bytes:
        return self.model_dump_json().encode()

    @classmethod
    def from_json(cls, content: bytes) -> Entry:
        return cls.model_validate_json(content)
