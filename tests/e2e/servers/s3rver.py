"""s3rver as a second S3 server: one that keeps objects as files of a folder.

s3rver (npm, MIT) streams from and to the disk, serves ranges, and verifies presigned URLs and forms. What it proves:
that the block works with a server that keeps no SHA-256, and how fast it is without moto, which reads a whole object
into memory for each range.

What it does not prove (seen in 3.7.1): it takes any signature in a header; keys with ``.``, ``..`` or ``//`` are paths
to it; it lists no uploads in parts.
"""

from __future__ import annotations

import tempfile
from types import TracebackType
from typing import Self

from .node import node_program
from .process import ServerProcess


class S3rver:
    """s3rver on loopback with one bucket, ``bucket``, for as long as the ``with`` block lasts."""

    access_key_id = secret_access_key = "S3RVER"
    bucket = "bucket"

    def __init__(self) -> None:
        self.port = 0
        self._folder = tempfile.TemporaryDirectory(prefix="s3rver-")
        self._process: ServerProcess | None = None

    @property
    def url(self) -> str:
        """``http://127.0.0.1:port``, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        settings = {"folder": self._folder.name, "bucket": self.bucket}
        self._process = ServerProcess("s3rver", node_program("s3-server.mjs"), settings)
        self.port = self._process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.stop()
        self._folder.cleanup()
