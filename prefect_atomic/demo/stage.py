"""Sets the stage: a Prefect server of its own and the sandbox, and takes both down again."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from rich.console import Console

from prefect_atomic.sandbox import Sandbox

START_SECONDS = 120.0
STOP_SECONDS = 15.0


class StageError(Exception):
    """The demo could not be set up."""


def run(*, keep: bool = False) -> int:
    """Runs the demo.

    Args:
        keep: Leave server and sandbox up afterwards, until Ctrl-C.

    Returns:
        The exit status: 0 only if every credential was verified.
    """
    console = Console()
    try:
        with ExitStack() as stage:
            home = Path(stage.enter_context(tempfile.TemporaryDirectory(prefix="prefect-atomic-demo-")))
            with console.status("Starting a Prefect server and the sandbox ..."):
                sandbox = stage.enter_context(Sandbox.start())
                environment, ui, password = stage.enter_context(_prefect_server(home))
            play = [sys.executable, "-m", "prefect_atomic.demo.play", sandbox.url]
            verdict = subprocess.run(play, env=environment, check=False).returncode  # noqa: S603 - our own module
            if keep:
                console.print(
                    f"\nPrefect's UI: [bold]{ui}[/] (password: {password})\nThe sandbox:  {sandbox.url}/_sandbox"
                )
                console.print("Both stay up until Ctrl-C.")
                signal.pause()
            return verdict
    except KeyboardInterrupt:
        return 130
    except StageError as error:
        console.print(f"[red]{error}[/]", highlight=False)
        return 1


@contextmanager
def _prefect_server(home: Path) -> Iterator[tuple[dict[str, str], str, str]]:
    """A Prefect server with SQLite, Basic auth and a home of its own.

    Yields:
        The environment that makes a process its client, the address of its UI, and the UI's password.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, password = f"http://127.0.0.1:{port}", f"demo:{secrets.token_urlsafe(18)}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | {
        "DO_NOT_TRACK": "1",
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_API_AUTH_STRING": password,
        "PREFECT_SERVER_API_AUTH_STRING": password,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    start = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    log = home / "server.log"
    with log.open("wb") as said:
        server = subprocess.Popen(  # noqa: S603 - our own interpreter
            start, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
    try:
        _wait_until_healthy(server, f"{url}/api/health", log)
        yield environment, url, password
    finally:
        _end(server)


def _wait_until_healthy(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < deadline and server.poll() is None:
            try:
                # It asks for the password here too; being asked means that it is up.
                if client.get(url).status_code in (200, 401):
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
    raise StageError(f"The Prefect server did not start. It said:\n{log.read_text('utf-8', 'replace')[-4000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and those it started."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
        except ProcessLookupError:
            break
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
