"""Salesforce Data 360: a core token, exchanged for one that is good at the tenant's own host."""

from typing import Annotated, Literal

import httpx
from pydantic import AfterValidator, Field

from prefect_atomic.credentials import provider
from prefect_atomic.credentials.base import AllowedHosts, CacheSeconds, Printable, PrintableSecret, TokenCredential, now
from prefect_atomic.credentials.identity_url import IdentityUrl, is_loopback
from prefect_atomic.credentials.provider import TokenStep
from prefect_atomic.tokens import Token, served_until
from prefect_atomic.transport.redaction import redact_url

_MY_DOMAINS = (".my.salesforce.com", ".my.salesforce.mil", ".my.sfcrmproducts.cn")


def _is_my_domain(login_url: str) -> str:
    url = httpx.URL(login_url)
    if not is_loopback(url):
        if url.host in ("login.salesforce.com", "test.salesforce.com"):
            raise ValueError(
                "this sign-in needs the org's own My Domain, such as https://COMPANY.my.salesforce.com: "
                f"{url.host} refuses client credentials"
            )
        if url.scheme != "https" or not url.host.endswith(_MY_DOMAINS):
            raise ValueError("must be an https My Domain, such as https://COMPANY.my.salesforce.com")
    if url.path not in ("", "/") or url.query:
        raise ValueError(f"must end with the host, without {redact_url(url.raw_path.decode())}")
    return login_url.rstrip("/")


class SalesforceData360(TokenCredential):
    """Signs in to Salesforce, exchanges that token for a Data 360 token, and sends it as `Authorization: Bearer`.

    The Data 360 token is shared by all processes for 5 minutes, as Atomic documents. `host()` is where it is good.

    Example:
        Query Data 360 with a saved credential:
        ```python
        from prefect import flow
        from prefect_atomic import SalesforceData360, send_request

        crm = SalesforceData360.load("BLOCK_NAME")

        @flow
        def people():
            url = f"https://{crm.host()}/api/v2/query"
            return send_request("POST", url, credential=crm, json={"sql": "SELECT 1"}).json()
        ```
    """

    _block_type_name = "Atomic Salesforce Data 360"
    _block_type_slug = "atomic-salesforce-data-360"
    _documentation_url = "https://developer.salesforce.com/docs/data/data-cloud-ref/guide/c360a-api-get-started.html"  # type: ignore[assignment]

    login_url: Annotated[IdentityUrl, AfterValidator(_is_my_domain)] = Field(
        description="The org's My Domain, such as https://COMPANY.my.salesforce.com."
    )
    client_id: Printable = Field(min_length=1, description="The consumer key of the external client app.")
    client_secret: PrintableSecret = Field(min_length=1, description="The consumer secret of the external client app.")
    dataspace: str = Field("default", min_length=1, description="The API name of the data space.")
    scope: str | None = Field(None, description="The scopes to ask for, separated by spaces; none = all of the app's.")
    cache_seconds: CacheSeconds = Field(300, description="How long a token is shared, in seconds.")
    allowed_hosts: AllowedHosts = []
    kind: Literal["salesforce-data-360"] = Field(
        "salesforce-data-360", description="Tells saved credentials apart; leave as it is."
    )

    def host(self) -> str:
        """The tenant's host that came with the token, such as `abc123.c360a.salesforce.com`.

        Raises:
            CredentialError: One of the two steps failed.
        """
        return self._token().token.attributes["host"]

    async def ahost(self) -> str:
        """The same as `host`, for an event loop."""
        return (await self._atoken()).token.attributes["host"]

    def _mint(self) -> Token:
        deadline, issued_at = provider.deadline(), now()
        core = self._core_token(deadline)
        # A core token may be good for one exchange only, so it is neither kept nor used again.
        step = TokenStep(self.title(), "the Data 360 token exchange", (*self.known_secrets(), core), deadline)
        answer = step.ask(
            provider.form_post(
                f"{self.login_url}/services/a360/token",
                [
                    ("grant_type", "urn:salesforce:grant-type:external:cdp"),
                    ("subject_token", core),
                    ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
                    ("dataspace", self.dataspace),
                ],
            )
        )
        return Token(
            value=step.read_token(answer),
            issued_at=issued_at,
            expires_at=served_until(issued_at, self.cache_seconds, provider.expires_in(answer)),
            attributes={"host": _host(answer.get("instance_url"), step), "scope": str(answer.get("scope") or "")},
        )

    def _core_token(self, deadline: float) -> str:
        step = TokenStep(self.title(), "the Salesforce token request", self.known_secrets(), deadline)
        parameters = [
            ("grant_type", "client_credentials"),
            ("client_id", self.client_id),
            ("client_secret", self.client_secret.get_secret_value()),
        ]
        if self.scope:
            parameters.append(("scope", self.scope))
        return step.read_token(step.ask(provider.form_post(f"{self.login_url}/services/oauth2/token", parameters)))


def _host(instance_url: object, step: TokenStep) -> str:
    """The host of an `instance_url`, which Salesforce gives with or without a scheme."""
    text = instance_url if isinstance(instance_url, str) else ""
    try:
        url = httpx.URL(text if "//" in text else f"https://{text}")
    except (httpx.InvalidURL, UnicodeError):
        url = httpx.URL()
    if not url.host:
        raise step.error("answered without an instance_url, so the tenant's host is not known")
    return url.netloc.decode()
