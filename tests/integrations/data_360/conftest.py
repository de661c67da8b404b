"""A sandbox that plays Salesforce and a tenant of Data 360, and a server that misbehaves in its place."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from prefect_atomic import SalesforceData360, instant_retries
from prefect_atomic.sandbox import Sandbox
from tests.e2e.servers.faulty import Answer, CapturedRequest, FaultServer

SOURCE = "prefect_connector"
ORDERS = "orders_1c2d3e4f"
CONTACTS = "contacts_734a9fa2"


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


def block_for(sandbox: Sandbox, **fields: Any) -> SalesforceData360:
    account = sandbox.accounts.data_360
    given = {
        "login_url": account.login_url,
        "client_id": account.client_id,
        "client_secret": account.client_secret,
        "dataspace": account.dataspace,
    }
    return SalesforceData360(**{**given, **fields})


@pytest.fixture
def crm(sandbox: Sandbox) -> SalesforceData360:
    return block_for(sandbox)


def order(number: int, **fields: Any) -> dict[str, Any]:
    return {"order_id": f"o-{number}", "amount": number, "placed_at": "2026-01-31T09:00:00.000Z", **fields}


def orders(sandbox: Sandbox) -> dict[str, Any]:
    """What the sandbox has, by id."""
    return dict(sandbox.data_360()["objects"][ORDERS])


Respond = Callable[[CapturedRequest], Answer | str]


class Tenant:
    """A tenant that answers as a test says. Signing in works."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server
        self.answer: Respond = lambda request: as_json(404, message="there is nothing")
        self.tokens = 0
        server.handler = self._respond

    def block(self, **fields: Any) -> SalesforceData360:
        given = {"login_url": self.server.url, "client_id": "app", "client_secret": "s3cret-of-the-app"}
        return SalesforceData360(**{**given, **fields})

    def asked(self) -> list[CapturedRequest]:
        """What reached the tenant."""
        return [request for request in self.server.requests if not request.path.startswith("/services/")]

    def _respond(self, request: CapturedRequest) -> Answer | str:
        if not request.path.startswith("/services/"):
            return self.answer(request)
        self.tokens += 1
        host = f"127.0.0.1:{self.server.port}"
        return as_json(
            access_token=f"tenant-t0ken-{self.tokens}", token_type="Bearer", expires_in=7200, instance_url=host
        )


@pytest.fixture
def tenant() -> Iterator[Tenant]:
    with FaultServer() as server:
        yield Tenant(server)


def as_json(status: int = 200, /, headers: Any = (), **fields: Any) -> Answer:
    return Answer(status, [("Content-Type", "application/json"), *headers], json.dumps(fields).encode())
