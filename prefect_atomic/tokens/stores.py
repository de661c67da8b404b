"""Where sealed tokens rest, so that processes share them.

A store sees names and sealed bytes, nothing else. It may raise `OSError` anywhere: the cache goes on without it.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

logger = logging.getLogger("prefect.atomic.tokens")

PRUNED_AFTER = 7 * 24 * 3600
"""Seconds after which an entry that nobody wrote again is removed; hardly a token is served that long."""

_POLLED_EVERY = 0.02
_OURS = re.compile(r"[0-9a-z-]{64,80}(\.lock|\.[0-9a-f]{16}\.tmp)?")


class TokenStore(Protocol):
    """What the cache needs of a store. Names are at most 80 characters of `[0-9a-z-]`."""

    def read(self, name: str) -> bytes | None: ...

    def write(self, name: str, sealed: bytes) -> Hashable:
        """Replaces the entry at once and as a whole; returns its version."""

    def delete(self, name: str) -> None: ...

    def version(self, name: str) -> Hashable:
        """Changes whenever the entry does; None where there is none. Asked before every request: it must be cheap."""

    @contextmanager
    def lock(self, name: str, lease: float) -> Iterator[None]:
        """Holds the entry against other processes.

        Args:
            name: The entry.
            lease: How long to wait for another holder, in seconds.

        Raises:
            TimeoutError: It could not be had, although whoever holds it for longer than the lease loses it.
        """
        yield


class MemoryStore:
    """Shares nothing: the cache's own memory is all there is."""

    def read(self, name: str) -> None:
        return None

    def write(self, name: str, sealed: bytes) -> None:
        pass

    def delete(self, name: str) -> None:
        pass

    def version(self, name: str) -> None:
        return None

    @contextmanager
    def lock(self, name: str, lease: float) -> Iterator[None]:
        yield


class FileStore:
    """Files of mode 0600 in a folder of mode 0700, for the processes of one user on one host.

    An entry is replaced atomically, so a reader sees the old one or the new one. The lock is the operating system's:
    a holder that is killed lets go at once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._prefix = f"{folder}{os.sep}"
        self._is_pruned = False

    def read(self, name: str) -> bytes | None:
        try:
            return Path(self._prefix + name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, sealed: bytes) -> Hashable:
        self._make_ready()
        draft = f"{self._prefix}{name}.{secrets.token_hex(8)}.tmp"
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(sealed)
                file.flush()
                # The clock of a file system stands still for milliseconds, and inodes are used again: only a random
                # fraction of a second tells this entry from one that was deleted just now.
                moment = int(time.time()) * 10**9 + secrets.randbelow(10**9)
                os.utime(file.fileno(), ns=(moment, moment))
                version = _version(os.fstat(file.fileno()))
            os.replace(draft, self._prefix + name)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft)
            raise
        return version

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._prefix + name)

    def version(self, name: str) -> Hashable:
        try:
            return _version(os.stat(self._prefix + name))
        except FileNotFoundError:
            return None

    @contextmanager
    def lock(self, name: str, lease: float) -> Iterator[None]:
        self._make_ready()
        with self._taken(f"{self._prefix}{name}", lease):
            yield

    def _taken(self, entry: str, lease: float) -> AbstractContextManager[object]:
        from filelock import FileLock  # not needed by a process that finds every token in the store

        # A lock object of its own for each holder: two of them exclude each other, threads of one process included.
        lock = FileLock(f"{entry}.lock", mode=0o600, poll_interval=_POLLED_EVERY)
        try:
            return lock.acquire(timeout=0)
        except TimeoutError:
            waited_for = _inode(lock.lock_file)
        try:
            return lock.acquire(timeout=lease)
        except TimeoutError:
            # Its holder is stopped, or hangs. Those who waited take its file away, one at a time and only this file,
            # and contend for a new one: so one of them gets the token, not all of them.
            with FileLock(f"{entry}-overdue.lock", mode=0o600, timeout=lease):
                if waited_for is not None and _inode(lock.lock_file) == waited_for:
                    os.unlink(lock.lock_file)
                    logger.warning("A process has been getting a token for more than %g s; going on without it.", lease)
        return lock.acquire(timeout=lease)

    def _make_ready(self) -> None:
        try:
            status = os.stat(self._folder)
        except FileNotFoundError:  # at first, and when somebody cleaned up under a process that runs
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = os.stat(self._folder)
        if status.st_mode & stat.S_ISVTX:
            raise PermissionError(f"{self._folder} is a folder that users share; name one of its own")
        if status.st_mode & 0o077:
            self._folder.chmod(0o700)
        if not self._is_pruned:
            self._is_pruned = True
            self._prune()

    def _prune(self) -> None:
        """Removes what credentials that are gone or rotated have left, and drafts of writers that were killed."""
        from filelock import FileLock

        oldest = time.time() - PRUNED_AFTER
        with os.scandir(self._folder) as entries:
            ours = [entry for entry in entries if _OURS.fullmatch(entry.name)]
        for entry in ours:
            with suppress(OSError), ExitStack() as held:
                if entry.stat().st_mtime >= oldest:
                    continue
                if entry.name.endswith(".lock"):  # it tells when it was made, not whether somebody holds it
                    held.enter_context(FileLock(entry.path, blocking=False))
                os.unlink(entry.path)


def _version(status: os.stat_result) -> Hashable:
    return status.st_ino, status.st_mtime_ns


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None
