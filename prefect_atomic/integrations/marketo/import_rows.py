"""The rows that Marketo gives back, with a reason each, found again among those that were sent.

They come with no number, in quotes of Marketo's own, in columns that are ours and one more: they are told by content.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from prefect_atomic.integrations.marketo.export_rows import cells_of
from prefect_atomic.integrations.marketo.export_rows import rows as rows_of
from prefect_atomic.integrations.marketo.import_files import ImportFile
from prefect_atomic.integrations.records import Outcome
from prefect_atomic.integrations.records.csv_tables import LARGEST_ROW

NO_REASON = "Marketo gives no reason"


class Returned:
    """Rows of a file of failures, or of warnings.

    Attributes:
        count: How many there are.
    """

    def __init__(self) -> None:
        self.count = 0
        self._reasons: dict[bytes, str | list[str]] = {}
        self._known: dict[str, str] = {}

    def read(self, file: BinaryIO, columns: Sequence[str]) -> None:
        """Reads a file.

        Args:
            file: It, as Marketo gave it.
            columns: The columns that were sent.

        Raises:
            UnreadableError: It is no CSV.
        """
        rows = _rows(file)
        header = next(rows, [])
        places = _places(header, columns)
        others = [number for number in range(len(header)) if number not in places]
        named = [number for number in others if "reason" in header[number].casefold()]
        reason_at = (named or others or [-1])[-1]
        for row in rows:
            if not row:
                continue
            self.count += 1
            reason = (row[reason_at] if 0 <= reason_at < len(row) else "").strip() or NO_REASON
            reason = self._known.setdefault(reason, reason)  # the same few are given again and again
            self._add(_digest([row[at] if 0 <= at < len(row) else "" for at in places]), reason)

    def take(self, digest: bytes) -> str | None:
        """The reason for a row like this, once for each that was given back; None where none is left."""
        found = self._reasons.pop(digest, None)
        if isinstance(found, list):
            reason = found.pop(0)
            if found:
                self._reasons[digest] = found
            return reason
        return found

    def _add(self, digest: bytes, reason: str) -> None:
        before = self._reasons.get(digest)
        if before is None:
            self._reasons[digest] = reason
        elif isinstance(before, list):
            before.append(reason)
        else:
            self._reasons[digest] = [before, reason]


def columns_of(file: ImportFile) -> list[str]:
    """The columns of a file that is sent."""
    return next(_rows(file.opened()), [])


def joined(file: ImportFile, failures: Returned, warnings: Returned, expected: int | None) -> Iterator[Outcome]:
    """What became of each row of a file.

    Rows that are the same in all columns are told apart by nothing: the first of them gets the first reason.

    Args:
        file: What was sent.
        failures: The rows that failed.
        warnings: The rows that are there, with a warning.
        expected: How many rows failed, as Marketo counts them; None where it does not say.
    """
    rows = _rows(file.opened())
    next(rows, None)
    failed: dict[int, str] = {}
    warned: dict[int, str] = {}
    for number, row in enumerate(filter(None, rows)):
        digest = _digest(row)
        if (reason := failures.take(digest)) is not None:
            failed[number] = reason
        elif (reason := warnings.take(digest)) is not None:
            warned[number] = reason
    doubt = _doubt(len(failed), failures.count, expected)
    for number, position in enumerate(file.positions):
        if number in failed:
            yield Outcome(position, "failed", message=failed[number])
        elif doubt:
            yield Outcome(position, "unknown", message=doubt)
        else:
            yield Outcome(position, "succeeded", message=warned.get(number))


def _doubt(found: int, given: int, expected: int | None) -> str | None:
    """Why a row that no failure was found for may have failed all the same."""
    if found == given and expected in (None, given):
        return None
    told = given if expected is None else expected
    return f"{told} rows of its file failed, Marketo gave {given} of them back, and {found} were found again"


def _places(header: Sequence[str], columns: Sequence[str]) -> list[int]:
    """Where each of our columns stands; -1 for one that does not."""
    exact = {name: number for number, name in enumerate(header)}
    alike = {name.strip().casefold(): number for number, name in enumerate(header)}
    return [exact.get(name, alike.get(name.strip().casefold(), -1)) for name in columns]


def _digest(row: Sequence[str]) -> bytes:
    # Marketo may write line breaks in its own way, and leave out a space at an end.
    cells = [cell.replace("\r\n", "\n").replace("\r", "\n").strip() for cell in row]
    text = "".join([f"{len(cell)}:{cell}" for cell in cells])
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).digest()


def _rows(file: BinaryIO) -> Iterator[list[str]]:
    csv.field_size_limit(max(csv.field_size_limit(), LARGEST_ROW))
    return map(cells_of, rows_of(file))
