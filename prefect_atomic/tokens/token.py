"""What a provider hands out, and how long it is served."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

SKEW = 5.0
"""Seconds before its end at which a token is no longer served, so that it is still alive when it arrives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token and the time it may be served. Times are seconds since the epoch, on the wall clock all hosts share.

    Attributes:
        value: The secret itself; never part of the `repr`.
        issued_at: When it was asked for.
        expires_at: The first moment at which it is not served any more.
        attributes: What came with it and is no secret, such as the scope or the host it is for.
    """

    value: str = field(repr=False)
    issued_at: float
    expires_at: float
    attributes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def is_live(self, now: float) -> bool:
        # A clock that went backwards says nothing about the token's age: that counts as expired.
        return self.issued_at <= now < self.expires_at

    def to_json(self) -> bytes:
        return json.dumps([self.value, self.issued_at, self.expires_at, dict(self.attributes)]).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Token:
        value, issued_at, expires_at, attributes = json.loads(text)
        return cls(value=value, issued_at=issued_at, expires_at=expires_at, attributes=MappingProxyType(attributes))


def served_until(issued_at: float, lifetime: float, expires_in: float | None) -> float:
    """When a token stops being served: after its documented lifetime, or earlier where the provider says so.

    Args:
        issued_at: When it was asked for, in seconds since the epoch.
        lifetime: The documented lifetime in seconds.
        expires_in: What the provider says is left, in seconds. A skew of 5 seconds comes off, or of a tenth for a
            token that lives less than 50 seconds: such a token could otherwise hardly be shared.
    """
    if expires_in is None:
        return issued_at + lifetime
    return issued_at + min(lifetime, expires_in - min(SKEW, expires_in / 10))
