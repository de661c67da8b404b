"""Marketo's identity: a token for a client, the same one until it ends, and which calls have a good one.

Source: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/authentication

Adobe's description has the parameters in the query, also of a POST; whether a form in the body is taken is not known,
and here it is. A token that was good for so many calls as a test allows is over, and another one is issued then.
"""

import time
from typing import Any, NoReturn

from prefect_atomic.sandbox import oauth
from prefect_atomic.sandbox.accounts import MarketoAccount
from prefect_atomic.sandbox.marketo_answers import fail
from prefect_atomic.sandbox.marketo_settings import MarketoSettings
from prefect_atomic.sandbox.tokens import Tokens
from prefect_atomic.sandbox.wire import Answer, Received, Refused


class Identity:
    """The tokens of one custom service. Asking for one is no call that is counted."""

    def __init__(self, account: MarketoAccount, tokens: Tokens) -> None:
        self._account = account
        self._tokens = tokens
        self.reset()

    def reset(self) -> None:
        """Forgets the token."""
        self._current = ""
        self._spent: dict[str, int] = {}  # how many calls each token was good for so far
        self.issued = 0

    def issue(self, settings: MarketoSettings, received: Received) -> Answer:
        """`GET` or `POST /identity/oauth/token`."""
        given = oauth.parameters(received.query_pairs + (received.form_pairs if received.method == "POST" else []))
        if given.get("grant_type") != "client_credentials":
            _refuse("unsupported_grant_type", f"Unsupported grant type: {given.get('grant_type')}", status=400)
        client = (given.get("client_id", ""), given.get("client_secret", ""))
        account = self._account
        try:
            oauth.require_client(client, client_id=account.client_id, client_secret=account.client_secret)
        except Refused:
            known = client[0] == account.client_id
            if known:
                _refuse("invalid_client", "Bad client credentials")
            _refuse("unauthorized", "No client with requested id: it is not that of a custom service")
        expiry = self._expiry(settings)
        content = {"access_token": self._current, "token_type": "bearer", **expiry, "scope": "api.user@sandbox.example"}
        return Answer.of_json(content, headers=oauth.NO_STORE)

    def admit(self, settings: MarketoSettings, received: Received) -> None:
        """Counts a call with its token; refuses it without one that is good."""
        scheme, _, token = (received.header("authorization") or "").partition(" ")
        token = token.strip()
        issued = self._tokens.find(token) if scheme.lower() == "bearer" else None
        if issued is None or issued.kind != "marketo" or issued.revoked:
            fail(601, "Access token invalid")
        used = self._spent.get(token, 0)
        if issued.expires_at <= time.time() or (settings.session_calls and used >= settings.session_calls):
            fail(602, "Access token expired")
        self._spent[token] = used + 1

    def _expiry(self, settings: MarketoSettings) -> dict[str, Any]:
        """What an answer says of the life of the current token, which is a new one if the last one is over."""
        issued, used = self._tokens.find(self._current), self._spent.get(self._current, 0)
        spent = settings.session_calls and used >= settings.session_calls
        left = issued.expires_at - time.time() if issued and not issued.revoked and not spent else 0.0
        if left > 0:
            stated = self._tokens.expiry(int(left))
            # what a test wants said of a token is not what is left of it
            return {name: min(value, int(left)) if type(value) is int else value for name, value in stated.items()}
        self._current = self._tokens.issue("marketo", lifetime=settings.token_seconds)
        self.issued += 1
        return self._tokens.expiry(settings.token_seconds)


def _refuse(error: str, description: str, *, status: int = 401) -> NoReturn:
    content = {"error": error, "error_description": description}
    raise Refused(Answer.of_json(content, status=status, headers=oauth.NO_STORE))
