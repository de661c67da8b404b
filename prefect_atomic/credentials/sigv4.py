"""AWS Signature Version 4, over the bytes that are sent.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
EMPTY_PAYLOAD_HASH = hashlib.sha256().hexdigest()

_ALGORITHM = "AWS4-HMAC-SHA256"
_S3 = frozenset({"s3", "s3express", "s3-object-lambda", "s3-outposts"})
_PLAIN = re.compile(rb"[A-Za-z0-9\-_.~/]*(?:\?(?:[A-Za-z0-9\-_.~&]|=(?![^&=]*=))*)?")
_PLAIN_PATH = re.compile(rb"[A-Za-z0-9\-_.~/]*")
_STRICT_PATH = re.compile(rb"(?:[A-Za-z0-9\-_.~/]|%[0-9A-F]{2})*")
_STRICT_QUERY = re.compile(rb"(?:[A-Za-z0-9\-_.~&]|%[0-9A-F]{2}|=(?![^&=]*=))*")  # a second = is part of a value
_NEEDLESS_ESCAPE = re.compile(rb"%(?:2D|2E|5F|7E|3[0-9]|[46][1-9A-F]|[57][0-9A])")


class Keys(NamedTuple):
    """An access key, with a session token if it is a temporary one."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"Keys({self.access_key_id!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a signature is for, and how the service wants it computed.

    Attributes:
        expires_in: Seconds that a signed query is valid; None signs a header.
        encodes_once: The path is taken as it is sent. S3 does; all others encode it once more.
        normalizes: Dot segments and double slashes are folded before signing. S3 does not: they are part of its keys.
        sends_payload_hash: The payload's hash is sent as `X-Amz-Content-Sha256`, and signed with the other headers.
        omits_session_token: The session token is sent, but not signed (as AWS IoT wants it).
    """

    service: str
    region: str
    expires_in: int | None = None
    encodes_once: bool = False
    normalizes: bool = True
    sends_payload_hash: bool = False
    omits_session_token: bool = False

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, service: str, region: str, expires_in: int | None, *, sends_payload_hash: bool = False) -> Scope:
        """The rules of a service, by its name; name and region go into the signature exactly as given."""
        s3 = is_s3(service)
        return cls(
            service=service,
            region=region,
            expires_in=expires_in,
            encodes_once=s3,
            normalizes=not s3,
            sends_payload_hash=sends_payload_hash or (s3 and expires_in is None),
        )


class Signed(NamedTuple):
    """A signature, and where it goes: into the target or into the headers that are added."""

    signature: str
    target: bytes
    headers: list[tuple[str, str]]


def is_s3(service: str) -> bool:
    return service in _S3


def sign(
    method: str,
    target: bytes,
    headers: Iterable[tuple[bytes, bytes]],
    payload_hash: str,
    *,
    keys: Keys,
    scope: Scope,
    moment: float,
) -> Signed:
    """Signs a request.

    Args:
        method: As it is sent.
        target: Path and query as they are sent.
        headers: All that are to be signed, `host` among them.
        payload_hash: The SHA-256 of the body in hex, or `UNSIGNED-PAYLOAD`.
        keys: Of who signs.
        scope: What the signature is for.
        moment: Now, in seconds since the epoch.
    """
    stamp = _stamp(int(moment))
    day = _day_of(keys, scope.region, scope.service, stamp[:8])
    path, _, query = target.partition(b"?")
    added: list[tuple[str, str]] = []
    if scope.expires_in is None:
        added.append(("X-Amz-Date", stamp))
        if scope.sends_payload_hash:
            added.append(("X-Amz-Content-Sha256", payload_hash))
    session = [("X-Amz-Security-Token", keys.session_token)] if keys.session_token else []
    signed = added if scope.omits_session_token else added + session
    if scope.expires_in is None:
        names, lines = _canonical_headers([*headers, *[(name.encode(), value.encode()) for name, value in signed]])
    else:
        names, lines = _canonical_headers(headers)
        parameters = [
            ("X-Amz-Algorithm", _ALGORITHM),
            ("X-Amz-Credential", day.credential),
            ("X-Amz-Date", stamp),
            ("X-Amz-Expires", str(scope.expires_in)),
            ("X-Amz-SignedHeaders", names.decode()),
            *signed,
        ]
        query = b"&".join(([query] if query else []) + [_parameter(*pair) for pair in parameters])
    canonical = b"%b\n%b\n%b\n%b\n%b\n%b" % (
        method.encode(),
        _canonical_path(path, scope),
        _canonical_query(query),
        lines,
        names,
        payload_hash.encode(),
    )
    text = f"{_ALGORITHM}\n{stamp}\n{day.scope}\n{hashlib.sha256(canonical).hexdigest()}"
    mac = day.mac.copy()
    mac.update(text.encode())
    signature = mac.hexdigest()
    if scope.expires_in is None:
        proof = f"{_ALGORITHM} Credential={day.credential}, SignedHeaders={names.decode()}, Signature={signature}"
        return Signed(signature, target, [*added, *session, ("Authorization", proof)])
    last = [*(session if scope.omits_session_token else []), ("X-Amz-Signature", signature)]
    return Signed(signature, b"&".join([b"%b?%b" % (path, query), *[_parameter(*pair) for pair in last]]), [])


def strict(target: bytes, *, service: str) -> bytes:
    """The target in the one encoding that AWS computes signatures over: only unreserved characters stand bare.

    It names the same resource. Without it, a service that decodes and encodes a path again before it checks the
    signature, as S3 does, gets another signature for every `+`, `(` or needless `%41` in it.
    """
    if _PLAIN.fullmatch(target):
        return target
    path, mark, query = target.partition(b"?")
    if not _STRICT_PATH.fullmatch(path) or _NEEDLESS_ESCAPE.search(path) or (b"%2F" in path and is_s3(service)):
        # An escaped slash is part of a name, except in S3, where a key is one name with slashes in it.
        names = [path] if is_s3(service) else path.split(b"/")
        path = "/".join(
            quote_from_bytes(unquote_to_bytes(name), safe="/~" if is_s3(service) else "~") for name in names
        ).encode()
    if query and (not _STRICT_QUERY.fullmatch(query) or _NEEDLESS_ESCAPE.search(query)):
        query = b"&".join(_strict_pair(pair) for pair in query.split(b"&"))
    return path + mark + query


def _strict_pair(pair: bytes) -> bytes:
    name, equals, value = pair.replace(b"+", b"%20").partition(b"=")  # a plus means a space in a query
    return b"".join((_strict_text(name), equals, _strict_text(value)))


def _strict_text(text: bytes) -> bytes:
    return quote_from_bytes(unquote_to_bytes(text), safe="~").encode()


def _parameter(name: str, value: str) -> bytes:
    return f"{name}={quote_from_bytes(value.encode(), safe='~')}".encode()


def _canonical_headers(headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """The names that are signed, and a line for each."""
    values: dict[bytes, bytes] = {}
    for name, value in headers:
        name, value = name.lower(), value.strip()
        if b"  " in value:
            value = re.sub(rb" +", b" ", value)
        values[name] = values[name] + b"," + value if name in values else value
    names = sorted(values)
    return b";".join(names), b"".join([b"%b:%b\n" % (name, values[name]) for name in names])


def _canonical_path(path: bytes, scope: Scope) -> bytes:
    if scope.normalizes and (b"//" in path or b"/." in path):
        path = _normalized(path)
    if not scope.encodes_once and not _PLAIN_PATH.fullmatch(path):
        path = quote_from_bytes(path, safe="/~").encode()
    return path or b"/"


def _normalized(path: bytes) -> bytes:
    """The path without empty and dot segments (RFC 3986, section 5.2.4)."""
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    return b"/" + b"/".join(kept) + (b"/" if kept and path.endswith(b"/") else b"")


def _canonical_query(query: bytes) -> bytes:
    if not query:
        return b""
    pairs = [pair.partition(b"=")[::2] for pair in query.split(b"&") if pair]
    if not _STRICT_QUERY.fullmatch(query):
        pairs = [(_strict_text(name), _strict_text(value)) for name, value in pairs]
    return b"&".join([b"%b=%b" % pair for pair in sorted(pairs)])


@lru_cache(maxsize=8)
def _stamp(second: int) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))


class _Day(NamedTuple):
    """What is the same for every signature of a day."""

    scope: str
    credential: str
    mac: hmac.HMAC


@lru_cache(maxsize=256)
def _day_of(keys: Keys, region: str, service: str, date: str) -> _Day:
    scope = f"{date}/{region}/{service}/aws4_request"
    key = f"AWS4{keys.secret_access_key}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return _Day(scope, f"{keys.access_key_id}/{scope}", hmac.new(key, digestmod="sha256"))
