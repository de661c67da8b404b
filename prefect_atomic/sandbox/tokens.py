"""The tokens that the sandbox issued, and which of them it still accepts."""

import hashlib
import secrets
import time
from dataclasses import dataclass
from enum import Enum
from typing import Literal

Kind = Literal[
    "oauth",
    "google",
    "salesforce-core",
    "data-360",
    "marketing-cloud",
    "marketo",
    "atomic-events",
    "atomic-workbench",
]

ATOMIC: tuple[Kind, ...] = ("atomic-events", "atomic-workbench")  # one for each role


class _Usual(Enum):
    LIFETIME = "what each endpoint usually says"


@dataclass
class Issued:
    """What is known of a token; the token itself is kept as a digest only."""

    kind: Kind
    expires_at: float
    revoked: bool = False
    spent: bool = False


class TokenRefused(Exception):  # noqa: N818 - an answer, not an error
    """The token does not prove what it should; the text says why."""


class Tokens:
    """A registry of issued tokens."""

    def __init__(self) -> None:
        self._issued: dict[str, Issued] = {}
        self._stated: int | str | _Usual | None = _Usual.LIFETIME

    def issue(self, kind: Kind, *, lifetime: int, token: str | None = None) -> str:
        """Issues a token, or takes down one that was made elsewhere; `lifetime` in seconds."""
        token = token or secrets.token_urlsafe(32)
        self._issued[_digest(token)] = Issued(kind, time.time() + self._lived(lifetime))
        return token

    def expiry(self, usual: int) -> dict[str, int | str]:
        """The `expires_in` for an answer: what the endpoint usually says, or what it was told to say."""
        if self._stated is None:
            return {}
        return {"expires_in": usual if isinstance(self._stated, _Usual) else self._stated}

    def find(self, token: str) -> Issued | None:
        """What is known of a token, whether it is still accepted or not."""
        return self._issued.get(_digest(token))

    def accept(self, kinds: Kind | tuple[Kind, ...], token: str) -> Issued:
        """Accepts a live token of this kind, or of one of these; raises `TokenRefused` for any other."""
        expected = kinds if isinstance(kinds, tuple) else (kinds,)
        issued = self.find(token)
        if issued is None:
            raise TokenRefused("nobody here issued this token; was the sandbox reset or started anew?")
        if issued.kind not in expected:
            raise TokenRefused(f"this is {_a(issued.kind)} token; {_a(' or '.join(expected))} token was expected")
        if issued.revoked:
            raise TokenRefused("the token was revoked; request another one")
        if issued.expires_at <= time.time():
            raise TokenRefused("the token has expired; request another one")
        return issued

    def state_lifetime(self, seconds: int | str | None) -> None:
        """From now on answers say this `expires_in`; None leaves it out."""
        self._stated = seconds

    def revoke(self) -> None:
        """Refuses every token issued so far."""
        for issued in self._issued.values():
            issued.revoked = True

    def reset(self) -> None:
        """Forgets every token, and states the usual lifetimes again."""
        self._issued.clear()
        self._stated = _Usual.LIFETIME

    def _lived(self, usual: int) -> int:
        try:
            stated = int(self._stated)  # type: ignore[arg-type]  # any text may have been stated
        except (TypeError, ValueError):
            return usual
        # an answer may state nonsense, and its token must still serve the request it was fetched for
        return stated if stated > 0 else usual


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _digest(token: str) -> str:
    # a lookup by digest takes as long for a near miss as for a far one
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
