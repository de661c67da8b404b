"""Looking at a job again and again, with longer and longer waits in between."""

from __future__ import annotations

import math
from time import monotonic

from prefect_atomic.errors import RequestError
from prefect_atomic.transport import Retry
from prefect_atomic.transport.retry import sleep

LOOK = Retry(attempts=2)
"""Of a look: once more with another token, if need be; whatever else fails is looked at after the next pause."""


class Patience:
    """So many seconds, of waits and of what is done between them.

    Of a wait, what was asked counts, not the clock: that is the same when nobody really waits.

    Args:
        wait: All that there are.
        first: The first wait.
        longest: The longest one; each is half as long again as the one before.
    """

    def __init__(self, wait: float, *, first: float, longest: float) -> None:
        self._left = wait
        self._next = first
        self._longest = longest
        self._since = monotonic()

    def wait(self) -> bool:
        """Waits a while; says no, at once, where nothing is left."""
        self._left -= monotonic() - self._since
        if self._left <= 0:
            return False
        seconds = min(self._next, self._left)
        sleep(seconds)
        self._left -= seconds
        self._since = monotonic()
        self._next = min(1.5 * self._next, self._longest)
        return True


def check_wait(wait: object) -> float:
    """An argument `wait`.

    Raises:
        RequestError: It is no number of seconds.
    """
    if isinstance(wait, int | float) and not isinstance(wait, bool) and 0 <= wait < math.inf:
        return float(wait)
    raise RequestError("wait: is a number of seconds, zero or more.")
