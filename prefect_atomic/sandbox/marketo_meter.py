"""How often the sandbox's Marketo was called: in a window that slides, at the same time, and in all."""

import time
from collections import Counter, deque


class Meter:
    """Counts. Calls are those of the REST and bulk APIs, not those for tokens."""

    def __init__(self) -> None:
        self._arrivals: deque[float] = deque()
        self._counted: deque[float] = deque()
        self.total = 0
        self.counted = 0  # of the day's quota, which has no calls without a good token
        self.most_in_window = 0
        self.serving = 0
        self.most_at_once = 0
        self.per_path: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def arrive(self, call: str, window: float) -> None:
        """A call has come; `window` in seconds."""
        self.total += 1
        self.per_path[call] += 1
        self.most_in_window = max(self.most_in_window, _slide(self._arrivals, window))

    def count(self, window: float) -> int:
        """It counts: how many of those there were in the window that ends now."""
        self.counted += 1
        return _slide(self._counted, window)

    def enter(self) -> None:
        """It is served."""
        self.serving += 1
        self.most_at_once = max(self.most_at_once, self.serving)

    def leave(self) -> None:
        """Its answer was sent."""
        self.serving -= 1

    def shown(self) -> dict[str, object]:
        """What a test may compare with what it did."""
        return {
            "total": self.total,
            "most_in_window": self.most_in_window,
            "most_at_once": self.most_at_once,
            "per_path": self.per_path,
            "refused": self.refused,
        }


def _slide(times: deque[float], window: float) -> int:
    now = time.monotonic()
    times.append(now)
    while times[0] <= now - window:
        times.popleft()
    return len(times)
