"""The SHA-256 of an object as S3 keeps it: of its content, or of the SHA-256s of its parts.

S3 checks what it receives against it. What is read back is checked here: a damaged object is an error, never data.
Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

PART_SIZE = "prefect-atomic-part-size"
"""The metadata that says how large the parts of an object are: the checksum of one made of parts does not."""


class Checksum:
    """Computed piece by piece.

    Args:
        part_size: Bytes of each part but the last; None where the object is not made of parts.
    """

    def __init__(self, part_size: int | None = None) -> None:
        self._part_size = part_size
        self._left = part_size or 0
        self._current = hashlib.sha256()
        self._parts = hashlib.sha256()

    def update(self, piece: bytes) -> None:
        if self._part_size is None:
            self._current.update(piece)
            return
        view = memoryview(piece)
        while view:
            if not self._left:
                self._end_part()
            taken = view[: self._left]
            self._current.update(taken)
            self._left -= len(taken)
            view = view[len(taken) :]

    def value(self) -> str:
        """As base64, the way S3 writes it."""
        if self._part_size is None:
            return base64.b64encode(self._current.digest()).decode()
        whole = self._parts.copy()
        whole.update(self._current.digest())
        return base64.b64encode(whole.digest()).decode()

    def _end_part(self) -> None:
        self._parts.update(self._current.digest())
        self._current = hashlib.sha256()
        self._left = self._part_size or 0


class Expected:
    """What the answer to a HEAD or GET says that the content is."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self.etag: str = answer.get("ETag", "")
        checksum = str(answer.get("ChecksumSHA256") or "")
        self._value = checksum.partition("-")[0]
        is_made_of_parts = "-" in checksum or "-" in self.etag
        size = str(answer.get("Metadata", {}).get(PART_SIZE, ""))
        self._part_size = int(size) if is_made_of_parts and size.isdigit() and int(size) else None
        # The parts of an object that somebody else stored may be of any size, and then nothing can be computed.
        self._is_known = bool(self._value) and (self._part_size is not None or not is_made_of_parts)

    def checksum(self) -> Checksum | None:
        """What computes the value to compare with; None where S3 has none, or one that cannot be computed."""
        return Checksum(self._part_size) if self._is_known else None

    def agrees(self, found: Checksum | None) -> bool:
        return found is None or found.value() == self._value
