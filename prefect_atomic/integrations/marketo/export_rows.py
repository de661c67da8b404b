"""Rows of an exported file, as RFC 4180 has them: Marketo lets NULs through, and CRs that no quotes are around."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import BinaryIO

from prefect_atomic.integrations.records.csv_tables import LARGEST_ROW

_BOM = b"\xef\xbb\xbf"
_END = b"\r\n"


class UnreadableError(Exception):
    """Why a file cannot be read."""


def rows(file: BinaryIO) -> Iterator[bytes]:
    """The rows of a file, the header too, each of which ends with CR and LF, and is one to every reader of CSV.

    Raises:
        UnreadableError: It is no CSV.
    """
    width = 0
    for row in _between_line_feeds(file):
        row = row.replace(b"\0", b"").removesuffix(b"\n").removesuffix(b"\r")
        if not width:
            row = row.removeprefix(_BOM)
            width = len(next(csv.reader([row.decode("utf-8", "replace")]), []))
        if not row:
            if width != 1:
                continue
            row = b'""'  # a blank value, alone in its row
        yield (_quoted(row) if b"\r" in row else row) + _END


def cells_of(row: bytes) -> list[str]:
    """The values of a row."""
    return next(csv.reader(io.StringIO(row.decode("utf-8", "replace"), newline="")), [])


def _between_line_feeds(file: BinaryIO) -> Iterator[bytes]:
    """Up to each LF that no quotes are open at."""
    while piece := file.readline(LARGEST_ROW + 1):
        quotes, longer = piece.count(b'"'), bytearray(piece)
        while quotes % 2 and piece:
            if len(longer) > LARGEST_ROW:
                raise UnreadableError(f"a row has more than {LARGEST_ROW:,} bytes; a quote in it is not closed")
            piece = file.readline(LARGEST_ROW + 1)
            quotes += piece.count(b'"')
            longer += piece
        yield bytes(longer)


def _quoted(row: bytes) -> bytes:
    """A row with a CR, written anew with quotes around the value that has it."""
    # As a NUL, of which there are none any more, it ends no row while this one is read.
    text = row.decode("utf-8", "surrogateescape").replace("\r", "\0")
    csv.field_size_limit(max(csv.field_size_limit(), LARGEST_ROW))
    cells = [cell.replace("\0", "\r") for cell in next(csv.reader(io.StringIO(text, newline="")))]
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\r\n").writerow(cells)
    return written.getvalue().removesuffix("\r\n").encode("utf-8", "surrogateescape")
