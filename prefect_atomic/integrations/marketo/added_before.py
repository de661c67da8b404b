"""Which custom activities Marketo has already: settles what became of a call that got no answer, by reading."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Context, Decimal
from typing import Any

from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.marketo.activities import MOST_LEADS
from prefect_atomic.integrations.marketo.block import Marketo
from prefect_atomic.integrations.marketo.leads import cut
from prefect_atomic.integrations.marketo.moments import moment, written

Activity = Mapping[str, Any]

_A_SECOND = timedelta(seconds=1)
_TOLD = 255
"""Characters of a text that are compared: Marketo may keep no more."""

_EXACTLY = Context(prec=_TOLD)


def added_before(marketo: Marketo, activities: Mapping[int, Activity], kind: Mapping[str, Any]) -> list[int]:
    """Those that Marketo has, by what they are keyed with.

    An activity is the same as another one of the same lead, second and primary attribute, where all attributes that are
    given are the same. Two of the same are there where Marketo has two of them.

    Args:
        marketo: The instance.
        activities: Custom activities of one type, as `add_activities` takes them.
        kind: What `activity_types` says of the type.

    Raises:
        AtomicError: Marketo cannot be asked, or refuses.
    """
    if not activities:
        return []
    called = _names_of(kind)
    sent = {
        number: {called.get(name, name): value for name, value in activity["attributes"].items()}
        for number, activity in activities.items()
    }
    names = sorted({name for attributes in sent.values() for name in attributes})
    waiting = defaultdict[Any, list[int]](list)
    for number, activity in activities.items():
        waiting[_identity(activity, sent[number], names)].append(number)
    since = min(_date(activity) for activity in activities.values()) - _A_SECOND
    found: list[int] = []
    for known in _read(marketo, activities, since, int(kind["id"])):
        attributes = {called.get(_name(each), _name(each)): each.get("value") for each in known.get("attributes") or []}
        if numbers := waiting.get(_identity(known, attributes, names)):
            found.append(numbers.pop(0))
    return found


def _read(marketo: Marketo, activities: Mapping[int, Activity], since: datetime, kind: int) -> Iterator[Activity]:
    leads = sorted({int(activity["leadId"]) for activity in activities.values()})
    for some in cut(leads, MOST_LEADS):
        yield from marketo.activities(since, types=[kind], leads=some)


def _names_of(kind: Mapping[str, Any]) -> dict[str, str]:
    """One name for each attribute, by its API name and by the one that people see: answers may have either."""
    return {str(each["name"]): _name(each) for each in kind.get("attributes") or [] if each.get("name")}


def _name(attribute: Mapping[str, Any]) -> str:
    return str(attribute.get("apiName") or attribute.get("name"))


def _identity(activity: Activity, attributes: Mapping[str, Any], names: list[str]) -> tuple[object, ...]:
    return (
        int(activity["leadId"]),
        _date(activity),
        _comparable(activity.get("primaryAttributeValue")),
        *(_comparable(attributes.get(name)) for name in names),
    )


def _date(activity: Activity) -> datetime:
    return moment("activityDate", activity["activityDate"]).replace(microsecond=0)


def _comparable(value: object) -> str:
    """A value as text: Marketo may give back a number as one, and a moment in another way."""
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value).strip()
    try:
        number = Decimal(text)
        if number.is_finite():
            return str(number.normalize(_EXACTLY))
    except ArithmeticError:  # it is no number
        pass
    try:
        return written("", text)
    except RequestError:  # it is no moment
        return text[:_TOLD]
