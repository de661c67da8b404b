"""A bucket as a Prefect block: what people enter, and what flows do with it."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Literal, Self, TypeVar

import anyio.from_thread
import anyio.to_thread
import httpx
from prefect.blocks.abstract import ObjectStorageBlock
from prefect.filesystems import WritableFileSystem
from pydantic import Field, SecretStr, field_validator, model_validator

from prefect_atomic.credentials import CredentialCheck
from prefect_atomic.credentials.guarded_block import GuardedBlock
from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.s3.keys import prefix_of
from prefect_atomic.integrations.s3.stored import S3Object
from prefect_atomic.tasks.saved import Saved
from prefect_atomic.transport import outgoing
from prefect_atomic.transport.logs import hide_in_logs

if TYPE_CHECKING:
    from prefect_atomic.integrations.s3.arrivals import NewObjects
    from prefect_atomic.integrations.s3.objects import Objects
    from prefect_atomic.integrations.s3.presigning import PresignedPost

T = TypeVar("T")
Progress = Callable[[int], None]
Key = str | S3Object
"""A key in the folder, or what a listing gave."""

_IMAGE = "image/*"
_MOST_OF_AN_UPLOAD = 128 * 1024 * 1024
"""What Atomic's File Upload element takes: images of at most 128 MB."""


class S3Bucket(ObjectStorageBlock, WritableFileSystem, GuardedBlock):
    """Reads and writes the objects in a folder of an AWS S3 bucket, or of another server that speaks S3.

    Everything that is stored has a SHA-256 that S3 checks, and that is checked again when it is read.

    Example:
        Store a report in a saved bucket:
        ```python
        from prefect import flow
        from prefect_atomic import S3Bucket

        exports = S3Bucket.load("BLOCK_NAME")

        @flow
        def export():
            return exports.write_path("report.csv", b"id,name")
        ```
    """

    _block_type_name = "Atomic S3 Bucket"
    _block_type_slug = "atomic-s3-bucket"
    _documentation_url = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html"  # type: ignore[assignment]
    _noun: ClassVar[str] = "a bucket"

    bucket: str = Field(min_length=1, description="The bucket's name, or the ARN of an access point.")
    folder: str = Field("", description="The folder in the bucket that all keys are relative to; none = all of it.")
    region: str | None = Field(None, description="The bucket's region, such as `eu-west-1`; none = the environment's.")
    endpoint_url: str | None = Field(None, description="The URL of another server that speaks S3; none = AWS.")
    access_key_id: str | None = Field(
        None, description="The id of an access key; none = a role, or AWS's standard chain."
    )
    secret_access_key: SecretStr | None = Field(None, description="The secret of the access key.")
    session_token: SecretStr | None = Field(None, description="The session token of a temporary access key.")
    role_arn: str | None = Field(
        None, description="The role to assume, with what AWS's standard chain finds; it is renewed by itself."
    )
    external_id: str | None = Field(None, min_length=2, description="The external id that the role asks for.")
    server_side_encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = Field(
        None, description="How objects are encrypted; none = as the bucket says."
    )
    kms_key_id: str | None = Field(None, description="The KMS key for `aws:kms`; none = AWS's own for S3.")
    storage_class: str | None = Field(None, description="Such as `STANDARD_IA`; none = as the server says.")
    acl: str | None = Field(None, description="A canned ACL, such as `bucket-owner-full-control`; none = no ACL.")

    @field_validator("bucket")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if "://" in name or ("/" in name and not name.startswith("arn:")):
            raise ValueError("is the name alone, without s3:// and without a path; a path in it belongs into `folder`")
        if not _is_one_word(name):
            raise ValueError("may not contain a space, and only ASCII")
        return name

    @field_validator("folder")
    @classmethod
    def _is_in_the_bucket(cls, folder: str) -> str:
        prefix_of(folder)
        return folder

    @field_validator("endpoint_url")
    @classmethod
    def _is_a_server(cls, url: str | None) -> str | None:
        if url:
            try:
                target = outgoing("GET", url).target
            except RequestError as error:
                raise ValueError(str(error).removeprefix("url: ")) from None
            if b"?" in target:
                raise ValueError("has a query; enter the server's address alone, such as https://s3.example.com")
        return url.rstrip("/") if url else url

    @field_validator("access_key_id", "region", "role_arn", "external_id", "kms_key_id", "storage_class", "acl")
    @classmethod
    def _has_no_space(cls, value: str | None) -> str | None:
        if value and not _is_one_word(value):
            raise ValueError("may not contain a space or a line break, and only ASCII; was it pasted with one?")
        return value

    @field_validator("secret_access_key", "session_token")
    @classmethod
    def _secret_has_no_space(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not _is_one_word(value.get_secret_value()):
            raise ValueError("may not contain a space or a line break, and only ASCII; was it pasted with one?")
        return value

    @field_validator("role_arn")
    @classmethod
    def _is_an_arn(cls, arn: str | None) -> str | None:
        if arn and not (arn.startswith("arn:") and ":role/" in arn):
            raise ValueError("is no role's ARN, which looks like arn:aws:iam::123456789012:role/NAME")
        return arn

    @model_validator(mode="after")
    def _asks_in_one_way(self) -> Self:
        if bool(self.access_key_id) != bool(self.secret_access_key):
            raise ValueError("access_key_id, secret_access_key: give both, or neither")
        if self.session_token and not self.access_key_id:
            raise ValueError("session_token: belongs to an access key; give access_key_id and secret_access_key too")
        if self.access_key_id and self.role_arn:
            raise ValueError("access_key_id, role_arn: give one of them; a role is assumed with AWS's standard chain")
        if self.external_id and not self.role_arn:
            raise ValueError("external_id: belongs to a role; give role_arn too")
        if self.kms_key_id and not (self.server_side_encryption or "").startswith("aws:kms"):
            raise ValueError("kms_key_id: is for a server_side_encryption of aws:kms or aws:kms:dsse")
        return self

    def get_client(self, *_: Any, **__: Any) -> Any:
        """The boto3 S3 client of this process for this block; threads may share it. Its operations know no folder."""
        from prefect_atomic.integrations.s3.access import Access, client_for

        secret, token = _plain(self.secret_access_key), _plain(self.session_token)
        hide_in_logs([each for each in (secret, token) if each])
        return client_for(
            Access(
                self.region,
                self.endpoint_url,
                self.access_key_id,
                secret,
                token,
                self.role_arn,
                self.external_id,
            )
        )

    def check(self) -> CredentialCheck:
        """Proves that the bucket is there and may be listed; returns what was found, without a secret.

        Raises:
            AtomicError: It is not; says which field to look at.
        """
        from prefect_atomic.integrations.s3.access import expiry_of

        objects = self._objects()
        with objects.told("look at the bucket"):
            objects.client.list_objects_v2(Bucket=self.bucket, Prefix=objects.prefix, MaxKeys=1)
        return CredentialCheck(
            kind="s3-bucket",
            name=self._block_document_name,
            expires_at=expiry_of(objects.client),
            host=httpx.URL(objects.client.meta.endpoint_url).host,
        )

    async def acheck(self) -> CredentialCheck:
        """The same as `check`, for an event loop."""
        return await _in_thread(self.check)

    # Prefect's WritableFileSystem

    def read_path(self, path: Key, *, _sync: bool = True) -> bytes:  # type: ignore[override]
        """The content of an object, checked; as a whole, so for what fits into memory.

        Raises:
            StorageError: There is no such object, or it may not be read.
        """
        return self._objects().read(path)

    async def aread_path(self, path: Key) -> bytes:
        """The same as `read_path`, for an event loop."""
        return await _in_thread(self.read_path, path)

    def write_path(  # type: ignore[override]
        self, path: str, content: bytes, *, content_type: str | None = None, _sync: bool = True
    ) -> str:
        """Stores an object; readers see the whole of it, or what was there before.

        Args:
            path: Its key in the folder.
            content: Its content.
            content_type: Its media type; none = by the key's extension.

        Returns:
            The key.
        """
        return self._objects().write(path, content, content_type)

    async def awrite_path(self, path: str, content: bytes, *, content_type: str | None = None) -> str:
        """The same as `write_path`, for an event loop."""
        return await _in_thread(self.write_path, path, content, content_type=content_type)

    # Prefect's ObjectStorageBlock

    def upload_from_path(  # type: ignore[override]
        self,
        from_path: str | Path,
        to_path: str | None = None,
        *,
        content_type: str | None = None,
        progress: Progress | None = None,
    ) -> str:
        """Stores a file, in parts where it is large.

        Args:
            from_path: The file.
            to_path: The key; none = the file's name.
            content_type: Its media type; none = by the key's extension.
            progress: Told how many further bytes were sent; may be called by several threads.

        Returns:
            The key.
        """
        path = Path(from_path).expanduser()
        if not path.is_file():
            raise RequestError(f"from_path: {str(path)!r} is no file.")
        return self._objects().upload(to_path or path.name, path, content_type, progress)

    async def aupload_from_path(
        self,
        from_path: str | Path,
        to_path: str | None = None,
        *,
        content_type: str | None = None,
        progress: Progress | None = None,
    ) -> str:
        """The same as `upload_from_path`, for an event loop."""
        return await _in_thread(self.upload_from_path, from_path, to_path, content_type=content_type, progress=progress)

    def upload_from_file_object(  # type: ignore[override]
        self,
        from_file_object: BinaryIO,
        to_path: str,
        *,
        content_type: str | None = None,
        progress: Progress | None = None,
    ) -> str:
        """Stores what a file object still holds, from where it stands; returns the key."""
        return self._objects().upload(to_path, from_file_object, content_type, progress)

    async def aupload_from_file_object(
        self,
        from_file_object: BinaryIO,
        to_path: str,
        *,
        content_type: str | None = None,
        progress: Progress | None = None,
    ) -> str:
        """The same as `upload_from_file_object`, for an event loop."""
        return await _in_thread(
            self.upload_from_file_object, from_file_object, to_path, content_type=content_type, progress=progress
        )

    def upload_from_folder(  # type: ignore[override]
        self, from_folder: str | Path, to_folder: str = "", *, progress: Progress | None = None
    ) -> str:
        """Stores all files of a folder and the folders in it; large files that are there already are not sent again.

        Returns:
            The folder in the bucket, as it was given.
        """
        self._objects().upload_folder(Path(from_folder).expanduser(), to_folder, progress)
        return to_folder

    async def aupload_from_folder(
        self, from_folder: str | Path, to_folder: str = "", *, progress: Progress | None = None
    ) -> str:
        """The same as `upload_from_folder`, for an event loop."""
        return await _in_thread(self.upload_from_folder, from_folder, to_folder, progress=progress)

    def download_object_to_path(  # type: ignore[override]
        self, from_path: Key, to_path: str | Path, *, progress: Progress | None = None
    ) -> Path:
        """Stores an object as a file. The file is complete and checked when it appears.

        Args:
            from_path: The object's key.
            to_path: The file, or a folder that exists: then the file in it has the name of the object.
            progress: Told how many further bytes were received; may be called by several threads.

        Returns:
            The file.
        """
        path = Path(to_path).expanduser()
        if path.is_dir():
            path /= (from_path if isinstance(from_path, str) else from_path.key).rstrip("/").rpartition("/")[2]
        path.parent.mkdir(parents=True, exist_ok=True)
        return self._objects().download(from_path, path, progress)

    async def adownload_object_to_path(
        self, from_path: Key, to_path: str | Path, *, progress: Progress | None = None
    ) -> Path:
        """The same as `download_object_to_path`, for an event loop."""
        return await _in_thread(self.download_object_to_path, from_path, to_path, progress=progress)

    def download_object_to_file_object(  # type: ignore[override]
        self, from_path: Key, to_file_object: BinaryIO, *, progress: Progress | None = None
    ) -> BinaryIO:
        """Writes an object to a file object, from where it stands; returns that."""
        for piece in self._objects().read_stream(from_path):
            to_file_object.write(piece)
            if progress:
                progress(len(piece))
        return to_file_object

    async def adownload_object_to_file_object(
        self, from_path: Key, to_file_object: BinaryIO, *, progress: Progress | None = None
    ) -> BinaryIO:
        """The same as `download_object_to_file_object`, for an event loop."""
        return await _in_thread(self.download_object_to_file_object, from_path, to_file_object, progress=progress)

    def download_folder_to_path(  # type: ignore[override]
        self, from_folder: str, to_folder: str | Path, *, progress: Progress | None = None
    ) -> Path:
        """Stores all objects of a folder as files of a folder, which is made where it is not there; returns that."""
        path = Path(to_folder).expanduser()
        self._objects().download_folder(from_folder, path, progress)
        return path

    async def adownload_folder_to_path(
        self, from_folder: str, to_folder: str | Path, *, progress: Progress | None = None
    ) -> Path:
        """The same as `download_folder_to_path`, for an event loop."""
        return await _in_thread(self.download_folder_to_path, from_folder, to_folder, progress=progress)

    # Streams

    def read_stream(self, path: Key) -> Iterator[bytes]:
        """The content of an object, piece by piece (1 MiB), in little memory.

        A connection that is cut off is made again where it was. The last piece comes when all of it was checked.
        """
        return self._objects().read_stream(path)

    def aread_stream(self, path: Key) -> AsyncIterator[bytes]:
        """The same as `read_stream`, for an event loop."""
        return _off_the_loop(partial(self.read_stream, path))

    def write_stream(self, path: str, pieces: Iterable[bytes], *, content_type: str | None = None) -> str:
        """Stores what an iterable yields, in little memory. Where the iterable fails, nothing is stored.

        Args:
            path: The key.
            pieces: The content, up to 78 GiB.
            content_type: Its media type; none = by the key's extension.

        Returns:
            The key.
        """
        return self._objects().write_stream(path, pieces, content_type)

    async def awrite_stream(
        self, path: str, pieces: AsyncIterable[bytes] | Iterable[bytes], *, content_type: str | None = None
    ) -> str:
        """The same as `write_stream`, for an event loop; takes an asynchronous iterable too."""
        given = _from_the_loop(pieces) if isinstance(pieces, AsyncIterable) else pieces
        return await _in_thread(self.write_stream, path, given, content_type=content_type)

    # Objects

    def list_objects(self, prefix: str = "") -> Iterator[S3Object]:
        """The objects whose keys begin with a prefix, in the order of their keys, page by page as they are needed."""
        return (each for page in self._objects().listed(prefix) for each in page)

    async def alist_objects(self, prefix: str = "") -> AsyncIterator[S3Object]:
        """The same as `list_objects`, for an event loop."""
        async for page in _off_the_loop(lambda: self._objects().listed(prefix)):
            for each in page:
                yield each

    def head(self, path: Key) -> S3Object:
        """What S3 knows of an object, with its SHA-256."""
        return self._objects().head(path)

    async def ahead(self, path: Key) -> S3Object:
        """The same as `head`, for an event loop."""
        return await _in_thread(self.head, path)

    def exists(self, path: Key) -> bool:
        """Whether there is such an object."""
        return self._objects().exists(path)

    async def aexists(self, path: Key) -> bool:
        """The same as `exists`, for an event loop."""
        return await _in_thread(self.exists, path)

    def copy_object(self, from_path: Key, to_path: str) -> str:
        """Copies an object within the folder, in S3: its content does not pass through here; returns the new key."""
        return self._objects().copy(from_path, to_path)

    async def acopy_object(self, from_path: Key, to_path: str) -> str:
        """The same as `copy_object`, for an event loop."""
        return await _in_thread(self.copy_object, from_path, to_path)

    def move_object(self, from_path: Key, to_path: str) -> str:
        """Copies an object, then deletes it; killed in between, both are there. Returns the new key."""
        objects = self._objects()
        key = objects.copy(from_path, to_path)
        objects.delete(from_path)
        return key

    async def amove_object(self, from_path: Key, to_path: str) -> str:
        """The same as `move_object`, for an event loop."""
        return await _in_thread(self.move_object, from_path, to_path)

    def delete_object(self, path: Key) -> None:
        """Deletes an object; one that is not there is no error."""
        self._objects().delete(path)

    async def adelete_object(self, path: Key) -> None:
        """The same as `delete_object`, for an event loop."""
        await _in_thread(self.delete_object, path)

    def new_objects(self, cursor: str | None = None, *, prefix: str = "") -> NewObjects:
        """What arrived since the last look: each object once, and each new content of an object.

        Args:
            cursor: What the last look returned, of less than 5,000 characters, so that it fits into a Prefect variable;
                none = everything is new.
            prefix: What their keys begin with; a cursor belongs to one prefix.

        Returns:
            The objects, those first that were stored first, and the cursor for the next look. Keep it when they are
            dealt with: who gives the old one again gets them again. Where more than 400 arrived within an hour, the
            latest may be left to a look a minute later.

        Raises:
            RequestError: The cursor is none of `new_objects`.
        """
        from prefect_atomic.integrations.s3.arrivals import new_objects

        return new_objects(self._objects(), cursor, prefix)

    async def anew_objects(self, cursor: str | None = None, *, prefix: str = "") -> NewObjects:
        """The same as `new_objects`, for an event loop."""
        return await _in_thread(self.new_objects, cursor, prefix=prefix)

    # URLs for others

    def presigned_url(
        self,
        path: Key,
        *,
        method: Literal["GET", "PUT"] = "GET",
        expires_in: int = 900,
        content_type: str | None = None,
    ) -> str:
        """A URL that reads or writes one object without an access key. It is a secret for as long as it is good.

        Args:
            path: The key.
            method: GET to read, PUT to write.
            expires_in: Seconds that it is good for, up to 7 days; with a role or a session token no longer than those.
            content_type: For PUT, the `Content-Type` that must be sent. Where the block has encryption, a storage class
                or an ACL, their `x-amz-` headers must be sent too.
        """
        from prefect_atomic.integrations.s3 import presigning

        return presigning.url(self._objects(), path, method, expires_in, content_type)

    async def apresigned_url(
        self,
        path: Key,
        *,
        method: Literal["GET", "PUT"] = "GET",
        expires_in: int = 900,
        content_type: str | None = None,
    ) -> str:
        """The same as `presigned_url`, for an event loop."""
        return await _in_thread(
            self.presigned_url, path, method=method, expires_in=expires_in, content_type=content_type
        )

    def presigned_post(
        self,
        path: str,
        *,
        content_type: str = _IMAGE,
        min_bytes: int = 1,
        max_bytes: int = _MOST_OF_AN_UPLOAD,
        expires_in: int = 900,
    ) -> PresignedPost:
        """A form for browsers to upload a file with. S3 refuses what does not meet the conditions.

        The defaults are those of a file destination in Atomic: an image of at most 128 MiB.

        Args:
            path: The key; one that ends with a slash is a folder, in which the file keeps its name.
            content_type: The media type, or the start of it, such as `image/*`.
            min_bytes: The least size.
            max_bytes: The largest size.
            expires_in: Seconds that the form is good for, up to 7 days.
        """
        from prefect_atomic.integrations.s3 import presigning

        return presigning.post(self._objects(), path, content_type, min_bytes, max_bytes, expires_in)

    async def apresigned_post(
        self,
        path: str,
        *,
        content_type: str = _IMAGE,
        min_bytes: int = 1,
        max_bytes: int = _MOST_OF_AN_UPLOAD,
        expires_in: int = 900,
    ) -> PresignedPost:
        """The same as `presigned_post`, for an event loop."""
        return await _in_thread(
            self.presigned_post,
            path,
            content_type=content_type,
            min_bytes=min_bytes,
            max_bytes=max_bytes,
            expires_in=expires_in,
        )

    def _objects(self) -> Objects:
        # boto3 takes longer to import than all of Prefect
        from prefect_atomic.integrations.s3.failures import told
        from prefect_atomic.integrations.s3.objects import Objects

        secrets = tuple(self._own_secrets())
        with told(self.title(), "connect", secrets):  # botocore reads AWS's configuration here
            try:
                client = self.get_client()
            except ValueError as error:
                if not str(error).startswith("Invalid endpoint"):
                    raise
                raise RequestError(
                    f"{self.title()}: cannot connect: endpoint_url: its host has a name that DNS does not know, such "
                    "as one with an underscore."
                ) from None
        stored_as = {
            "ServerSideEncryption": self.server_side_encryption,
            "SSEKMSKeyId": self.kms_key_id,
            "StorageClass": self.storage_class,
            "ACL": self.acl,
        }
        return Objects(
            client,
            self.bucket,
            prefix_of(self.folder),
            settings={name: value for name, value in stored_as.items() if value},
            who=self.title(),
            secrets=secrets,
        )


_BUCKETS = Saved("bucket", "atomic-s3-bucket/exports", RequestError)


def resolve(bucket: S3Bucket | str) -> S3Bucket:
    """The bucket itself, loaded if it was given as the slug of a saved one.

    Raises:
        RequestError: There is no such block, or it is no bucket.
    """
    block = _BUCKETS.load(bucket) if isinstance(bucket, str) else bucket
    if not isinstance(block, S3Bucket):
        raise RequestError(f"bucket: is a {type(block).__name__}, which is no S3Bucket.")
    return block


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _is_one_word(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


async def _in_thread(act: Callable[..., T], *arguments: Any, **options: Any) -> T:
    return await anyio.to_thread.run_sync(partial(act, *arguments, **options))


async def _off_the_loop(make: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
    """What an iterator yields that may block."""
    items = await _in_thread(make)
    end = object()
    while (item := await _in_thread(next, items, end)) is not end:
        yield item


async def _next_of(iterator: AsyncIterator[T]) -> T:
    return await anext(iterator)


def _from_the_loop(items: AsyncIterable[T]) -> Iterator[T]:
    """The other way round: for a thread that the loop waits for."""
    iterator = aiter(items)
    while True:
        try:
            yield anyio.from_thread.run(_next_of, iterator)
        except StopAsyncIteration:
            return
