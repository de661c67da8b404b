"""Buckets on moto: one server for all tests here, and a new bucket for each."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from secrets import token_hex
from typing import Any

import pytest

from prefect_atomic import S3Bucket
from prefect_atomic.integrations.s3 import access
from tests.e2e.conftest import _no_aws_account as _no_aws_account
from tests.e2e.servers import missing
from tests.e2e.servers.moto import AwsKeys, MotoServer

Make = Callable[..., S3Bucket]
ANYBODY = AwsKeys("anybody", "secretKEYofANYBODY")


def _started(*, checks: bool) -> Iterator[MotoServer]:
    for name in ("moto", "flask"):
        if importlib.util.find_spec(name) is None:
            missing(f"{name} (PyPI, moto[server]) is not installed, and nothing else here is a whole S3")
    with MotoServer(checks=checks) as server:
        yield server


@pytest.fixture(scope="session")
def running_moto() -> Iterator[MotoServer]:
    yield from _started(checks=False)


@pytest.fixture(scope="session")
def running_checked_moto() -> Iterator[MotoServer]:
    yield from _started(checks=True)


@pytest.fixture
def moto(running_moto: MotoServer) -> Iterator[MotoServer]:
    """Without IAM checks: it believes everybody, and serves presigned URLs."""
    running_moto.forget()
    yield running_moto
    running_moto.fail()


@pytest.fixture
def checked_moto(running_checked_moto: MotoServer) -> Iterator[MotoServer]:
    """With IAM checks: it knows users and roles, and what they may do."""
    running_checked_moto.forget()
    yield running_checked_moto
    running_checked_moto.fail()


@pytest.fixture
def name(moto: MotoServer) -> str:
    """A bucket that is made anew."""
    return made_anew(moto, ANYBODY)


def made_anew(moto: MotoServer, keys: AwsKeys) -> str:
    name, client = f"bucket-{token_hex(8)}", moto.client("s3", keys)
    client.create_bucket(Bucket=name)
    client.close()
    return name


@pytest.fixture
def make(moto: MotoServer, name: str) -> Make:
    """Makes a block for the new bucket."""

    def made(**fields: Any) -> S3Bucket:
        given = {
            "bucket": name,
            "region": moto.region,
            "endpoint_url": moto.url,
            "access_key_id": ANYBODY.access_key_id,
            "secret_access_key": ANYBODY.secret_access_key,
        }
        return S3Bucket(**(given | fields))

    return made


@pytest.fixture
def files(make: Make) -> S3Bucket:
    """The folder `exports` of the new bucket."""
    return make(folder="exports")


@pytest.fixture
def raw(moto: MotoServer) -> Iterator[Any]:
    """A client that knows nothing of blocks."""
    client = moto.client("s3", ANYBODY)
    yield client
    client.close()


@pytest.fixture
def few_attempts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What fails fails soon: botocore waits seconds between five attempts."""
    soon = access.Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=5, read_timeout=5)
    monkeypatch.setattr(access, "_CONFIG", access._CONFIG.merge(soon))
    access.forget_clients()
    yield
    access.forget_clients()


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Says what AWS's standard chain finds in the environment."""

    def has(keys: AwsKeys | None, **variables: str) -> None:
        if keys:
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key_id)
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_access_key)
            if keys.session_token:
                monkeypatch.setenv("AWS_SESSION_TOKEN", keys.session_token)
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        access.forget_clients()

    yield has
    access.forget_clients()
