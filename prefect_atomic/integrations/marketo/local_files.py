"""Files of this host that a call writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect_atomic.errors import AtomicError, RequestError


def file_path(argument: str, given: str | Path) -> Path:
    """The path of a file that is there, or can be.

    Raises:
        RequestError: It is none.
    """
    try:
        path = Path(given).expanduser()
    except RuntimeError:
        raise RequestError(f"{argument}: {str(given)!r} is in the home of a user who is not there.") from None
    if "\0" in str(path):
        raise RequestError(f"{argument}: has a NUL, which no path has.")
    if path.is_dir() or not path.parent.is_dir():
        raise RequestError(f"{argument}: {str(path)!r} is a folder, or in none.")
    if not os.access(path.parent, os.W_OK):
        raise RequestError(f"{argument}: nothing may be written into the folder {str(path.parent)!r}.")
    return path


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tells what keeps a file from being written.

    Raises:
        AtomicError: The disk is full, for example.
    """
    try:
        yield
    except OSError as error:
        raise AtomicError(f"{str(path)!r} could not be written: {error.strerror or error}.") from error
