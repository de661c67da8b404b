"""Keeps secrets out of what people read: URLs, excerpts of answers, log lines."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from functools import lru_cache
from html.entities import codepoint2name
from itertools import compress
from typing import NamedTuple

import httpx

MASK = "***"


class _Needles(NamedTuple):
    """What finds secrets: side by side, as hundreds of them are looked for in every line of a log.

    An anchor is the longest run of letters and digits in a form, which no encoding changes: much faster to look for
    than the form's pattern, which is made only once its anchor was found.
    """

    anchors: tuple[str, ...]
    raw_anchors: tuple[bytes, ...]
    forms: tuple[str, ...]


_LONGEST_NAME = 64

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


def scrub(text: str, secrets: Iterable[str], *, is_ours: bool = True) -> str:
    """The text with every secret masked, however it is encoded in it.

    Args:
        text: What a person may read.
        secrets: What is masked in it.
        is_ours: Whether the text is about a request with these secrets. In what is about others, a short one is more
            likely there by chance.
    """
    secrets, shortest = tuple(secrets), _IN_TEXT if is_ours else _IN_CONTENT
    if not any(map(text.__contains__, _needles(secrets, shortest).anchors)):
        return text
    return _scrub(text.encode("utf-8", "surrogatepass"), secrets, shortest).decode("utf-8", "surrogatepass")


def scrub_content(content: bytes, secrets: Iterable[str]) -> bytes:
    """The body of an answer with every secret masked that is long enough not to be there by chance."""
    return _scrub(content, secrets, _IN_CONTENT)


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
    # Without an equals sign the whole of it may be a key such as `?<token>`; short ones are flags such as `?acl`. With
    # one, it may be no name that stands before it, but the beginning of something longer.
    if len(name) > (_LONGEST_NAME if equals else 32):
        return MASK
    return f"{name}={MASK}" if equals else name


def _scrub(raw: bytes, secrets: Iterable[str], shortest: int) -> bytes:
    needles = _needles(tuple(secrets), shortest)
    for form in compress(needles.forms, map(raw.__contains__, needles.raw_anchors)):
        raw = _pattern(form).sub(MASK.encode(), raw)
    return raw


@lru_cache(maxsize=256)
def _needles(secrets: tuple[str, ...], shortest: int) -> _Needles:
    """What finds each secret, longest first so that a part never hides the whole."""
    forms = {form for secret in secrets if len(secret) >= shortest for form in _forms(secret)}
    ordered = sorted(forms, key=len, reverse=True)
    anchors = [max(re.findall("[0-9A-Za-z]*", form), key=len) for form in ordered]
    return _Needles(tuple(anchors), tuple(anchor.encode() for anchor in anchors), tuple(ordered))


@lru_cache(maxsize=4096)
def _pattern(form: str) -> re.Pattern[bytes]:
    return re.compile(b"".join(map(_escaped, form)))


def _forms(secret: str) -> Iterable[str]:
    yield secret
    raw = secret.encode("utf-8", "surrogatepass")
    if len(raw) >= _IN_CONTENT:
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(raw).decode()
            for shift in (0, 1, 2):  # where more is encoded with it, without the characters that it shares with that
                encoded = encode(bytes(shift) + raw).decode()
                yield encoded[(0, 2, 3)[shift] : (shift + len(raw)) * 8 // 6]


_AMPERSAND = rb"(?:&|\\{1,8}u0026)(?:amp;){0,3}"


_BACKSLASHES = rb"(?:\\|%(?:25){0,3}5C){1,8}"


@lru_cache(maxsize=1024)
def _escaped(character: str) -> bytes:
    """A pattern for a character as it is, and as JSON, URLs, HTML and `repr` write it, also within one another."""
    if character.isascii() and character.isalnum():
        return character.encode()
    raw, code = character.encode("utf-8", "surrogatepass"), ord(character)
    units = character.encode("utf-16-be", "surrogatepass")
    ways = [
        re.escape(raw),
        b"".join(b"%%(?:25){0,3}%02X" % byte for byte in raw),
        b"".join(_BACKSLASHES + b"u%04X" % int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2)),
        b"".join(_BACKSLASHES + b"x%02X" % byte for byte in raw),
        _BACKSLASHES + b"x%02X" % code,
        _BACKSLASHES + b"u%08X" % code,
        _AMPERSAND + b"#(?:0*%d|x0*%X);" % (code, code),
    ]
    if name := codepoint2name.get(code, "apos" if character == "'" else ""):
        ways.append(_AMPERSAND + name.encode() + b";")
    if short := {" ": rb"\+", "\n": _BACKSLASHES + b"n", "\r": _BACKSLASHES + b"r", "\t": _BACKSLASHES + b"t"}.get(
        character
    ):
        ways.append(short)
    if code < 32:
        # JSON writes some of them by a letter of their own.
        escape = json.dumps(character)[1:-1].removeprefix("\\")
        ways.append(_BACKSLASHES + re.escape(escape.encode()))
    return rb"(?i:(?:%s)?(?:%s))" % (_BACKSLASHES, b"|".join(ways))
