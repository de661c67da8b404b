"""Where an org is: what people paste from their browser, and what the API wants."""

from __future__ import annotations

import re
from typing import Annotated

import httpx
from pydantic import AfterValidator

from prefect_atomic.credentials.identity_url import is_loopback
from prefect_atomic.credentials.provider import TokenStep

_SUFFIX = ".salesforce.com"
_ELSEWHERE = (".my.salesforce.mil", ".my.sfcrmproducts.cn")
_LABELS = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_PAGES = (".force.com", ".salesforce-setup.com", ".site.com")


def _is_a_domain(text: str) -> str:
    try:
        url = httpx.URL(text if "://" in text else f"https://{text}")
    except (httpx.InvalidURL, UnicodeError):
        raise ValueError("is no host; enter COMPANY.my, as in https://COMPANY.my.salesforce.com") from None
    if is_loopback(url) and "://" in text:
        return text.rstrip("/")
    host = url.host.rstrip(".").lower()
    if host.endswith(_PAGES):
        raise ValueError(
            f"{host} shows pages to people; the API is at the org's My Domain: enter COMPANY.my, as in "
            "https://COMPANY.my.salesforce.com"
        )
    if url.scheme != "https" or url.path not in ("", "/") or url.query:
        raise ValueError("is COMPANY.my, as in https://COMPANY.my.salesforce.com, or login, or test")
    if host.endswith(_ELSEWHERE):
        return f"https://{host}"
    name = host.removesuffix(_SUFFIX)
    if not _LABELS.fullmatch(name) or (name not in ("login", "test") and not name.endswith(".my")):
        raise ValueError(
            f"{name[:100]!r} is no My Domain; enter COMPANY.my, or COMPANY--SANDBOX.sandbox.my, or login, or test"
        )
    return name


Domain = Annotated[str, AfterValidator(_is_a_domain)]
"""`COMPANY.my`, `login`, `test`, or a whole URL where the org is not at salesforce.com."""


def login_url(domain: str) -> str:
    """The URL that tokens are asked for at."""
    return domain if "://" in domain else f"https://{domain}{_SUFFIX}"


def base_url(instance_url: object, login: str, step: TokenStep) -> str:
    """Scheme and host of the org, from an `instance_url` with or without a scheme.

    Raises:
        CredentialError: There is none, or it would have the token sent in the clear.
    """
    text = instance_url if isinstance(instance_url, str) else ""
    own = httpx.URL(login)
    try:
        url = httpx.URL(text if "//" in text else f"{own.scheme}://{text}")
    except (httpx.InvalidURL, UnicodeError):
        url = httpx.URL()
    if not url.host:
        raise step.error("answered without an instance_url, so the org's host is not known")
    if url.scheme != "https" and not is_loopback(own):
        raise step.error("answered with an instance_url that is not https")
    return f"{url.scheme}://{url.netloc.decode()}"
