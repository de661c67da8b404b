"""What is read is what was stored, or an error: bits that flip, connections that are cut, objects that are replaced."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path
from typing import Any

import pytest

from prefect_atomic import S3Bucket, StorageError, TransportError
from tests.e2e.servers.moto import Fault, MotoServer
from tests.integrations.s3.conftest import Make
from tests.mounts import mounted

MIB = 1024 * 1024
LARGE = random.Random(4).randbytes(17 * MIB + 5)
SIZES = pytest.mark.parametrize("content", [b"content", LARGE], ids=["few", "parts"])
FLIPPED = Fault("flip", "/exports/a", "GET")


def damaged(what: pytest.ExceptionInfo[StorageError]) -> bool:
    return what.value.code == "Damaged" and "its content is not what was stored, by its" in str(what.value)


@SIZES
def test_damaged_content_is_never_returned(files: S3Bucket, moto: MotoServer, content: bytes) -> None:
    files.write_path("a", content)
    moto.fail(FLIPPED)
    with pytest.raises(StorageError, match="cannot read 'a'") as failed:
        files.read_path("a")
    assert damaged(failed)
    moto.fail()
    assert files.read_path("a") == content


@SIZES
def test_the_last_piece_of_a_damaged_stream_never_comes(files: S3Bucket, moto: MotoServer, content: bytes) -> None:
    """Who counts on the end of the stream learns of the damage before."""
    files.write_path("a", content)
    moto.fail(FLIPPED)
    received: list[bytes] = []
    with pytest.raises(StorageError) as failed:
        received.extend(files.read_stream("a"))
    assert damaged(failed)
    file = io.BytesIO()
    with pytest.raises(StorageError):
        files.download_object_to_file_object("a", file)
    assert len(file.getvalue()) < len(content)


@SIZES
@pytest.mark.parametrize("before", [None, b"what was there before"])
def test_a_damaged_download_leaves_the_target_as_it_was(
    files: S3Bucket, moto: MotoServer, tmp_path: Path, content: bytes, before: bytes | None
) -> None:
    """Also where one range of many is damaged."""
    folder = tmp_path / "target"
    folder.mkdir()
    if before:
        (folder / "a").write_bytes(before)
    files.write_path("a", content)
    where = "/exports/a.*bytes=8388608-" if content is LARGE else "/exports/a"
    moto.fail(Fault("flip", where, "GET"))
    with pytest.raises(StorageError) as failed:
        files.download_object_to_path("a", folder / "a")
    assert damaged(failed)
    assert os.listdir(folder) == (["a"] if before else [])
    if before:
        assert (folder / "a").read_bytes() == before
    moto.fail()
    files.download_object_to_path("a", folder / "a")
    assert (folder / "a").read_bytes() == content


def test_a_damaged_object_of_a_folder_fails_the_folder(files: S3Bucket, moto: MotoServer, tmp_path: Path) -> None:
    for key in ("d/a", "d/b", "d/c"):
        files.write_path(key, b"content")
    moto.fail(Fault("flip", "/exports/d/b", "GET"))
    with pytest.raises(StorageError, match="'d/b'") as failed:
        files.download_folder_to_path("d", tmp_path / "d")
    assert damaged(failed)
    assert not (tmp_path / "d" / "b").exists()
    assert [path.name for path in (tmp_path / "d").iterdir() if path.name.startswith(".")] == []


@SIZES
def test_everything_that_is_stored_has_a_checksum(files: S3Bucket, content: bytes) -> None:
    """S3 compares what arrives with it (moto does not), and keeps it."""
    for act in (
        lambda: files.write_path("a", content),
        lambda: files.write_stream("a", [content]),
        lambda: files.upload_from_file_object(io.BytesIO(content), "a"),
        lambda: files.copy_object("b", "a"),
    ):
        files.write_path("b", content)
        files.delete_object("a")
        act()
        assert files.head("a").sha256


@SIZES
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_stream_that_is_cut_off_goes_on_where_it_was(
    files: S3Bucket, moto: MotoServer, content: bytes, share: float
) -> None:
    files.write_path("a", content)
    moto.forget()
    moto.fail(Fault("cut", "/exports/a", "GET", times=3, share=share))
    assert b"".join(files.read_stream("a")) == content
    requests = moto.requests("/exports/a", "GET")
    assert len(requests) == 4
    if content is LARGE and share:
        starts = [int(each["range"].removeprefix("bytes=").removesuffix("-") or 0) for each in requests]
        assert starts == sorted(set(starts)), "nothing is asked for twice"
        assert all(each["if_match"] for each in requests[1:]), "and nothing of another object"


def test_a_stream_that_is_cut_off_again_and_again_is_given_up(files: S3Bucket, moto: MotoServer) -> None:
    """Where nothing more comes: what moves on, however slowly, may take its time."""
    files.write_path("a", LARGE)
    moto.fail(Fault("cut", "/exports/a.*bytes", "GET", share=0.0), Fault("cut", "/exports/a", "GET"))
    received: list[bytes] = []
    with pytest.raises(TransportError, match="cannot read 'a'") as failed:
        received.extend(files.read_stream("a"))
    assert failed.value.transient
    assert LARGE.startswith(b"".join(received))


@SIZES
def test_a_download_that_is_cut_off_goes_on(files: S3Bucket, moto: MotoServer, tmp_path: Path, content: bytes) -> None:
    files.write_path("a", content)
    moto.fail(Fault("cut", "/exports/a", "GET", times=3, share=0.4))
    received: list[int] = []
    files.download_object_to_path("a", tmp_path / "a", progress=received.append)
    assert (tmp_path / "a").read_bytes() == content
    assert sum(received) == len(content), "what comes twice is counted once"


def test_a_download_that_is_cut_off_again_and_again_is_given_up(
    files: S3Bucket, moto: MotoServer, tmp_path: Path
) -> None:
    files.write_path("a", LARGE)
    moto.fail(Fault("cut", "/exports/a", "GET", share=0.0))
    folder = tmp_path / "target"
    with pytest.raises(TransportError, match="cannot download 'a'") as failed:
        files.download_object_to_path("a", folder / "a")
    assert failed.value.transient
    assert os.listdir(folder) == []


def test_an_object_that_is_replaced_is_not_mixed_with_the_new_one(files: S3Bucket, moto: MotoServer) -> None:
    files.write_path("a", LARGE)
    moto.fail(Fault("cut", "/exports/a", "GET", times=1, share=0.5))
    stream = files.read_stream("a")
    received = [next(stream)]
    files.write_path("a", b"new" + LARGE)
    with pytest.raises(StorageError, match="the object was replaced meanwhile") as failed:
        received.extend(stream)
    assert failed.value.transient
    assert LARGE.startswith(b"".join(received))
    assert files.read_path("a") == b"new" + LARGE


@pytest.mark.parametrize("new", [b"new", LARGE[::-1], LARGE + b"longer"], ids=["small", "same size", "longer"])
@pytest.mark.parametrize("old", [b"old", LARGE], ids=["few", "parts"])
def test_a_download_whose_object_is_replaced_gives_the_new_one(
    files: S3Bucket, make: Make, tmp_path: Path, old: bytes, new: bytes
) -> None:
    """All of it, never a mixture."""
    files.write_path("a", old)
    replaced: list[int] = []

    def replace(_: int) -> None:
        if not replaced:
            replaced.append(1)
            files.write_path("a", new)

    files.download_object_to_path("a", tmp_path / "a", progress=replace)
    assert replaced
    assert (tmp_path / "a").read_bytes() in (old, new)


def test_a_download_whose_object_is_replaced_after_the_look(
    files: S3Bucket, moto: MotoServer, raw: Any, name: str, tmp_path: Path
) -> None:
    """Small objects are read at once: what came is the new one, and is told from damage."""
    files.write_path("a", b"old")
    client = files.get_client()
    asked: list[int] = []

    def replace(**_: Any) -> None:
        if not asked:
            asked.append(1)
            raw.put_object(Bucket=name, Key="exports/a", Body=b"new")

    client.meta.events.register("before-call.s3.GetObject", replace)
    try:
        files.download_object_to_path("a", tmp_path / "a")
    finally:
        client.meta.events.unregister("before-call.s3.GetObject", replace)
    assert (tmp_path / "a").read_bytes() == b"new"


def test_an_object_of_somebody_else_is_read_without_a_checksum(files: S3Bucket, raw: Any, name: str) -> None:
    """In parts of a size that nothing here knows."""
    upload = raw.create_multipart_upload(Bucket=name, Key="exports/a", ChecksumAlgorithm="SHA256")["UploadId"]
    parts = []
    for number, at in enumerate((0, 6 * MIB), 1):
        part = raw.upload_part(
            Bucket=name,
            Key="exports/a",
            UploadId=upload,
            PartNumber=number,
            Body=LARGE[at : at + 6 * MIB],
            ChecksumAlgorithm="SHA256",
        )
        parts.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumSHA256": part["ChecksumSHA256"]})
    raw.complete_multipart_upload(
        Bucket=name, Key="exports/a", UploadId=upload, MultipartUpload={"Parts": parts}, ChecksumType="COMPOSITE"
    )
    assert files.read_path("a") == LARGE[: 12 * MIB]


# -- the disk ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [3 * MIB, len(LARGE)], ids=["at once", "ranges"])
def test_a_disk_that_is_full(files: S3Bucket, tmp_path: Path, size: int) -> None:
    """It is said so, and nothing of the object is left on it."""
    files.write_path("a", LARGE[:size])
    with mounted(tmp_path / "small", "size=2m"):
        target = tmp_path / "small" / "a"
        target.write_bytes(b"what was there before")
        with pytest.raises(OSError, match="No space left on device"):
            files.download_object_to_path("a", target)
        assert os.listdir(target.parent) == ["a"]
        assert target.read_bytes() == b"what was there before"


def test_a_disk_that_is_read_only(files: S3Bucket, tmp_path: Path) -> None:
    files.write_path("a", b"content")
    with mounted(tmp_path / "still", "ro"), pytest.raises(OSError, match="Read-only file system"):
        files.download_object_to_path("a", tmp_path / "still" / "a")


def test_a_folder_where_the_file_should_be_is_a_target_folder(files: S3Bucket, tmp_path: Path) -> None:
    files.write_path("a", b"content")
    (tmp_path / "a").mkdir()
    assert files.download_object_to_path("a", tmp_path / "a").read_bytes() == b"content"
