"""Headers of one's own, such as an API key."""

from typing import Literal

import httpx
from prefect.types import SecretDict
from pydantic import Field, field_validator

from prefect_atomic.credentials.auth import was_sent
from prefect_atomic.credentials.base import AllowedHosts, Credential
from prefect_atomic.transport.request import TOKEN, header_fault

_SET_BY_THE_CLIENT = frozenset(
    {"connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"}
)
_NEVER_SECRET = frozenset(
    {"accept", "accept-charset", "accept-language", "cache-control", "content-type", "user-agent"}
)


class CustomHeaders(Credential):
    """Sends headers with each request, such as an API key. All of them are kept as secrets.

    Example:
        Call an API with a saved credential:
        ```python
        from prefect import flow
        from prefect_atomic import CustomHeaders, send_request

        crm = CustomHeaders.load("BLOCK_NAME")

        @flow
        def contacts():
            return send_request("GET", "https://crm.example.com/contacts", credential=crm).json()
        ```
    """

    _block_type_name = "Atomic Custom Headers"
    _block_type_slug = "atomic-custom-headers"
    _documentation_url = "https://www.rfc-editor.org/rfc/rfc9110#section-5"  # type: ignore[assignment]

    headers: SecretDict = Field(description='The headers, such as {"X-Api-Key": "..."}.')
    allowed_hosts: AllowedHosts = []
    kind: Literal["custom-headers"] = Field(
        "custom-headers", description="Tells saved credentials apart; leave as it is."
    )

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, headers: SecretDict) -> SecretDict:
        fields = headers.get_secret_value()
        if not fields:
            raise ValueError('is empty; enter at least one header, such as {"X-Api-Key": "..."}')
        for number, (name, value) in enumerate(fields.items(), 1):
            if not TOKEN.fullmatch(name):  # not quoted: the whole header may have been entered as its name
                raise ValueError(f"the name of header {number} may hold letters, digits and -, no space or colon")
            if fault := header_fault(name, value):
                raise ValueError(fault)
            if name.lower() in _SET_BY_THE_CLIENT:
                raise ValueError(f"{name} is set by the HTTP client for each request; leave it out")
        return headers

    def _prove(self, request: httpx.Request) -> None:
        fields = self.headers.get_secret_value()
        request.headers.update(fields)
        was_sent(request, *self._own_secrets())

    def _own_secrets(self) -> tuple[str, ...]:
        # A media type masked wherever it stands in an answer would spoil the answer and protect nothing.
        fields = self.headers.get_secret_value()
        secret = [value for name, value in fields.items() if name.lower() not in _NEVER_SECRET]
        # Of `Bearer KEY`, an answer may echo the key alone.
        return tuple(part for value in secret for part in (value, *value.split(" ", 1)[1:]))
