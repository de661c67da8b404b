"""URLs that let somebody without an access key read or write one object, for a while. They are secrets."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

from botocore.exceptions import NoCredentialsError

from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.s3.access import credentials_of
from prefect_atomic.integrations.s3.objects import Objects
from prefect_atomic.integrations.s3.stored import S3Object
from prefect_atomic.transport.logs import hide_in_logs

_LONGEST = 7 * 24 * 3600
_FORM_FIELDS = {
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "StorageClass": "x-amz-storage-class",
    "ACL": "acl",
}


@dataclass(frozen=True, slots=True)
class PresignedPost:
    """A form that a browser sends a file with: a POST to the URL, with these fields first and the file as `file` last.

    Attributes:
        url: Where the form is sent.
        fields: The form's fields, among them the signature: who has them can upload.
    """

    url: str
    fields: dict[str, str] = field(repr=False)


def url(
    objects: Objects, key: str | S3Object, method: Literal["GET", "PUT"], expires_in: int, content_type: str | None
) -> str:
    full = objects.full(key)
    _refuse_unless_sendable(full)
    _refuse_unless_seconds(expires_in)
    operation = {"GET": "get_object", "PUT": "put_object"}.get(method)
    if operation is None:
        raise RequestError("method: is GET to read the object, or PUT to write it.")
    parameters: dict[str, Any] = {"Bucket": objects.bucket, "Key": full}
    if method == "PUT":
        parameters |= {**objects.settings, **({"ContentType": content_type} if content_type else {})}
    elif content_type:
        raise RequestError("content_type: is for PUT; an object that is read has the type it was stored with.")
    with objects.told(f"sign a URL for {full!r}"):
        _refuse_without_credentials(objects.client)
        with _hidden_signature():
            signed: str = objects.client.generate_presigned_url(operation, Params=parameters, ExpiresIn=expires_in)
    hide_in_logs((signed.partition("X-Amz-Signature=")[2].partition("&")[0],))
    return signed


def post(
    objects: Objects, key: str, content_type: str, min_bytes: int, max_bytes: int, expires_in: int
) -> PresignedPost:
    full = objects.full(f"{key}${{filename}}") if key.endswith("/") else objects.full(key)
    _refuse_unless_seconds(expires_in)
    if not 0 <= min_bytes <= max_bytes:
        raise RequestError("min_bytes, max_bytes: are numbers of bytes, the first not larger than the second.")
    kind, wildcard, rest = content_type.partition("*")
    if not kind or rest:
        raise RequestError("content_type: is a media type such as image/png, or the start of one such as image/*.")
    given = {_FORM_FIELDS[name]: value for name, value in objects.settings.items()}
    conditions: list[Any] = [
        ["content-length-range", min_bytes, max_bytes],
        ["starts-with", "$Content-Type", kind] if wildcard else {"Content-Type": kind},
        *({name: value} for name, value in given.items()),
    ]
    fields = given if wildcard else {**given, "Content-Type": kind}
    with objects.told(f"sign a form for {key!r}"):
        _refuse_without_credentials(objects.client)
        signed = objects.client.generate_presigned_post(
            objects.bucket, full, Fields=fields, Conditions=conditions, ExpiresIn=expires_in
        )
    hide_in_logs((signed["fields"]["x-amz-signature"],))
    return PresignedPost(signed["url"], signed["fields"])


_signature_is_hidden: ContextVar[bool] = ContextVar("prefect_atomic_signature_is_hidden", default=False)


@contextmanager
def _hidden_signature() -> Iterator[None]:
    """Within it, botocore does not log the signature that it makes, which is all that a URL needs to be good."""
    token = _signature_is_hidden.set(True)
    try:
        yield
    finally:
        _signature_is_hidden.reset(token)


class _SignatureFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not (_signature_is_hidden.get() and str(record.msg).startswith("Signature:"))


logging.getLogger("botocore.auth").addFilter(_SignatureFilter())


def _refuse_unless_sendable(full: str) -> None:
    if any(segment in (".", "..") for segment in full.split("/")):
        raise RequestError("key: has a `.` or `..` in it, which browsers and HTTP clients take away from a URL.")


def _refuse_unless_seconds(expires_in: int) -> None:
    if not 1 <= expires_in <= _LONGEST:
        raise RequestError(f"expires_in: is a number of seconds from 1 to {_LONGEST}, which are 7 days.")


def _refuse_without_credentials(client: Any) -> None:
    if credentials_of(client) is None:  # boto3 would give a URL without a signature
        raise NoCredentialsError
