"""Moments as Marketo has them: ISO 8601 to the second, in UTC, so that they sort as texts do."""

import re
import time
from datetime import UTC, datetime

from prefect_atomic.sandbox.marketo_answers import Reason

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)", re.ASCII)


class Clock:
    """Now. The text of a second is made once: a table of leads has many of the same."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def now(self) -> str:
        """The current second."""
        second = int(time.time())
        if second != self._second:
            self._second, self._text = second, written(datetime.fromtimestamp(second, UTC))
        return self._text


def written(moment: datetime) -> str:
    """A moment as answers have it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(given: object) -> datetime:
    """A moment that somebody sent, which has a time zone; raises `Reason` for anything else."""
    if isinstance(given, str) and MOMENT.fullmatch(given):
        try:
            return datetime.fromisoformat(given).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise Reason(1001, f"Invalid value '{given}'. Required of type 'datetime'")
