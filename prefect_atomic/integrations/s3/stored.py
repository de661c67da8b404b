"""An object of a bucket, as a listing or a look at it tells."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


class S3Object(BaseModel):
    """An object, without its content; every method that takes a key takes it too.

    Attributes:
        key: Its key in the folder of the block.
        full_key: Its key in the bucket.
        size: Its bytes.
        last_modified: When it was stored; for one that was sent in parts, when that began.
        etag: Changes with the content.
        sha256: The SHA-256 that S3 has of it, as base64; with `-N` that of its N parts' SHA-256s. None in listings.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    full_key: str
    size: int
    last_modified: datetime
    etag: str
    sha256: str | None = None

    @staticmethod
    def of(full_key: str, prefix: str, answer: Mapping[str, Any]) -> S3Object:
        """Reads what S3 answers."""
        return S3Object.model_construct(  # a listing has many, and nothing in them needs a check
            key=full_key.removeprefix(prefix),
            full_key=full_key,
            size=answer["Size"],
            last_modified=answer["LastModified"],
            etag=str(answer.get("ETag", "")).strip('"'),
            sha256=answer.get("ChecksumSHA256"),
        )
