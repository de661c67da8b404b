"""What the sandbox's Atomic has: flows, invocations, cards, users, webhooks and events."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

HOUR = "%Y-%m-%dT%H"
URL_SECONDS = 900.0
BULK_SECONDS = 1.0
SETTINGS = frozenset({"hours", "url_seconds", "bulk_seconds", "flows"})
EVENTS_BY_FILE = "an array of files, each an array of event objects; null if the hour is not processed"


@dataclass(frozen=True)
class ActionFlow:
    """An Action Flow: a draft unless it is published; `required` names the variables that it cannot do without."""

    published: bool = True
    required: tuple[str, ...] = ()


@dataclass(frozen=True)
class SignedFile:
    """A file of events behind a pre-signed URL, as it was when the URL was made."""

    events: list[dict[str, Any]]
    made_at: float
    lives: float


class AtomicState:
    """All that requests change, and what a test sets; `reset` forgets it."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """As at the start: three flows, nothing else."""
        self.flows = {
            "welcome": ActionFlow(),
            "reminder": ActionFlow(required=("name",)),
            "draft": ActionFlow(published=False),
        }
        self.invocations: list[dict[str, Any]] = []
        self.cards: list[dict[str, Any]] = []
        self.users: dict[str, dict[str, Any]] = {}
        self.webhooks: dict[str, dict[str, Any]] = {}
        self.hours: dict[str, list[list[dict[str, Any]]]] = {}
        self.signed: dict[str, SignedFile] = {}
        self.bulk_started: list[float] = []
        self.url_seconds = URL_SECONDS
        self.bulk_seconds = BULK_SECONDS

    def bulk_running(self) -> int:
        """How many bulk tasks run now; with a `bulk_seconds` that was lowered meanwhile, fewer."""
        oldest = time.monotonic() - self.bulk_seconds
        return sum(started > oldest for started in self.bulk_started)

    def shown(self) -> dict[str, object]:
        """What a test may compare with what it asked for; webhooks have their secrets."""
        return {
            "invocations": self.invocations,
            "users": list(self.users.values()),
            "cards": self.cards,
            "webhooks": list(self.webhooks.values()),
        }

    def set(self, data: Mapping[str, Any]) -> None:
        """Sets what a test wants; raises ValueError with a sentence, and then changes nothing."""
        unknown = data.keys() - SETTINGS
        if unknown:
            raise ValueError(f"Atomic has no {', '.join(sorted(unknown))} to set")
        given = {name: value for name, value in data.items() if value is not None}
        flows = {name: _flow(name, flow) for name, flow in _object("flows", given.get("flows", {})).items()}
        hours = _object("hours", given.get("hours", {}))
        for hour, files in hours.items():
            _check_hour(hour, files)
        url_seconds = _seconds("url_seconds", given.get("url_seconds", self.url_seconds))
        bulk_seconds = _seconds("bulk_seconds", given.get("bulk_seconds", self.bulk_seconds))
        self.flows |= flows
        self.hours = {hour: files for hour, files in (self.hours | hours).items() if files is not None}
        self.url_seconds, self.bulk_seconds = url_seconds, bulk_seconds


def now() -> str:
    """The current instant, as answers have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _object(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} should be an object")
    return value


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError(f"{name} is a number of seconds, from 0")
    return float(value)


def _flow(name: str, flow: object) -> ActionFlow:
    expected = f'the flow {name} should be like {{"published": true, "required": ["name"]}}'
    if not isinstance(flow, dict) or flow.keys() - {"published", "required"}:
        raise ValueError(expected)
    published, required = flow.get("published", True), flow.get("required", [])
    if not isinstance(published, bool) or not isinstance(required, list):
        raise ValueError(expected)
    if not all(isinstance(variable, str) for variable in required):
        raise ValueError(expected)
    return ActionFlow(published, tuple(required))


def _check_hour(hour: str, files: object) -> None:
    try:
        right = re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d", hour) and datetime.strptime(hour, HOUR)  # noqa: DTZ007 - UTC
    except ValueError:
        right = None
    if not right:
        raise ValueError(f"an hour looks like 2026-01-31T09, not {hour!r}")
    if files is None:
        return
    if not isinstance(files, list) or not all(isinstance(events, list) for events in files):
        raise ValueError(f"the hour {hour} should be {EVENTS_BY_FILE}")
    if not all(isinstance(event, dict) for events in files for event in events):
        raise ValueError(f"the hour {hour} should be {EVENTS_BY_FILE}")
