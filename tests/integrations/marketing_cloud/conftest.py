"""A sandbox that plays a tenant of Marketing Cloud, and a server that misbehaves in its place."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from prefect_atomic import SalesforceMarketingCloud, instant_retries
from prefect_atomic.sandbox import Sandbox
from tests.e2e.servers.faulty import Answer, CapturedRequest, FaultServer

REST = "/marketing-cloud/rest"
ROWSET = f"{REST}/hub/v1/dataevents/{{key}}/rowset"
ASYNC = f"{REST}/data/v1/async/dataextensions/{{key}}/rows"
STATUS = f"{REST}/data/v1/async/{{requestId}}/status"
RESULTS = f"{REST}/data/v1/async/{{requestId}}/results"
READ = f"{REST}/data/v1/customobjectdata/key/{{key}}/rowset"
EVENTS = f"{REST}/interaction/v1/async/events"
EVENT = f"{REST}/interaction/v1/events"
TOKEN = "/marketing-cloud/v2/token"

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


def block_for(sandbox: Sandbox, **fields: Any) -> SalesforceMarketingCloud:
    account = sandbox.accounts.marketing_cloud
    given = {
        "subdomain": "sandbox",
        "auth_url": account.auth_url,
        "client_id": account.client_id,
        "client_secret": account.client_secret,
        "account_id": account.account_id,
    }
    return SalesforceMarketingCloud(**{**given, **fields})


@pytest.fixture
def marketing_cloud(sandbox: Sandbox) -> SalesforceMarketingCloud:
    return block_for(sandbox)


def _sync(method: Call, *arguments: Any, **options: Any) -> Any:
    result = method(*arguments, **options)
    return list(result) if isinstance(result, Iterator) else result


def _async(method: Call, *arguments: Any, **options: Any) -> Any:
    twin = getattr(method.__self__, f"a{method.__name__}")

    async def call() -> Any:
        result = twin(*arguments, **options)
        return [item async for item in result] if hasattr(result, "__aiter__") else await result

    return asyncio.run(call())


@pytest.fixture(params=[_sync, _async], ids=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Calls a method, or its asynchronous twin; what an iterator yields comes as a list."""
    return request.param


def row(number: int, **fields: Any) -> dict[str, Any]:
    return {"EventId": f"e-{number}", "UserId": f"user-{number}", "Type": "card-completed", **fields}


def stored(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """The rows of the data extension Events, by their key."""
    return {each["EventId"]: each for each in sandbox.marketing_cloud()["data_extensions"]["Events"]}


def entered(sandbox: Sandbox) -> list[str]:
    """Who entered a journey, in their order; who entered twice is there twice."""
    return [each["contactKey"] for each in sandbox.marketing_cloud()["events"]]


Respond = Callable[[CapturedRequest], Answer | str]


class Tenant:
    """A tenant that answers as a test says. Its tokens are given out as long as `token` says so."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server
        self.answer: Respond = lambda request: as_json(404, message="there is nothing")
        self.tokens = 0
        self.token: dict[str, Any] = {}
        server.handler = self._respond

    def block(self, **fields: Any) -> SalesforceMarketingCloud:
        given = {"subdomain": "t1", "auth_url": self.server.url, "client_id": "app", "client_secret": "s3cret-of-it"}
        return SalesforceMarketingCloud(**{**given, **fields})

    def asked(self) -> list[CapturedRequest]:
        """What reached the API."""
        return [request for request in self.server.requests if request.path != "/v2/token"]

    def _respond(self, request: CapturedRequest) -> Answer | str:
        if request.path != "/v2/token":
            return self.answer(request)
        self.tokens += 1
        usual = {"access_token": f"t0ken-{self.tokens}", "token_type": "Bearer", "expires_in": 1079}
        return as_json(**{**usual, "rest_instance_url": f"{self.server.url}/", **self.token})


@pytest.fixture
def tenant() -> Iterator[Tenant]:
    with FaultServer() as server:
        yield Tenant(server)


def nobody() -> str:
    """A URL at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}/"


def as_json(status: int = 200, /, headers: Any = (), **fields: Any) -> Answer:
    return Answer(status, [("Content-Type", "application/json"), *headers], json.dumps(fields).encode())
