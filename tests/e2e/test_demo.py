"""The demo: all verified, and nothing left behind, however it ends."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import prefect
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.prefect_server, pytest.mark.timeout(600)]


@contextmanager
def demo(folder: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """The demo at work, as a user starts it; its temporary files are under the folder."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "prefect_atomic.cli", "demo", *options]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


TOKEN_REQUESTS = {
    "OAuthClientCredentials": "1",
    "AWSSignedRequest": "none",
    "BasicAuth": "none",
    "KeyPair": "none",
    "CustomHeaders": "none",
    "GoogleServiceAccount": "1",
    "SalesforceData360": "1 + 1",  # both of its steps, once
    "AtomicEnvironment": "1",
    "Salesforce": "1",
    "SalesforceMarketingCloud": "1",
    "Marketo": "1",
}


def acts_in(said: str) -> list[tuple[str, str, str]]:
    """Of each row of the table: the credential, how many tokens were asked for, and what verified it."""
    rows = [[cell.strip() for cell in line.split("│")] for line in said.splitlines() if line.count("│") == 7]
    return [(name, asked, verified) for _, name, _, verified, asked, *_ in rows if name]  # a long text goes on below


def processes_of(folder: Path) -> list[str]:
    """The command lines of all processes that were started with their temporary files under the folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                if f"TMPDIR={folder}".encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="atomic-demo-test-") as name:  # short: sockets have their place in it
        yield Path(name)


def test_every_credential_is_verified_and_nothing_is_left(folder: Path) -> None:
    with demo(folder) as process:
        said, _ = process.communicate()

    assert process.returncode == 0, said
    own_api = ("BasicAuth", "none")
    assert [(name, asked) for name, asked, _ in acts_in(said)] == [*TOKEN_REQUESTS.items(), own_api], said
    assert all(verified for _, _, verified in acts_in(said)), said
    assert f"Prefect {prefect.__version__} REST API" in said
    assert "not verified" not in said
    assert processes_of(folder) == []
    assert list(folder.iterdir()) == []


def test_ended_from_outside_it_takes_everything_down(folder: Path) -> None:
    with demo(folder, "--keep") as process:
        assert process.stdout is not None
        said = ""
        while "Both stay up" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        assert len(processes_of(folder)) >= 3  # itself, the server, the sandbox
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 130

    assert "password" in said
    deadline = time.monotonic() + 30  # the system may take a moment to bury the dead
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(folder) == []
