"""Where sealed tokens rest, so that processes share them.

A store sees names and sealed bytes, nothing else. It may raise `OSError` anywhere: the cache goes on without it.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

PRUNED_AFTER = 7 * 24 * 3600
"""Seconds after which an entry that nobody wrote again is removed; no token is served that long."""


class TokenStore(Protocol):
    """What the cache needs of a store. Names are at most 80 characters of `[0-9a-z-]`."""

    def read(self, name: str) -> bytes | None: ...

    def write(self, name: str, sealed: bytes) -> None: ...

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
            TimeoutError: Somebody held it for longer than the lease.
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
        self._is_ready = False

    def read(self, name: str) -> bytes | None:
        try:
            return Path(self._prefix + name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, sealed: bytes) -> None:
        self._make_ready()
        draft = f"{self._prefix}{name}.{secrets.token_hex(8)}.tmp"
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(sealed)
            os.replace(draft, self._prefix + name)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft)
            raise

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._prefix + name)

    def version(self, name: str) -> Hashable:
        try:
            status = os.stat(self._prefix + name)
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    @contextmanager
    def lock(self, name: str, lease: float) -> Iterator[None]:
        from filelock import FileLock  # not needed by a process that finds every token in the store

        self._make_ready()
        # A lock object of its own for each holder: two of them exclude each other, threads of one process included.
        with FileLock(f"{self._prefix}{name}.lock", timeout=lease, mode=0o600, poll_interval=0.02):
            yield

    def _make_ready(self) -> None:
        if self._is_ready:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._folder.stat().st_mode & 0o077:
            self._folder.chmod(0o700)
        self._is_ready = True
        self._prune()

    def _prune(self) -> None:
        """Removes what credentials that are gone or rotated have left, and drafts of writers that were killed."""
        oldest = time.time() - PRUNED_AFTER
        for entry in os.scandir(self._folder):
            with suppress(FileNotFoundError):
                if entry.stat().st_mtime < oldest:
                    os.unlink(entry.path)
