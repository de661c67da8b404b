"""Values as CSV files and calls have them: dates as yyyy-MM-dd, moments in UTC, with a Z."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

_MOST_DIGITS = 400
"""Of a Decimal that is written out: Decimal("1e999999999") is a gigabyte."""


def moment(value: datetime) -> str:
    """A moment, such as `2026-01-31T09:00:00.000Z`.

    Raises:
        TypeError: It has no time zone, so that it could be any of 24.
    """
    if value.utcoffset() is None:
        raise TypeError("a datetime without a time zone")
    try:
        in_utc = value.astimezone(UTC)
    except OverflowError:
        raise TypeError("a datetime that is in no year from 1 to 9999 in UTC") from None
    return f"{in_utc.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


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
    if isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) <= _MOST_DIGITS:
        return format(value, "f")
    if isinstance(value, int | UUID) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    raise TypeError(
        f"a {type(value).__name__}"
        + (" that is no number, or too large or small" if isinstance(value, float | Decimal) else "")
    )
