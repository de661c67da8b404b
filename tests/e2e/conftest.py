"""Servers for the end-to-end tests: started when the first test asks for one, stopped when the tests end."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.saving import schemas_made_once
from tests.e2e.servers import missing
from tests.e2e.servers.faulty import FaultServer

if TYPE_CHECKING:
    from prefect_atomic.sandbox import Sandbox
    from tests.e2e.prefect_server import PrefectServer
    from tests.e2e.servers.moto import MotoServer
    from tests.e2e.servers.oidc import OidcServer
    from tests.e2e.servers.s3rver import S3rver
    from tests.e2e.servers.swift import SwiftServer


@pytest.fixture(scope="session", autouse=True)
def _no_aws_account() -> Iterator[None]:
    """Keep AWS clients from this machine's account, profiles and metadata service, and loopback from proxies."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, "127.0.0.1,localhost")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        yield


@pytest.fixture(scope="session", autouse=True)
def _schemas_made_once() -> Iterator[None]:
    with schemas_made_once():
        yield


@pytest.fixture(scope="session")
def swift_server() -> Iterator[SwiftServer]:
    """OpenStack Swift, which verifies AWS signatures."""
    if importlib.util.find_spec("swift") is None:
        missing("swift (PyPI) is not installed, and nothing else here verifies AWS signatures independently")
    from tests.e2e.servers.swift import SwiftServer

    with SwiftServer() as server:
        yield server


@pytest.fixture(scope="session")
def moto_server() -> Iterator[MotoServer]:
    """moto with IAM checks on."""
    for name in ("moto", "flask", "boto3"):
        if importlib.util.find_spec(name) is None:
            missing(f"{name} (PyPI, moto[server]) is not installed, and nothing else here verifies session tokens")
    from tests.e2e.servers.moto import MotoServer

    with MotoServer() as server:
        yield server


@pytest.fixture(scope="session")
def oidc_server() -> Iterator[OidcServer]:
    """oidc-provider, an OAuth 2 authorization server."""
    from tests.e2e.servers.node import NotInstalledError, install, node_executable
    from tests.e2e.servers.oidc import OidcServer

    try:
        node_executable()
        install()
    except NotInstalledError as error:
        missing(f"{error}; without it no certified server judges our OAuth 2 token requests")
    with OidcServer() as server:
        yield server


@pytest.fixture(scope="session")
def s3rver() -> Iterator[S3rver]:
    """s3rver, an S3 server without checksums, which keeps objects as files."""
    from tests.e2e.servers.node import NotInstalledError, install, node_executable
    from tests.e2e.servers.s3rver import S3rver

    try:
        node_executable()
        install()
    except NotInstalledError as error:
        missing(f"{error}; without it the bucket is tested against one S3 server only")
    with S3rver() as server:
        yield server


@pytest.fixture(scope="module")
def shared_sandbox() -> Iterator[Sandbox]:
    """The sandbox of a module, whose tests reset it."""
    from prefect_atomic.sandbox import Sandbox

    with Sandbox.start() as sandbox:
        yield sandbox


@pytest.fixture
def limits_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder for Marketo's limits that is this test's own: all sandboxes are on one host."""
    from prefect_atomic.integrations.marketo import limits

    monkeypatch.setenv("PREFECT_ATOMIC_LIMITS_PATH", str(tmp_path / "limits"))
    limits.forget()
    yield str(tmp_path / "limits")
    limits.forget()


@pytest.fixture
def fault_server() -> Iterator[FaultServer]:
    """A new misbehaving, recording server for one test."""
    with FaultServer() as server:
        yield server


@pytest.fixture
def tls_fault_server() -> Iterator[FaultServer]:
    """The same over TLS, with a certificate that nobody trusts."""
    with FaultServer(tls=True) as server:
        yield server


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[PrefectServer]:
    """A Prefect server of its own, behind Basic auth."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    from tests.e2e.prefect_server import PrefectServer

    with PrefectServer() as server:
        yield server
        for worker in (APILogWorker, EventsWorker):  # what they still hold they would try to send for a minute
            worker.drain_all(timeout=30)


@pytest.fixture
def prefect_api(prefect_server: PrefectServer) -> Iterator[PrefectServer]:
    """The same server, with this process as its client."""
    with prefect_server.as_client():
        yield prefect_server
