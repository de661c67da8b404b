"""Who is let in to core: a live session, as long as the org may still be asked."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from prefect_atomic.sandbox.salesforce_errors import refuse
from prefect_atomic.sandbox.salesforce_state import SalesforceState
from prefect_atomic.sandbox.tokens import TokenRefused, Tokens
from prefect_atomic.sandbox.wire import Answer, Received, Refused

SCHEMES = frozenset({"bearer", "oauth"})


@dataclass(frozen=True)
class Call:
    """A request that was let in: the version it names, and the segments of its path after that."""

    received: Received
    version: str
    parts: tuple[str, ...]

    @property
    def method(self) -> str:
        """Its method."""
        return self.received.method

    @property
    def base(self) -> str:
        """Where the resources of this version are."""
        return f"/services/data/{self.version}"

    @property
    def parameters(self) -> dict[str, str]:
        """The query."""
        return dict(self.received.query_pairs)

    def json(self) -> Any:
        """The body."""
        try:
            return json.loads(self.received.body)
        except ValueError as error:
            refuse(400, "JSON_PARSER_ERROR", str(error))

    def json_object(self) -> dict[str, Any]:
        """The body, which is an object."""
        content = self.json()
        if not isinstance(content, dict):
            refuse(400, "JSON_PARSER_ERROR", "an object was expected")
        return content


class Door:
    """Checks sessions, and counts what is asked."""

    def __init__(self, tokens: Tokens, state: SalesforceState) -> None:
        self._tokens = tokens
        self._state = state

    def let_in(self, received: Received) -> None:
        """Refuses a request without a live session."""
        scheme, _, session = (received.header("authorization") or "").partition(" ")
        if scheme.lower() not in SCHEMES or not self.accepts(session.strip()):
            refuse(401, self._state.session_error, "Session expired or invalid")

    def accepts(self, session: str) -> bool:
        """Whether a session is live; counts its use, and revokes it when a test has limited that."""
        try:
            issued = self._tokens.accept("salesforce-core", session)
        except TokenRefused:
            return False
        digest = hashlib.sha256(session.encode()).digest()
        limit = self._state.number("session_calls")
        if limit and self._state.session_uses[digest] >= limit:
            issued.revoked = True
            return False
        self._state.session_uses[digest] += 1
        return True

    def counted(self, serve: Callable[[], Answer]) -> Answer:
        """Serves a request of the org's daily allowance, and says in the answer how much of it is used."""
        state = self._state
        try:
            if state.number("api_used") >= state.number("api_limit"):
                refuse(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
            state.use()
            answer = serve()
        except Refused as refused:
            answer = refused.answer
        usage = f"api-usage={state.number('api_used')}/{state.number('api_limit')}"
        return replace(answer, headers=(*answer.headers, ("Sforce-Limit-Info", usage)))


def segments(received: Received, base: str) -> tuple[str, ...]:
    """The decoded segments of a path after `base`; a slash at the end is none."""
    rest = received.path[len(base) :].strip("/")
    return tuple(unquote(part) for part in rest.split("/")) if rest else ()
