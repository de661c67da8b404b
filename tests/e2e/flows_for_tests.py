"""Flows and blocks that a worker, a task worker or a process pool loads by name: they must stand in a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect import flow, get_run_logger
from prefect.blocks.core import Block
from prefect.task_runners import ProcessPoolTaskRunner
from pydantic import SecretStr

from prefect_atomic import (
    AnyCredential,
    AWSSignedRequest,
    BasicAuth,
    CustomHeaders,
    GoogleServiceAccount,
    KeyPair,
    OAuthClientCredentials,
    Response,
    send_request,
)


class HoldsACredential(Block):
    """A block of somebody else's that takes any credential."""

    _block_type_name = "Holds A Credential"
    _block_type_slug = "test-holds-a-credential"

    credential: AnyCredential
    note: str = "kept"


class Leaky(Block):
    """A block made wrong on purpose: Prefect shows the values of a plain dict, and its defaults."""

    _block_type_name = "Leaky"
    _block_type_slug = "test-leaky"

    values: dict[str, SecretStr]


@flow(name="call-with-credential", retries=0)
def call_with_credential(cred: AnyCredential, url: str) -> dict[str, Any]:
    """Sends one request with the credential it is given as a block."""
    response: Response = send_request("GET", url, credential=cred, retry=None)
    get_run_logger().info("answered %s to a %s", response.status_code, type(cred).__name__)
    return {"status": response.status_code, "class": type(cred).__name__}


@flow(name="call-with-slug", persist_result=True)
def call_with_slug(slug: str, url: str) -> Response:
    """Sends one request with the credential it is given as a slug; keeps the answer, or the failure."""
    return send_request("GET", url, credential=slug, retry=None)


@flow(name="call-all", persist_result=True)
def call_all(slugs: list[str], urls: list[str]) -> int:
    """Sends requests with many saved credentials at once; fails with the first failure after all are done."""
    futures = [
        send_request.with_options(persist_result=True).submit("GET", url, credential=slug, retry=None, timeout=5)
        for slug in slugs
        for url in urls
    ]
    for future in futures:
        future.wait()
    return sum(future.result().status_code for future in futures)


@flow(name="call-in-processes", persist_result=True, task_runner=ProcessPoolTaskRunner(max_workers=2))  # type: ignore[arg-type]
def call_in_processes(credentials: list[Any], urls: list[str]) -> list[str]:
    """Carries credentials, as blocks or as slugs, to other processes; returns what became of each request."""
    task = send_request.with_options(persist_result=True)
    futures = [
        task.submit("GET", url, credential=credential, retry=None, timeout=5)
        for credential in credentials
        for url in urls
    ]
    outcomes = [future.result(raise_on_failure=False) for future in futures]
    return [str(outcome) for outcome in outcomes]


@flow(name="break-a-credential", persist_result=True)
def break_a_credential(number: int) -> None:
    """Fails as a user's flow does that makes a credential of the wrong pieces."""
    broken_credentials()[number]()


def broken_credentials() -> list[Callable[[], Any]]:
    from tests.e2e import one_of_each as samples

    pem = samples.rsa_pem()
    return [
        lambda: KeyPair(private_key=pem.replace(pem.splitlines()[3], "")),
        lambda: KeyPair(private_key=pem, algorithm="ES256"),
        lambda: KeyPair(private_key=samples.encrypted_pem(), private_key_passphrase=samples.PASSPHRASE + "wrong"),
        lambda: GoogleServiceAccount(client_email="a@b", private_key=samples.API_KEY, scopes=["a"]),
        lambda: BasicAuth(username="user", pasword=samples.PASSWORD),
        lambda: BasicAuth(username="user", password=[samples.PASSWORD]),
        lambda: BasicAuth(username="user:" + samples.PASSWORD, password=samples.PASSWORD),
        lambda: CustomHeaders(headers={"X-Api-Key": samples.API_KEY + "\n"}),
        lambda: CustomHeaders(headers={"X-Api-Key": [samples.API_KEY]}),
        lambda: CustomHeaders(headers=samples.API_KEY),
        lambda: AWSSignedRequest(access_key_id="a/b", secret_access_key=samples.AWS_SECRET, service="s3", region=5),
        lambda: OAuthClientCredentials(identity_url="/token", client_id="a", client_secret=samples.OAUTH_SECRET),
        lambda: OAuthClientCredentials(
            identity_url="https://a.example",
            client_id="a",
            client_secret="b",
            extra_parameters={"a": {"b": samples.EXTRA_PARAMETER}},
        ),
        lambda: send_request.fn("GET", "https://a.example", headers={"X-Api-Key": samples.API_KEY + "\r\n"}),
        lambda: send_request.fn("GET", f"https://user:{samples.API_KEY}@a.example"),
    ]
