"""Reads and writes the paths of a file system block, whose methods may be synchronous, asynchronous, or both."""

from __future__ import annotations

import inspect
from typing import Any

from prefect.filesystems import ReadableFileSystem, WritableFileSystem
from prefect.utilities.asyncutils import run_coro_as_sync


def read(block: ReadableFileSystem | WritableFileSystem, path: str) -> bytes:
    return bytes(done(block.read_path(path)))


def write(block: WritableFileSystem, path: str, content: bytes) -> None:
    done(block.write_path(path, content))


def done(result: Any) -> Any:
    """What a method of a block returns, once it has."""
    return run_coro_as_sync(_awaited(result)) if inspect.isawaitable(result) else result


async def _awaited(awaitable: Any) -> Any:
    return await awaitable
