"""A sandbox that plays Atomic, blocks for both of its clients, and both ways to call a method."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from prefect_atomic import AtomicEnvironment, instant_retries
from prefect_atomic.sandbox import Sandbox
from tests.e2e.servers.faulty import Answer, CapturedRequest, FaultServer

Call = Callable[..., Any]


@pytest.fixture(autouse=True)
def _without_waits() -> Iterator[None]:
    with instant_retries():
        yield


@pytest.fixture(autouse=True)
def _without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox.start() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Sandbox:
    running_sandbox.reset()
    return running_sandbox


def block_for(account: Any, **fields: Any) -> AtomicEnvironment:
    given = {
        "organization_id": account.organization_id,
        "environment_id": account.environment_id,
        "client_id": account.client_id,
        "client_secret": account.client_secret,
        "role": account.role,
        "base_url": account.base_url,
        "token_url": account.token_url,
    }
    return AtomicEnvironment(**{**given, **fields})


@pytest.fixture
def atomic(sandbox: Sandbox) -> AtomicEnvironment:
    return block_for(sandbox.accounts.atomic)


@pytest.fixture
def workbench(sandbox: Sandbox) -> AtomicEnvironment:
    return block_for(sandbox.accounts.atomic_workbench)


def _sync(method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    result = method(*arguments, **options)
    return list(result) if isinstance(result, Iterator) else result


def _async(method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    twin = getattr(method.__self__, f"a{method.__name__}")

    async def call() -> Any:
        result = twin(*arguments, **options)
        return [item async for item in result] if hasattr(result, "__aiter__") else await result

    return asyncio.run(call())


@pytest.fixture(params=[_sync, _async], ids=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Calls a method, or its asynchronous twin; what an iterator yields comes as a list."""
    return request.param


class Raw:
    """A server that misbehaves where Atomic should be, and gives out tokens."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server
        self.answers: list[Answer | str] = []
        server.handler = self._answer

    def _answer(self, request: CapturedRequest) -> Answer | str:
        if request.path == "/token":
            return Answer(body=b'{"access_token": "t0ken-of-atomic", "token_type": "Bearer", "expires_in": 3600}')
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def block(self, **fields: Any) -> AtomicEnvironment:
        given = {
            "organization_id": "org",
            "environment_id": "env",
            "client_id": "client",
            "client_secret": "s3cret-of-the-client",
            "base_url": self.server.url,
            "token_url": f"{self.server.url}/token",
        }
        return AtomicEnvironment(**{**given, **fields})

    @property
    def asked(self) -> list[CapturedRequest]:
        """What was asked for, tokens aside."""
        return [request for request in self.server.requests if request.path != "/token"]


@pytest.fixture
def raw() -> Iterator[Raw]:
    with FaultServer() as server:
        yield Raw(server)


def of_json(content: Any, status: int = 200, **headers: str) -> Answer:
    named = [
        ("Content-Type", "application/json"),
        *((name.replace("_", "-"), value) for name, value in headers.items()),
    ]
    return Answer(status, named, json.dumps(content).encode())
