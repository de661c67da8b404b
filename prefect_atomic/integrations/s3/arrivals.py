"""Which objects arrived since the last look: every one of them once, by a cursor of less than 5,000 characters.

S3 lists objects by their keys, not by their arrival, and says only to the second when one was stored. So a look reads
the whole listing, and the cursor says what was seen: everything up to a moment (the horizon), and since then these
objects. The horizon stays behind the present: an object is dated when its upload begins, and shows when that ends. The
uploads in parts that were under way at the last look are remembered too, as they may take days.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from botocore.exceptions import ClientError
from prefect.logging import get_logger

from prefect_atomic.credentials.base import now
from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.s3.keys import full_prefix
from prefect_atomic.integrations.s3.objects import Objects
from prefect_atomic.integrations.s3.stored import S3Object

_BEHIND = 3600.0
"""How far the horizon is behind the present, in seconds, where few objects arrive."""
_AT_LEAST_BEHIND = 60.0
"""The same where many arrive: what is younger and does not fit into the cursor is left to the next look."""
_SEEN_AT_MOST = 400
_UNDER_WAY_AT_MOST = 100
_FORGOTTEN = 7 * 24 * 3600.0
"""An upload in parts that takes longer was given up by who sent it."""
_VERSION = 1

logger = get_logger("atomic.s3")


class NewObjects(NamedTuple):
    """What `new_objects` found.

    Attributes:
        objects: The objects, those first that were stored first.
        cursor: What to give to the next look; keep it when the objects are dealt with.
    """

    objects: list[S3Object]
    cursor: str


@dataclass(frozen=True)
class _Cursor:
    horizon: float = 0.0
    seen: frozenset[str] = field(default_factory=frozenset)
    under_way: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def read(cls, text: str | None) -> _Cursor:
        if not text:
            return cls()
        try:
            data = json.loads(text)
            if data["v"] != _VERSION:
                raise ValueError
            return cls(float(data["t"]), frozenset(_parted(data["s"])), frozenset(_parted(data["u"])))
        except (ValueError, TypeError, KeyError):
            raise RequestError(
                "cursor: is not one that new_objects returned; give None to see all objects again."
            ) from None

    def text(self) -> str:
        parts = {"v": _VERSION, "t": self.horizon, "s": _joined(self.seen), "u": _joined(self.under_way)}
        return json.dumps(parts, separators=(",", ":"))

    def is_new(self, each: S3Object) -> bool:
        if _stored_at(each) > self.horizon:
            return _mark(each.full_key, each.last_modified, each.etag) not in self.seen
        return _mark(each.full_key, each.last_modified) in self.under_way


def new_objects(objects: Objects, cursor: str | None, prefix: str) -> NewObjects:
    before = _Cursor.read(cursor)
    # Before the listing: what ends between the two is in both, what is in neither began after this.
    under_way = list(_under_way(objects, prefix))
    present = now()
    found: list[S3Object] = []
    recent: list[S3Object] = []
    for number, (page, headers) in enumerate(objects.pages(prefix)):
        if number == 0:
            present = _clock_of_the_server(headers)
        for each in page:
            if before.is_new(each):
                found.append(each)
            elif _stored_at(each) > before.horizon:
                recent.append(each)
    found.sort(key=lambda each: (each.last_modified, each.full_key))
    horizon = max(before.horizon, _horizon(present, sorted(_stored_at(each) for each in (*found, *recent))))
    seen = [each for each in recent if _stored_at(each) > horizon]
    taken, left = [], _SEEN_AT_MOST - len(seen)
    for each in found:
        if _stored_at(each) > horizon:
            if left <= 0:
                continue  # the next look has it, when it is behind the horizon
            left -= 1
            seen.append(each)
        taken.append(each)
    dealt_with = {_mark(each.full_key, each.last_modified) for each in taken}
    waited_for = [
        mark
        for key, began in sorted(under_way, key=lambda upload: upload[1], reverse=True)
        if present - _FORGOTTEN < began.timestamp() <= horizon and (mark := _mark(key, began)) not in dealt_with
    ]
    after = _Cursor(
        horizon,
        frozenset(_mark(each.full_key, each.last_modified, each.etag) for each in seen),
        frozenset(waited_for[:_UNDER_WAY_AT_MOST]),
    )
    return NewObjects(taken, after.text())


def _horizon(present: float, stored: list[float]) -> float:
    """As far behind the present as the cursor has room for what was stored since."""
    if len(stored) <= _SEEN_AT_MOST:
        return present - _BEHIND
    return min(present - _AT_LEAST_BEHIND, max(present - _BEHIND, stored[-_SEEN_AT_MOST - 1]))


def _under_way(objects: Objects, prefix: str) -> Iterator[tuple[str, datetime]]:
    pages = objects.client.get_paginator("list_multipart_uploads").paginate(
        Bucket=objects.bucket, Prefix=full_prefix(objects.prefix, prefix)
    )
    with objects.told("list the uploads that are under way"):
        try:
            for page in pages:
                for upload in page.get("Uploads", ()):
                    yield upload["Key"], upload["Initiated"]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in _NOT_TO_BE_HAD:
                raise
            logger.warning(
                "The uploads in parts that are under way cannot be listed (it needs s3:ListBucketMultipartUploads): "
                "an object whose upload takes longer than an hour may be missed."
            )


_NOT_TO_BE_HAD = frozenset({"AccessDenied", "403", "NotImplemented", "501", "MethodNotAllowed"})


def _clock_of_the_server(headers: dict[str, Any]) -> float:
    try:
        return parsedate_to_datetime(headers["date"]).replace(tzinfo=UTC).timestamp()
    except (KeyError, TypeError, ValueError):
        return now()


def _stored_at(each: S3Object) -> float:
    return each.last_modified.timestamp()


_MARK = 8
"""Characters: 48 bits, of which no two among 500 are the same by chance."""


def _mark(key: str, moment: datetime, etag: str = "") -> str:
    text = f"{int(moment.timestamp())} {etag} {key}"
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:6]).decode()


def _joined(marks: Iterable[str]) -> str:
    return "".join(sorted(marks))


def _parted(text: str) -> Iterator[str]:
    if len(text) % _MARK:
        raise ValueError
    return (text[at : at + _MARK] for at in range(0, len(text), _MARK))
