"""Which hosts a request may go to: exact names, or `*.example.com` for every name below it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import httpx

from prefect_atomic.transport.redaction import redact_url

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?!.{{254}}){_LABEL}(\.{_LABEL})*\.?|(?=.*:)[0-9a-f:.]+")
_PATTERN = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*|[0-9a-f:.]+")


def can_be_asked(url: httpx.URL) -> bool:
    """Whether a request can go there: by http or https, to a well-formed name or address, at a port that there is."""
    return (
        url.scheme in ("http", "https")
        and (url.port is None or 0 < url.port < 65536)
        and _exists(url.raw_host.decode())
    )


@lru_cache(maxsize=4096)
def _exists(host: str) -> bool:
    try:
        return bool(_HOST.fullmatch(host) and httpx.URL(scheme="http", host=host).host)
    except (httpx.InvalidURL, UnicodeError):  # `xn--` and no valid name behind it
        return False


def host_pattern(pattern: str) -> str:
    """The pattern as hosts are compared with it: lower case, IDNA, no dot at the end.

    Raises:
        ValueError: It is not a host name, or a wildcard stands anywhere but in front of a whole label.
    """
    host = pattern.strip().rstrip(".").lower()
    wildcard, name = ("*.", host[2:]) if host.startswith("*.") else ("", host)
    try:
        name = name.strip("[]") if ":" in name else httpx.URL(scheme="https", host=name).raw_host.decode()
    except (httpx.InvalidURL, UnicodeError):
        name = "?"
    if not _PATTERN.fullmatch(wildcard + name) or "://" in pattern:
        raise ValueError(
            f"{redact_url(pattern)!r} is not a host: write a name like `api.example.com`, or `*.example.com` for all "
            "below it, without scheme, port or path"
        )
    return wildcard + name


def is_allowed(host: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns names the host. No patterns, no limit."""
    return not patterns or _is_named(host, tuple(patterns))


@lru_cache(maxsize=4096)
def _is_named(host: str, patterns: tuple[str, ...]) -> bool:
    host = host.rstrip(".").lower()
    return any(host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern for pattern in patterns)


def origin(url: httpx.URL) -> tuple[str, str, int | None]:
    """Scheme, host and port (RFC 6454); what differs in one of them is somebody else."""
    return url.scheme, url.raw_host.decode(), url.port or {"http": 80, "https": 443}.get(url.scheme)
