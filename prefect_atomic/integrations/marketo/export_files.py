"""The file of an export job: received in parts where the connection is cut, and checked before anybody gets it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, BinaryIO

from prefect_atomic.errors import MarketoError, ResponseError, TransportError
from prefect_atomic.integrations.marketo.api import Api
from prefect_atomic.transport import Retry
from prefect_atomic.transport.retry import sleep

_TRIES = 3
_ONCE = Retry(attempts=1)
"""What came before a cut is kept, and the rest asked for."""

_AGAIN = Retry(backoff=2.0)

_PIECE = 1024 * 1024
_ALL = 200
_SHA256 = "sha256:"
_MOST_PARTS = 100
"""Of a file: where Marketo sent it in more, something in between keeps it from coming."""


def fetch(api: Api, path: tuple[str, ...], about: Mapping[str, Any], file: BinaryIO) -> None:
    """Writes the file of a job into another one, which is left at its start.

    Args:
        api: The instance.
        path: Where the file is.
        about: What Marketo says of the job: its file's size and checksum.
        file: An empty file.

    Raises:
        MarketoError: What came is not what Marketo says, three times.
        ResponseError: There is no such file, or it is gone after 7 days (404).
        AtomicError: It did not come.
    """
    fault = ""
    for _ in range(_TRIES):
        file.seek(0)
        file.truncate()
        _receive(api, path, file, about.get("fileSize"))
        fault = _fault(file, about)
        if not fault:
            file.seek(0)
            return
    raise MarketoError(f"the file of export {about.get('exportId')} {fault}, {_TRIES} times.", code="fileChecksum")


def _receive(api: Api, path: tuple[str, ...], file: BinaryIO, size: object) -> None:
    """Receives all of it; for as long as more of it comes, what is missing is asked for again."""
    first, takes_ranges, in_vain = 0, True, 0
    for _ in range(_MOST_PARTS):
        arriving = _Arriving(file, first)
        try:
            answer = api.download(*path, sink=arriving, first=first, retry=_ONCE)
        except (TransportError, ResponseError) as error:
            if not error.transient:
                raise
            if arriving.end == size:
                return
            in_vain = 0 if takes_ranges and arriving.end > first else in_vain + 1
            if in_vain == _TRIES:
                raise
            if in_vain:
                sleep(_AGAIN.wait(in_vain, None))
            first = arriving.end if takes_ranges else 0
            continue
        if not first or answer.status_code != _ALL:
            return
        # All of it came, in place of the rest.
        takes_ranges, first = False, 0
        file.seek(0)
        file.truncate()
    raise TransportError("A file was cut off again and again.", reason="was cut off", transient=True)


def _fault(file: BinaryIO, about: Mapping[str, Any]) -> str:
    """What is wrong with what came."""
    digest, size = hashlib.sha256(), 0
    file.seek(0)
    while piece := file.read(_PIECE):
        digest.update(piece)
        size += len(piece)
    expected, checksum = about.get("fileSize"), str(about.get("fileChecksum") or "").lower()
    if isinstance(expected, int) and size != expected:
        return f"had {size:,} bytes, where Marketo says {expected:,}"
    if checksum.startswith(_SHA256) and checksum.removeprefix(_SHA256) != digest.hexdigest():
        return "had another SHA-256 than Marketo says"
    return ""


class _Arriving:
    """A part of a file that arrives. Where it is begun again, what is there already stays until it is written over.

    Args:
        file: The file.
        first: Where the part begins.
    """

    def __init__(self, file: BinaryIO, first: int) -> None:
        self._file = file
        self._at = self._first = self.end = first

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, position: int, /) -> int:
        self._at = position
        return position

    def truncate(self) -> None:
        """Keeps what came: a second attempt brings the same."""

    def write(self, content: bytes, /) -> int:
        self._file.seek(self._at)
        self._file.write(content)
        self._at += len(content)
        self.end = max(self.end, self._at)
        return len(content)

    def read(self, size: int, /) -> bytes:
        """What came in place of the part, and does not belong to it: a refusal."""
        self._file.seek(self._at)
        content = self._file.read(size)
        self._file.seek(self._first)
        self._file.truncate()
        self.end = self._first
        return content
