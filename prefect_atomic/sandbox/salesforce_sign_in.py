"""Salesforce's token endpoint: a core session for a client, for a signed assertion, or for a user's password."""

import base64
import hmac
import secrets
import time
from collections.abc import Callable

import jwt

from prefect_atomic.sandbox import oauth
from prefect_atomic.sandbox.accounts import Data360Account, SalesforceAccount
from prefect_atomic.sandbox.assertions import public_key
from prefect_atomic.sandbox.salesforce_state import SalesforceState
from prefect_atomic.sandbox.tokens import Tokens
from prefect_atomic.sandbox.wire import Answer, Received

LIFETIME = 7200
ASSERTION_SECONDS = 300
CLOCK_SKEW = 30
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LOGIN_HOSTS = ("https://login.salesforce.com", "https://test.salesforce.com")
ORGANISATION = "00D000000000001EAA"
USER = "005000000000001AAA"
SCOPE = "api"
DATA_360_SCOPE = "api cdp_ingest_api cdp_profile_api cdp_query_api"
UNSTATED = -1


class SignIn:
    """Who may sign in to the org, and how."""

    def __init__(
        self, account: SalesforceAccount, data_360: Data360Account, tokens: Tokens, state: SalesforceState
    ) -> None:
        self._account = account
        self._clients = {
            account.client_id: (account.client_secret, SCOPE),
            data_360.client_id: (data_360.client_secret, DATA_360_SCOPE),
        }
        self._key = public_key(account.private_key)
        self._tokens = tokens
        self._state = state
        self._grants: dict[str, Callable[[Received, dict[str, str]], str]] = {
            "client_credentials": self._client_credentials,
            JWT_BEARER: self._assertion,
            "password": self._password,
        }

    def answer(self, received: Received) -> Answer:
        """Answers a token request; a session says nothing about how long it lives."""
        given = oauth.form(received)
        grant = self._grants.get(given.get("grant_type", ""))
        if grant is None:
            oauth.refuse("unsupported_grant_type", "grant type not supported")
        scope = grant(received, given)
        url = self._account.instance_url
        stated = self._tokens.expiry(UNSTATED)
        content = {
            "access_token": self.session(),
            "signature": base64.b64encode(secrets.token_bytes(32)).decode(),
            "scope": scope,
            "instance_url": url,
            "id": f"{self._account.login_url}/id/{ORGANISATION}/{USER}",
            "token_type": "Bearer",
            "issued_at": str(time.time_ns() // 1_000_000),
            "api_instance_url": url,
            **({} if stated == {"expires_in": UNSTATED} else stated),
        }
        return Answer.of_json(content, headers=oauth.NO_STORE)

    def session(self) -> str:
        """A new session."""
        token = f"{ORGANISATION[:15]}!{secrets.token_urlsafe(64)}"
        return self._tokens.issue("salesforce-core", lifetime=LIFETIME, token=token)

    def knows(self, username: str, password: str) -> bool:
        """Whether this is the user, with the security token after the password."""
        right = self._account.password + self._account.security_token
        known = hmac.compare_digest(username.casefold().encode(), self._account.username.casefold().encode())
        return hmac.compare_digest(password.encode(), right.encode()) and known

    def lacks_token(self, username: str, password: str) -> bool:
        """Whether only the security token is missing."""
        known = hmac.compare_digest(username.casefold().encode(), self._account.username.casefold().encode())
        return hmac.compare_digest(password.encode(), self._account.password.encode()) and known

    def _client_credentials(self, received: Received, given: dict[str, str]) -> str:
        scope = self._client(received, given)
        if self._state.client_credentials_refused:
            oauth.refuse("invalid_grant", "request not supported on this domain")
        return oauth.granted_scope(given, scope)

    def _password(self, received: Received, given: dict[str, str]) -> str:
        scope = self._client(received, given)
        if not self.knows(given.get("username", ""), given.get("password", "")):
            oauth.refuse("invalid_grant", "authentication failure")
        return oauth.granted_scope(given, scope)

    def _assertion(self, _: Received, given: dict[str, str]) -> str:
        # a client_id beside the assertion would be ignored; the assertion says who it is
        account = self._account
        try:
            claims = jwt.decode(
                given.get("assertion", ""),
                self._key,
                algorithms=["RS256"],
                audience=[account.login_url, *LOGIN_HOSTS],
                leeway=CLOCK_SKEW,
                options={"require": ["iss", "sub", "aud", "exp"]},
            )
        except jwt.InvalidAudienceError:
            oauth.refuse("invalid_grant", "audience is invalid")
        except jwt.ExpiredSignatureError:
            oauth.refuse("invalid_grant", "assertion is expired")
        except jwt.InvalidTokenError as error:
            oauth.refuse("invalid_grant", f"invalid assertion: {error}")
        if claims["iss"] != account.client_id:
            oauth.refuse("invalid_client_id", "client identifier invalid")
        if str(claims["sub"]).casefold() != account.username.casefold():
            oauth.refuse("invalid_grant", "user hasn't approved this consumer")
        if int(claims["exp"]) - time.time() > ASSERTION_SECONDS + CLOCK_SKEW:
            oauth.refuse("invalid_grant", "invalid assertion: exp should be within 5 minutes")
        return oauth.granted_scope(given, SCOPE)

    def _client(self, received: Received, given: dict[str, str]) -> str:
        sent = oauth.client(received, given)
        if sent[0] not in self._clients:
            oauth.refuse("invalid_client_id", "client identifier invalid")
        secret, scope = self._clients[sent[0]]
        oauth.require_client(sent, client_id=sent[0], client_secret=secret, status=400)
        return scope
