"""HTTP Basic authentication (RFC 7617)."""

import base64
from typing import Literal

import httpx
from pydantic import Field, field_validator

from prefect_atomic.credentials.auth import was_sent
from prefect_atomic.credentials.base import AllowedHosts, Credential, Printable, PrintableSecret


class BasicAuth(Credential):
    """Sends a username and password with each request, as `Authorization: Basic`.

    Whoever sees a request can read the password: prefer another credential type where the service offers one.

    Example:
        Call an API with a saved credential:
        ```python
        from prefect import flow
        from prefect_atomic import BasicAuth, send_request

        crm = BasicAuth.load("BLOCK_NAME")

        @flow
        def contacts():
            return send_request("GET", "https://crm.example.com/contacts", credential=crm).json()
        ```
    """

    _block_type_name = "Atomic Basic Auth"
    _block_type_slug = "atomic-basic-auth"
    _documentation_url = "https://www.rfc-editor.org/rfc/rfc7617"  # type: ignore[assignment]

    username: Printable = Field(description="The user to sign in as; it may not contain a colon.")
    password: PrintableSecret = Field(description="The user's password.")
    allowed_hosts: AllowedHosts = []
    kind: Literal["basic-auth"] = Field("basic-auth", description="Tells saved credentials apart; leave as it is.")

    @field_validator("username")
    @classmethod
    def _has_no_colon(cls, username: str) -> str:
        if ":" in username:  # the first colon ends the username (RFC 7617, section 2)
            raise ValueError("may not contain a colon; is the password in it?")
        return username

    def _prove(self, request: httpx.Request) -> None:
        request.headers["Authorization"] = f"Basic {self._encoded()}"
        was_sent(request, self.password.get_secret_value(), self._encoded())

    def known_secrets(self) -> tuple[str, ...]:
        return (*super().known_secrets(), self._encoded())

    def _encoded(self) -> str:
        return base64.b64encode(f"{self.username}:{self.password.get_secret_value()}".encode()).decode()
