"""Who may call: one bearer token of the right kind, for as many calls as a test allows it; and who must slow down."""

import hashlib
from collections import Counter

from prefect_atomic.sandbox.tokens import Kind, TokenRefused, Tokens
from prefect_atomic.sandbox.wire import Received


class Sessions:
    """Counts the calls of each token, so that a test ends one without waiting for the clock."""

    def __init__(self, kind: Kind, tokens: Tokens) -> None:
        self._kind = kind
        self._tokens = tokens
        self.reset()

    def reset(self) -> None:
        """Forgets who called."""
        self._of_token: Counter[str] = Counter()
        self._calls = 0

    def admit(self, received: Received, *, most: int) -> None:
        """Counts a call; raises `TokenRefused` unless its token is good, and after `most` calls with it, if not 0."""
        values = received.header_values("authorization")
        if len(values) != 1:
            raise TokenRefused("there is more than one Authorization header" if values else "there is no token")
        scheme, _, token = values[0].partition(" ")
        if scheme.lower() != "bearer":
            raise TokenRefused("the Authorization header should start with Bearer")
        self._tokens.accept(self._kind, token.strip())
        digest = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
        if most and self._of_token[digest] >= most:
            raise TokenRefused(f"the token was good for {most} calls; request another one")
        self._of_token[digest] += 1

    def throttled(self, every: int) -> bool:
        """Counts a call that was admitted, and says whether it is one of those to slow down; 0 is none."""
        self._calls += 1
        return bool(every) and self._calls % every == 0
