"""`prefect-atomic check` and `sandbox`, as a person or a script runs them."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from prefect_atomic import BasicAuth, OAuthClientCredentials
from prefect_atomic.cli import main
from prefect_atomic.sandbox import Sandbox
from tests.e2e.prefect_server import PrefectServer

pytestmark = [pytest.mark.e2e, pytest.mark.prefect_server]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox.start() as sandbox:
        yield sandbox


@pytest.fixture
def slug(prefect_api: PrefectServer, sandbox: Sandbox) -> str:
    """A saved credential that the sandbox accepts."""
    sandbox.reset()
    account = sandbox.accounts.oauth
    OAuthClientCredentials(
        identity_url=f"{sandbox.url}/oauth/token",
        client_id=account.client_id,
        client_secret=account.client_secret,
        scope=account.scope,
        allowed_hosts=["*.example.com"],
    ).save("cli", overwrite=True)
    return "atomic-oauth-client-credentials/cli"


def test_check_prints_what_the_credential_got_and_no_secret(
    slug: str, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", slug]) == 0

    said = capsys.readouterr().out
    assert "leads.read, leads.write" in said
    assert "*.example.com" in said
    assert "UTC" in said
    assert sandbox.accounts.oauth.client_secret not in said
    assert sandbox.calls()["POST /oauth/token"] == 1


def test_check_prints_json_for_scripts(slug: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", slug, "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["name"]) == ("oauth-client-credentials", "cli")
    assert found["scopes"] == ["leads.read", "leads.write"]


def test_check_ends_with_1_where_the_provider_refuses(
    slug: str, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.misbehave("/oauth/token", status=400, body={"error": "invalid_client", "error_description": "{secret}"})

    assert main(["check", slug]) == 1

    said = capsys.readouterr().err
    assert "invalid_client" in said
    assert "'cli'" in said
    assert sandbox.accounts.oauth.client_secret not in said


def test_check_needs_no_token_for_a_credential_without_one(
    prefect_api: PrefectServer, capsys: pytest.CaptureFixture[str]
) -> None:
    BasicAuth(username="me", password="hunter2-and-more").save("cli", overwrite=True)

    assert main(["check", "atomic-basic-auth/cli"]) == 0

    assert "needs none" in capsys.readouterr().out


@pytest.mark.parametrize("slug", ["atomic-basic-auth/nobody", "nonsense", "no-such-type/crm"])
def test_check_ends_with_1_where_there_is_no_such_credential(
    prefect_api: PrefectServer, slug: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", slug]) == 1

    assert capsys.readouterr().err.startswith("slug: ")


def test_wrong_usage_ends_with_2() -> None:
    with pytest.raises(SystemExit) as end:
        main(["chekc"])

    assert end.value.code == 2


def test_the_sandbox_serves_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "prefect_atomic.cli", "sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[4].rstrip(",")
        assert httpx.get(f"{url}/_sandbox", trust_env=False).status_code == 200

        process.send_signal(signal.SIGINT)

        assert process.wait() == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/_sandbox", trust_env=False)
