"""Records as the rows of a Bulk API 2.0 job, and back: CSV in UTF-8, with `#N/A` for what is emptied."""

from __future__ import annotations

import csv
import hashlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from io import TextIOWrapper
from math import isfinite
from tempfile import TemporaryFile
from typing import Any, BinaryIO, TextIO, cast
from uuid import UUID

NULL = "#N/A"
"""What empties a field. An empty cell leaves it as it is."""

MOST_BYTES = 100_000_000
"""Of a job's data: Salesforce takes 150 MB of base64, which is 112 MB."""

MOST_ROWS = 50_000
LONGEST_FIELD = 32_000
LONGEST_CELL = 256 * 1024
LONGEST_RECORD = 400_000
"""Characters, as documented for Bulk API 2.0."""


class UnsendableError(Exception):
    """Why a record cannot be a row."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def cells_of(record: Mapping[str, Any]) -> dict[str, str]:
    """The cells of a record by their column; what belongs to a related record is named `Account.External_Id__c`.

    Raises:
        UnsendableError: A value cannot be a cell.
    """
    cells: dict[str, str] = {}
    for name, value in record.items():
        if name == "attributes":
            continue
        if isinstance(value, Mapping):
            cells |= {f"{name}.{of}": _cell(f"{name}.{of}", part) for of, part in value.items() if of != "attributes"}
        else:
            cells[str(name)] = _cell(str(name), value)
    if sum(map(len, cells.values())) > LONGEST_RECORD:
        raise UnsendableError("RECORD_TOO_LARGE", f"has more than {LONGEST_RECORD:,} characters, the limit of a record")
    return cells


def _cell(name: str, value: object) -> str:
    if isinstance(value, Enum):
        value = value.value
    if value is None or value == "":
        return NULL
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise UnsendableError("INVALID_RECORD", f"{name}: is a datetime without a time zone")
        return value.isoformat(timespec="milliseconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float | Decimal) and not isfinite(value):
        raise UnsendableError("INVALID_RECORD", f"{name}: is no finite number")
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, UUID):
        return str(value)
    if not isinstance(value, str | int | float):
        raise UnsendableError("INVALID_RECORD", f"{name}: is a {type(value).__name__}, which no cell can hold")
    text = str(value)
    if text == NULL:
        raise UnsendableError("INVALID_RECORD", f"{name}: is {NULL}, which would empty the field; give None for that")
    if "\0" in text:
        raise UnsendableError("INVALID_RECORD", f"{name}: holds a NUL character, which Salesforce refuses")
    if len(text) > LONGEST_FIELD:
        raise UnsendableError("RECORD_TOO_LARGE", f"{name}: has {len(text):,} of at most {LONGEST_FIELD:,} characters")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UnsendableError("INVALID_RECORD", f"{name}: holds a half of a character (a lone surrogate)") from None
    return text


class Rows:
    """The data of one job, in a temporary file, with the position of each row.

    Args:
        columns: The columns; a record without one of them leaves that field as it is.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self.positions = array("Q")
        self.file = cast("BinaryIO", TemporaryFile())  # noqa: SIM115 - closed by `close`
        self._text = TextIOWrapper(self.file, "utf-8", newline="", write_through=False)
        # Python puts a lone carriage return in quotes only where rows end with one.
        self._csv = csv.writer(self._text, lineterminator="\r\n")
        self._csv.writerow(self.columns)
        self._bytes = 0
        self._names = frozenset(self.columns)

    def takes(self, cells: Mapping[str, str]) -> bool:
        """Whether there is room for another row, and a column for each of its cells."""
        has_room = len(self.positions) < MOST_ROWS and self._bytes < MOST_BYTES - 6 * LONGEST_RECORD
        return has_room and self._names.issuperset(cells)

    def add(self, position: int, cells: Mapping[str, str]) -> None:
        """Adds the row of a record."""
        row = [cells.get(column, "") for column in self.columns]
        self._csv.writerow(row)
        self._bytes += sum(map(_length, row)) + 3 * len(row)  # with the quotes, and what is between cells
        self.positions.append(position)

    def ready(self) -> BinaryIO:
        """The file, to be read from its start."""
        self._text.flush()
        self.file.seek(0)
        return self.file

    def close(self) -> None:
        """Removes the file."""
        self._text.close()

    def places(self) -> Places:
        """Where each row stood."""
        return Places(self.columns, zip(self._read(), self.positions, strict=True))

    def _read(self) -> Iterator[list[str]]:
        self._text.seek(0)
        reader = read_csv(self._text)
        next(reader)
        yield from reader


class Places:
    """Finds the position of a row that a job's results repeat: they come in an order of their own."""

    def __init__(self, columns: tuple[str, ...], rows: Iterable[tuple[list[str], int]]) -> None:
        self._columns = columns
        self._by_row: dict[bytes, int | list[int]] = {}
        for row, position in rows:
            digest = _digest(row)
            before = self._by_row.get(digest)
            if before is None:
                self._by_row[digest] = position
            elif isinstance(before, list):
                before.append(position)
            else:  # the same row again: they are told apart by nothing, so any of them will do
                self._by_row[digest] = [before, position]

    def take(self, row: Mapping[str, str | None]) -> int | None:
        """The position of this row, once; None where no row like it is left."""
        digest = _digest([row.get(column) or "" for column in self._columns])
        found = self._by_row.pop(digest, None)
        if isinstance(found, list):
            position = found.pop(0)
            if found:
                self._by_row[digest] = found
            return position
        return found

    def rest(self) -> Iterator[int]:
        """The positions that were not taken."""
        for found in self._by_row.values():
            yield from found if isinstance(found, list) else (found,)


def _length(cell: str) -> int:
    return (len(cell) if cell.isascii() else len(cell.encode())) + cell.count('"')


def _digest(row: Sequence[str]) -> bytes:
    cells = "".join([f"{len(cell)}:{cell}" for cell in row])
    return hashlib.blake2b(cells.encode("utf-8", "surrogatepass"), digest_size=12).digest()


def read_csv(text: TextIO) -> Iterator[list[str]]:
    """The rows of a result. A long text area has more characters than Python's reader takes at first."""
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    return csv.reader(text)
