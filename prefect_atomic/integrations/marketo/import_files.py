"""Rows cut into the files of bulk imports, each of which knows where its rows stood."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Generator, Iterable
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from prefect_atomic.integrations.records import Outcome, Outcomes
from prefect_atomic.integrations.records.csv_tables import Row

MOST_BYTES = 9_900_000
"""Of a file: Marketo takes less than 10 MB."""

_NOTHING = b', "\t\r\n'
"""What a row without a single value consists of."""


class ImportFile:
    """A file of CSV, on disk.

    Args:
        header: Its first line.
    """

    def __init__(self, header: bytes) -> None:
        self.positions = array("Q")
        self.size = 0
        self._file = cast("BinaryIO", TemporaryFile())  # noqa: SIM115 - closed by `close`
        self._digest = hashlib.sha256()
        self._write(header)

    @property
    def sha256(self) -> str:
        """Of its content."""
        return self._digest.hexdigest()

    def add(self, position: int, content: bytes) -> None:
        """Adds a row."""
        self.positions.append(position)
        self._write(content)

    def opened(self) -> BinaryIO:
        """It, to be read from its start."""
        self._file.flush()
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Removes it."""
        self._file.close()

    def _write(self, content: bytes) -> None:
        self._file.write(content)
        self._digest.update(content)
        self.size += len(content)


def cut(rows: Iterable[Row], header: bytes, place: str, outcomes: Outcomes, most_bytes: int) -> Generator[ImportFile]:
    """Files with all rows that can be sent; the same rows make the same files. Who takes a file closes it.

    Args:
        rows: The rows, read as they are needed.
        header: What stands above them.
        place: How a message says where a row stands, such as `line {}`.
        outcomes: Where those are noted that cannot be sent.
        most_bytes: The most bytes of a file.
    """
    file: ImportFile | None = None
    try:
        for position, row in enumerate(rows):
            fault = row.fault or _fault(row.content, most_bytes - len(header))
            if fault:
                told = f"{place.format(row.at)}: {fault}"
                outcomes.add([Outcome(position, "not sent", code="INVALID_RECORD", message=told)])
                continue
            if file is not None and file.size + len(row.content) > most_bytes:
                full, file = file, None
                yield full
            file = file or ImportFile(header)
            file.add(position, row.content)
        if file is not None:
            full, file = file, None
            yield full
    finally:
        if file is not None:
            file.close()


def _fault(content: bytes, room: int) -> str | None:
    if not content.strip(_NOTHING):
        return "is blank"
    if len(content) > room:
        return f"takes {len(content):,} bytes, and a file has room for {room:,}"
    return None
