"""Where the rows of a bulk load come from: mappings, a file on this host or that is open, or an object of a bucket."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias, cast

from prefect.context import FlowRunContext, TaskRunContext

from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.records.csv_tables import CsvTable, JsonLinesTable, RecordTable, Row, Table
from prefect_atomic.integrations.s3 import S3Bucket, S3Object
from prefect_atomic.tasks.progress import ProgressArtifact

Records: TypeAlias = Iterable[Mapping[str, Any]] | BinaryIO | str | Path | S3Object

_JSON_LINES = (".jsonl", ".ndjson")
_LONG = 16 * 1024 * 1024
"""Bytes from which the progress is shown."""

_BETWEEN_LOOKS = 1000


class Shown(NamedTuple):
    """How it is shown how far a large file is read.

    Attributes:
        artifact: The key of the progress artifact.
        target: Where the rows go, such as `Data 360`.
    """

    artifact: str
    target: str


@contextmanager
def table_of(
    records: Records, fields: Sequence[str] | None, bucket: S3Bucket | None, shown: Shown, *, argument: str = "fields"
) -> Iterator[Table]:
    """The rows, for as long as the `with` block lasts.

    Args:
        records: Where they come from.
        fields: The columns of mappings and JSON Lines.
        bucket: Where the object is that `records` names.
        shown: How it is shown how far they are read.
        argument: What `fields` is given as; messages say it.

    Raises:
        RequestError: There are none to be had.
        AtomicError: The bucket failed.
    """
    if bucket is not None:
        if not isinstance(bucket, S3Bucket):
            raise RequestError(f"bucket: is a {type(bucket).__name__}, which is no S3Bucket.")
        if not isinstance(records, str | S3Object):
            raise RequestError("records: with `bucket`, is the key of an object in it.")
        found = bucket.head(records)
        stream = io.BufferedReader(_Pieces(bucket.read_stream(found)), 1024 * 1024)
        table = _read(cast("BinaryIO", stream), found.key, fields, argument)
        yield _shown(table, found.key, found.size, shown)
    elif isinstance(records, S3Object):
        raise RequestError("records: is an object of a bucket; give the `bucket` too.")
    elif isinstance(records, str | Path):
        with _opened(records) as file:
            size = Path(records).expanduser().stat().st_size
            yield _shown(_read(file, str(records), fields, argument), Path(records).name, size, shown)
    elif hasattr(records, "read"):
        if hasattr(records, "encoding"):
            raise RequestError("records: is a file of text; open it in binary mode.")
        if not hasattr(records, "readline") or (hasattr(records, "readable") and not records.readable()):
            raise RequestError("records: is no file that can be read line by line.")
        yield _read(cast("BinaryIO", records), str(getattr(records, "name", "")), fields, argument)
    else:
        yield RecordTable(records, fields, argument=argument)


def _read(file: BinaryIO, name: str, fields: Sequence[str] | None, argument: str) -> Table:
    if name.lower().endswith(_JSON_LINES):
        return JsonLinesTable(file, fields, argument=argument)
    if fields is not None:
        raise RequestError(f"{argument}: is for mappings and JSON Lines; the first line of a CSV file has its own.")
    return CsvTable(file)


@contextmanager
def _opened(path: str | Path) -> Iterator[BinaryIO]:
    try:
        file = Path(path).expanduser().open("rb")
    except (OSError, ValueError, RuntimeError) as error:  # a name with a NUL in it, or a ~ of nobody
        told = getattr(error, "strerror", None) or error
        raise RequestError(f"records: {str(path)!r} cannot be read: {told}.") from None
    with file:
        yield file


def _shown(table: Table, name: str, size: int, shown: Shown) -> Table:
    """The table, which shows how far it is read, if that takes a while and a run is there to show it."""
    if size < _LONG or not (TaskRunContext.get() or FlowRunContext.get()):
        return table
    return _ShownTable(table, size, ProgressArtifact(shown.artifact, f"{name} to {shown.target}"))


class _ShownTable:
    def __init__(self, table: Table, size: int, progress: ProgressArtifact) -> None:
        self.place = table.place
        self.header = table.header
        self._table = table
        self._size = size
        self._progress = progress

    def rows(self) -> Iterator[Row]:
        read = 0
        for number, row in enumerate(self._table.rows()):
            read += len(row.content)
            if number % _BETWEEN_LOOKS == 0:
                self._progress.tell(read / self._size)
            yield row
        self._progress.end()


class _Pieces(io.RawIOBase):
    """What comes in pieces, as a file to read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        taken = min(len(buffer), len(self._rest))
        buffer[:taken] = self._rest[:taken]
        self._rest = self._rest[taken:]
        return taken
