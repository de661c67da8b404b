"""A real Prefect server, and a real worker: processes of their own on loopback, as `prefect server start` runs them.

The API is behind Basic auth, telemetry is off, the database is SQLite in a folder that goes with the server.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import httpx
import pytest
import trustme
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_SSL_CERT_FILE,
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_LOCAL_STORAGE_PATH,
    temporary_settings,
)

from tests.e2e.servers.process import environment

T = TypeVar("T")
PROJECT = Path(__file__).parents[2]

_NOT_INHERITED = ("PREFECT_", "PYTEST_", "PYTHONWARNINGS")


class Program:
    """A process of ours: what it wrote is kept in a file, and it is ended with the `with` block."""

    def __init__(self, command: list[str], env: Mapping[str, str], output: Path) -> None:
        self.command = command
        self.output = output
        self._env = dict(env)
        self._file: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._file = self.output.open("ab")
        self._process = subprocess.Popen(
            self.command, env=self._env, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=self._file, stderr=self._file
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._file is not None
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._file.close()

    @property
    def has_ended(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None

    def said(self) -> str:
        return self.output.read_text("utf-8", "replace")


class PrefectServer:
    """A Prefect server for as long as the `with` block lasts."""

    def __init__(self) -> None:
        # In memory where that can be had: SQLite waits for the disk with every write, and answers 503 to the next.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._folder = tempfile.TemporaryDirectory(prefix="prefect-atomic-server-", dir=memory)
        self.folder = Path(self._folder.name)
        self.home = self.folder / "home"
        self.results = self.folder / "results"
        """Where clients of this server keep results, unless told otherwise."""
        self.authority = self.folder / "authority.pem"
        """Read by each of Prefect's clients, though none speaks TLS: the usual hundreds take 20 ms each time."""
        self.auth = f"admin:server-{secrets.token_hex(8)}"
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        command = [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--log-level", "warning"]
        user, _, password = self.auth.partition(":")
        self.client = httpx.Client(base_url=f"{self.url}/", auth=(user, password), timeout=180, trust_env=False)
        """A client for its REST API that knows the password, and none of Prefect's code."""
        self.program = Program(command, self._environment_of_the_server(), self.folder / "server.log")

    def __enter__(self) -> Self:
        self.home.mkdir()
        self.results.mkdir()
        trustme.CA().cert_pem.write_to_path(str(self.authority))
        self.program.__enter__()
        try:
            wait_until(self._is_up, "the Prefect server answers", timeout=180, explain=self.program.said)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self.program.__exit__(kind, error, trace)
        self._folder.cleanup()

    def get(self, path: str, **params: Any) -> Any:
        return self._asked("GET", path, params=params)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._asked("POST", path, json=body or {})

    def _asked(self, method: str, path: str, **what: Any) -> Any:
        for _ in range(20):
            response = self.client.request(method, path, **what)
            if response.status_code != 503:  # SQLite is busy; Prefect's own client asks again too
                break
            time.sleep(0.5)
        return response.raise_for_status().json()

    def all_of(self, path: str, body: Mapping[str, Any] | None = None, page: int = 200) -> list[Any]:
        """Everything that a `filter` route has."""
        found: list[Any] = []
        while answer := self.post(path, {**(body or {}), "limit": page, "offset": len(found)}):
            found += answer
            if len(answer) < page:
                break
        return found

    def client_environment(self, **extra: str) -> dict[str, str]:
        """The environment of a program that works with this server."""
        kept = {name: value for name, value in environment().items() if not name.startswith(_NOT_INHERITED)}
        return {
            **kept,
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_HOME": str(self.folder / "client"),
            "PREFECT_API_URL": self.url,
            "PREFECT_API_AUTH_STRING": self.auth,
            "PREFECT_API_SSL_CERT_FILE": str(self.authority),
            "PREFECT_LOCAL_STORAGE_PATH": str(self.results),
            "PREFECT_CLI_PROMPT": "false",
            "PREFECT_CLI_COLORS": "false",
            "PYTHONPATH": str(PROJECT),
            "PYTHONUNBUFFERED": "1",
            "PREFECT_ATOMIC_TOKEN_STORE_PATH": os.environ.get(
                "PREFECT_ATOMIC_TOKEN_STORE_PATH", str(self.folder / "tokens")
            ),
            **extra,
        }

    @contextmanager
    def as_client(self) -> Iterator[Self]:
        """Within it, this process and those it starts work with this server."""
        with pytest.MonkeyPatch.context() as patch:
            for name in (
                "PREFECT_API_URL",
                "PREFECT_API_AUTH_STRING",
                "PREFECT_API_SSL_CERT_FILE",
                "PREFECT_LOCAL_STORAGE_PATH",
                "PREFECT_HOME",
            ):
                patch.setenv(name, self.client_environment()[name])
            with temporary_settings(
                {
                    PREFECT_API_URL: self.url,
                    PREFECT_API_AUTH_STRING: self.auth,
                    PREFECT_API_SSL_CERT_FILE: str(self.authority),
                    PREFECT_HOME: self.folder / "client",
                    PREFECT_LOCAL_STORAGE_PATH: self.results,
                }
            ):
                yield self

    def run(self, *command: str, timeout: float = 180, **extra: str) -> subprocess.CompletedProcess[str]:
        """Runs a program that works with this server, to its end; its output and errors are in `stdout`."""
        return subprocess.run(
            command,
            env=self.client_environment(**extra),
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=timeout,
            check=False,
        )

    def worker(self, pool: str, **extra: str) -> Program:
        """A process worker for a work pool that exists; start it with `with`."""
        extra = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_WORKER_PREFETCH_SECONDS": "1", **extra}
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]
        command += ["--name", f"worker-of-{pool}", "--limit", "4"]
        return Program(command, self.client_environment(**extra), self.folder / f"worker-{pool}.log")

    def wait_for_run(self, flow_run_id: Any, *, explain: Callable[[], str] = str, timeout: float = 240) -> Any:
        """The flow run as the API has it, once it has ended."""

        def ended() -> Any:
            try:
                run = self.get(f"flow_runs/{flow_run_id}")
            except httpx.TimeoutException:  # a server that is busy with the run that is waited for
                return None
            return run if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

        return wait_until(ended, f"flow run {flow_run_id} ends", timeout=timeout, explain=explain, every=1)

    def _is_up(self) -> bool:
        if self.program.has_ended:
            raise RuntimeError(f"the Prefect server ended:\n{self.program.said()}")
        try:
            return bool(self.get("health"))
        except httpx.HTTPError:
            return False

    def _environment_of_the_server(self) -> dict[str, str]:
        return {
            **{name: value for name, value in environment().items() if not name.startswith(_NOT_INHERITED)},
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{self.home}/prefect.db",
            "PREFECT_SERVER_API_AUTH_STRING": self.auth,
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1",
            "PREFECT_SERVER_UI_ENABLED": "false",
        }


def wait_until(
    what: Callable[[], T], says: str, *, timeout: float = 180, explain: Callable[[], str] = str, every: float = 0.2
) -> T:
    """What a function returns, once that is true."""
    end = time.monotonic() + timeout
    while True:
        if value := what():
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout:g} s: {says}\n{explain()}")
        time.sleep(every)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
