"""Cards: which of them are listed, and which are cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect_atomic.errors import RequestError, ResponseError
from prefect_atomic.integrations.atomic.api import Api, check_number, parsed, unusable
from prefect_atomic.tasks.course import Course
from prefect_atomic.transport import Response

_MOST_AT_ONCE = 1000
_MOST_ROUNDS = 1000


def filters_of(**given: Any) -> dict[str, str | None]:
    """Filters as the API calls them.

    Raises:
        RequestError: One is there and empty: without it, more cards would match than were meant.
    """
    for name, value in given.items():
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise RequestError(f"{name}: is empty, or no text; leave it out where it is not to narrow anything.")
    return {_camel(name): value for name, value in given.items()}


def cancel(api: Api, filters: Mapping[str, str | None], limit: int) -> Course[int]:
    """Cancels what matches, round by round, until none is left; returns how many were cancelled."""
    if not any(filters.values()):
        raise RequestError("cancel_cards: give at least one filter, such as user_id; without any, every card would go.")
    check_number("limit", limit, most=_MOST_AT_ONCE)
    cancelled = 0
    step = api.ask(params={**filters, "multiple": 1, "limit": limit})
    for _ in range(_MOST_ROUNDS):
        response: Response = yield step
        number = _number(parsed(step.request, response))
        if number is None:
            raise unusable(step.request, response, '{"data": {"count": N}}, how many cards were cancelled')
        if number == 0:
            return cancelled
        cancelled += number
    raise ResponseError(
        f"{step.request.method} {response.url} went on cancelling for {_MOST_ROUNDS} rounds, {cancelled} cards in all; "
        "does its answer count others than those that it cancels?",
        response=response,
    )


def _number(answer: Any) -> int | None:
    """How many were cancelled; None where the answer does not say. Its shape is not documented."""
    for part in (answer.get("data"), answer) if isinstance(answer, dict) else (answer,):
        if isinstance(part, list):
            return len(part)
        if not isinstance(part, dict):
            continue
        for name in ("count", "cancelled", "total"):
            number = part.get(name)
            if isinstance(number, int) and not isinstance(number, bool) and number >= 0:
                return number
        if isinstance(part.get("cards"), list):
            return len(part["cards"])
    return None


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))
