"""Where the rows of an export go: a file on this host, one that is open, or an object of a bucket.

The rows of each span are added as a whole, once, in order. What was added is there for the next call where that can be:
beside a file, and in a folder beside an object. An open file begins anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from prefect_atomic.errors import AtomicError, RequestError
from prefect_atomic.integrations.marketo.local_files import file_path, writing
from prefect_atomic.integrations.s3 import S3Bucket

Target = str | Path | BinaryIO

_CSV = "text/csv"
_PIECE = 1024 * 1024


class Place(Protocol):
    """Where rows are put together."""

    name: str
    """What it is called in notes and results; empty for an open file."""

    def resume(self, kept: Mapping[str, Any]) -> bool:
        """Whether all that was added by a call before is there, and is gone on with; else it begins anew.

        Args:
            kept: What `add` returned last.
        """
        ...

    def add(self, rows: BinaryIO) -> Mapping[str, Any]:
        """Adds the rows of a span; returns what is to be noted then."""
        ...

    def finish(self, size: int) -> None:
        """Puts it where it belongs, as a whole. Killed while it did, it may do so again.

        Raises:
            AtomicError: It has not so many bytes, as somebody else changed it meanwhile.
        """
        ...

    def discard(self) -> None:
        """Removes what was added."""
        ...

    def is_finished(self, size: int) -> bool:
        """Whether something of so many bytes is where it belongs; then, what is left beside it is removed."""
        ...


def place(target: Target, bucket: S3Bucket | None, spans: int, token: str) -> Place:
    """The place that a target names.

    Args:
        target: The path, open file, or key.
        bucket: The bucket of the key.
        spans: How many times rows are added.
        token: What tells this export from others to the same place, which may be at it now.

    Raises:
        RequestError: It names none.
        AtomicError: The bucket failed.
    """
    if bucket is not None:
        if not isinstance(bucket, S3Bucket):
            raise RequestError(f"bucket: is a {type(bucket).__name__}, which is no S3Bucket.")
        if not isinstance(target, str):
            raise RequestError("target: with `bucket`, is the key of an object in it.")
        bucket.exists(target)  # so that what is wrong with either is told before anything is exported
        return _Object(bucket, target, spans, token)
    if isinstance(target, str | Path):
        return _File(target, token)
    if not hasattr(target, "write") or hasattr(target, "encoding"):
        raise RequestError("target: is a path, a file that is open in binary mode, or with `bucket` a key.")
    return _Open(target)


class _File:
    """A file, written beside its place: what is there was there before, or is complete."""

    def __init__(self, path: str | Path, token: str) -> None:
        self._path = file_path("target", path)
        self.name = str(self._path)
        self._part = self._path.with_name(f"{self._path.name}.{token}.part")
        self._size = 0

    def resume(self, kept: Mapping[str, Any]) -> bool:
        size = kept.get("bytes", 0)
        self._size = size if size and self._part.is_file() and self._part.stat().st_size >= size else 0
        return bool(self._size)

    def add(self, rows: BinaryIO) -> Mapping[str, Any]:
        with writing(self._part), self._part.open("r+b" if self._size else "wb") as file:
            file.seek(self._size)
            file.truncate()
            shutil.copyfileobj(rows, file, _PIECE)
            file.flush()
            os.fsync(file.fileno())
            self._size = file.tell()
        return {"bytes": self._size}

    def finish(self, size: int) -> None:
        with writing(self._path):
            if self._part.stat().st_size != size:
                raise AtomicError(f"target: {str(self._part)!r} was changed by somebody else; export it once more.")
            self._part.replace(self._path)

    def discard(self) -> None:
        with suppress(OSError):
            self._part.unlink()

    def is_finished(self, size: int) -> bool:
        return self._path.is_file() and self._path.stat().st_size == size


class _Open:
    """A file that the caller opened."""

    name = ""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def resume(self, kept: Mapping[str, Any]) -> bool:  # noqa: ARG002 - it keeps nothing
        return False

    def add(self, rows: BinaryIO) -> Mapping[str, Any]:
        shutil.copyfileobj(rows, self._file, _PIECE)
        return {}

    def finish(self, size: int) -> None:  # noqa: ARG002 - it is the caller's
        self._file.flush()

    def discard(self) -> None:
        """What was written is the caller's."""

    def is_finished(self, size: int) -> bool:  # noqa: ARG002 - as above
        return False


class _Object:
    """An object of a bucket. Where there are several spans, each is one of its own until all are there."""

    def __init__(self, bucket: S3Bucket, key: str, spans: int, token: str) -> None:
        self.name = key
        self._bucket = bucket
        self._is_whole = spans == 1
        self._parts = f"{key}.parts/"
        self._token = token
        self._count = 0

    def resume(self, kept: Mapping[str, Any]) -> bool:
        count = kept.get("objects", 0)
        self._count = count if all(self._bucket.exists(self._part(number)) for number in range(count)) else 0
        return bool(self._count)

    def add(self, rows: BinaryIO) -> Mapping[str, Any]:
        if self._is_whole:
            self._bucket.upload_from_file_object(rows, self.name, content_type=_CSV)
            return {}
        self._bucket.upload_from_file_object(rows, self._part(self._count), content_type=_CSV)
        self._count += 1
        return {"objects": self._count}

    def finish(self, size: int) -> None:
        if self._is_whole:
            return
        if sum(self._bucket.head(self._part(number)).size for number in range(self._count)) != size:
            raise AtomicError(
                f"target: {self._part(0)!r}, or another, was changed by somebody else; export it once more."
            )
        self._bucket.write_stream(self.name, self._content(), content_type=_CSV)
        self._clear()

    def discard(self) -> None:
        if not self._is_whole:
            self._clear(f"{self._token}/")

    def is_finished(self, size: int) -> bool:
        if not self._bucket.exists(self.name) or self._bucket.head(self.name).size != size:
            return False
        self._clear()
        return True

    def _clear(self, prefix: str = "") -> None:
        for part in self._bucket.list_objects(f"{self._parts}{prefix}"):
            self._bucket.delete_object(part)

    def _content(self) -> Iterator[bytes]:
        for number in range(self._count):
            yield from self._bucket.read_stream(self._part(number))

    def _part(self, number: int) -> str:
        return f"{self._parts}{self._token}/{number:05}.csv"
