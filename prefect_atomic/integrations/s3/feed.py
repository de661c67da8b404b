"""What an iterable yields, as a file that s3transfer reads."""

from __future__ import annotations

import queue
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from prefect_atomic.errors import RequestError


class Feed:
    """A file without an end that is known, and without a way back.

    s3transfer reads it in a thread of its own. The iterable runs where it was made: a cursor of a database, or a logger
    of Prefect's, is of no use elsewhere.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self._queue = queue.Queue[bytes | BaseException | None](maxsize=4)
        self._left = b""
        self._has_ended = False

    def filled(self, future: Any) -> None:
        """Hands everything over; raises what the iterable raises, and has the upload forgotten then."""
        try:
            for piece in self._pieces:
                if not isinstance(piece, bytes | bytearray | memoryview):
                    raise RequestError(f"pieces: has one that is not bytes but {type(piece).__name__}.")
                if piece and not self._handed(bytes(piece), future):
                    return  # the upload failed, and its result says why
        except BaseException as error:
            self._handed(error, future)
            with suppress(BaseException):
                future.result()
            raise
        self._handed(None, future)

    def _handed(self, piece: bytes | BaseException | None, future: Any) -> bool:
        while not future.done():
            try:
                self._queue.put(piece, timeout=0.5)
            except queue.Full:
                continue
            return True
        return False

    def read(self, amount: int = -1) -> bytes:
        taken = [self._left]
        length = len(self._left)
        while (amount < 0 or length < amount) and not self._has_ended:
            piece = self._queue.get()
            if isinstance(piece, BaseException):
                raise _StoppedError
            if piece is None:
                self._has_ended = True
            else:
                taken.append(piece)
                length += len(piece)
        content = b"".join(taken)
        if amount < 0:
            amount = length
        self._left = content[amount:]
        return content[:amount]


class _StoppedError(Exception):
    """The iterable failed; its own error is what is raised."""
