"""How much of an org's daily quota of API calls is used: every answer of Salesforce says so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from prefect_atomic.credentials.base import now
from prefect_atomic.errors import QuotaError

_STATED = re.compile(r"(?:^|[;,\s])api-usage=(\d+)/(\d+)")


@dataclass(frozen=True, slots=True)
class ApiUsage:
    """Calls within the last 24 hours, by everybody who uses the org.

    Attributes:
        used: How many were made.
        total: How many may be made.
    """

    used: int
    total: int

    @property
    def share(self) -> float:
        """The part that is used, from 0 to 1 and beyond."""
        return self.used / self.total if self.total else 0.0


_FRESH = 300.0
"""Seconds for which a usage counts. The quota is that of the last 24 hours, so it becomes less by itself."""

_last: dict[str, tuple[ApiUsage, float]] = {}
"""By the org's host, with its time: what one block sees counts for all that use the org."""


def note(host: str, headers: Mapping[str, str]) -> None:
    """Notes what an answer says."""
    if match := _STATED.search(headers.get("sforce-limit-info", "")):
        _last[host] = ApiUsage(int(match[1]), int(match[2])), now()


def last(host: str) -> ApiUsage | None:
    """What the latest answer said; None before the first."""
    known = _last.get(host)
    return known[0] if known else None


def refuse_beyond(host: str, share: float | None, who: str) -> None:
    """Leaves the rest of the quota to others.

    Raises:
        QuotaError: The latest answer said that this share, or more, is used. After five minutes one request is let
            through, to see whether that is still so.
    """
    usage, seen = _last.get(host, (None, 0.0))
    if share is not None and usage and usage.share >= share:
        if now() - seen > _FRESH:
            _last[host] = usage, now()
            return
        raise QuotaError(
            f"{who}: {usage.used} of the org's {usage.total} API calls of 24 hours are used, and stop_at_usage is "
            f"{share:g}; nothing was sent. Wait, or raise stop_at_usage.",
            used=usage.used,
            total=usage.total,
        )
