"""Values as Data 360 writes them: dates as yyyy-MM-dd, moments in UTC, with a Z."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID


def moment(value: datetime) -> str:
    """A moment, such as `2026-01-31T09:00:00.000Z`.

    Raises:
        TypeError: It has no time zone, so that it could be any of 24.
    """
    if value.tzinfo is None:
        raise TypeError("a datetime without a time zone")
    return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def cell(value: object) -> str:
    """A value as it stands in a CSV file; None is blank.

    Raises:
        TypeError: A CSV file has no way to write it; says what it is.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        if "\0" in value:
            raise TypeError("a text with a NUL")
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal) and value.is_finite():
        return format(value, "f")
    if isinstance(value, int | UUID) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    raise TypeError(f"a {type(value).__name__}" + (" that is no number" if isinstance(value, float | Decimal) else ""))
