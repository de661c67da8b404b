"""S3 transfers: `S3Bucket` against the bare TransferManager of boto3, each in a process of its own, in turn.

Against s3rver, which streams from the disk, with 2 GiB; and against moto, which keeps the SHA-256 that downloads are
checked with, but reads a whole object into memory for each range, with 128 MiB.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from figure import Figure

PROJECT = Path(__file__).parents[1]
MIB = 1024 * 1024
LARGE = 2048 * MIB
CHECKED = 128 * MIB
ROUNDS = 2


def transfers() -> list[Figure]:
    sys.path.insert(0, str(PROJECT))
    from tests.e2e.servers.moto import MotoServer
    from tests.e2e.servers.s3rver import S3rver

    with tempfile.TemporaryDirectory(prefix="prefect-atomic-transfers-") as folder:
        with S3rver() as s3rver:
            access = {"url": s3rver.url, "key": s3rver.access_key_id, "secret": s3rver.secret_access_key}
            figures = _figures("2 GiB", LARGE, Path(folder), access)
        with MotoServer() as moto:
            access = {"url": moto.url, "key": moto.user.access_key_id, "secret": moto.user.secret_access_key}
            client = moto.client("s3", moto.user)
            client.create_bucket(Bucket="bucket")
            client.close()
            figures += _figures("128 MiB, checked", CHECKED, Path(folder), access)[:2]
    return figures


def _figures(size: str, length: int, folder: Path, access: dict[str, str]) -> list[Figure]:
    file = folder / "file"
    with file.open("wb") as content:
        for _ in range(length // MIB):
            content.write(os.urandom(MIB))
    best: dict[str, float] = {}
    peak = 0.0
    for _ in range(ROUNDS):
        for what in ("bare-up", "ours-up", "bare-down", "ours-down"):
            seconds, memory = _measured(what, file, access)
            best[what] = min(best.get(what, seconds), seconds)
            if what.startswith("ours"):
                peak = max(peak, memory)
    return [
        Figure(f"{size} up: TransferManager / S3Bucket", best["bare-up"] / best["ours-up"], "x", 0.9, at_least=True),
        Figure(
            f"{size} down: TransferManager / S3Bucket", best["bare-down"] / best["ours-down"], "x", 0.9, at_least=True
        ),
        Figure(f"{size} up and down: peak memory of the process", peak, "MB", 150),
    ]


def _measured(what: str, file: Path, access: dict[str, str]) -> tuple[float, float]:
    said = subprocess.run(
        [sys.executable, __file__, what, str(file), json.dumps(access)], capture_output=True, text=True, check=True
    )
    seconds, memory = json.loads(said.stdout.splitlines()[-1])
    return seconds, memory


def _bare(access: dict[str, str]) -> tuple[Callable[[str], Any], Callable[[str], Any]]:
    import boto3
    from s3transfer.manager import TransferManager

    client = boto3.client(
        "s3",
        endpoint_url=access["url"],
        aws_access_key_id=access["key"],
        aws_secret_access_key=access["secret"],
        region_name="us-east-1",
    )
    manager = TransferManager(client)
    return (
        lambda path: manager.upload(path, "bucket", "bare").result(),
        lambda path: manager.download("bucket", "ours", path).result(),
    )


def _ours(access: dict[str, str]) -> tuple[Callable[[str], Any], Callable[[str], Any]]:
    from prefect_atomic import S3Bucket

    bucket = S3Bucket.model_validate(
        {
            "bucket": "bucket",
            "endpoint_url": access["url"],
            "access_key_id": access["key"],
            "secret_access_key": access["secret"],
            "region": "us-east-1",
        }
    )
    bucket.get_client()
    return (
        lambda path: bucket.upload_from_path(path, "ours"),
        lambda path: bucket.download_object_to_path("bare", path),
    )


def _main(what: str, file: str, access: str) -> None:
    """Does one of the four, and prints the seconds that it took and the peak memory in MB."""
    who, _, way = what.partition("-")
    up, down = (_ours if who == "ours" else _bare)(json.loads(access))
    started = time.perf_counter()
    if way == "up":
        up(file)
    else:
        down(f"{file}.back")
    seconds = time.perf_counter() - started
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
