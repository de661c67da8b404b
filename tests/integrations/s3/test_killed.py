"""An upload of a folder whose process is killed: what is there is complete, and the next one goes on from there."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prefect_atomic import S3Bucket
from tests.e2e.prefect_server import PROJECT, wait_until
from tests.e2e.servers.moto import Fault, MotoServer

MIB = 1024 * 1024
CONTENT = random.Random(5).randbytes(20 * MIB)
FILES = {
    "a/before.bin": CONTENT[: 11 * MIB],
    "a/two-parts.bin": CONTENT[: 9 * MIB],
    "three-parts.bin": CONTENT[: 17 * MIB + 5],
    "z/all.bin": CONTENT,
    **{f"small/{number}.csv": str(number).encode() for number in range(6)},
}

PROGRAM = """
import json, sys
from prefect_atomic import S3Bucket
S3Bucket(**json.loads(sys.stdin.readline())).upload_from_folder(sys.argv[1], "daily")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "daily" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "daily"


def there(files: S3Bucket) -> dict[str, bytes]:
    return {each.key.removeprefix("daily/"): files.read_path(each) for each in files.list_objects("daily/")}


@pytest.mark.parametrize("writes", [0, 1, 5, 9, 13, 17])
def test_a_killed_upload_leaves_whole_objects_and_is_gone_on_with(
    files: S3Bucket, moto: MotoServer, folder: Path, writes: int
) -> None:
    """Killed with SIGKILL after so many writes. Large files that are there already are not sent again."""
    files.upload_from_path(folder / "a" / "before.bin", "daily/a/before.bin")
    moto.forget()
    moto.fail(Fault("hold", "/exports/", "PUT|POST", after=writes))
    fields: dict[str, Any] = files.model_dump(
        mode="json", context={"include_secrets": True}, include=set(S3Bucket.model_fields)
    )
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)], stdin=subprocess.PIPE, cwd=PROJECT)
    try:
        assert process.stdin
        process.stdin.write(json.dumps(fields).encode() + b"\n")
        process.stdin.close()
        wait_until(
            lambda: [each for each in moto.requests() if each["method"] in ("PUT", "POST") and "status" not in each],
            "a write is held back",
            timeout=60,
        )
    finally:
        process.kill()
        process.wait()
    moto.fail()
    whole = there(files)
    assert whole.items() <= FILES.items(), "what is there is complete"
    large = {name for name, content in whole.items() if len(content) > 8 * MIB}
    assert "a/before.bin" in large
    moto.forget()
    files.upload_from_folder(folder, "daily")
    assert there(files) == FILES
    sent = {each["path"].partition("/exports/daily/")[2] for each in moto.requests("partNumber", "PUT")}
    assert not sent & large, "these were there already"
    assert sent <= {name for name, content in FILES.items() if len(content) > 8 * MIB}


def test_a_large_file_that_was_changed_is_sent_again(files: S3Bucket, moto: MotoServer, folder: Path) -> None:
    """Also to one of the same size: it is compared by its content."""
    files.upload_from_folder(folder, "daily")
    changed = CONTENT[: 9 * MIB - 1] + bytes([CONTENT[9 * MIB - 1] ^ 1])
    (folder / "a" / "two-parts.bin").write_bytes(changed)
    moto.forget()
    told: list[int] = []
    files.upload_from_folder(folder, "daily", progress=told.append)
    sent = {each["path"].partition("/exports/daily/")[2] for each in moto.requests("partNumber", "PUT")}
    assert sent == {"a/two-parts.bin"}
    assert there(files) == {**FILES, "a/two-parts.bin": changed}
    assert sum(told) == sum(map(len, FILES.values())), "what is not sent again counts as done"
