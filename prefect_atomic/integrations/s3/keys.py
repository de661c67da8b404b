"""Where an object lies: in a folder of the bucket, under a key that is relative to it.

S3 has no folders, only keys that begin alike; so `..`, `.` and `//` in a key are characters like any others, and stay
as they are. Servers and programs that read keys as paths might be led out of the folder by one that climbs above it: it
is refused.
"""

from __future__ import annotations

from prefect_atomic.errors import RequestError

_LONGEST = 1024
"""Bytes of a key in UTF-8, the folder included."""


def prefix_of(folder: str) -> str:
    """What the keys of a folder begin with: `a/b/` for `a/b`, `/a//b/` and `./a/b`; nothing for the whole bucket.

    Raises:
        ValueError: It leads somewhere else.
    """
    segments = [segment for segment in folder.split("/") if segment not in ("", ".")]
    if ".." in segments:
        raise ValueError("has a `..` in it; write the folder's path from the top of the bucket, such as exports/daily")
    if fault := _fault(folder):
        raise ValueError(fault)
    return "".join(f"{segment}/" for segment in segments)


def full_key(prefix: str, key: str, argument: str = "key") -> str:
    """The key in the bucket. Slashes in front of a key say nothing: `/a` is `a` in the folder.

    Raises:
        RequestError: There is no such key in the folder.
    """
    relative = str(key).lstrip("/")
    if not relative:
        raise RequestError(f"{argument}: is empty; an object in the folder has a name, such as report.csv.")
    if _climbs(relative):
        raise RequestError(f"{argument}: {relative!r} leads out of the folder, at least where it is read as a path.")
    full = prefix + relative
    if fault := _fault(full):
        raise RequestError(f"{argument}: {fault}.")
    return full


def full_prefix(prefix: str, start: str) -> str:
    """What keys in the folder begin with that begin with `start` there."""
    start = start.lstrip("/")
    if fault := _fault(start):
        raise RequestError(f"prefix: {fault}.")
    return prefix + start


def _fault(key: str) -> str | None:
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        return "holds a half of a character (a lone surrogate), which is no UTF-8"
    return f"has {length} bytes with its folder, and S3 takes {_LONGEST}" if length > _LONGEST else None


def _climbs(key: str) -> bool:
    depth = 0
    for segment in key.split("/"):
        depth += -1 if segment == ".." else segment not in ("", ".")
        if depth < 0:
            return True
    return False
