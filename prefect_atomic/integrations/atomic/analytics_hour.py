"""The events of an hour, which are in files behind pre-signed URLs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, Literal
from urllib.parse import parse_qsl, urlsplit

from prefect_atomic.credentials.base import now
from prefect_atomic.errors import AtomicError, RequestError, ResponseError
from prefect_atomic.integrations.atomic.api import TIMEOUT
from prefect_atomic.integrations.atomic.hiding import Hiding
from prefect_atomic.integrations.atomic.joined import Part
from prefect_atomic.tasks.course import Course, Send, arun, run
from prefect_atomic.transport import Policy, Sink, outgoing

if TYPE_CHECKING:
    from prefect_atomic.integrations.atomic.analytics import Source

Format = Literal["ndjson", "csv", "parquet"]

HOUR = timedelta(hours=1)
KEY = "%Y-%m-%dT%H"
"""How answers name an hour: by its end, in UTC."""

_GOOD_FOR = 14 * 60.0
"""Seconds for which a URL is used: it expires after 15 minutes, and a download has to begin before."""
_EXPIRED = frozenset({400, 403, 410})
_LARGEST_FILE = 1 << 40
_SHORTEST_SECRET = 8  # others are such as X-Amz-Expires=900
_IN_MEMORY = 8 * 1024 * 1024


class AnalyticsHour:
    """The events of an hour. Its pre-signed URLs are secrets: nobody is shown them, and they are in no copy.

    Attributes:
        hour: When the hour ended, in UTC.
        is_processed: Whether Atomic has processed it; what is not processed yet comes later.
        files: How many files it has.
    """

    def __init__(self, hour: datetime, format: Format, urls: list[str] | None, source: Source | None) -> None:  # noqa: A002 - as Atomic calls it
        self.hour = hour
        self.is_processed = urls is not None
        self.files = len(urls or ())
        self._format = format
        self._urls = urls or []
        self._source = source
        self._asked_at = now()

    @property
    def is_empty(self) -> bool:
        """Whether it is processed, and nothing happened in it."""
        return self.is_processed and not self.files

    def __repr__(self) -> str:
        what = f"{self.files} files of {self._format}" if self.is_processed else "not processed yet"
        return f"<AnalyticsHour {self.hour:{KEY}}, {what}>"

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_urls": [], "_source": None}

    def download(self, to: BinaryIO, *, file: int | None = None) -> int:
        """Writes the files of the hour one after another, each of which begins in a new line.

        Args:
            to: A file, which is written from where it stands. It has to be seekable: a download may start over.
            file: Only this one of them, from 0; None = all. Each file of the format csv has a header of its own.

        Returns:
            How many bytes were written.

        Raises:
            RequestError: The hour is not processed yet, has no such file, or is a copy.
            AtomicError: A file could not be downloaded; `to` is as it was before.
        """
        return run(self._downloaded(to, file))

    async def adownload(self, to: BinaryIO, *, file: int | None = None) -> int:
        """The same as `download`, for an event loop."""
        return await arun(self._downloaded(to, file))

    def events(self) -> Iterator[dict[str, Any]]:
        """The events of the hour, in little memory; for the format ndjson.

        Raises:
            RequestError: The hour has another format, is not processed yet, or is a copy.
            AtomicError: A file could not be downloaded, or has a line that is no event.
        """
        self._check(None, as_events=True)
        return self._events()

    def aevents(self) -> AsyncIterator[dict[str, Any]]:
        """The same as `events`, for an event loop."""
        self._check(None, as_events=True)
        return self._aevents()

    def _events(self) -> Iterator[dict[str, Any]]:
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spooled:
            file: BinaryIO = spooled  # type: ignore[assignment]
            self.download(file)
            yield from self._read(file)

    async def _aevents(self) -> AsyncIterator[dict[str, Any]]:
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spooled:
            file: BinaryIO = spooled  # type: ignore[assignment]
            await self.adownload(file)
            for event in self._read(file):
                yield event

    def _read(self, file: BinaryIO) -> Iterator[dict[str, Any]]:
        file.seek(0)
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    event = json.loads(line)
                except (ValueError, RecursionError):
                    event = None
                if not isinstance(event, dict):  # out here, so that the error has no context, which holds the line
                    raise AtomicError(f"{self!r}: line {number} is no JSON object; `download` keeps it as it is.")
                yield event

    def _check(self, file: int | None, *, as_events: bool = False) -> None:
        if not self.is_processed:
            raise RequestError(f"{self!r}: ask for it again later; Atomic needs up to an hour after its end.")
        if self.files and self._source is None:
            raise RequestError(f"{self!r}: is a copy, which has no URLs; ask `analytics` for the hour again.")
        if file is not None and not 0 <= file < self.files:
            raise RequestError(f"file: {self!r} has no such file; the first is 0.")
        if as_events and self._format != "ndjson":
            raise RequestError(f"{self!r}: only the format ndjson can be read as events; download it instead.")
        if self._format == "parquet" and self.files > 1 and file is None:
            raise RequestError(f"{self!r}: Parquet files do not make one together; give `file`, for one after another.")

    def _downloaded(self, to: BinaryIO, file: int | None) -> Course[int]:
        self._check(file)
        if not to.seekable():
            raise RequestError("to: cannot be rewound for another attempt; give a file, such as a temporary one.")
        start = to.tell()
        try:
            try:
                yield from self._written(to, file)
            except ResponseError as error:
                if error.response.status_code not in _EXPIRED:
                    raise
                _rewind(to, start)
                yield from self._renewed()
                yield from self._written(to, file)
        except AtomicError:
            _rewind(to, start)
            raise
        return to.tell() - start

    def _written(self, to: Sink, file: int | None) -> Course[None]:
        breaks_line = False
        for number in range(self.files) if file is None else (file,):
            if not 0 <= now() - self._asked_at < _GOOD_FOR:
                before = [urlsplit(url).path for url in self._urls]
                yield from self._renewed()
                if number and [urlsplit(url).path for url in self._urls] != before:
                    raise AtomicError(f"{self!r}: has other files than when it was asked for.", transient=True)
            part = Part(to, breaks_line=breaks_line)
            yield _ask_for(self._urls[number], part)
            breaks_line = part.is_open_line

    def _renewed(self) -> Course[None]:
        """Asks for the URLs again."""
        if self._source is None:
            return
        asked_at = now()
        found = yield from self._source.hours(self.hour - HOUR, self.hour)
        urls = found[0]._urls
        if len(urls) != self.files:
            raise AtomicError(
                f"{self!r}: has {len(urls)} files by now; ask `analytics` for the hour again.", transient=True
            )
        self._urls, self._asked_at = urls, asked_at


def _ask_for(url: str, sink: Sink) -> Send:
    try:
        request = outgoing("GET", url, timeout=TIMEOUT)
    except RequestError:
        request = None
    if request is None:
        raise AtomicError("Atomic answered with a file's URL that cannot be asked for.")
    # What signs the URL stands in its query, and its server may quote that. Our own proof is for Atomic alone.
    secrets = tuple(value for _, value in parse_qsl(urlsplit(url).query) if len(value) >= _SHORTEST_SECRET)
    return Send(request, Hiding(None, secrets), Policy(sink=sink, max_response_bytes=_LARGEST_FILE))


def _rewind(to: BinaryIO, position: int) -> None:
    to.seek(position)
    to.truncate()
