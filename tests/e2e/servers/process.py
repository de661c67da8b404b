"""Runs a server in a process of its own, so that it can neither patch nor slow down the process of the tests.

What the servers here agree on: their settings arrive as JSON in the environment variable ``SERVER_SETTINGS``;
once they listen they print one line of JSON, ``{"port": 12345}``, and nothing else, on standard output; and they
end when standard input is closed, so that none outlives the tests, however these end.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_NOT_INHERITED = ("AWS_", "MOTO_", "NODE_", "INITIAL_NO_AUTH_ACTION_COUNT", "PYTHONWARNINGS", "COVERAGE_")


class ServerError(RuntimeError):
    """The server did not start."""


def environment(**extra: str) -> dict[str, str]:
    """The environment for a server: ours, without what would change how it behaves, and without proxies."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_NOT_INHERITED) and not name.lower().endswith("_proxy")
    }
    return kept | extra


def python_program(name: str) -> list[str]:
    """The command that runs a module of this package as a program.

    ``-P`` keeps this folder out of its ``sys.path``, where ``swift.py`` would stand in for Swift itself.
    """
    return [sys.executable, "-P", "-W", "ignore", str(Path(__file__).with_name(name))]


class ServerProcess:
    """One server process: started by :meth:`start`, which returns its port, ended by :meth:`stop`."""

    def __init__(self, name: str, command: Sequence[str], settings: Mapping[str, Any], **extra: str) -> None:
        self._name = name
        self._command = list(command)
        self._environment = environment(SERVER_SETTINGS=json.dumps(settings), **extra)
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def start(self, timeout: float = 60.0) -> int:
        """Start the server and wait until it listens; its port on 127.0.0.1."""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed by stop)
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=self._environment,
        )
        try:
            return int(json.loads(self._first_line(timeout))["port"])
        except BaseException as error:
            said = self.errors()
            self.stop()
            if isinstance(error, (ValueError, KeyError, TypeError, TimeoutError)):
                raise ServerError(f"{self._name} did not start ({error!r}); it wrote:\n{said}") from error
            raise

    def _first_line(self, timeout: float) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        deadline = time.monotonic() + timeout
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(deadline - time.monotonic()):
                    raise TimeoutError(f"silent for {timeout:.0f} s")
                read = os.read(output, 4096)
                if not read:
                    raise ValueError("it ended")
                line += read
        return line

    def errors(self) -> str:
        """What the server wrote to standard error so far, to explain a failure."""
        if self._errors is None:
            return ""
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), size, 0).decode(errors="replace")

    def stop(self) -> None:
        """End the process and wait for it; nothing happens if it is not running."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        if self._errors is not None:
            self._errors.close()
            self._errors = None
