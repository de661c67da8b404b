"""Where events wait until they are delivered: stored before the first attempt, removed after the last."""

from __future__ import annotations

import fcntl
import heapq
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Protocol

from prefect_atomic.webhooks.entry import Entry


class Held(Protocol):
    """An event in the outbox that nobody else delivers for as long as it is held."""

    entry: Entry

    def keep(self, entry: Entry) -> None:
        """Stores what became of it, and goes on holding it."""

    def leave(self, entry: Entry) -> None:
        """Stores what became of it, and lets others have it."""

    def remove(self) -> None:
        """Removes it: it was delivered."""

    def release(self) -> None:
        """Lets others have it as it is stored; does nothing to one that was removed or left."""


class Outbox(Protocol):
    """The events of one subscription. Everything in it may block, and raise OSError."""

    def put(self, entry: Entry) -> Held:
        """Stores an event for good, and holds it."""

    def count(self) -> int:
        """How many events wait."""

    def waiting(self) -> Iterator[str]:
        """The names of the events that wait by now, oldest first."""

    def claim(self, name: str) -> Held | None:
        """Holds an event; None where somebody else does, or it is gone.

        Raises:
            ValueError: What is stored is no event.
        """

    def redelivering(self) -> AbstractContextManager[bool]:
        """Whether nobody else redelivers now; until the end of the `with` block nobody else will."""


_ENTRY = re.compile(r"\d{19}-[0-9a-f]{12}\.json")
_LOCK = "redelivery.lock"
_BATCH = 1000
_OLD_DRAFT = 24 * 3600.0


class FolderOutbox:
    """A folder of mode 0700 with a file of mode 0600 for each event, for the processes of one user on one host.

    A file is there as a whole or not at all, and on the disk when `put` returns. Whoever delivers it holds a lock of
    the operating system on it, which ends with the process.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, entry: Entry) -> Held:
        self._make_folder()
        name = f"{int(entry.stored_at * 1e9):019d}-{secrets.token_hex(6)}.json"
        file = self._written(name, entry, is_new=True)
        return _HeldFile(self, name, file, entry)

    def waiting(self) -> Iterator[str]:
        # In batches: memory stays bounded however many there are. What arrives meanwhile is left to the next time.
        last, until = "", f"{time.time_ns():019d}~"
        while batch := heapq.nsmallest(_BATCH, (name for name in self._names() if last < name < until)):
            yield from batch
            last = batch[-1]

    def count(self) -> int:
        return sum(1 for _ in self._names())

    def claim(self, name: str) -> Held | None:
        path = self.folder / name
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # NFS locks no file that was opened to be read
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # It may have been replaced or removed between the two; then its holder was at it just now.
            if os.stat(path).st_ino == os.fstat(file).st_ino:
                return _HeldFile(self, name, file, Entry.from_json(path.read_bytes()))
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        return None

    @contextmanager
    def redelivering(self) -> Iterator[bool]:
        self._make_folder()
        file = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                self._sweep()
                yield True
        finally:
            os.close(file)

    def _names(self) -> Iterator[str]:
        with suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            yield from (entry.name for entry in entries if _ENTRY.fullmatch(entry.name))

    def _sweep(self) -> None:
        """Removes drafts of writers that were killed: what they hold was never accepted."""
        oldest = time.time() - _OLD_DRAFT
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # its writer may be alive, and put it in its place just now
                    if entry.name.endswith(".draft") and entry.stat().st_mtime < oldest:
                        os.unlink(entry.path)

    def _written(self, name: str, entry: Entry, *, is_new: bool) -> int:
        """Puts the entry in its place, locked from the start; returns the open file that has the lock."""
        draft = self.folder / f"{name}.{secrets.token_hex(6)}.draft"
        file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            with open(file, "wb", closefd=False) as content:
                content.write(entry.to_json())
            os.fsync(file)  # before it takes the place of what is safe there
            os.replace(draft, self.folder / name)
            if is_new:
                _sync(self.folder)
        except BaseException:
            os.close(file)
            for path in (draft, *((self.folder / name,) if is_new else ())):
                with suppress(OSError):
                    os.unlink(path)
            raise
        return file

    def _make_folder(self) -> None:
        if not self.folder.is_dir():
            new = [folder for folder in (self.folder, *self.folder.parents) if not folder.exists()]
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.folder / _LOCK).touch(mode=0o600)  # now: a disk that is full is emptied by redelivery
            for folder in new:
                _sync(folder.parent)


def _sync(folder: Path) -> None:
    """Has the names in a folder survive a power cut."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


class _HeldFile:
    """A file of a `FolderOutbox`, for as long as its lock is held."""

    def __init__(self, outbox: FolderOutbox, name: str, file: int, entry: Entry) -> None:
        self.entry = entry
        self._outbox = outbox
        self._name = name
        self._file: int | None = file
        self._swapping = Lock()  # a task that is cancelled releases what its thread may be keeping at the same time

    def __del__(self) -> None:
        self.release()  # what nobody has any more: the task was cancelled before its thread brought it

    def keep(self, entry: Entry) -> None:
        self._swap(self._outbox._written(self._name, entry, is_new=False))
        self.entry = entry

    def leave(self, entry: Entry) -> None:
        self.keep(entry)
        self.release()

    def remove(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._outbox.folder / self._name)
        self.release()

    def release(self) -> None:
        self._swap(None)

    def _swap(self, file: int | None) -> None:
        with self._swapping:
            before, self._file = self._file, file
        if before is not None:
            os.close(before)
