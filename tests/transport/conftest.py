"""A server that records what it is sent and misbehaves on demand, and both ways to send it a request."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from prefect_atomic import Response, asend_request, instant_retries, send_request
from tests.e2e.servers.faulty import FaultServer

Send = Callable[..., Response]


@pytest.fixture(autouse=True)
def _without_waits() -> Iterator[None]:
    with instant_retries():
        yield


@pytest.fixture(autouse=True)
def _without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")


@pytest.fixture(params=["send_request", "asend_request"])
def send(request: pytest.FixtureRequest) -> Send:
    """`send_request`, and the same promise once more of `asend_request`."""
    if request.param == "send_request":
        return send_request.fn

    def asend(*arguments: Any, **options: Any) -> Response:
        return asyncio.run(asend_request.fn(*arguments, **options))

    return asend


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
def other() -> Iterator[FaultServer]:
    """A second server: another origin."""
    with FaultServer() as server:
        yield server


@pytest.fixture
def tls_server() -> Iterator[FaultServer]:
    """A server with a certificate that nobody trusts."""
    with FaultServer(tls=True) as server:
        yield server
