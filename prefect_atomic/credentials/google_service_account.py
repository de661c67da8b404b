"""Google service accounts: a JWT that the account signs itself, or the token it is exchanged for (RFC 7523)."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, model_validator

from prefect_atomic.credentials import provider
from prefect_atomic.credentials.base import AllowedHosts, CacheSeconds, TokenCredential, now
from prefect_atomic.credentials.identity_url import IdentityUrl
from prefect_atomic.credentials.private_keys import check_fit, load_private_key, sign_jwt
from prefect_atomic.credentials.provider import TokenStep
from prefect_atomic.tokens import Token, served_until

if TYPE_CHECKING:
    from prefect_atomic.credentials.private_keys import PrivateKey

_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - a URL
_ASSERTION_SECONDS = 3600  # the longest that Google accepts


class GoogleServiceAccount(TokenCredential):
    """Signs a JWT as a Google service account, or exchanges it for a token, and sends that as `Authorization: Bearer`.

    The token is shared by all processes for 5 minutes, as Atomic documents.

    Example:
        Call a Google API with a saved credential:
        ```python
        from prefect import flow
        from prefect_atomic import GoogleServiceAccount, send_request

        google = GoogleServiceAccount.load("BLOCK_NAME")

        @flow
        def buckets():
            url = "https://storage.googleapis.com/storage/v1/b"
            return send_request("GET", url, params={"project": "example"}, credential=google).json()
        ```
    """

    _block_type_name = "Atomic Google Service Account"
    _block_type_slug = "atomic-google-service-account"
    _documentation_url = "https://developers.google.com/identity/protocols/oauth2/service-account"  # type: ignore[assignment]

    client_email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$", description="The service account's address.")
    private_key: SecretStr = Field(description="The private key of the key file, as a PEM.")
    private_key_id: str | None = Field(None, description="The id of the private key (the kid header).")
    scopes: list[Annotated[str, Field(min_length=1)]] = Field(
        [], description="The scopes to ask for; either these or an audience."
    )
    audience: str | None = Field(None, description="The service the token is for; either this or scopes.")
    subject: str | None = Field(
        None, description="The user to act for, where the account may (domain-wide delegation)."
    )
    token_uri: IdentityUrl = Field(_TOKEN_URI, description="Where a JWT is exchanged for a token.")
    exchange: bool = Field(False, description="Whether to exchange the JWT for a token instead of sending it.")
    cache_seconds: CacheSeconds = Field(300, description="How long a token is shared, in seconds.")
    allowed_hosts: AllowedHosts = []
    kind: Literal["google-service-account"] = Field(
        "google-service-account", description="Tells saved credentials apart; leave as it is."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        try:
            check_fit(self._key(), "RS256")
        except ValueError as error:
            raise ValueError(f"private_key: {error}") from None
        if bool(self.scopes) == bool(self.audience):
            raise ValueError("scopes, audience: give one of them; Google takes a token for scopes or for an audience")
        if self.subject and not self.exchange:
            raise ValueError(
                "subject: to act for a user, set exchange; Google takes no such token from the account itself"
            )
        if self.cache_seconds >= _ASSERTION_SECONDS:
            raise ValueError(f"cache_seconds: must be below {_ASSERTION_SECONDS}, when Google's tokens end")
        return self

    @classmethod
    def from_key_file(cls, path: str | Path, **fields: Any) -> Self:
        """A credential from the JSON key file that Google's console gives out.

        Args:
            path: The file.
            fields: The other fields, such as `scopes`.

        Raises:
            ValueError: It is not the key file of a service account; says what it is.
        """
        try:
            key = json.loads(Path(path).expanduser().read_text("utf-8"))
        except ValueError:
            raise ValueError(f"{path} is not JSON; it should be the key file of a service account") from None
        kind = key.get("type") if isinstance(key, dict) else type(key).__name__
        if kind != "service_account":
            raise ValueError(f"{path} is of type {str(kind)[:40]!r}; it should be the key file of a service account")
        if missing := [name for name in ("client_email", "private_key") if not key.get(name)]:
            raise ValueError(f"{path} has no {' and no '.join(missing)}; is it a whole key file?")
        known = {
            name: key[name] for name in ("client_email", "private_key", "private_key_id", "token_uri") if name in key
        }
        return cls(**{**known, **fields})

    def _key(self) -> "PrivateKey":
        return load_private_key(self.private_key.get_secret_value())

    def _mint(self) -> Token:
        return self._exchanged() if self.exchange else self._self_signed()

    def _self_signed(self) -> Token:
        issued_at = now()
        what_for = {"scope": " ".join(self.scopes)} if self.scopes else {"aud": self.audience}
        return Token(
            value=self._signed(issued_at, {"sub": self.subject or self.client_email, **what_for}),
            issued_at=issued_at,
            expires_at=served_until(issued_at, self.cache_seconds, _ASSERTION_SECONDS),
            attributes={"scope": " ".join(self.scopes)},
        )

    def _exchanged(self) -> Token:
        issued_at = now()
        what_for = {"scope": " ".join(self.scopes)} if self.scopes else {"target_audience": self.audience}
        on_behalf = {"sub": self.subject} if self.subject else {}
        assertion = self._signed(issued_at, {"aud": self.token_uri, **on_behalf, **what_for})
        step = TokenStep(
            self.title(), "the exchange of the JWT", (*self.known_secrets(), assertion), provider.deadline()
        )
        grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        answer = step.ask(provider.form_post(self.token_uri, [("grant_type", grant), ("assertion", assertion)]))
        return Token(
            # For an audience Google answers with an identity token and nothing else.
            value=step.read_token(answer, "access_token" if self.scopes else "id_token"),
            issued_at=issued_at,
            expires_at=served_until(issued_at, self.cache_seconds, provider.expires_in(answer)),
            attributes={"scope": " ".join(self.scopes)},
        )

    def _signed(self, issued_at: float, claims: dict[str, Any]) -> str:
        times = {"iat": int(issued_at), "exp": int(issued_at) + _ASSERTION_SECONDS}
        headers: dict[str, object] = {"kid": self.private_key_id} if self.private_key_id else {}
        return sign_jwt(self._key(), "RS256", {"iss": self.client_email, **times, **claims}, headers)
