"""Keeps secrets out of what people read: URLs, excerpts of answers, log lines."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote, quote_plus

import httpx

MASK = "***"

_IN_TEXT = 4
_IN_CONTENT = 8
"""Shorter secrets are left alone: an answer full of masks where a two-letter password stood would be a lie."""


def redact_url(url: httpx.URL | str) -> str:
    """The URL without what may be secret in it: user and password, fragment, and every value of the query."""
    text = str(url)
    text, _, _ = text.partition("#")
    text, mark, query = text.partition("?")
    text = re.sub(r"(?<=//)[^/@]*@", "", text)
    return text + mark + "&".join(_without_value(pair) for pair in query.split("&"))


def scrub(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret masked, however it is encoded in it."""
    for needle in _needles(tuple(secrets), _IN_TEXT):
        if needle in text:
            text = text.replace(needle, MASK)
    return text


def scrub_content(content: bytes, secrets: Iterable[str]) -> bytes:
    """The body of an answer with every secret masked that is long enough not to be there by chance."""
    for needle in _needles(tuple(secrets), _IN_CONTENT):
        raw = needle.encode("utf-8", "surrogatepass")
        if raw in content:
            content = content.replace(raw, MASK.encode())
    return content


def excerpt(content: bytes, secrets: Iterable[str], *, length: int = 200) -> str:
    """The beginning of an answer, in one line, for an error message; empty where it is not text."""
    # More is scrubbed than is shown: a secret that the cut goes through would not be found.
    text = content[: 64 * 1024].decode("utf-8", "replace")
    if text.count("\ufffd") > len(text) // 10:
        return ""
    text = " ".join(scrub(text, secrets).split())
    text = "".join(character for character in text if character.isprintable())
    return text if len(text) <= length else f"{text[:length]}…"


def _without_value(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    # Without an equals sign the whole of it may be a key such as `?<token>`; short ones are flags such as `?acl`.
    return f"{name}={MASK}" if equals else (name if len(name) <= 32 else MASK)


@lru_cache(maxsize=256)
def _needles(secrets: tuple[str, ...], shortest: int) -> tuple[str, ...]:
    """Each secret as it may appear in text, longest first so that a part never hides the whole."""
    found = {form for secret in secrets for form in _forms(secret) if len(form) >= shortest}
    return tuple(sorted(found, key=len, reverse=True))


def _forms(secret: str) -> Iterable[str]:
    raw = secret.encode("utf-8", "surrogatepass")
    yield secret
    for encoded in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
        yield encoded
        yield re.sub("%..", lambda escape: escape[0].lower(), encoded)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield html.escape(secret)
    yield repr(secret)[1:-1]
    yield repr(raw)[2:-1]  # as httpcore logs header values
    for escaped in (json.dumps(secret)[1:-1], repr(secret)[1:-1]):
        yield escaped.replace("/", "\\/")  # as PHP writes JSON
        yield re.sub("[+'&<>`]", lambda match: f"\\u{ord(match[0]):04X}", escaped)  # as .NET does
        yield json.dumps(escaped)[1:-1]  # an error within an error
    yield quote_plus(quote_plus(raw))  # a form within a URL
    if len(raw) >= _IN_CONTENT:
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(raw).decode()
            yield encode(raw).decode().rstrip("=")
            for shift in (0, 1, 2):  # where more is encoded with it, without the characters that it shares with that
                yield encode(bytes(shift) + raw).decode().rstrip("=")[(0, 2, 3)[shift] : (shift + len(raw)) * 8 // 6]
