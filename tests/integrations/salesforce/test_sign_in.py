"""The four ways to a session: one request each for everybody, and clear words where there is none."""

import json
from collections.abc import Callable
from urllib.parse import parse_qs

import pytest

from prefect_atomic import CredentialError, ResponseError, Salesforce, send_request
from prefect_atomic.sandbox import Sandbox
from tests.e2e.servers.faulty import Answer, FaultServer

TOKEN, SOAP = "POST /services/oauth2/token", "POST /services/Soap/u"


def ways(sandbox: Sandbox) -> dict[str, dict[str, str]]:
    account = sandbox.accounts.salesforce
    app = {"client_id": account.client_id, "client_secret": account.client_secret}
    jwt = {"client_id": account.client_id, "username": account.username, "private_key": account.private_key}
    user = {"username": account.username, "password": account.password, "security_token": account.security_token}
    return {"app": app, "jwt": jwt, "user": user}


@pytest.mark.parametrize(("way", "asked"), [("app", TOKEN), ("jwt", TOKEN), ("user", SOAP)])
def test_each_way_leads_to_a_session_that_blocks_share(sandbox: Sandbox, way: str, asked: str) -> None:
    """The sandbox verifies secret, signature and password; a second block asks for nothing."""
    fields = {"domain": sandbox.accounts.salesforce.login_url, **ways(sandbox)[way]}
    first, second = Salesforce(**fields), Salesforce(**fields)
    try:
        assert first.create("Account", {"Name": "One"}).success
        assert [row["Name"] for row in second.query("SELECT Name FROM Account")] == ["One"]
        assert sandbox.calls()[asked] == 1
        assert first.check().host == sandbox.url.partition("://")[2]
    finally:
        first.invalidate()


def test_a_session_that_exists_already_is_used_and_not_renewed(crm: Salesforce, sandbox: Sandbox) -> None:
    """There is nothing to renew it with: a rejection is told at once, by one request."""
    session = crm._token().token.value
    block = Salesforce(session_id=session, instance_url=sandbox.url)
    assert list(block.query("SELECT Name FROM Account")) == []
    sandbox.revoke()
    before = sandbox.calls()["GET /services/data/{version}/query"]
    with pytest.raises(ResponseError, match="401"):
        next(block.query("SELECT Name FROM Account"), None)
    assert sandbox.calls()["GET /services/data/{version}/query"] == before + 1
    block.invalidate()


@pytest.mark.parametrize("way", ["app", "jwt", "user"])
def test_a_wrong_secret_is_told_without_it(sandbox: Sandbox, way: str) -> None:
    """The message has the step and Salesforce's reason."""
    from prefect_atomic import KeyPair

    wrong = {"app": "client_secret", "jwt": "private_key", "user": "password"}[way]
    secret = KeyPair.generate().private_key.get_secret_value() if way == "jwt" else "wr0ng-s3cret"
    block = Salesforce(domain=sandbox.url, **{**ways(sandbox)[way], wrong: secret})
    with pytest.raises(CredentialError) as raised:
        block.check()
    assert "invalid" in str(raised.value).lower()
    assert "wr0ng" not in str(raised.value)
    assert not raised.value.transient


def test_a_login_host_that_refuses_client_credentials_is_told(
    make: Callable[..., Salesforce], sandbox: Sandbox
) -> None:
    """In Salesforce's own words."""
    sandbox.set_salesforce(client_credentials_refused=True)
    with pytest.raises(CredentialError, match="request not supported on this domain"):
        make().check()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(200, [("Content-Type", "text/html")], b"<html>Log in</html>"), "text/html where JSON was expected"),
        (Answer(400, [("Content-Type", "application/json")], b'{"error":"invalid_grant"}'), "invalid_grant"),
        (Answer(200, [], json.dumps({"access_token": "t0ken"}).encode()), "without an instance_url"),
        (Answer(503, [], b""), "answered 503"),
        ("close", "failed"),
        ("garbage", "failed"),
    ],
)
def test_what_is_no_token_is_told(server: FaultServer, answer: Answer | str, told: str) -> None:
    """Whatever comes instead."""
    server.handler = lambda request: answer
    block = Salesforce(domain=f"http://127.0.0.1:{server.port}", client_id="3MVG9", client_secret="s3cret-of-the-app")
    with pytest.raises(CredentialError, match=told) as raised:
        block.check()
    assert "s3cret-of-the-app" not in str(raised.value)


@pytest.mark.parametrize(
    "answer", [Answer(200, [], b"no XML"), Answer(500, [], b"<fault>s3cret-of-me</fault>"), "close"]
)
def test_a_login_by_soap_that_fails_is_told(server: FaultServer, answer: Answer | str) -> None:
    """simple-salesforce quotes what came back; here nothing secret of it is left."""
    server.handler = lambda request: answer
    block = Salesforce(domain=f"http://127.0.0.1:{server.port}", username="me", password="s3cret-of-me")
    with pytest.raises(CredentialError, match="the Salesforce login") as raised:
        block.check()
    assert "s3cret-of-me" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_wrong_subdomain_is_a_host_that_is_not_there(server: FaultServer) -> None:
    """Nobody answers there."""
    port = server.port
    server.handler = lambda request: "reset"
    block = Salesforce(domain=f"http://127.0.0.1:{port}", client_id="3MVG9", client_secret="s3cret-of-the-app")
    with pytest.raises(CredentialError, match=r"127\.0\.0\.1") as raised:
        block.check()
    assert raised.value.transient


def test_an_instance_in_the_clear_gets_no_token(server: FaultServer) -> None:
    """An https login does not lead to http; here the login is on loopback, where that is allowed."""
    body = json.dumps({"access_token": "t0ken", "instance_url": f"127.0.0.1:{server.port}"}).encode()
    server.handler = lambda request: Answer(200, [("Content-Type", "application/json")], body)
    block = Salesforce(domain=f"http://127.0.0.1:{server.port}", client_id="3MVG9", client_secret="s3cret-of-the-app")
    assert block._token().token.attributes["base_url"] == f"http://127.0.0.1:{server.port}"
    sent = parse_qs(server.requests[0].body.decode())
    assert sent == {
        "grant_type": ["client_credentials"],
        "client_id": ["3MVG9"],
        "client_secret": ["s3cret-of-the-app"],
    }


def test_it_is_a_credential_for_any_endpoint(crm: Salesforce, sandbox: Sandbox) -> None:
    """`send_request` proves itself with the same session, and a session that ended is renewed once."""
    url = f"{sandbox.url}/services/data/v62.0/limits"
    assert send_request.fn("GET", url, credential=crm).status_code == 200
    sandbox.revoke()
    assert send_request.fn("GET", url, credential=crm).status_code == 200
    assert sandbox.calls()[TOKEN] == 2


def test_bulk_1_says_400_where_others_say_401(crm: Salesforce, sandbox: Sandbox) -> None:
    """Its session is in a header of its own, which simple-salesforce fills in; see `test_client`."""
    import httpx

    body = b'{"exceptionCode":"InvalidSessionId","exceptionMessage":"Invalid session id"}'
    for path, expected in (("/services/async/62.0/job", True), ("/services/data/v62.0/query", False)):
        answer = httpx.Response(400, content=body, request=httpx.Request("GET", f"{sandbox.url}{path}"))
        assert crm._rejects(answer) is expected
