"""Google: the JWT bearer grant of a service account, and calls with what it yields or with a self-signed JWT.

Source: https://developers.google.com/identity/protocols/oauth2/service-account
"""

import secrets
import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from prefect_atomic.sandbox import assertions, oauth
from prefect_atomic.sandbox.accounts import GoogleAccount
from prefect_atomic.sandbox.assertions import NotProven
from prefect_atomic.sandbox.tokens import TokenRefused, Tokens
from prefect_atomic.sandbox.wire import Answer, Received, Route

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIFETIME = 3599
# google-auth names this audience whatever its token_uri is
GOOGLE_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address


class Google:
    """Google as one service account sees it."""

    def __init__(self, account: GoogleAccount, tokens: Tokens) -> None:
        self._account = account
        self._tokens = tokens
        self._public_key = assertions.public_key(account.private_key)

    def routes(self) -> list[Route]:
        """The token endpoint."""
        return [Route("/google/token", self._token, "Google: a signed JWT for a token", frozenset({"POST"}))]

    def verify(self, token: str) -> str:
        """Verifies a bearer token, and returns who verified it; raises `NotProven` or `TokenRefused`."""
        if self._tokens.find(token) is not None:
            self._tokens.accept("google", token)
            return "sandbox token registry"
        if token.count(".") != 2:
            raise TokenRefused("neither a token issued here nor a JWT")
        verified = self._claims(token)
        if verified.get("sub") != self._account.client_email:
            raise NotProven("sub should be iss; to act for another user, exchange the JWT at token_uri")
        if "aud" in verified:
            if verified["aud"] != self._account.audience:
                raise NotProven(f"aud should be {self._account.audience}")
        elif not self._within_scopes(verified.get("scope")):
            raise NotProven(f"the JWT needs aud, or scope with some of {' '.join(self._account.scopes)}")
        return assertions.BY

    def _token(self, received: Received) -> Answer:
        given = oauth.form(received)
        oauth.require_grant(given, GRANT)
        if "assertion" not in given:
            oauth.refuse("invalid_request", "assertion is missing; it is the signed JWT")
        try:
            verified = self._claims(given["assertion"], audience=(self._account.token_uri, GOOGLE_TOKEN_URI))
        except NotProven as reason:
            oauth.refuse("invalid_grant", f"Invalid JWT: {reason}")
        return Answer.of_json(self._exchanged(verified), headers=oauth.NO_STORE)

    def _exchanged(self, verified: Mapping[str, Any]) -> dict[str, object]:
        target = verified.get("target_audience")
        if target and "scope" in verified:
            oauth.refuse(
                "invalid_request", "scope asks for an access token and target_audience for an ID token: choose"
            )
        if target:
            return {"id_token": self._tokens.issue("google", lifetime=3600, token=self._id_token(str(target)))}
        if not self._within_scopes(verified.get("scope")):
            oauth.refuse("invalid_scope", f"scope should have some of {' '.join(self._account.scopes)}")
        token = self._tokens.issue("google", lifetime=LIFETIME, token=f"ya29.{secrets.token_urlsafe(48)}")
        return {"access_token": token, **self._tokens.expiry(LIFETIME), "token_type": "Bearer"}

    def _claims(self, token: str, *, audience: tuple[str, ...] = ()) -> Mapping[str, Any]:
        named = assertions.key_id(token)
        if named is not None and named != self._account.private_key_id:
            raise NotProven(f"kid should be {self._account.private_key_id}")
        email = self._account.client_email
        verified = assertions.claims(token, self._public_key, algorithms=("RS256",), issuer=email, audience=audience)
        assertions.require_google_lifetime(verified)
        return verified

    def _within_scopes(self, scope: object) -> bool:
        asked = scope.split() if isinstance(scope, str) else []
        return bool(asked) and set(asked) <= set(self._account.scopes)

    def _id_token(self, audience: str) -> str:
        now = int(time.time())
        email = self._account.client_email
        content = {"iss": "https://accounts.google.com", "aud": audience, "email": email, "iat": now, "exp": now + 3600}
        # jti: two ID tokens of the same second are two tokens
        return jwt.encode({**content, "sub": email, "jti": secrets.token_hex(8)}, self._signing_key, algorithm="RS256")

    @cached_property
    def _signing_key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
