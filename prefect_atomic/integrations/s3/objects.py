"""What is done with the objects of a bucket: s3transfer moves them, and what is read back is checked."""

from __future__ import annotations

import io
import mimetypes
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO

from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from s3transfer.exceptions import S3DownloadFailedError
from s3transfer.manager import TransferConfig, TransferManager

from prefect_atomic.errors import RequestError, StorageError
from prefect_atomic.integrations.s3.checksum import PART_SIZE, Checksum, Expected
from prefect_atomic.integrations.s3.failures import DAMAGED, NO_SUCH_OBJECT, told
from prefect_atomic.integrations.s3.feed import Feed
from prefect_atomic.integrations.s3.keys import full_key, full_prefix
from prefect_atomic.integrations.s3.stored import S3Object
from prefect_atomic.integrations.s3.transfers import (
    LARGEST_IN_USUAL_PARTS,
    MIB,
    PART,
    Known,
    Progress,
    in_parallel,
    managing,
    part_for,
    range_for,
    subscribers,
)

_COPY_AT_ONCE = 1024 * MIB
_PIECE = MIB
_ATTEMPTS = 5
_CUT_OFF = (ConnectionClosedError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError)


class Objects:
    """The objects in the folder of a bucket.

    Args:
        client: A boto3 client.
        bucket: The bucket's name.
        prefix: What the keys of the folder begin with.
        settings: How objects are stored, as S3 names it: encryption, storage class, ACL.
        who: The block, as messages name it.
        secrets: What no message may hold.
    """

    def __init__(
        self,
        client: Any,
        bucket: str,
        prefix: str,
        *,
        settings: dict[str, str],
        who: str,
        secrets: tuple[str, ...],
    ) -> None:
        self.client = client
        self.bucket = bucket
        self.prefix = prefix
        self.settings = settings
        self._who = who
        self._secrets = secrets

    def listed(self, start: str) -> Iterator[list[S3Object]]:
        """Page by page, in the order of the keys."""
        yield from (page for page, _ in self.pages(start))

    def pages(self, start: str) -> Iterator[tuple[list[S3Object], dict[str, Any]]]:
        """Page by page, with the header fields of the answer."""
        prefix = full_prefix(self.prefix, start)
        paginator = self.client.get_paginator("list_objects_v2")
        pages = iter(paginator.paginate(Bucket=self.bucket, Prefix=prefix))
        while True:
            with self.told(f"list {start!r}" if start else "list the folder"):
                if (page := next(pages, None)) is None:
                    return
            found = [S3Object.of(item["Key"], self.prefix, item) for item in page.get("Contents", ())]
            # The console stores an empty object as a sign for the folder itself.
            yield [each for each in found if each.key], page["ResponseMetadata"]["HTTPHeaders"]

    def head(self, key: str | S3Object) -> S3Object:
        full = self.full(key)
        with self.told(f"look at {_name(key)!r}"):
            answer = self._head(full)
        return S3Object.of(full, self.prefix, {"Size": answer["ContentLength"], **answer})

    def exists(self, key: str | S3Object) -> bool:
        full = self.full(key)
        with self.told(f"look for {_name(key)!r}"):
            # Not a HEAD: its 404 may also say that there is no such bucket.
            first = self.client.list_objects_v2(Bucket=self.bucket, Prefix=full, MaxKeys=1).get("Contents", [])
        return bool(first) and first[0]["Key"] == full

    def write(self, key: str, content: bytes, content_type: str | None) -> str:
        if len(content) >= PART:
            return self.upload(key, io.BytesIO(content), content_type)
        full = self.full(key)
        with self.told(f"write {key!r}"):
            self.client.put_object(
                Bucket=self.bucket, Key=full, Body=content, **self._stored_as(full, content_type, None)
            )
        return self._relative(full)

    def upload(
        self,
        key: str,
        source: Path | BinaryIO | Feed,
        content_type: str | None = None,
        progress: Progress | None = None,
        manager: TransferManager | None = None,
    ) -> str:
        """Stores a file, or what a file object still holds; all of it, or nothing under this key."""
        full = self.full(key)
        size = _size_of(source)
        part = PART if size is None else part_for(size)
        stored_as = self._stored_as(full, content_type, None if size is not None and size < part else part)
        content = str(source) if isinstance(source, Path) else source
        with self.told(f"upload {key!r}"), managing(self.client, part, manager) as manager:
            future = manager.upload(content, self.bucket, full, stored_as, subscribers(progress))
            if isinstance(source, Feed):
                source.filled(future)
            future.result()
        return self._relative(full)

    def write_stream(self, key: str, pieces: Iterable[bytes], content_type: str | None) -> str:
        """Stores what an iterable yields; nothing, where it fails."""
        return self.upload(key, Feed(pieces), content_type)

    def upload_folder(self, folder: Path, start: str, progress: Progress | None) -> int:
        if not folder.is_dir():
            raise RequestError(f"from_folder: {str(folder)!r} is no folder.")
        start = f"{start.strip('/')}/" if start.strip("/") else ""
        with managing(self.client, PART, None) as manager:

            def sent(path: Path) -> None:
                key = start + path.relative_to(folder).as_posix()
                if not self._is_there_already(key, path, progress):
                    self.upload(
                        key, path, None, progress, manager if path.stat().st_size < LARGEST_IN_USUAL_PARTS else None
                    )

            return in_parallel(sent, _files_in(folder))

    def _is_there_already(self, key: str, path: Path, progress: Progress | None) -> bool:
        """Whether a large file was stored before: an upload that was killed does not begin from nothing."""
        size = path.stat().st_size
        if size < PART:
            return False  # looking costs as much as sending
        with self.told(f"look at {key!r}"):
            try:
                answer = self._head(self.full(key))
            except ClientError as error:
                if _code(error) in NO_SUCH_OBJECT:
                    return False
                raise
        expected = Expected(answer)
        checksum = expected.checksum()
        if answer["ContentLength"] != size or checksum is None:
            return False
        _digest(path, checksum)
        is_same = expected.agrees(checksum)
        if is_same and progress:
            progress(size)
        return is_same

    def _stored_as(self, full: str, content_type: str | None, part: int | None) -> dict[str, Any]:
        guessed, encoding = mimetypes.guess_type(full)
        kind = content_type or (guessed if not encoding else None)
        return {
            **self.settings,
            "ChecksumAlgorithm": "SHA256",
            **({"ContentType": kind} if kind else {}),
            **({"Metadata": {PART_SIZE: str(part)}} if part else {}),
        }

    def download(
        self,
        key: str | S3Object,
        path: Path,
        progress: Progress | None = None,
        manager: TransferManager | None = None,
    ) -> Path:
        """Stores an object as a file; the file is there as a whole, or as it was before."""
        full, draft = self.full(key), path.with_name(f".{token_hex(8)}.part")
        with self.told(f"download {_name(key)!r}"):
            try:
                for attempt in range(1, _ATTEMPTS + 1):
                    answer = self._head(full)
                    try:
                        self._fetch(full, draft, answer, progress, manager)
                    except (ClientError, S3DownloadFailedError) as error:
                        if _was_replaced(error) and attempt < _ATTEMPTS:
                            continue
                        raise
                    expected = Expected(answer)
                    if checksum := expected.checksum():
                        _digest(draft, checksum)
                    if expected.agrees(checksum):
                        os.replace(draft, path)
                        return path
                    if self._head(full)["ETag"] == expected.etag:
                        break
            finally:
                with suppress(OSError):
                    draft.unlink()
        raise self._damaged(key)

    def _fetch(
        self, full: str, to: Path, answer: dict[str, Any], progress: Progress | None, manager: TransferManager | None
    ) -> None:
        size = answer["ContentLength"]
        with managing(self.client, range_for(size), manager) as running:
            known = Known(size, answer["ETag"])
            running.download(self.bucket, full, str(to), {}, [known, *subscribers(progress)]).result()

    def read_stream(self, key: str | S3Object) -> Iterator[bytes]:
        """The content piece by piece; goes on where it was cut off. The last piece comes when all of it is checked."""
        full, offset, failures = self.full(key), 0, 0
        expected, checksum, held = Expected({}), None, b""
        with self.told(f"read {_name(key)!r}"):
            while True:
                asked = (
                    {"Range": f"bytes={offset}-", "IfMatch": expected.etag} if offset else {"ChecksumMode": "ENABLED"}
                )
                answer = self.client.get_object(Bucket=self.bucket, Key=full, **asked)
                if not offset:
                    expected = Expected(answer)
                    checksum = expected.checksum()
                body = answer["Body"]
                try:
                    for piece in body.iter_chunks(_PIECE):
                        offset += len(piece)
                        failures = 0
                        if checksum:
                            checksum.update(piece)
                        if held:
                            yield held
                        held = piece
                    break
                except _CUT_OFF:
                    failures += 1
                    if failures >= _ATTEMPTS:
                        raise
                finally:
                    body.close()
        if not expected.agrees(checksum):
            raise self._damaged(key)
        if held:
            yield held

    def read(self, key: str | S3Object) -> bytes:
        return b"".join(self.read_stream(key))

    def download_folder(self, start: str, folder: Path, progress: Progress | None) -> int:
        start = f"{start.strip('/')}/" if start.strip("/") else ""
        found = (each for page in self.listed(start) for each in page if not each.key.endswith("/"))
        with managing(self.client, PART, None) as manager:

            def fetched(each: S3Object) -> None:
                path = folder / _local(each.key[len(start) :])
                path.parent.mkdir(parents=True, exist_ok=True)
                self.download(each, path, progress, manager)

            folder.mkdir(parents=True, exist_ok=True)
            return in_parallel(fetched, found)

    def copy(self, key: str | S3Object, to: str) -> str:
        source, target = self.full(key), self.full(to, "to_path")
        if source == target:
            raise RequestError(f"to_path: {to!r} is the object itself.")
        with self.told(f"copy {_name(key)!r}"):
            answer = self._head(source)
            size = answer["ContentLength"]
            part = max(256 * MIB, part_for(size))
            arguments: dict[str, Any] = {**self.settings, "ChecksumAlgorithm": "SHA256"}
            if size >= _COPY_AT_ONCE:  # a copy in parts is a new object, and S3 copies none of these to it
                arguments |= {"MetadataDirective": "REPLACE", "ContentType": answer["ContentType"]}
                arguments["Metadata"] = {**answer.get("Metadata", {}), PART_SIZE: str(part)}
            config = TransferConfig(multipart_threshold=_COPY_AT_ONCE, multipart_chunksize=part)
            with TransferManager(self.client, config) as manager:
                manager.copy({"Bucket": self.bucket, "Key": source}, self.bucket, target, arguments).result()
        return self._relative(target)

    def delete(self, key: str | S3Object) -> None:
        full = self.full(key)
        with self.told(f"delete {_name(key)!r}"):
            self.client.delete_object(Bucket=self.bucket, Key=full)

    def told(self, what: str) -> AbstractContextManager[None]:
        return told(self._who, what, self._secrets)

    def _head(self, full: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.client.head_object(Bucket=self.bucket, Key=full, ChecksumMode="ENABLED")
        return answer

    def full(self, key: str | S3Object, argument: str = "key") -> str:
        if not isinstance(key, S3Object):
            return full_key(self.prefix, key, argument)
        if not key.full_key.startswith(self.prefix):
            raise RequestError(f"{argument}: {key.full_key!r} is an object of another folder than {self.prefix!r}.")
        return key.full_key

    def _relative(self, full: str) -> str:
        return full.removeprefix(self.prefix)

    def _damaged(self, key: str | S3Object) -> StorageError:
        return StorageError(
            f"{self._who}: cannot read {_name(key)!r}: its content is not what was stored, by its SHA-256. "
            "Store it again, or restore an earlier version.",
            code=DAMAGED,
        )


def _digest(path: Path, checksum: Checksum) -> None:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            checksum.update(piece)


_REPLACED = frozenset({"PreconditionFailed", "412"})


def _size_of(source: Path | BinaryIO | Feed) -> int | None:
    """What is left of it, in bytes; None where nobody knows: s3transfer makes larger parts where it can."""
    if isinstance(source, Path):
        return source.stat().st_size
    if isinstance(source, Feed) or not (hasattr(source, "seekable") and source.seekable()):
        return None
    here = source.tell()
    size = source.seek(0, os.SEEK_END) - here
    source.seek(here)
    return max(size, 0)


def _was_replaced(error: Exception) -> bool:
    # s3transfer has an error of its own for a range of another content than the first.
    return isinstance(error, S3DownloadFailedError) or (isinstance(error, ClientError) and _code(error) in _REPLACED)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _name(key: str | S3Object) -> str:
    return key.key if isinstance(key, S3Object) else key


def _files_in(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders.sort()
        yield from (path for name in sorted(files) if (path := Path(root) / name).is_file())


def _local(key: str) -> Path:
    """The path of an object below a folder of this host.

    Raises:
        RequestError: It would lie elsewhere.
    """
    if "\0" in key or any(segment in ("", ".", "..") for segment in key.split("/")):
        raise RequestError(f"from_folder: the object {key!r} cannot be a file below the folder; download it by itself.")
    return Path(key)
