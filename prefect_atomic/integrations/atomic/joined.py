"""Files written one after another into one."""

from __future__ import annotations

from prefect_atomic.transport import Sink


class Part:
    """A file within a file. Where what is before it does not end with a line break, its first byte brings one along.

    Args:
        to: The file that it is written into.
        breaks_line: Whether a line break comes first.
    """

    def __init__(self, to: Sink, *, breaks_line: bool) -> None:
        self._to = to
        self._breaks_line = breaks_line
        self._last = b""

    @property
    def is_open_line(self) -> bool:
        """Whether what is written so far ends within a line."""
        return self._last != b"\n" if self._last else self._breaks_line

    def seekable(self) -> bool:
        return self._to.seekable()

    def tell(self) -> int:
        return self._to.tell()

    def seek(self, position: int, /) -> None:
        """Back to where it began: there is no other place that it is sent to."""
        self._last = b""
        self._to.seek(position)

    def truncate(self) -> None:
        self._to.truncate()

    def write(self, content: bytes, /) -> None:
        if not content:
            return
        if not self._last and self._breaks_line:
            self._to.write(b"\n")
        self._to.write(content)
        self._last = content[-1:]
