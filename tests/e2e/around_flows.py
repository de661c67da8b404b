"""What the tests of the flows share: a bucket to work on, and what Prefect is made to forget between two tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from prefect.client.orchestration import get_client
from prefect.variables import Variable

from prefect_atomic import Marketo, S3Bucket

if TYPE_CHECKING:
    from prefect_atomic.sandbox import Sandbox
    from tests.e2e.servers.moto import MotoServer

MARKS = [
    pytest.mark.prefect_server,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


def empty_bucket(server: MotoServer, name: str, **more: Any) -> S3Bucket:
    """The bucket `name` of moto's, which exists and is empty, as a block that is not saved."""
    client = server.client("s3", server.user)
    client.create_bucket(Bucket=name)
    client.close()
    bucket = S3Bucket(
        bucket=name,
        region=server.region,
        endpoint_url=server.url,
        access_key_id=server.user.access_key_id,
        secret_access_key=server.user.secret_access_key,
        **more,
    )
    for each in bucket.list_objects():
        bucket.delete_object(each)
    return bucket


def marketo_of(sandbox: Sandbox) -> Marketo:
    account = sandbox.accounts.marketo
    return Marketo(
        rest_endpoint=account.rest_url,
        identity_endpoint=account.identity_url,
        client_id=account.client_id,
        client_secret=account.client_secret,
    )


def forget_state(prefix: str) -> None:
    """Remove the variables in which the flows remember how far they are."""
    with get_client(sync_client=True) as client:
        for variable in client.request("POST", "/variables/filter", json={"limit": 200}).json():
            if variable["name"].startswith(prefix):
                Variable.unset(variable["name"], _sync=True)


def let_go_of_leases(prefix: str) -> None:
    """What Prefect does a minute after a holder was killed."""
    with get_client(sync_client=True) as client:
        for limit in client.request("POST", "/v2/concurrency_limits/filter", json={"limit": 200}).json():
            if limit["name"].startswith(prefix):
                client.request("DELETE", f"/v2/concurrency_limits/{limit['name']}")
