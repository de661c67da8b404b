"""Which instance it is, as people enter it: its Munchkin id, or two endpoints as Admin > Web Services shows them."""

from __future__ import annotations

import re
from typing import Annotated

import httpx
from pydantic import AfterValidator

from prefect_atomic.credentials.identity_url import IdentityUrl, is_loopback

_DOMAIN = "mktorest.com"
_MUNCHKIN = re.compile(r"\d{3}-[a-z]{3}-\d{3}")
_PASTED = re.compile(rf"(?:https://)?([^./]+)\.{re.escape(_DOMAIN)}(?:/[^?#]*)?")


def _is_a_munchkin_id(text: str) -> str:
    """The id alone; the URLs that Marketo shows are understood."""
    text = text.strip().lower()
    if pasted := _PASTED.fullmatch(text):
        text = pasted[1]
    if not _MUNCHKIN.fullmatch(text):
        raise ValueError("is like 123-ABC-456, as Admin > Munchkin shows it; other servers belong into the endpoints")
    return text.upper()


MunchkinId = Annotated[str, AfterValidator(_is_a_munchkin_id)]
"""What an instance is called."""


def _is_an_endpoint(url: str, last: str) -> str:
    parsed = httpx.URL(url)
    if parsed.scheme != "https" and not is_loopback(parsed):
        raise ValueError("must begin with https://, as secrets are sent there")
    if parsed.query or parsed.fragment:
        raise ValueError("has a query or a fragment; enter it as Admin > Web Services shows it")
    url = url.rstrip("/")
    if "//" in parsed.path or not url.endswith(f"/{last}"):
        raise ValueError(f"ends with /{last}, such as https://123-ABC-456.{_DOMAIN}/{last}")
    return url


RestEndpoint = Annotated[IdentityUrl, AfterValidator(lambda url: _is_an_endpoint(url, "rest"))]
"""Where the REST API is, in place of the instance's own host."""

IdentityEndpoint = Annotated[IdentityUrl, AfterValidator(lambda url: _is_an_endpoint(url, "identity"))]
"""Where tokens come from, in place of the instance's own host."""


def endpoint_of(munchkin_id: str, last: str) -> str:
    """An endpoint of an instance."""
    return f"https://{munchkin_id.lower()}.{_DOMAIN}/{last}"


def bulk_endpoint(rest_endpoint: str) -> str:
    """Where the bulk API is, which stands beside the REST API."""
    return f"{rest_endpoint.removesuffix('/rest')}/bulk"


def instance_of(rest_endpoint: str) -> str:
    """What the limits of an instance are kept under: its host."""
    url = httpx.URL(rest_endpoint)
    return f"{url.host}-{url.port}" if url.port else url.host
