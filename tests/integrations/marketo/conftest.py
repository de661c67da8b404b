"""A sandbox that plays an instance of Marketo, and a server that misbehaves in its place."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prefect_atomic import Marketo, instant_retries
from prefect_atomic.integrations.marketo import limits
from prefect_atomic.sandbox import Sandbox
from tests.e2e.servers.faulty import Answer, CapturedRequest, FaultServer

REST = "/marketo/rest/v1"


@pytest.fixture(autouse=True)
def _without_waits() -> Iterator[None]:
    with instant_retries():
        yield


@pytest.fixture(autouse=True)
def _without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")


@pytest.fixture(autouse=True)
def _own_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Counts of a test's own: all sandboxes and servers are on one host."""
    monkeypatch.setenv("PREFECT_ATOMIC_LIMITS_PATH", str(tmp_path / "limits"))
    limits.forget()


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox.start() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Sandbox:
    running_sandbox.reset()
    running_sandbox.set_marketo(enforce=False)  # waits are instant here, and the limits have tests of their own
    return running_sandbox


def block_for(sandbox: Sandbox, **fields: Any) -> Marketo:
    account = sandbox.accounts.marketo
    given = {
        "rest_endpoint": account.rest_url,
        "identity_endpoint": account.identity_url,
        "client_id": account.client_id,
        "client_secret": account.client_secret,
    }
    return Marketo(**{**given, **fields})


@pytest.fixture
def marketo(sandbox: Sandbox) -> Marketo:
    return block_for(sandbox)


Respond = Callable[[CapturedRequest], Answer | str]


class Instance:
    """An instance that answers as a test says. Its tokens live as long as `token` says."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server
        self.answer: Respond = lambda request: says_no("610", "Requested resource not found")
        self.tokens = 0
        self.token: dict[str, Any] = {}
        server.handler = self._respond

    def block(self, **fields: Any) -> Marketo:
        given = {
            "rest_endpoint": f"{self.server.url}/rest",
            "identity_endpoint": f"{self.server.url}/identity",
            "client_id": "service",
            "client_secret": "s3cret-of-it",
        }
        return Marketo(**{**given, **fields})

    def asked(self) -> list[CapturedRequest]:
        """What reached the API."""
        return [request for request in self.server.requests if not request.path.startswith("/identity")]

    def _respond(self, request: CapturedRequest) -> Answer | str:
        if not request.path.startswith("/identity"):
            return self.answer(request)
        self.tokens += 1
        usual = {
            "access_token": f"t0ken-number-{self.tokens}",
            "token_type": "bearer",
            "expires_in": 3599,
            "scope": "a@b.c",
        }
        return as_json(**{**usual, **self.token})


@pytest.fixture
def instance() -> Iterator[Instance]:
    with FaultServer() as server:
        yield Instance(server)


def nobody() -> str:
    """A URL at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


def as_json(status: int = 200, /, headers: Any = (), **fields: Any) -> Answer:
    return Answer(status, [("Content-Type", "application/json"), *headers], json.dumps(fields).encode())


def says_yes(*result: Any, **more: Any) -> Answer:
    return as_json(requestId="e42b#1", success=True, result=list(result), **more)


def says_no(code: str, message: str) -> Answer:
    return as_json(requestId="e42b#2", success=False, errors=[{"code": code, "message": message}])


def taken(request: CapturedRequest) -> Answer:
    """Every record is created."""
    count = len(json.loads(request.body)["input"])
    return says_yes(*({"id": number + 1, "status": "created"} for number in range(count)))
