"""What flows do with a bucket, as Prefect tasks. Each takes a block, or the slug of a saved one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run
from prefect.tasks import task

from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.s3.bucket import Progress, S3Bucket, resolve
from prefect_atomic.integrations.s3.stored import S3Object
from prefect_atomic.tasks.progress import ProgressArtifact

_LONG = 64 * 1024 * 1024
"""Bytes from which a transfer shows its progress."""


def _run_name() -> str:
    """The task, and the bucket: keys may be of any length, and say more than a run's name should."""
    bucket: Any = task_run.parameters.get("bucket", "")
    return f"{task_run.task_name} {bucket if isinstance(bucket, str) else getattr(bucket, 'bucket', '')}"[:200]


# Prefect's cache keys leave secrets out, and a bucket's content is no function of the arguments.
@task(name="s3_upload", task_run_name=_run_name, cache_policy=NO_CACHE)
def s3_upload(
    bucket: S3Bucket | str, from_path: str | Path, to_path: str = "", *, content_type: str | None = None
) -> str:
    """Stores a file, or all files of a folder.

    Args:
        bucket: An `S3Bucket`, or the slug of a saved one, such as `atomic-s3-bucket/exports`.
        from_path: The file or folder.
        to_path: The key, or the folder in the bucket; empty = the file's name, or the top.
        content_type: The media type of a file; none = by the key's extension.

    Returns:
        The key, or the folder.

    Raises:
        RequestError: There is no such file or block, or the key leads out of the bucket's folder.
        CredentialError, StorageError, TransportError: It could not be stored; each says why.
    """
    to, path = resolve(bucket), Path(from_path).expanduser()
    if path.is_dir():
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        with _shown("s3-upload", f"{path.name} to {to.bucket}", size) as progress:
            return to.upload_from_folder(path, to_path, progress=progress)
    size = path.stat().st_size if path.is_file() else 0
    with _shown("s3-upload", f"{path.name} to {to.bucket}", size) as progress:
        return to.upload_from_path(path, to_path or None, content_type=content_type, progress=progress)


@task(name="s3_download", task_run_name=_run_name, cache_policy=NO_CACHE)
def s3_download(bucket: S3Bucket | str, from_path: str, to_path: str | Path = ".") -> Path:
    """Stores an object as a file, or all objects of a folder as files.

    Args:
        bucket: An `S3Bucket`, or the slug of a saved one.
        from_path: The key; or a folder in the bucket, which ends with a slash.
        to_path: The file, or the folder that it goes to.

    Returns:
        The file, or the folder.

    Raises:
        RequestError: There is no such block, or a key that would be a file elsewhere.
        CredentialError, StorageError, TransportError: It could not be read; each says why.
    """
    source = resolve(bucket)
    if from_path.endswith("/"):
        size = sum(each.size for each in source.list_objects(from_path))
        with _shown("s3-download", f"{from_path} of {source.bucket}", size) as progress:
            return source.download_folder_to_path(from_path, to_path, progress=progress)
    found = source.head(from_path)
    with _shown("s3-download", f"{from_path} of {source.bucket}", found.size) as progress:
        return source.download_object_to_path(found, to_path, progress=progress)


@task(name="s3_list", task_run_name=_run_name, cache_policy=NO_CACHE)
def s3_list(bucket: S3Bucket | str, prefix: str = "", *, limit: int = 10_000) -> list[S3Object]:
    """The objects whose keys begin with a prefix, in the order of their keys.

    Args:
        bucket: An `S3Bucket`, or the slug of a saved one.
        prefix: What the keys begin with.
        limit: The most that are listed; more are an error, as a result lies in memory. `S3Bucket.list_objects` has no
            limit.
    """
    found = list(islice(resolve(bucket).list_objects(prefix), limit + 1))
    if len(found) > limit:
        raise RequestError(f"limit: there are more than {limit} objects; raise it, or narrow the prefix.")
    return found


@task(name="s3_copy", task_run_name=_run_name, cache_policy=NO_CACHE)
def s3_copy(bucket: S3Bucket | str, from_path: str, to_path: str) -> str:
    """Copies an object within the folder of a bucket; returns the new key."""
    return resolve(bucket).copy_object(from_path, to_path)


@task(name="s3_move", task_run_name=_run_name, cache_policy=NO_CACHE)
def s3_move(bucket: S3Bucket | str, from_path: str, to_path: str) -> str:
    """Moves an object within the folder of a bucket; returns the new key."""
    return resolve(bucket).move_object(from_path, to_path)


@task(name="s3_delete", task_run_name=_run_name, cache_policy=NO_CACHE)
def s3_delete(bucket: S3Bucket | str, path: str) -> None:
    """Deletes an object; one that is not there is no error."""
    resolve(bucket).delete_object(path)


@contextmanager
def _shown(key: str, description: str, size: int) -> Iterator[Progress | None]:
    """Shows the progress of what takes a while."""
    if size < _LONG:
        yield None
        return
    artifact, lock, done = ProgressArtifact(key, description), Lock(), 0

    def progress(further: int) -> None:
        nonlocal done
        with lock:
            done += further
        artifact.tell(done / size)

    yield progress
    artifact.end()
