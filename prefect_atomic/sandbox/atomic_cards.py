"""Atomic's cards: listed and cancelled."""

from collections.abc import Mapping
from typing import Any

from prefect_atomic.sandbox.atomic_request import page, query, refuse, whole
from prefect_atomic.sandbox.atomic_state import AtomicState, now
from prefect_atomic.sandbox.wire import Answer, Received

FILTERS = ("userId", "lifecycleId", "cardTemplateId", "flowInstanceId", "flowInvocationId")
CANCELLED_AT_ONCE = 500


def find(state: AtomicState, received: Received) -> Answer:
    """`GET /cards`: a page of those that match all filters, the oldest first."""
    given = query(received, (*FILTERS, "status", "limit", "offset"))
    return Answer.of_json({"data": {"cards": page(given, _matching(state, given))}})


def cancel(state: AtomicState, received: Received) -> Answer:
    """`PUT /cards/cancel`: the active ones among those that match, up to `limit`."""
    given = query(received, (*FILTERS, "multiple", "limit"))
    limit = whole(given, "limit", usual=CANCELLED_AT_ONCE)
    if given.get("multiple", "1") != "1":
        refuse("multiple should be 1, or left out")
    if not any(name in given for name in FILTERS):
        refuse(f"a cancel without a filter would be for every card; name one of {', '.join(FILTERS)}")
    active = [card for card in _matching(state, given) if card["status"] == "active"]
    if len(active) > 1 and "multiple" not in given:
        refuse(f"{len(active)} cards match; to cancel more than one, say multiple=1")
    cancelled, updated = active[:limit], now()
    for card in cancelled:
        card.update(status="cancelled", updated=updated)
    return Answer.of_json({"data": {"count": len(cancelled)}})


def _matching(state: AtomicState, given: Mapping[str, str]) -> list[dict[str, Any]]:
    filters = {name: value for name, value in given.items() if name in (*FILTERS, "status")}
    return [card for card in state.cards if all(card[name] == value for name, value in filters.items())]
