"""Moments as Marketo writes them: ISO 8601, to the second, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect_atomic.errors import RequestError


def moment(argument: str, given: object) -> datetime:
    """A moment, in UTC.

    Raises:
        RequestError: It is none, or has no time zone.
    """
    if isinstance(given, str):
        try:
            given = datetime.fromisoformat(given)
        except ValueError:
            raise RequestError(f"{argument}: is no moment such as 2026-08-01T00:00:00Z.") from None
    if not isinstance(given, datetime):
        raise RequestError(f"{argument}: is a datetime, or a text such as 2026-08-01T00:00:00Z.")
    if given.tzinfo is None:
        raise RequestError(f"{argument}: has no time zone; datetime.now(UTC) has one.")
    try:
        return given.astimezone(UTC)
    except OverflowError:
        raise RequestError(f"{argument}: is before the year 1, or after 9999, in UTC.") from None


def written(argument: str, given: object) -> str:
    """A moment as calls have it, such as `2026-08-01T00:00:00Z`; parts of a second are dropped.

    Raises:
        RequestError: It is none, or has no time zone.
    """
    return moment(argument, given).strftime("%Y-%m-%dT%H:%M:%SZ")
