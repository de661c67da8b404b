"""How s3transfer is told to move things: in parts of which size, how many at once, and who is told of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from s3transfer.manager import TransferConfig, TransferManager
from s3transfer.subscribers import BaseSubscriber

from prefect_atomic.integrations.s3 import access

T = TypeVar("T")
Progress = Callable[[int], None]
"""Told how many further bytes have passed; fewer than none where a part is sent again."""

MIB = 1024 * 1024
PART = 8 * MIB
"""Of an upload, so also of a stream whose size is not known: S3 takes 10,000 parts, which are 78 GiB."""
_LARGEST_RANGE = 64 * MIB
_MOST_PARTS = 9_999
LARGEST_IN_USUAL_PARTS = PART * _MOST_PARTS
_FILES_AT_ONCE = 8


def part_for(size: int) -> int:
    """The size of the parts: 8 MiB, more where they would be more than S3 takes."""
    return max(PART, -(-size // _MOST_PARTS // MIB) * MIB)


def range_for(size: int) -> int:
    """The size of the ranges that a download asks for, side by side; larger ones are fewer requests."""
    return min(max(PART, size // (4 * access.CONNECTIONS) // MIB * MIB), _LARGEST_RANGE)


@contextmanager
def managing(client: Any, part: int, manager: TransferManager | None) -> Iterator[TransferManager]:
    """The manager of a transfer of many, or one of its own."""
    if manager is not None:
        yield manager
        return
    config = TransferConfig(
        multipart_threshold=part,
        multipart_chunksize=part,
        max_request_concurrency=access.CONNECTIONS,
        max_in_memory_upload_chunks=2,
        max_submission_concurrency=2,
        max_io_queue_size=16,  # pieces of 256 KiB that wait for the disk; by default 1000
    )
    with TransferManager(client, config) as made:
        yield made


class Known(BaseSubscriber):  # type: ignore[misc]
    """Tells s3transfer what a HEAD said, so that it does not ask again, and reads no mixture of two objects."""

    def __init__(self, size: int, etag: str) -> None:
        self._size = size
        self._etag = etag

    def on_queued(self, future: Any, **_: Any) -> None:
        future.meta.provide_transfer_size(self._size)
        future.meta.provide_object_etag(self._etag)


class _Told(BaseSubscriber):  # type: ignore[misc]
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_progress(self, future: Any, bytes_transferred: int, **_: Any) -> None:  # noqa: ARG002 - named by s3transfer
        self._progress(bytes_transferred)


def subscribers(progress: Progress | None) -> list[BaseSubscriber]:
    return [_Told(progress)] if progress else []


def in_parallel(act: Callable[[T], None], items: Iterable[T]) -> int:
    """Does it with all of them, some at a time, and says how many; the first failure ends it, and is raised."""
    done, running = 0, set[Future[None]]()
    with ThreadPoolExecutor(_FILES_AT_ONCE, thread_name_prefix="s3") as threads:
        try:
            for item in items:
                if len(running) >= 2 * _FILES_AT_ONCE:
                    ended, running = wait(running, return_when=FIRST_COMPLETED)
                    done += _without_failure(ended)
                running.add(threads.submit(act, item))
            ended, running = wait(running)
            return done + _without_failure(ended)
        finally:
            for future in running:
                future.cancel()


def _without_failure(ended: Iterable[Future[None]]) -> int:
    return sum(1 for future in ended if future.result() is None)
