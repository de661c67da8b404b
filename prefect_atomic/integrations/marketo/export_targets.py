"""Where the rows of an export go: a file on this host, one that is open, or an object of a bucket.

The rows of each span are added as a whole, once, in order. What was added is there for the next call where that can be:
beside a file, and in a folder beside an object. An open file begins anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from prefect_atomic.errors import RequestError
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

    def finish(self) -> None:
        """Puts it where it belongs, as a whole. Killed while it did, it may do so again."""
        ...

    def is_finished(self, size: int) -> bool:
        """Whether something of so many bytes is where it belongs; then, what is left beside it is removed."""
        ...


def place(target: Target, bucket: S3Bucket | None, spans: int) -> Place:
    """The place that a target names.

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
        return _Object(bucket, target, spans)
    if isinstance(target, str | Path):
        return _File(Path(target).expanduser())
    if not hasattr(target, "write") or hasattr(target, "encoding"):
        raise RequestError("target: is a path, a file that is open in binary mode, or with `bucket` a key.")
    return _Open(target)


class _File:
    """A file, written beside its place: what is there was there before, or is complete."""

    def __init__(self, path: Path) -> None:
        if path.is_dir() or not path.parent.is_dir():
            raise RequestError(f"target: {str(path)!r} is a folder, or in none.")
        self.name = str(path)
        self._path = path
        self._part = path.with_name(f"{path.name}.part")

    def resume(self, kept: Mapping[str, Any]) -> bool:
        size = kept.get("bytes", 0)
        if size and self._part.is_file() and self._part.stat().st_size >= size:
            os.truncate(self._part, size)
            return True
        self._part.write_bytes(b"")
        return False

    def add(self, rows: BinaryIO) -> Mapping[str, Any]:
        with self._part.open("ab") as file:
            shutil.copyfileobj(rows, file, _PIECE)
            file.flush()
            os.fsync(file.fileno())
            return {"bytes": file.tell()}

    def finish(self) -> None:
        self._part.replace(self._path)

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

    def finish(self) -> None:
        self._file.flush()

    def is_finished(self, size: int) -> bool:  # noqa: ARG002 - as above
        return False


class _Object:
    """An object of a bucket. Where there are several spans, each is one of its own until all are there."""

    def __init__(self, bucket: S3Bucket, key: str, spans: int) -> None:
        self.name = key
        self._bucket = bucket
        self._is_whole = spans == 1
        self._count = 0

    def resume(self, kept: Mapping[str, Any]) -> bool:
        count = kept.get("objects", 0)
        if count and all(self._bucket.exists(self._part(number)) for number in range(count)):
            self._count = count
            return True
        return False

    def add(self, rows: BinaryIO) -> Mapping[str, Any]:
        if self._is_whole:
            self._bucket.upload_from_file_object(rows, self.name, content_type=_CSV)
            return {}
        self._bucket.upload_from_file_object(rows, self._part(self._count), content_type=_CSV)
        self._count += 1
        return {"objects": self._count}

    def finish(self) -> None:
        if not self._is_whole:
            self._bucket.write_stream(self.name, self._parts(), content_type=_CSV)
            self._clear()

    def is_finished(self, size: int) -> bool:
        if not self._bucket.exists(self.name) or self._bucket.head(self.name).size != size:
            return False
        self._clear()
        return True

    def _clear(self) -> None:
        for part in self._bucket.list_objects(f"{self.name}.parts/"):
            self._bucket.delete_object(part)

    def _parts(self) -> Iterator[bytes]:
        for number in range(self._count):
            yield from self._bucket.read_stream(self._part(number))

    def _part(self, number: int) -> str:
        return f"{self.name}.parts/{number:05}.csv"
