"""What an iterable yields, as a file that s3transfer reads."""

from __future__ import annotations

import io
import math
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
        self._left = memoryview(b"")
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
        self._stop()
        return False

    def _stop(self) -> None:
        """Ends the thread that reads: it knows nothing of a failed part, and would wait for the next piece for ever."""
        while True:
            with suppress(queue.Empty):
                self._queue.get_nowait()
            with suppress(queue.Full):
                return self._queue.put_nowait(_StoppedError())

    def read(self, amount: int = -1) -> bytes:
        content = io.BytesIO()  # whose value is no second copy, as a join of the pieces would be
        wanted = math.inf if amount < 0 else amount
        while content.tell() < wanted:
            if not self._left and not self._next():
                break
            taken = self._left if wanted == math.inf else self._left[: amount - content.tell()]
            content.write(taken)
            self._left = self._left[len(taken) :]
        return content.getvalue()

    def _next(self) -> bool:
        """Waits for a piece; whether there is one."""
        if self._has_ended:
            return False
        piece = self._queue.get()
        if isinstance(piece, BaseException):
            raise _StoppedError
        self._has_ended = piece is None
        self._left = memoryview(piece or b"")
        return not self._has_ended


class _StoppedError(Exception):
    """The iterable failed; its own error is what is raised."""
