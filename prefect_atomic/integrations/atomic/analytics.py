"""Which hours of Atomic's analytics there are.

Source: https://documentation.atomic.io/guide/analytics/overview
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.atomic.analytics_hour import HOUR, KEY, AnalyticsHour, Format
from prefect_atomic.integrations.atomic.api import Api, parsed, unusable
from prefect_atomic.tasks.course import Course
from prefect_atomic.transport import Response

_LONGEST = timedelta(days=30)
"""The most that Atomic takes in one request."""


class Source:
    """Where hours come from.

    Args:
        api: The operation that lists them.
        format: The format of their files.
    """

    def __init__(self, api: Api, format: Format) -> None:  # noqa: A002 - as Atomic calls it
        if format not in get_args(Format):
            raise RequestError(f"format: is one of {', '.join(get_args(Format))}.")
        self._api = api
        self._format = format

    def hours(self, after: datetime, until: datetime) -> Course[list[AnalyticsHour]]:
        """The hours that ended after one full hour and until another, at most 30 days later."""
        step = self._api.ask(params={"from": _instant(after), "to": _instant(until), "format": self._format})
        response: Response = yield step
        answer = parsed(step.request, response, is_secret=True)
        found = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(found, dict) or not all(map(_are_urls, found.values())):
            raise unusable(step.request, response, '{"data": {"YYYY-MM-DDTHH": ["URL", ...]}}', is_secret=True)
        count = (until - after) // HOUR
        return [
            AnalyticsHour(hour, self._format, found.get(f"{hour:{KEY}}"), self)
            for hour in (after + number * HOUR for number in range(1, count + 1))
        ]


class Spans:
    """The hours between two moments, in spans that can be asked for. Calling it is the course of the next span.

    Args:
        source: Where they come from.
        from_: Is rounded down to the hour.
        to: Is rounded up to the hour.

    Raises:
        RequestError: The moments make no span.
    """

    def __init__(self, source: Source, from_: datetime, to: datetime) -> None:
        for name, moment in (("from_", from_), ("to", to)):
            _refuse_unless_instant(name, moment)
        if from_ >= to:
            raise RequestError("from_, to: the first is before the second.")
        self._source = source
        self._after = _floor(from_)
        self._until = _ceil(to)

    def __call__(self) -> Course[list[AnalyticsHour] | None]:
        if self._after >= self._until:
            return None
        until = min(self._after + _LONGEST, self._until)
        hours = yield from self._source.hours(self._after, until)
        self._after = until
        return hours


def _refuse_unless_instant(name: str, moment: object) -> None:
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise RequestError(f"{name}: is a datetime with a time zone, such as datetime.now(timezone.utc).")


def _are_urls(urls: object) -> bool:
    return isinstance(urls, list) and all(isinstance(url, str) for url in urls)


def _floor(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _ceil(moment: datetime) -> datetime:
    floor = _floor(moment)
    return floor if floor == moment else floor + HOUR


def _instant(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
