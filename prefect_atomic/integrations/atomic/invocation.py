"""What starts an Action Flow for somebody, checked before anything is sent, and what became of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple
from uuid import NAMESPACE_URL, uuid4, uuid5

from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from prefect_atomic.errors import InvocationError, RequestError

_TARGETS = {"users_by_id": "usersById", "all_test_users": "allTestUsers"}
_NOT_BULK = frozenset({"usersById", "allTestUsers", "attributes"})
_PARTS = ("variables", "cardOptions", "metadata", "notificationDetail")
_IN_SNAKE_CASE = {"card_options": "cardOptions", "notification_detail": "notificationDetail"}


class Invocation(BaseModel):
    """Whom an Action Flow is started for, and with what.

    Names are taken as Atomic writes them, such as `flowInvocationId` and `cardOptions`, and in snake_case.

    Attributes:
        target: Whom it reaches, such as `{"usersById": ["123"]}`.
        payload: What it is started with: `variables`, `cardOptions`, `metadata` and `notificationDetail`.
        flow_invocation_id: The id that Atomic puts on everything that comes of it; None = one is derived.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True, defer_build=True
    )

    target: dict[str, Any] = Field(min_length=1)
    payload: dict[str, Any] = Field(default_factory=dict)
    flow_invocation_id: str | None = Field(None, alias="flowInvocationId", min_length=1)

    @field_validator("target")
    @classmethod
    def _reaches_somebody(cls, target: dict[str, Any]) -> dict[str, Any]:
        target = {_TARGETS.get(name, name): value for name, value in target.items()}
        for name, value in target.items():
            if value is None or value in ("", [], {}):  # it must not end up reaching everybody
                raise ValueError(f"{name} is empty")
        users = target.get("usersById", ["1"])
        if not isinstance(users, list | tuple) or not all(isinstance(user, str) and user for user in users):
            raise ValueError('usersById is a list of user ids, each a text, such as ["123"]')
        return _checked(target)

    @field_validator("payload")
    @classmethod
    def _has_the_known_parts(cls, payload: dict[str, Any]) -> dict[str, Any]:
        payload = {_IN_SNAKE_CASE.get(name, name): value for name, value in payload.items()}
        for name, part in payload.items():
            if name not in _PARTS:
                raise ValueError(f"has no {name[:100]}; it has {', '.join(_PARTS)}")
            if not isinstance(part, Mapping):
                raise ValueError(f"{name} is a mapping, not {type(part).__name__}")
        priority = payload.get("cardOptions", {}).get("priority", 1)
        if type(priority) is not int or not 1 <= priority <= 10:
            raise ValueError("cardOptions.priority is a whole number from 1 to 10")
        return _checked(payload)

    @property
    def is_bulk(self) -> bool:
        """Whether it counts as a bulk target, of which Atomic runs five at once."""
        return not _NOT_BULK.issuperset(self.target)


class InvocationOutcome(BaseModel):
    """What became of an invocation.

    Attributes:
        position: Where it stood among those that were given, from 0.
        flow_invocation_id: The id it was sent with.
        state: `started`; `refused` by Atomic; `unknown`, where no answer said; or `not sent`.
        reason: Why it was not started, or why that is not known.
        flow_instance_ids: The instances of the flow, one for each user, where the answer had them.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    position: int
    flow_invocation_id: str
    state: Literal["started", "refused", "unknown", "not sent"]
    reason: str | None = None
    flow_instance_ids: tuple[str, ...] = ()


class Numbered(NamedTuple):
    """An invocation with its position and its id."""

    position: int
    invocation: Invocation
    id: str


def numbered(invocations: Iterable[Invocation | Mapping[str, Any]], *, of: str) -> list[Numbered]:
    """Checks invocations and gives each its id.

    Args:
        invocations: What was given.
        of: What they are for: the same invocation for something else gets another id.

    Raises:
        RequestError: One of them cannot be sent; says which, which field, and why.
    """
    if isinstance(invocations, str | bytes | Mapping | Invocation):
        raise RequestError('invocations: takes a list of them, such as [{"target": {"usersById": ["123"]}}].')
    # Prefect runs a flow again under the same id: what it sends again then is known by the same ids.
    run = flow_run.id or uuid4()
    before, places = Counter[str](), dict[str, int]()
    result = []
    for position, given in enumerate(invocations):
        invocation = _read(position, given)
        invocation_id = invocation.flow_invocation_id
        if invocation_id is None:
            about = json.dumps([str(run), of, invocation.target, invocation.payload], sort_keys=True)
            invocation_id = str(uuid5(NAMESPACE_URL, f"prefect-atomic-invocation:{before[about]}:{about}"))
            before[about] += 1
        elif (place := places.setdefault(invocation_id, position)) != position:
            raise RequestError(
                f"invocations[{position}]: flowInvocationId: is that of invocations[{place}]; each has its own."
            )
        result.append(Numbered(position, invocation, invocation_id))
    return result


def failure(outcomes: Sequence[InvocationOutcome]) -> InvocationError | None:
    """The error for outcomes of which some are not a start; None where all are."""
    failed = [outcome for outcome in outcomes if outcome.state != "started"]
    if not failed:
        return None
    counts = ", ".join(f"{count} {state}" for state, count in Counter(outcome.state for outcome in failed).items())
    first = failed[0]
    return InvocationError(
        f"{len(failed)} of {len(outcomes)} invocations were not surely started: {counts}. The first is "
        f"invocations[{first.position}] (flowInvocationId {first.flow_invocation_id[:100]}), {first.state}: "
        f"{first.reason}",
        outcomes=tuple(outcomes),
    )


def _read(position: int, given: object) -> Invocation:
    if isinstance(given, Invocation):
        return given
    if not isinstance(given, Mapping):
        raise RequestError(
            f"invocations[{position}]: is a {type(given).__name__}; give an Invocation, or a mapping such as "
            '{"target": {"usersById": ["123"]}}.'
        )
    try:
        return Invocation.model_validate(dict(given))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
    # Out here, so that it has no context: that holds what was given.
    told = "; ".join(
        f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].removeprefix('Value error, ')}" for fault in faults
    )
    raise RequestError(f"invocations[{position}]: {told}.")


def _checked(part: dict[str, Any]) -> dict[str, Any]:
    """The same, if JSON can carry it."""
    try:
        json.dumps(part, allow_nan=False, ensure_ascii=False, sort_keys=True).encode()
    except (TypeError, ValueError, RecursionError) as error:
        told = str(error) if isinstance(error, TypeError) else type(error).__name__
    else:
        return part
    raise ValueError(f"holds something that is no JSON ({told}); write dates as text, and numbers as JSON has them")
