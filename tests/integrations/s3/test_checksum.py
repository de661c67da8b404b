"""The SHA-256 of an object is what S3 says that it is, computed here in another way."""

from __future__ import annotations

import base64
import hashlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_atomic.integrations.s3.checksum import PART_SIZE, Checksum, Expected

CONTENT = bytes(range(251)) * 4


def composite(content: bytes, part: int) -> str:
    """As AWS documents it: the digests of all parts put together, and the digest of that."""
    parts = [content[at : at + part] for at in range(0, len(content), part)] or [b""]
    return base64.b64encode(hashlib.sha256(b"".join(hashlib.sha256(each).digest() for each in parts)).digest()).decode()


def whole(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


@given(
    part=st.integers(1, 70),
    parts=st.integers(0, 5),
    beside=st.integers(-2, 2),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
def test_however_it_is_cut_it_is_that_of_the_parts(part: int, parts: int, beside: int, cuts: list[int]) -> None:
    """Around the boundaries of parts too, and with empty pieces."""
    content = CONTENT[: max(0, part * parts + beside)]
    edges = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    made, plain = Checksum(part), Checksum()
    for start, end in [*pairwise(edges), (0, 0)]:
        for checksum in (made, plain):
            checksum.update(content[start:end])
            checksum.value()  # may be asked for in between
    assert made.value() == composite(content, part)
    assert plain.value() == whole(content)


def answer(checksum: str | None = None, etag: str = '"abc"', size: Any = None) -> dict[str, Any]:
    found: dict[str, Any] = {"ETag": etag, "Metadata": {} if size is None else {PART_SIZE: str(size)}}
    return found | ({"ChecksumSHA256": checksum} if checksum else {})


@pytest.mark.parametrize(
    ("said", "is_known"),
    [
        (answer(whole(CONTENT)), True),
        (answer(whole(CONTENT), size=100), True),
        (answer(f"{composite(CONTENT, 100)}-11", '"abc-11"', 100), True),
        (answer(composite(CONTENT, 100), '"abc-11"', 100), True),
        (answer(), False),
        (answer(size=100), False),
        (answer(f"{composite(CONTENT, 100)}-11", '"abc-11"'), False),
        (answer(f"{composite(CONTENT, 100)}-11", '"abc-11"', "0"), False),
        (answer(f"{composite(CONTENT, 100)}-11", '"abc-11"', "many"), False),
        (answer(f"{composite(CONTENT, 100)}-11", '"abc-11"', "-5"), False),
        ({}, False),
    ],
)
def test_only_what_can_be_compared_is_compared(said: dict[str, Any], is_known: bool) -> None:
    """An object in parts whose size is not known, as somebody else stored it, is not called damaged for that."""
    expected = Expected(said)
    checksum = expected.checksum()
    assert (checksum is not None) is is_known
    if checksum:
        checksum.update(CONTENT)
        assert expected.agrees(checksum)
        checksum.update(b"further")
    assert expected.agrees(checksum) is not is_known
