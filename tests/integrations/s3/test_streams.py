"""Streams that fail, on this side or on the other: nothing is stored, nothing is left behind, nobody waits for ever."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from prefect_atomic import RequestError, S3Bucket, StorageError
from tests.e2e.servers.moto import Fault, MotoServer

MIB = 1024 * 1024
pytestmark = pytest.mark.timeout(60)


class BrokenError(Exception):
    """What a database raises in the middle of a result."""


def nothing_is_left(files: S3Bucket, raw: Any) -> bool:
    uploads = raw.list_multipart_uploads(Bucket=files.bucket).get("Uploads", [])
    return list(files.list_objects()) == [] and uploads == []


def failing(good: int, size: int = MIB) -> Iterator[bytes]:
    for _ in range(good):
        yield bytes(size)
    raise BrokenError("the cursor was closed")


@pytest.mark.parametrize("good", [0, 1, 7, 8, 9, 20, 40])
def test_an_iterable_that_fails_stores_nothing(files: S3Bucket, raw: Any, good: int) -> None:
    """Its own error is raised, as it is; no parts wait to be paid for."""
    with pytest.raises(BrokenError, match="the cursor was closed"):
        files.write_stream("a", failing(good))
    assert nothing_is_left(files, raw)
    assert files.write_stream("a", [b"works"]) == "a", "the next one is not hindered"


@pytest.mark.parametrize("good", [0, 20])
def test_an_async_iterable_that_fails_stores_nothing(files: S3Bucket, raw: Any, good: int) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(good):
            await asyncio.sleep(0)
            yield bytes(MIB)
        raise BrokenError("the cursor was closed")

    with pytest.raises(BrokenError, match="the cursor was closed"):
        asyncio.run(files.awrite_stream("a", pieces()))
    assert nothing_is_left(files, raw)


@pytest.mark.parametrize("wrong", ["text", 5, None])
def test_a_piece_that_is_not_bytes_is_refused(files: S3Bucket, raw: Any, wrong: Any) -> None:
    with pytest.raises(RequestError, match=rf"pieces: has one that is not bytes but {type(wrong).__name__}\."):
        files.write_stream("a", [b"content", wrong])
    assert nothing_is_left(files, raw)


def test_what_is_interrupted_stores_nothing(files: S3Bucket, raw: Any) -> None:
    """As by Ctrl+C, or by Prefect when a run is cancelled."""

    def pieces() -> Iterator[bytes]:
        yield bytes(9 * MIB)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_stream("a", pieces())
    assert nothing_is_left(files, raw)


@pytest.mark.parametrize("total", [1, 8, 9, 30, 60], ids=lambda total: f"{total} MiB")
@pytest.mark.parametrize("where", ["uploads", "partNumber=", "uploadId=[^&]*$"], ids=["create", "part", "complete"])
def test_a_server_that_fails_does_not_keep_the_writer_waiting(
    files: S3Bucket, moto: MotoServer, raw: Any, few_attempts: None, where: str, total: int
) -> None:
    """However much the iterable has still to give."""
    moto.fail(Fault("answer", rf"exports/a\?.*{where}", "PUT|POST"))
    stream = (bytes(MIB) for _ in range(total))
    if total < 8:
        assert files.write_stream("a", stream) == "a", "small ones are not sent in parts"
        return
    with pytest.raises(StorageError, match=r"cannot upload 'a': We are sorry\. \(InternalError") as failed:
        files.write_stream("a", stream)
    assert failed.value.transient
    moto.fail()
    assert nothing_is_left(files, raw)


def test_a_server_that_fails_ends_an_iterable_that_never_ends(
    files: S3Bucket, moto: MotoServer, few_attempts: None
) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(MIB)

    moto.fail(Fault("answer", r"partNumber=3", "PUT"))
    with pytest.raises(StorageError, match="We are sorry"):
        files.write_stream("a", endless())


def test_a_server_that_does_not_answer_does_not_keep_the_writer_waiting(
    files: S3Bucket, moto: MotoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect_atomic import TransportError
    from prefect_atomic.integrations.s3 import access

    soon = access.Config(retries={"mode": "standard", "total_max_attempts": 1}, read_timeout=0.5)
    monkeypatch.setattr(access, "_CONFIG", access._CONFIG.merge(soon))
    access.forget_clients()
    moto.fail(Fault("hold", r"partNumber=1", "PUT"))
    with pytest.raises(TransportError) as failed:
        files.write_stream("a", (bytes(MIB) for _ in range(30)))
    access.forget_clients()
    assert failed.value.transient


def test_a_writer_runs_where_it_was_called(files: S3Bucket) -> None:
    """A cursor of a database, or a logger of Prefect's, is of no use in another thread."""
    threads = set[int]()

    def pieces() -> Iterator[bytes]:
        for _ in range(10):
            threads.add(threading.get_ident())
            yield bytes(MIB)

    files.write_stream("a", pieces())
    assert threads == {threading.get_ident()}


def test_async_pieces_run_on_the_loop_and_do_not_stop_it(files: S3Bucket) -> None:
    """Other things go on there in the meantime."""
    seen = []

    async def main() -> None:
        loop, thread = asyncio.get_running_loop(), threading.get_ident()
        more = asyncio.Event()

        async def pieces() -> AsyncIterator[bytes]:
            for number in range(10):
                seen.append(asyncio.get_running_loop() is loop and threading.get_ident() == thread)
                await more.wait()
                yield bytes([number]) * MIB

        async def another() -> None:
            more.set()

        await asyncio.gather(files.awrite_stream("a", pieces()), another())
        read = b"".join([piece async for piece in files.aread_stream("a")])
        assert read == b"".join(bytes([number]) * MIB for number in range(10))

    asyncio.run(main())
    assert seen == [True] * 10


def test_a_reader_may_stop_in_the_middle(files: S3Bucket, caplog: pytest.LogCaptureFixture) -> None:
    files.write_path("a", bytes(9 * MIB))
    stream = files.read_stream("a")
    assert next(stream)
    stream.close()  # type: ignore[attr-defined]

    async def some() -> int:
        async for piece in files.aread_stream("a"):
            return len(piece)
        return 0

    assert asyncio.run(some()) == MIB
    assert files.read_path("a") == bytes(9 * MIB)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_stream_needs_little_memory(files: S3Bucket) -> None:
    """Of 200 MiB there are never more than some parts at once in this process."""
    import tracemalloc

    tracemalloc.start()
    try:
        files.write_stream("a", (bytes(MIB) for _ in range(200)))
        _, written = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        assert sum(len(piece) for piece in files.read_stream("a")) == 200 * MIB
        _, read = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert written < 120 * MIB
    assert read < 20 * MIB
