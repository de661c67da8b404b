"""CSV as Bulk API 2.0 has it: read in batches, written in pieces."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

DELIMITERS = {"BACKQUOTE": "`", "CARET": "^", "COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "TAB": "\t"}
LINE_ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
PIECE = 2_000  # rows


class Malformed(ValueError):  # noqa: N818 - an answer, not an error
    """The CSV cannot be processed; the text says why."""


def read(body: bytes, *, delimiter: str, line_ending: str) -> tuple[list[str], list[list[str]]]:
    """The columns and the rows of a CSV.

    Raises:
        Malformed: if Salesforce would fail the job.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Malformed("InvalidBatch : the CSV is not UTF-8") from None
    crlf = "\r\n" in text[: text.find("\n") + 1]
    if "\n" in text and crlf is not (line_ending == "CRLF"):
        sent = "CRLF" if crlf else "LF"
        raise Malformed(f"ClientInputError : LineEnding is invalid on user data. The CSV has {sent}, not {line_ending}")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=DELIMITERS[delimiter], strict=True)
    try:
        columns = next(reader, [])
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise Malformed(f"InvalidBatch : Failed to parse CSV: {error}") from None
    if not columns:
        raise Malformed("InvalidBatch : Failed to parse CSV: the header is missing")
    width = len(columns)
    for row in rows:
        if len(row) != width:
            raise Malformed("InvalidBatch : Failed to parse CSV: a row has another number of fields than the header")
    return columns, rows


def written(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, delimiter: str, line_ending: str
) -> Iterator[bytes]:
    """A CSV in pieces; every cell is in quotes, as Salesforce writes them."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(
        buffer, delimiter=DELIMITERS[delimiter], lineterminator=LINE_ENDINGS[line_ending], quoting=csv.QUOTE_ALL
    )
    writer.writerow(columns)
    waiting = iter(rows)
    while True:
        writer.writerows(islice(waiting, PIECE))
        piece = buffer.getvalue()
        if not piece:
            return
        yield piece.encode()
        buffer.seek(0)
        buffer.truncate()
