"""OAuth 2.0 client credentials (RFC 6749, section 4.4), in the three ways that identity providers want them."""

from typing import Any, Literal
from urllib.parse import parse_qsl

from prefect.types import SecretDict
from pydantic import Field, field_validator

from prefect_atomic.credentials import provider
from prefect_atomic.credentials.base import AllowedHosts, CacheSeconds, Printable, PrintableSecret, TokenCredential, now
from prefect_atomic.credentials.identity_url import IdentityUrl
from prefect_atomic.credentials.provider import Parameters, TokenStep
from prefect_atomic.tokens import Token, served_until
from prefect_atomic.transport import Outgoing, outgoing


class OAuthClientCredentials(TokenCredential):
    """Gets an access token with a client id and secret, and sends it as `Authorization: Bearer`.

    The token is shared by all processes for 45 seconds, as Atomic documents, or for its life if that is shorter.

    Example:
        Call an API with a saved credential:
        ```python
        from prefect import flow
        from prefect_atomic import OAuthClientCredentials, send_request

        crm = OAuthClientCredentials.load("BLOCK_NAME")

        @flow
        def contacts():
            return send_request("GET", "https://crm.example.com/contacts", credential=crm).json()
        ```
    """

    _block_type_name = "Atomic OAuth Client Credentials"
    _block_type_slug = "atomic-oauth-client-credentials"
    _documentation_url = "https://www.rfc-editor.org/rfc/rfc6749#section-4.4"  # type: ignore[assignment]

    identity_url: IdentityUrl = Field(description="The token endpoint; its query parameters are sent along.")
    client_id: Printable = Field(min_length=1, description="The client's id.")
    client_secret: PrintableSecret = Field(min_length=1, description="The client's secret.")
    scope: str | None = Field(None, description="The scopes to ask for, separated by spaces.")
    request_scheme: Literal["post_body", "post_query", "get_query"] = Field(
        "post_body", description="How the parameters are sent: a POST with a form, a POST with a query, or a GET."
    )
    client_authentication: Literal["parameters", "basic"] = Field(
        "parameters", description="Whether id and secret are among the parameters, or sent as HTTP Basic."
    )
    extra_parameters: SecretDict = Field(
        SecretDict({}), description="Further parameters of the token request, such as an audience."
    )
    cache_seconds: CacheSeconds = Field(45, description="How long a token is shared, in seconds.")
    allowed_hosts: AllowedHosts = []
    kind: Literal["oauth-client-credentials"] = Field(
        "oauth-client-credentials", description="Tells saved credentials apart; leave as it is."
    )

    @field_validator("extra_parameters")
    @classmethod
    def _are_parameters(cls, extra: SecretDict) -> SecretDict:
        for name, value in extra.get_secret_value().items():
            values = value if isinstance(value, list) else [value]
            if not all(isinstance(item, str | int | float | bool) for item in values):
                raise ValueError(f"{name}: a parameter is text, a number, or a list of them")
        return extra

    def _mint(self) -> Token:
        step = TokenStep(self.title(), "the token request", self.known_secrets(), provider.deadline())
        issued_at = now()
        answer = step.ask(self._token_request())
        return Token(
            value=step.read_token(answer),
            issued_at=issued_at,
            expires_at=served_until(issued_at, self.cache_seconds, provider.expires_in(answer)),
            attributes={"scope": _scope(answer, self.scope)},
        )

    def _token_request(self) -> Outgoing:
        url, _, query = self.identity_url.partition("#")[0].partition("?")
        parameters = [*parse_qsl(query, keep_blank_values=True), *self._parameters()]
        headers = {"Authorization": self._basic()} if self.client_authentication == "basic" else {}
        if self.request_scheme == "post_body":
            return provider.form_post(url, parameters, headers=headers)
        method = "GET" if self.request_scheme == "get_query" else "POST"
        return outgoing(method, url, params=parameters, headers={"Accept": "application/json", **headers})

    def _parameters(self) -> Parameters:
        parameters = [("grant_type", "client_credentials")]
        if self.client_authentication == "parameters":
            parameters += [("client_id", self.client_id), ("client_secret", self.client_secret.get_secret_value())]
        if self.scope:
            parameters.append(("scope", self.scope))
        for name, value in self.extra_parameters.get_secret_value().items():
            parameters += [(name, _text(item)) for item in (value if isinstance(value, list) else [value])]
        return parameters

    def _basic(self) -> str:
        return provider.basic(self.client_id, self.client_secret.get_secret_value())

    def known_secrets(self) -> tuple[str, ...]:
        basic = (self._basic().removeprefix("Basic "),) if self.client_authentication == "basic" else ()
        return (*super().known_secrets(), *basic)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _scope(answer: dict[str, Any], asked: str | None) -> str:
    # A provider leaves the scope out when it granted what was asked for (RFC 6749, section 5.1).
    granted = answer.get("scope")
    return granted if isinstance(granted, str) else asked or ""
