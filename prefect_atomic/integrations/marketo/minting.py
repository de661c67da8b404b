"""Tokens of an instance: asking early brings the same one, with the life that is left of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prefect_atomic.credentials import provider
from prefect_atomic.credentials.provider import TokenStep
from prefect_atomic.tokens import Token
from prefect_atomic.transport import outgoing
from prefect_atomic.transport.retry import sleep

NEARLY_OVER = 1.0
"""Seconds: a token with no more left is waited out, or each request would ask for it again."""

_WAITS = 3


def mint(step: TokenStep, url: str, client: tuple[str, str], lifetime: float, now: Callable[[], float]) -> Token:
    """A token that lives for a while.

    Args:
        step: Asks for it.
        url: Where.
        client: The id and the secret.
        lifetime: How long to serve it at most, in seconds.
        now: The clock, in seconds since the epoch.

    Raises:
        CredentialError: There is none to be had.
    """
    for _ in range(_WAITS):
        issued_at = now()
        answer = _asked(step, url, client)
        left = provider.expires_in(answer)
        if left is None or left > NEARLY_OVER:
            break
        sleep(max(0.0, left) + 0.1)
    value = step.read_token(answer)
    # To its end, without a skew: asked for earlier, it would be the same one.
    served = lifetime if left is None else min(lifetime, max(left, NEARLY_OVER))
    return Token(
        value=value,
        issued_at=issued_at,
        expires_at=issued_at + served,
        attributes={"host": url.partition("//")[2].partition("/")[0]},
    )


def _asked(step: TokenStep, url: str, client: tuple[str, str]) -> Mapping[str, Any]:
    # The description has the parameters in the query, with POST too; hidden in every log, and in no message.
    parameters = {"grant_type": "client_credentials", "client_id": client[0], "client_secret": client[1]}
    return step.ask(outgoing("POST", url, params=parameters, headers={"Accept": "application/json"}))
