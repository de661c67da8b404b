"""URLs that a secret is sent to."""

from __future__ import annotations

import ipaddress
from typing import Annotated

import httpx
from pydantic import AfterValidator

from prefect_atomic.errors import RequestError
from prefect_atomic.transport import outgoing


def _is_sendable(url: str) -> str:
    try:
        outgoing("POST", url)
    except RequestError as error:
        raise ValueError(str(error).removeprefix("url: ")) from None
    return url


IdentityUrl = Annotated[str, AfterValidator(_is_sendable)]
"""A URL that takes a token request."""


def is_loopback(url: httpx.URL) -> bool:
    """Whether a URL never leaves this machine, such as the sandbox's."""
    if url.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        return False
