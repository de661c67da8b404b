"""simple-salesforce, unpatched, on the shared session: renewed once wherever it ends, and no secret in an error."""

import logging
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import requests
import simple_salesforce.bulk
import simple_salesforce.bulk2
from simple_salesforce.exceptions import SalesforceError, SalesforceExpiredSession, SalesforceMalformedRequest

from prefect_atomic import DestinationError, QuotaError, Salesforce
from prefect_atomic.sandbox import Sandbox
from tests.e2e.servers.faulty import Answer, FaultServer

TOKEN = "POST /services/oauth2/token"
QUERY = "/services/data/{version}/query/"
CALLS: dict[str, Callable[[Any], Any]] = {
    "query": lambda client: client.query("SELECT Id FROM Contact"),
    "an object": lambda client: client.Contact.create({"LastName": "x"}),
    "a path": lambda client: client.restful("limits"),
    "bulk": lambda client: client.bulk.Contact.insert([{"LastName": "x"}]),
    "bulk2": lambda client: client.bulk2.Contact.insert(records=[{"LastName": "x"}]),
    "a query by bulk2": lambda client: list(client.bulk2.Contact.query("SELECT Id FROM Contact")),
}


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """simple-salesforce waits 5 seconds between two looks at a job."""
    for module in (simple_salesforce.bulk, simple_salesforce.bulk2):
        monkeypatch.setattr(module, "sleep", lambda seconds: None)


@pytest.fixture(params=["INVALID_SESSION_ID", "INVALID_AUTH_HEADER", "INVALID_JWT_FORMAT"])
def code(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_session_that_ended_is_renewed_once(crm: Salesforce, sandbox: Sandbox, call: Any, code: str) -> None:
    """In every part of it, whatever the code: a client that was made before goes on."""
    client = crm.get_client()
    call(client)
    sandbox.set_salesforce(session_error=code)
    sandbox.revoke()
    call(client)
    assert sandbox.calls()[TOKEN] == 2


@pytest.mark.parametrize(
    ("call", "path"),
    [("query", "query/"), ("an object", "sobjects/{object}/"), ("bulk2", "jobs/ingest")],
)
def test_a_session_that_is_never_accepted_ends_in_an_error(
    crm: Salesforce, sandbox: Sandbox, call: str, path: str
) -> None:
    """simple-salesforce alone would sign in for ever in some of these places."""
    client = crm.get_client()
    body = [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]
    sandbox.misbehave(f"/services/data/{{version}}/{path}", status=401, body=body)
    with pytest.raises(SalesforceExpiredSession):
        CALLS[call](client)
    assert sandbox.calls()[TOKEN] == 2


def test_a_handler_that_was_kept_reads_the_session_anew(crm: Salesforce, sandbox: Sandbox) -> None:
    """simple-salesforce copies the session id into it."""
    client = crm.get_client()
    contact, bulk2 = client.Contact, client.bulk2.Contact
    for _ in range(3):
        sandbox.revoke()
        contact.create({"LastName": "x"})
        bulk2.insert(records=[{"LastName": "y"}])
    assert sandbox.calls()[TOKEN] == 4
    assert client.session_id == crm._token().token.value


def test_a_401_that_is_no_json_is_an_expired_session(crm: Salesforce, sandbox: Sandbox) -> None:
    """simple-salesforce looks for a list of objects in it."""
    client = crm.get_client()
    sandbox.misbehave(QUERY, status=401, body="<html>no</html>", content_type="text/html")
    with pytest.raises(SalesforceExpiredSession):
        client.query("SELECT Id FROM Contact")


def test_an_error_has_neither_the_query_nor_a_secret(crm: Salesforce, sandbox: Sandbox) -> None:
    """An answer that echoes the token and the secret is masked, and the URL has no values."""
    secret, token = crm.client_secret.get_secret_value(), crm._token().token.value
    client = crm.get_client()
    body = [{"message": f"{{secret}} {secret} {token}", "errorCode": "X"}]
    sandbox.misbehave(QUERY, status=400, body=body)
    with pytest.raises(SalesforceMalformedRequest) as raised:
        client.query("SELECT Id FROM Contact WHERE Email = 'private@example.com'")
    told = f"{raised.value} {raised.value!r} {raised.value.content!r} {raised.value.url}"
    for part in (secret, token, "private@example.com", "private%40example.com"):
        assert part not in told
    assert "errorCode" in told


def test_a_lost_connection_is_told_without_the_request(server: FaultServer, crm: Salesforce, sandbox: Sandbox) -> None:
    """requests hangs the request on its errors, and with it the token; Prefect pickles what a run raises."""
    client = crm.get_client()
    token = crm._token().token.value
    sandbox.misbehave(QUERY, cut=True)
    with pytest.raises(requests.ConnectionError) as raised:
        client.query("SELECT Id FROM Contact WHERE Email = 'private@example.com'")
    assert raised.value.request is None
    assert raised.value.__cause__ is None
    for form in (str(raised.value), repr(raised.value.args), repr(pickle.dumps(raised.value))):
        assert token not in form
        assert "private" not in form


def test_an_answer_that_is_handed_out_does_not_have_the_proof(crm: Salesforce) -> None:
    """The request that simple-salesforce made hangs on it."""
    client = crm.get_client()
    answer = client.session.get(f"{client.base_url}limits")
    assert answer.status_code == 200
    assert crm._token().token.value not in f"{answer.request.headers} {pickle.dumps(answer)!r}"


def test_nothing_is_logged_that_is_secret(crm: Salesforce, caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG, by requests, urllib3 and simple-salesforce."""
    with caplog.at_level(logging.DEBUG):
        client = crm.get_client()
        client.query("SELECT Id FROM Contact")
        client.bulk2.Contact.insert(records=[{"LastName": "x"}])
        crm.create("Contact", {"LastName": "y"})
    assert crm.client_secret.get_secret_value() not in caplog.text
    assert crm._token().token.value not in caplog.text


def test_it_ends_where_an_org_does_not_answer(make: Callable[..., Salesforce], sandbox: Sandbox) -> None:
    """There is a time-out, and it may be another for one call."""
    client = make(timeout=0.2).get_client()
    sandbox.misbehave(QUERY, hang=True)
    with pytest.raises(requests.ReadTimeout):
        client.query("SELECT Id FROM Contact")


def test_another_host_gets_no_session(crm: Salesforce, server: FaultServer) -> None:
    """Nor does one that a redirect leads to."""
    client = crm.get_client()
    with pytest.raises(DestinationError):
        client.session.get(f"http://127.0.0.1:{server.port}/")
    assert server.requests == []


def test_a_redirect_is_not_followed(crm: Salesforce, sandbox: Sandbox, server: FaultServer) -> None:
    """The session would go along."""
    client = crm.get_client()
    sandbox.misbehave(QUERY, status=302, headers={"Location": f"http://127.0.0.1:{server.port}/"})
    with pytest.raises(SalesforceError):
        client.query("SELECT Id FROM Contact")
    assert server.requests == []


def test_an_org_that_moved_is_followed(server: FaultServer, crm: Salesforce, sandbox: Sandbox) -> None:
    """A new session may be at another instance; simple-salesforce keeps the first."""
    import json

    state = {"instance": sandbox.url, "token": "first-t0ken", "rejected": False}

    def answer(request: Any) -> Answer:
        if request.path == "/services/oauth2/token":
            body = {"access_token": state["token"], "instance_url": state["instance"], "token_type": "Bearer"}
            return Answer(200, [("Content-Type", "application/json")], json.dumps(body).encode())
        return Answer(200, [("Content-Type", "application/json")], b'{"totalSize": 7, "done": true, "records": []}')

    server.handler = answer
    own = f"http://127.0.0.1:{server.port}"
    block = Salesforce(domain=own, client_id="3MVG9", client_secret="s3cret-of-the-app")
    client = block.get_client()
    state["instance"], state["token"] = own, "second-t0ken"
    assert client.query("SELECT Id FROM Contact")["totalSize"] == 7  # the sandbox rejects the first
    assert server.requests[-1].header("authorization") == "Bearer second-t0ken"
    block.invalidate()


def test_usage_is_noted_and_its_floor_holds(make: Callable[..., Salesforce], sandbox: Sandbox) -> None:
    """What simple-salesforce spends counts too."""
    crm = make(stop_at_usage=0.5)
    client = crm.get_client()
    sandbox.set_salesforce(api_limit=1000, api_used=498)
    client.query("SELECT Id FROM Contact")
    client.query("SELECT Id FROM Contact")
    assert crm.usage() is not None
    with pytest.raises(QuotaError):
        client.query("SELECT Id FROM Contact")


def test_a_client_is_not_pickled(crm: Salesforce) -> None:
    """Its pickle would have the session in it."""
    with pytest.raises(TypeError, match="Pass the block"):
        pickle.dumps(crm.get_client())


def test_the_metadata_api_gets_the_session_of_now(crm: Salesforce, sandbox: Sandbox) -> None:
    """It keeps the one that it is made with, so it is made anew."""
    client = crm.get_client()
    first = client.mdapi._session_id
    sandbox.revoke()
    client.query("SELECT Id FROM Contact")
    assert client.mdapi._session_id != first
