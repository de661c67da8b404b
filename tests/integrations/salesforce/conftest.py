"""A sandbox that plays an org, a block for it, and a server that misbehaves."""

from collections.abc import Callable, Iterator

import pytest

from prefect_atomic import Salesforce, instant_retries
from prefect_atomic.integrations.salesforce import usage
from prefect_atomic.sandbox import Sandbox
from tests.e2e.servers.faulty import FaultServer


@pytest.fixture(autouse=True)
def _without_waits() -> Iterator[None]:
    with instant_retries():
        yield


@pytest.fixture(autouse=True)
def _without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")


@pytest.fixture(autouse=True)
def _without_usage() -> None:
    usage._last.clear()


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox.start() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Sandbox:
    running_sandbox.reset()
    return running_sandbox


@pytest.fixture
def make(sandbox: Sandbox) -> Iterator[Callable[..., Salesforce]]:
    """Makes a block for the sandbox's org; its session is forgotten in the end."""
    made: list[Salesforce] = []

    def make(**fields: object) -> Salesforce:
        account = sandbox.accounts.salesforce
        given = {
            "domain": account.login_url,
            "client_id": account.client_id,
            "client_secret": account.client_secret,
        }
        made.append(Salesforce(**{**given, **fields}))
        return made[-1]

    yield make
    for block in made:
        block.invalidate()


@pytest.fixture
def crm(make: Callable[..., Salesforce]) -> Salesforce:
    return make()


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server
