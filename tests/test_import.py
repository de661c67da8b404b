"""Prefect imports this package to find its blocks: that must be cheap, offline, and leave nothing behind."""

import subprocess
import sys

LAZY = ("awscrt", "boto3", "botocore", "fastapi", "filelock", "jwt", "redis", "simple_salesforce", "uvicorn")


def imported_by(statement: str) -> set[str]:
    """The packages that are there after a statement in a new process."""
    program = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    return set(said.split())


def test_heavy_libraries_are_imported_only_when_they_are_used() -> None:
    brought_by_prefect = imported_by("import prefect")

    assert not (imported_by("import prefect, prefect_atomic") - brought_by_prefect) & set(LAZY)


def test_no_socket_is_opened_and_no_thread_is_started() -> None:
    refuse = "import socket, threading, prefect; before = threading.active_count(); socket.socket.connect = None"

    assert imported_by(f"{refuse}; import prefect_atomic; assert threading.active_count() == before")
