"""Files, file objects, folders and streams go there and come back; objects are copied, moved, looked at and deleted."""

from __future__ import annotations

import asyncio
import inspect
import io
import os
import random
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from prefect_atomic import RequestError, S3Bucket, StorageError
from prefect_atomic.integrations.s3 import objects as objects_module
from prefect_atomic.integrations.s3 import transfers
from tests.integrations.s3.conftest import Make

MIB = 1024 * 1024
LARGE = random.Random(3).randbytes(17 * MIB + 5)
"""Three parts."""


class Pipe(io.RawIOBase):
    """A file without a way back."""

    def __init__(self, content: bytes) -> None:
        self._inner = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._inner.read(min(len(buffer), 70_000))  # less than was asked for, as pipes do
        buffer[: len(piece)] = piece
        return len(piece)


def called(files: S3Bucket, twin: str, name: str, *args: Any, **options: Any) -> Any:
    """A method, or its twin in an event loop; what streams is put together."""
    if twin == "sync":
        found = getattr(files, name)(*args, **options)
        return list(found) if isinstance(found, Generator) else found

    async def run() -> Any:
        found = getattr(files, f"a{name}")(*args, **options)
        return [each async for each in found] if isinstance(found, AsyncIterator) else await found

    return asyncio.run(run())


TWINS = pytest.mark.parametrize("twin", ["sync", "async"])
CONTENTS = pytest.mark.parametrize(
    "content", [b"", b"\0", b"content", LARGE[: 8 * MIB], LARGE], ids=["empty", "one", "few", "a part", "parts"]
)


@TWINS
@CONTENTS
def test_bytes_there_and_back(files: S3Bucket, content: bytes, twin: str) -> None:
    assert called(files, twin, "write_path", "a/b.bin", content) == "a/b.bin"
    assert called(files, twin, "read_path", "a/b.bin") == content
    assert called(files, twin, "head", "a/b.bin").size == len(content)


@TWINS
@CONTENTS
def test_a_file_there_and_back(files: S3Bucket, tmp_path: Path, content: bytes, twin: str) -> None:
    """Under its own name where none is given; progress adds up to the size."""
    source, sent, received = tmp_path / "report.csv", [], []
    source.write_bytes(content)
    assert called(files, twin, "upload_from_path", source, progress=sent.append) == "report.csv"
    target = tmp_path / "new" / "folder" / "copy.csv"
    assert called(files, twin, "download_object_to_path", "report.csv", target, progress=received.append) == target
    assert target.read_bytes() == content
    assert sum(sent) == sum(received) == len(content)
    assert os.listdir(target.parent) == ["copy.csv"], "nothing else is left there"


def test_a_folder_as_the_target_takes_the_name_of_the_object(files: S3Bucket, tmp_path: Path) -> None:
    files.write_path("a/b/report.csv", b"content")
    assert files.download_object_to_path("a/b/report.csv", tmp_path) == tmp_path / "report.csv"
    (listed,) = files.list_objects()
    assert files.download_object_to_path(listed, str(tmp_path)) == tmp_path / "report.csv"


def test_a_download_replaces_the_file_that_was_there(files: S3Bucket, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"longer than what is stored there now")
    files.write_path("a", b"new")
    files.download_object_to_path("a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"new"


@TWINS
@pytest.mark.parametrize("make_file", [io.BytesIO, Pipe], ids=["seekable", "pipe"])
@pytest.mark.parametrize("start", [0, 7, 8 * MIB + 1])
@pytest.mark.parametrize("size", [0, 100, 8 * MIB, 17 * MIB + 5])
def test_a_file_object_is_stored_from_where_it_stands(
    files: S3Bucket, make_file: Callable[[bytes], Any], start: int, size: int, twin: str
) -> None:
    content = LARGE[:size]
    file = make_file(content)
    file.read(start)
    done = len(content) if start > size else start
    if make_file is Pipe and start > 70_000:
        done = min(70_000, size)  # a pipe gives less than was asked for
    called(files, twin, "upload_from_file_object", file, "a")
    assert files.read_path("a") == content[done:]


@TWINS
def test_a_file_object_is_written_from_where_it_stands(files: S3Bucket, twin: str) -> None:
    files.write_path("a", LARGE)
    file, received = io.BytesIO(b"before "), []
    file.seek(7)
    assert called(files, twin, "download_object_to_file_object", "a", file, progress=received.append) is file
    assert file.getvalue() == b"before " + LARGE
    assert sum(received) == len(LARGE)


@TWINS
def test_a_folder_there_and_back(files: S3Bucket, tmp_path: Path, twin: str) -> None:
    """With empty files, files of several parts, odd names, and what symbolic links of files lead to."""
    source, target = tmp_path / "source", tmp_path / "target"
    contents = {"a.csv": b"a", "empty": b"", "deep/er/ä ö.txt": b"b", "large.bin": LARGE, "deep/%2e%2e+": b"c"}
    contents |= {f"many/{number:03d}": str(number).encode() for number in range(40)}
    for name, content in contents.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    (source / "link").symlink_to(source / "a.csv")
    (source / "nowhere").symlink_to(source / "no-such")
    contents["link"] = b"a"
    files.write_path("daily2/other", b"not of this folder")
    sent, received = [], []
    assert called(files, twin, "upload_from_folder", source, "daily", progress=sent.append) == "daily"
    assert {each.key: each.size for each in files.list_objects("daily/")} == {
        f"daily/{name}": len(content) for name, content in contents.items()
    }
    assert called(files, twin, "download_folder_to_path", "/daily/", target, progress=received.append) == target
    found = {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert found == contents
    assert sum(sent) == sum(received) == sum(map(len, contents.values()))


def test_a_folder_without_objects_is_made(files: S3Bucket, tmp_path: Path) -> None:
    assert files.download_folder_to_path("nothing", tmp_path / "new").is_dir()


@pytest.mark.parametrize("key", ["a/../../outside", "a//b", "a/./b", "a/../b"])
def test_an_object_that_would_be_a_file_elsewhere_is_refused(
    files: S3Bucket, raw: Any, name: str, tmp_path: Path, key: str
) -> None:
    raw.put_object(Bucket=name, Key=f"exports/daily/{key}", Body=b"not here")
    target = tmp_path / "deep" / "target"
    with pytest.raises(RequestError, match="cannot be a file below the folder"):
        files.download_folder_to_path("daily", target)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@TWINS
@pytest.mark.parametrize("size", [1, 3, 65_536, MIB + 1])
@pytest.mark.parametrize("total", [0, 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1])
def test_a_stream_there_and_back(files: S3Bucket, twin: str, size: int, total: int) -> None:
    """In pieces of any size, empty ones among them; bytearrays and memoryviews too."""
    if size < 65_536:
        total = min(total, 100_000)
    content = LARGE[:total]
    kinds = (bytes, bytearray, memoryview, lambda piece: b"")
    pieces = []
    for number, at in enumerate(range(0, total, size)):
        kind = kinds[number % 4]
        pieces.append(kind(content[at : at + size]))
        if not pieces[-1]:
            pieces.append(content[at : at + size])
    assert called(files, twin, "write_stream", "s", iter(pieces)) == "s"
    read = called(files, twin, "read_stream", "s")
    assert b"".join(read) == content
    assert all(0 < len(piece) <= MIB for piece in read)


@pytest.mark.parametrize(
    ("key", "given", "stored"),
    [
        ("a.csv", None, "text/csv"),
        ("a.png", None, "image/png"),
        ("a.json", "application/x-ours", "application/x-ours"),
        ("a.csv.gz", None, "binary/octet-stream"),
        ("a", None, "binary/octet-stream"),
    ],
)
def test_the_content_type_is_as_given_or_by_the_extension(
    files: S3Bucket, raw: Any, name: str, tmp_path: Path, key: str, given: str | None, stored: str
) -> None:
    """By all four ways to store; a compressed file is not of the type that is in it."""
    (tmp_path / key).write_bytes(b"content")
    for act in (
        lambda: files.write_path(key, b"content", content_type=given),
        lambda: files.write_path(key, LARGE, content_type=given),
        lambda: files.upload_from_path(tmp_path / key, content_type=given),
        lambda: files.upload_from_file_object(io.BytesIO(b"content"), key, content_type=given),
        lambda: files.write_stream(key, [b"content"], content_type=given),
    ):
        act()
        assert raw.head_object(Bucket=name, Key=f"exports/{key}")["ContentType"] == stored
        files.delete_object(key)


def test_objects_are_stored_as_the_block_says(make: Make, raw: Any, name: str, moto: Any) -> None:
    """Encryption and storage class, whichever way they are stored; also when copied."""
    files = make(server_side_encryption="aws:kms", kms_key_id="alias/ours", storage_class="STANDARD_IA", acl="private")
    files.write_path("a", b"content")
    files.write_stream("b", [LARGE])
    files.copy_object("b", "c")
    for key in "abc":
        found = raw.head_object(Bucket=name, Key=key)
        assert found["ServerSideEncryption"] == "aws:kms"
        assert found["SSEKMSKeyId"].endswith("alias/ours")
        assert found["StorageClass"] == "STANDARD_IA"


# -- copies, moves, looks, deletes ---------------------------------------------------------------------------------


@TWINS
@CONTENTS
def test_a_copy_is_the_object_again(files: S3Bucket, twin: str, content: bytes) -> None:
    """Its content does not pass through here, and is checked when it is read."""
    files.write_path("a.csv", content)
    assert called(files, twin, "copy_object", "a.csv", "/b/c.csv") == "b/c.csv"
    assert files.read_path("b/c.csv") == files.read_path("a.csv") == content


def test_a_copy_in_parts_is_the_object_again(
    files: S3Bucket, moto: Any, raw: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of a gigabyte are copied: with the media type and what else is known of it."""
    monkeypatch.setattr(objects_module, "_COPY_AT_ONCE", 8 * MIB)
    monkeypatch.setattr(objects_module, "part_for", lambda size: 8 * MIB)
    monkeypatch.setattr(objects_module, "MIB", 1024)  # parts of 256 KiB are less than S3 takes
    raw.put_object(Bucket=name, Key="exports/a", Body=LARGE, ContentType="text/ours", Metadata={"mine": "kept"})
    moto.forget()
    files.copy_object("a", "b")
    assert len(moto.requests("partNumber", "PUT")) == 3
    found = raw.head_object(Bucket=name, Key="exports/b")
    assert found["ContentType"] == "text/ours"
    assert found["Metadata"]["mine"] == "kept"
    assert files.read_path("b") == LARGE
    assert not moto.requests("", "GET")[:-1], "the content did not pass through here"


def test_a_copy_onto_itself_is_refused(files: S3Bucket) -> None:
    """S3 would answer with an error that says little; a move would delete the object."""
    files.write_path("a", b"content")
    for act in (files.copy_object, files.move_object):
        for to in ("a", "/a"):
            with pytest.raises(RequestError, match=r"to_path: '/?a' is the object itself"):
                act("a", to)
    assert files.read_path("a") == b"content"


@TWINS
def test_a_move_leaves_only_the_new_one(files: S3Bucket, twin: str) -> None:
    files.write_path("a", b"content")
    assert called(files, twin, "move_object", "a", "b") == "b"
    assert [each.key for each in files.list_objects()] == ["b"]
    with pytest.raises(StorageError, match="no such object"):
        files.move_object("a", "c")
    assert [each.key for each in files.list_objects()] == ["b"]


@TWINS
def test_a_deleted_object_is_gone_and_may_be_deleted_again(files: S3Bucket, twin: str) -> None:
    files.write_path("a", b"content")
    files.write_path("ab", b"content")
    assert called(files, twin, "exists", "a") is True
    for _ in range(2):
        assert called(files, twin, "delete_object", "a") is None
        assert called(files, twin, "exists", "a") is False
    assert [each.key for each in called(files, twin, "list_objects")] == ["ab"]


@pytest.mark.parametrize("act", ["read_path", "head", "download_object_to_path", "copy_object"])
def test_an_object_that_is_not_there(files: S3Bucket, tmp_path: Path, act: str) -> None:
    further = {"download_object_to_path": (tmp_path / "a",), "copy_object": ("b",)}.get(act, ())
    with pytest.raises(StorageError, match=r"S3Bucket: cannot .* 'no/such': there is no such object") as failed:
        getattr(files, act)("no/such", *further)
    assert failed.value.code in ("NoSuchKey", "404")
    assert not failed.value.transient
    assert list(tmp_path.glob("a*")) == []


def test_a_file_that_is_not_there(files: S3Bucket, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no-such"):
        with pytest.raises(RequestError, match=r"from_path: .* is no file"):
            files.upload_from_path(path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RequestError, match=r"from_folder: .* is no folder"):
        files.upload_from_folder(tmp_path / "file")


def test_an_empty_folder_name_is_the_top(files: S3Bucket, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_bytes(b"content")
    files.upload_from_folder(tmp_path / "source")
    assert [each.key for each in files.list_objects()] == ["a"]


def test_a_check_says_where_and_what(files: S3Bucket) -> None:
    for found in (files.check(), asyncio.run(files.acheck())):
        assert (found.kind, found.host, found.expires_at) == ("s3-bucket", "127.0.0.1", None)


def test_prefects_own_interfaces_are_met(files: S3Bucket) -> None:
    """Prefect calls some with `_sync`, and asks whether a method is to be awaited."""
    files.write_path("a", b"content", _sync=True)
    assert files.read_path("a", _sync=True) == b"content"
    assert not inspect.iscoroutinefunction(files.read_path)
    assert inspect.iscoroutinefunction(files.aread_path)


@pytest.mark.parametrize("size", [0, 1, transfers.PART, 5 * 2**40 // 100, 5 * 2**40, 50 * 2**40])
def test_no_file_has_more_parts_than_s3_takes(size: int) -> None:
    """Nor parts that are larger or smaller than those; half a hundred terabytes is the most there is."""
    part = transfers.part_for(size)
    assert -(-size // part) <= 10_000
    assert 5 * MIB <= part <= 5 * 1024 * MIB + 256 * MIB
    assert part % MIB == 0
    assert transfers.range_for(size) >= transfers.PART
