"""File systems that somebody else wrote: no more than Prefect asks of a `WritableFileSystem`, in its variants."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from prefect.filesystems import WritableFileSystem


class AsyncFiles(WritableFileSystem):
    """Both methods asynchronous, as Prefect declares them."""

    _block_type_name = "Async Files"
    _block_type_slug = "test-async-files"

    basepath: str

    async def read_path(self, path: str) -> bytes:
        return (Path(self.basepath) / path).read_bytes()

    async def write_path(self, path: str, content: bytes) -> None:
        _write(Path(self.basepath) / path, content)


class PlainFiles(WritableFileSystem):
    """Both methods synchronous, as many wrote them."""

    _block_type_name = "Plain Files"
    _block_type_slug = "test-plain-files"

    basepath: str

    def read_path(self, path: str) -> bytes:  # type: ignore[override]
        return (Path(self.basepath) / path).read_bytes()

    def write_path(self, path: str, content: bytes) -> None:  # type: ignore[override]
        _write(Path(self.basepath) / path, content)


class FailingFiles(PlainFiles):
    """Fails as file systems do that may not write, or that talk too much."""

    _block_type_name = "Failing Files"
    _block_type_slug = "test-failing-files"

    fails: Literal["write-not-permitted", "write-talks", "read-talks", "write-talks-in-errno", "not"] = "not"

    def read_path(self, path: str) -> bytes:  # type: ignore[override]
        content = super().read_path(path)
        if self.fails == "read-talks":
            raise RuntimeError(f"cannot decrypt {content!r}")
        return content

    def write_path(self, path: str, content: bytes) -> None:  # type: ignore[override]
        if self.fails == "write-not-permitted":
            raise PermissionError(13, "Permission denied", f"{self.basepath}/{path}")
        if self.fails == "write-talks":
            raise RuntimeError(f"cannot write {content!r}")
        if self.fails == "write-talks-in-errno":
            raise OSError(28, f"no space for {content!r}", path)
        super().write_path(path, content)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
