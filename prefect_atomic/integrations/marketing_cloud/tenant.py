"""Which tenant it is, as people enter it, and where its REST API is, as its token says."""

from __future__ import annotations

import re
from typing import Annotated

import httpx
from pydantic import AfterValidator, BeforeValidator

from prefect_atomic.credentials.identity_url import IdentityUrl, is_loopback
from prefect_atomic.credentials.provider import TokenStep
from prefect_atomic.transport.redaction import redact_url

_DOMAIN = "marketingcloudapis.com"
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PASTED = re.compile(rf"(?:https://)?([^./]+)\.(?:auth|rest|soap)\.{re.escape(_DOMAIN)}(?:/[^?#]*)?")


def _is_a_subdomain(text: str) -> str:
    """The label alone; the URLs that an installed package shows are understood."""
    text = text.strip().lower()
    if pasted := _PASTED.fullmatch(text):
        text = pasted[1]
    if "exacttargetapis" in text:
        raise ValueError(f"is that of the legacy API, without OAuth 2; the package's own URLs end with .auth.{_DOMAIN}")
    if "." in text or "/" in text:
        raise ValueError(
            f"is the part before .auth.{_DOMAIN}, as in the package's Authentication Base URI; another server "
            "belongs into auth_url"
        )
    if not _LABEL.fullmatch(text):
        raise ValueError(f"consists of letters, digits and dashes, as in https://SUBDOMAIN.auth.{_DOMAIN}")
    return text


Subdomain = Annotated[str, AfterValidator(_is_a_subdomain)]
"""What a tenant's hosts begin with."""


def _is_an_auth_url(url: str) -> str:
    parsed = httpx.URL(url)
    if parsed.scheme != "https" and not is_loopback(parsed):
        raise ValueError("must begin with https://, as the client's secret is sent there")
    if parsed.query or parsed.fragment:
        raise ValueError("has a query or a fragment; enter what /v2/token follows on, such as https://HOST")
    return url.rstrip("/").removesuffix("/v2/token")


AuthUrl = Annotated[IdentityUrl, AfterValidator(_is_an_auth_url)]
"""Where tokens come from, in place of the tenant's own host."""


def _as_text(number: object) -> object:
    return str(number) if isinstance(number, int) and not isinstance(number, bool) else number


def _is_a_mid(text: str) -> str:
    if not (text.isascii() and text.isdigit()):
        raise ValueError("is the MID of a business unit, which consists of digits, as in the account menu")
    return text


Mid = Annotated[str, BeforeValidator(_as_text), AfterValidator(_is_a_mid)]
"""The id of a business unit."""


def auth_url_of(subdomain: str) -> str:
    """Where a tenant's tokens come from."""
    return f"https://{subdomain}.auth.{_DOMAIN}"


def rest_url(instance_url: object, step: TokenStep, auth_url: str) -> str:
    """The base of the REST API, without a slash at its end, from the `rest_instance_url` that came with a token.

    Raises:
        CredentialError: There is none that a token may be sent to.
    """
    try:
        url = httpx.URL(instance_url if isinstance(instance_url, str) else "")
    except (httpx.InvalidURL, UnicodeError):
        url = httpx.URL()
    if not url.host:
        raise step.error("answered without a rest_instance_url, so it is not known where the API is")
    is_local = is_loopback(url) and is_loopback(httpx.URL(auth_url))
    if url.scheme != "https" and not is_local:
        raise step.error(f"answered with a rest_instance_url that is not https: {redact_url(url)}")
    if url.query or url.userinfo:
        raise step.error("answered with a rest_instance_url that has more than a host and a path")
    return str(url).rstrip("/")
