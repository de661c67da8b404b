"""Prism as the judge of requests to an API that has a description.

Prism (npm, Apache-2.0) checks requests against an OpenAPI or Swagger description, and answers as it says. What it
proves: that a call is one of those described, and that its path, query, headers and body are as described. As a proxy
it does so of the answers, too.

What it does not prove (seen in 5.16.0): it takes any parameter of a query that is not described; it never answers a
body of JSON that is none; a proxy refuses a GET with a body, and reads files as text, so that what is not UTF-8 comes
out changed.

It runs on the Node.js of PyPI, as :mod:`.node` says. The code that would report its installation does not run, as
``scripts/install-node-servers`` runs none.
"""

from __future__ import annotations

import http.client
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from . import missing
from .node import NotInstalledError, install, node_executable, node_program
from .process import ServerProcess

_LONGEST_HEAD = 1 << 20  # bytes; Node.js takes 16 kB


@dataclass(frozen=True)
class Violation:
    """What is not as it is described."""

    method: str
    path: str
    where: str
    """Such as ``request.query.batchsize``: Prism writes names of parameters in lower case."""
    message: str


@dataclass(frozen=True)
class Verdict:
    """What Prism answered, and what it found."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    violations: list[Violation]


def need_prism() -> None:
    """Skip the test (or fail it in CI) where Prism is not installed."""
    try:
        node_executable()
        install()
    except NotInstalledError as error:
        missing(f"{error}; without Prism nobody but us judges calls to Marketo")


class PrismServer:
    """Prism on loopback for as long as the ``with`` block lasts; with ``upstream`` as a proxy in front of that.

    Args:
        description: The description, or its file.
        upstream: Where requests that are as described are sent on to, such as ``http://127.0.0.1:8080``. Without it
            Prism makes up the answers.
    """

    def __init__(self, description: Mapping[str, Any] | Path, *, upstream: str | None = None) -> None:
        self.port = 0
        self._description = description
        self._upstream = upstream
        self._folder = tempfile.TemporaryDirectory(prefix="prism-")
        self._process: ServerProcess | None = None

    @property
    def url(self) -> str:
        """``http://127.0.0.1:port``, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        file = self._description
        if not isinstance(file, Path):
            file = Path(self._folder.name) / "description.json"
            file.write_text(json.dumps(self._description))
        _, program = node_program("prism-server.mjs")
        command = [str(node_executable()), f"--max-http-header-size={_LONGEST_HEAD}", program]
        settings = {"description": str(file), "upstream": self._upstream}
        self._process = ServerProcess("Prism", command, settings)
        self.port = self._process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.stop()
        self._folder.cleanup()

    def judge(
        self, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes | None = None
    ) -> Verdict:
        """Send a request, byte for byte, and read what Prism says of it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            answer, told = response.read(), response.getheaders()
        finally:
            connection.close()
        path = target.partition("?")[0]
        found = [Violation(method, path, where, message) for where, message in _found(response, answer)]
        return Verdict(response.status, told, answer, found)


def _found(response: http.client.HTTPResponse, body: bytes) -> list[tuple[str, str]]:
    """Where and what: as its header lists them, else its refusal, which may be of the call as a whole."""
    if listed := response.getheader("sl-violations"):
        if not listed.startswith("["):  # there are too many for a header
            return [("request", listed)]
        return [(".".join(map(str, each["location"])), each["message"]) for each in json.loads(listed)]
    if "problem+json" not in (response.getheader("Content-Type") or ""):
        return []
    problem = json.loads(body)
    each_alone = [
        (".".join(("request", *map(str, each.get("location", [])))), each["message"])
        for each in problem.get("validation", [])
    ]
    return each_alone or [("request", f"{problem['title']}: {problem['detail']}")]
