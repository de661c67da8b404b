"""Rows for bulk jobs, ready to stand in a CSV file (RFC 4180): of CSV files, of JSON Lines, and of mappings.

Each row is told with where it stands and, if it cannot be sent, with why not. All of them take little memory.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple, Protocol

from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.records.values import cell

REJECTED = ("rejected.line", "rejected.reason")
"""The columns that rejects have in front; a file with them can be mended, and loaded again."""

LARGEST_ROW = 10_000_000
"""Bytes; no field of the other systems holds nearly as much, so that a longer row is one whose quote was not closed."""

_BOM = b"\xef\xbb\xbf"
_REJECTED_HEADER = ",".join(REJECTED).encode() + b","
_REJECTED_CELLS = re.compile(rb'\d+,(?:"(?:[^"]|"")*"|[^,"\r\n]*),')

_QUOTED = re.compile(rb'"[^"]*(?:""[^"]*)*"')
_IN_QUOTES = b"\0"
"""What stands for a value in quotes while a row is looked at: a row with a NUL of its own is refused before."""


class Row(NamedTuple):
    """A row.

    Attributes:
        at: The line that it begins in, from 1; of mappings, the position, from 0.
        content: It as a line of CSV; where it has a fault, as it came.
        fault: Why it cannot be sent.
    """

    at: int
    content: bytes
    fault: str | None = None


class Table(Protocol):
    """Rows, and the line above them."""

    place: str
    """How messages say where a row stands, such as `line {}`."""
    header: bytes

    def rows(self) -> Iterator[Row]: ...


class CsvTable:
    """A CSV file in UTF-8, whose rows are passed on as they are.

    Args:
        file: Its bytes.

    Raises:
        RequestError: Nothing in it can be used; says why, and how to mend it.
    """

    place = "line {}"

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._line = 0
        _, header = self._next()
        header = header.removeprefix(_BOM)
        self._has_rejected = header.startswith(_REJECTED_HEADER)
        if self._has_rejected:
            header = header[len(_REJECTED_HEADER) :]
        self.columns = _columns(header)
        self.header = _ended(header)

    def rows(self) -> Iterator[Row]:
        width = len(self.columns)
        while True:
            line, row = self._next()
            if not row:
                return
            if not row.strip():
                continue
            if self._has_rejected and (found := _REJECTED_CELLS.match(row)):
                row = row[found.end() :]
            yield Row(line, _ended(row), _unclosed(row, line) or _fault(row, width))

    def _next(self) -> tuple[int, bytes]:
        """The next row with the line it begins in: up to a line break that no quotes are open at."""
        begins = self._line + 1
        row = piece = self._file.readline(LARGEST_ROW + 1)
        longer: bytearray | None = None
        quotes = 0
        while piece:
            quotes += piece.count(b'"')
            if piece.endswith(b"\n"):
                self._line += 1
                if quotes % 2 == 0:
                    break
            longer = bytearray(row) if longer is None else longer
            if len(longer) > LARGEST_ROW:
                raise RequestError(
                    f"line {begins}: begins a row of more than {LARGEST_ROW:,} bytes; is a quote in it not closed?"
                )
            piece = self._file.readline(LARGEST_ROW + 1 - len(longer))
            longer += piece
        return begins, row if longer is None else bytes(longer)


class RecordTable:
    """Mappings of fields to values.

    Args:
        records: The mappings.
        fields: The columns; none = the fields of the first one. What a record lacks is blank; what else it has is a
            fault.
        argument: What the columns are given as; messages say it.
    """

    place = "records[{}]"

    def __init__(
        self,
        records: Iterable[Mapping[str, Any]],
        fields: Sequence[str] | None = None,
        *,
        argument: str = "fields",
    ) -> None:
        if isinstance(records, str | bytes | Mapping) or not isinstance(records, Iterable):
            raise RequestError("records: takes a list, or another iterable, of mappings; or a file.")
        self._open(((at, b"", record) for at, record in enumerate(records)), fields, argument)

    def _open(self, numbered: Iterator[tuple[int, bytes, object]], fields: Sequence[str] | None, argument: str) -> None:
        self._text = io.StringIO(newline="")
        self._writer = csv.writer(self._text, lineterminator="\r\n")
        self._first: list[tuple[int, bytes, object]] = []
        self._rest = numbered
        if fields is not None and not checked_fields(fields, argument):
            raise RequestError(f"{argument}: is empty; leave it out, or name the columns.")
        if fields is None:
            self._first = [first for first in [next(numbered, None)] if first]
            for at, _, record in self._first:
                if not isinstance(record, Mapping) or not record:
                    raise RequestError(
                        f"{self.place.format(at)}: is no record with fields, and `{argument}` is not given."
                    )
                fields = list(record)
        self.columns = checked_fields(fields or (), argument)
        self.header = self._csv(self.columns)

    def rows(self) -> Iterator[Row]:
        known = frozenset(self.columns)
        for numbered in (self._first, self._rest):
            for at, raw, record in numbered:
                try:
                    yield Row(at, self._content(record, known))
                except _FaultError as fault:
                    yield Row(at, raw, str(fault))

    def _content(self, record: object, known: frozenset[str]) -> bytes:
        if not isinstance(record, Mapping):
            raise _FaultError(f"is a {type(record).__name__}, not a mapping of fields to values")
        if unknown := record.keys() - known:
            raise _FaultError(f"has {', '.join(sorted(map(str, unknown)))}, which is none of the columns")
        cells = []
        for name in self.columns:
            try:
                cells.append(cell(record.get(name)))
            except TypeError as error:
                raise _FaultError(f"{name}: is {error}, which a CSV file cannot hold") from None
        try:
            content = self._csv(cells)
        except UnicodeEncodeError:
            raise _FaultError("holds half of a character (a lone surrogate)") from None
        if len(content) > LARGEST_ROW:
            raise _FaultError(f"takes {len(content):,} bytes, and a row may have {LARGEST_ROW:,}")
        return content

    def _csv(self, cells: Sequence[str]) -> bytes:
        self._text.seek(0)
        self._text.truncate()
        self._writer.writerow(cells)
        return self._text.getvalue().encode()


class JsonLinesTable(RecordTable):
    """A file with a JSON object on each line."""

    place = "line {}"

    def __init__(self, file: BinaryIO, fields: Sequence[str] | None = None, *, argument: str = "fields") -> None:
        self._open(_json_lines(file), fields, argument)


class _FaultError(Exception):
    """What is wrong with a row."""


def _json_lines(file: BinaryIO) -> Iterator[tuple[int, bytes, object]]:
    number = 0
    while line := file.readline(LARGEST_ROW + 1):
        number += 1
        if len(line) > LARGEST_ROW:
            raise RequestError(f"line {number}: has more than {LARGEST_ROW:,} bytes; is it JSON Lines?")
        if line.strip():
            try:
                record = json.loads(line.removeprefix(_BOM), parse_constant=_Unreadable, parse_float=_fraction)
            except (ValueError, RecursionError):
                record = _Unreadable()
            yield number, line, record


def _fraction(text: str) -> object:
    """A number as it is written: a float has fewer digits than a decimal of another system may have."""
    return text if math.isfinite(float(text)) else _Unreadable()


class _Unreadable:
    def __init__(self, constant: str = "") -> None:
        """What is no JSON, or a constant such as NaN that JSON does not know."""


_Unreadable.__name__ = "something that is no JSON"


def _columns(header: bytes) -> tuple[str, ...]:
    if not header.strip():
        raise RequestError("line 1: is empty; a CSV file begins with the names of its columns.")
    if header.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in header:
        raise RequestError("line 1: is UTF-16 or no text; save the file as CSV in UTF-8.")
    try:
        (columns,) = csv.reader(io.StringIO(header.decode(), newline=""), strict=True)
    except UnicodeDecodeError:
        raise RequestError("line 1: is not UTF-8; save the file as CSV in UTF-8.") from None
    except (csv.Error, ValueError):
        raise RequestError("line 1: is no header of a CSV file, which has its columns separated by commas.") from None
    if len(columns) == 1 and any(mark in columns[0] for mark in ";\t|"):
        raise RequestError("line 1: the columns are separated by something else; save the file with commas.")
    _check_columns(columns, "line 1")
    return tuple(columns)


def checked_fields(fields: object, argument: str = "fields") -> tuple[str, ...]:
    """An argument as columns.

    Raises:
        RequestError: It is no list of names, each once.
    """
    if isinstance(fields, str | bytes | Mapping) or not isinstance(fields, Iterable):
        raise RequestError(f"{argument}: is a list of the names of fields, each once.")
    columns = tuple(fields)
    _check_columns(columns, argument)
    return columns


def _check_columns(columns: Sequence[object], where: str) -> None:
    if not all(isinstance(name, str) and name and name == name.strip() for name in columns):
        raise RequestError(f"{where}: a column has no name, or one with a space around it.")
    if repeated := [name for name, count in Counter(columns).items() if count > 1]:
        raise RequestError(
            f"{where}: the column {repeated[0]!r} is there more than once; remove or rename one of them."
        )


def _ended(row: bytes) -> bytes:
    if row.endswith(b"\n") and not row.endswith(b"\r\r\n"):
        return row
    return row.rstrip(b"\r\n") + b"\r\n"  # else the reader would find a blank line in between


def _unclosed(row: bytes, line: int) -> str | None:
    """That a quote is not closed in a row, which goes on to the end of the file then."""
    if row.count(b'"') % 2 == 0:
        return None
    last = line + row.removesuffix(b"\n").count(b"\n")
    return f"has a quote that is not closed up to line {last}, the last one"


def _fault(row: bytes, width: int) -> str | None:
    if b"\0" in row:
        return "holds a NUL"
    if not row.isascii():
        try:
            row.decode()
        except UnicodeDecodeError as error:
            return f"is not UTF-8, from its byte {error.start + 1} on"
    bare = _QUOTED.sub(_IN_QUOTES, row).rstrip(b"\r\n")
    if b"\n" in bare or b"\r" in bare:
        return "has a line break outside of quotes"
    cells = bare.count(b",") + 1
    if b'"' in bare or (_IN_QUOTES in bare and any(len(cell) > 1 for cell in bare.split(b",") if _IN_QUOTES in cell)):
        return "has a quote in the middle of a value; put the whole value in quotes, and double its own"
    return None if cells == width else f"has {cells} cells, and the header has {width}"
