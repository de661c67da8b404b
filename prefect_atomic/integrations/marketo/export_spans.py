"""The time that an export is about, in spans that Marketo takes: of at most 31 days, and no moment in two of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.marketo.moments import moment, written

LONGEST = timedelta(days=31)
_SECOND = timedelta(seconds=1)


class Span(NamedTuple):
    """A span as Marketo has it: both ends belong to it, as whole seconds.

    Attributes:
        start_at: Its first second, such as `2026-08-01T00:00:00Z`.
        end_at: Its last one.
    """

    start_at: str
    end_at: str


def spans(since: object, until: object, *, names: tuple[str, str] = ("since", "until")) -> list[Span]:
    """The spans from a moment up to, but not including, another one; parts of a second are dropped from both.

    Args:
        since: The first moment.
        until: The one after the last.
        names: What they are given as; messages begin with it.

    Raises:
        RequestError: They are no moments in this order, or the second has not come: more may be there then.
    """
    begin = moment(names[0], since).replace(microsecond=0)
    end = moment(names[1], until).replace(microsecond=0)
    if begin >= end:
        raise RequestError(f"{names[1]}: is not after {names[0]}.")
    if end > datetime.now(UTC):
        raise RequestError(f"{names[1]}: has not come yet; what is there by now ends with datetime.now(UTC).")
    return [
        Span(written(names[0], first), written(names[1], next_first - _SECOND))
        for first, next_first in _cut(begin, end)
    ]


def _cut(begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    while begin < end:
        following = min(begin + LONGEST, end)
        yield begin, following
        begin = following
