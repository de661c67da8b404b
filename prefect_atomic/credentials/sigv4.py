"""AWS Signature Version 4, with AWS's own signer, over the bytes that are sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"

_S3 = frozenset({"s3", "s3express", "s3-object-lambda", "s3-outposts"})
_PLAIN = re.compile(rb"[A-Za-z0-9\-_.~/]*(?:\?(?:[A-Za-z0-9\-_.~&]|=(?![^&=]*=))*)?")
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


def is_s3(service: str) -> bool:
    return service in _S3


def sign(
    method: str,
    target: bytes,
    headers: list[tuple[str, str]],
    payload_hash: str,
    *,
    keys: Keys,
    scope: Scope,
    moment: datetime,
) -> tuple[bytes, list[tuple[str, str]]]:
    """Signs a request.

    Args:
        method: As it is sent.
        target: Path and query as they are sent.
        headers: All that are to be signed, `host` among them.
        payload_hash: The SHA-256 of the body in hex, or `UNSIGNED-PAYLOAD`.
        keys: Of who signs.
        scope: What the signature is for.
        moment: Now, in UTC.

    Returns:
        The target, and the headers that the signer adds; the signature is in one of the two.
    """
    crt = _crt()
    request = crt.request(method, target.decode("utf-8", "surrogateescape"), crt.headers(headers))
    config = crt.config(
        algorithm=crt.v4,
        signature_type=crt.in_headers if scope.expires_in is None else crt.in_query,
        credentials_provider=_provider(keys),
        region=scope.region,
        service=scope.service,
        date=moment,
        use_double_uri_encode=not scope.encodes_once,
        should_normalize_uri_path=scope.normalizes,
        signed_body_value=payload_hash,
        signed_body_header_type=crt.hash_is_sent if scope.sends_payload_hash else crt.hash_is_not_sent,
        expiration_in_seconds=scope.expires_in,
        omit_session_token=scope.omits_session_token,
    )
    crt.sign(request, config).result()
    return request.path.encode("utf-8", "surrogateescape"), list(request.headers)[len(headers) :]


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


class _Crt(NamedTuple):
    """What is needed of awscrt; looking its enumerations up costs as much as the signature."""

    request: Any
    headers: Any
    config: Any
    provider: Any
    sign: Any
    v4: Any
    in_headers: Any
    in_query: Any
    hash_is_sent: Any
    hash_is_not_sent: Any


@cache
def _crt() -> _Crt:
    from awscrt import auth, http  # 130 ms, and only a signature needs it

    return _Crt(
        request=http.HttpRequest,
        headers=http.HttpHeaders,
        config=auth.AwsSigningConfig,
        provider=auth.AwsCredentialsProvider,
        sign=auth.aws_sign_request,
        v4=auth.AwsSigningAlgorithm.V4,
        in_headers=auth.AwsSignatureType.HTTP_REQUEST_HEADERS,
        in_query=auth.AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS,
        hash_is_sent=auth.AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
        hash_is_not_sent=auth.AwsSignedBodyHeaderType.NONE,
    )


@lru_cache(maxsize=64)
def _provider(keys: Keys) -> Any:
    return _crt().provider.new_static(keys.access_key_id, keys.secret_access_key, keys.session_token)
