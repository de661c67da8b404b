"""SalesforceData360: two steps to a token, run again together, and the host that came with it."""

import json
from typing import Any
from urllib.parse import parse_qsl

import anyio
import httpx
import pytest

from prefect_atomic import CredentialError, ResponseError, SalesforceData360, send_request
from tests.e2e.servers.faulty import Answer, CapturedRequest, FaultServer

SECRET = "s3cret-of-the-app"
CORE, EXCHANGE = "/services/oauth2/token", "/services/a360/token"


def as_json(status: int = 200, **fields: Any) -> Answer:
    return Answer(status, [("Content-Type", "application/json")], json.dumps(fields).encode())


class Salesforce:
    """Both steps and the tenant on one server; it numbers its tokens, and each core token is good for one exchange."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server
        self.url = f"http://127.0.0.1:{server.port}"
        self.instance_url: Any = "abc123.c360a.salesforce.com"
        self.answers: dict[str, Answer | str] = {}
        self.revoked: set[str] = set()
        self._unused_core: set[str] = set()
        server.handler = self._answer

    def asked(self, path: str) -> list[CapturedRequest]:
        return [request for request in self.server.requests if request.path == path]

    def _answer(self, sent: CapturedRequest) -> Answer | str:
        if sent.path in self.answers:
            return self.answers[sent.path]
        number = len(self.asked(sent.path))
        if sent.path == CORE:
            self._unused_core.add(f"core-t0ken-{number}")
            return as_json(access_token=f"core-t0ken-{number}", token_type="Bearer", scope="cdp_api api")
        if sent.path == EXCHANGE:
            subject = dict(parse_qsl(sent.body.decode()))["subject_token"]
            if subject not in self._unused_core:
                return as_json(400, error="invalid_grant", error_description="token was exchanged before")
            self._unused_core.remove(subject)
            fields = {"instance_url": self.instance_url} if self.instance_url is not None else {}
            return as_json(access_token=f"tenant-t0ken-{number}", token_type="Bearer", expires_in=7200, **fields)
        token = (sent.header("authorization") or "").removeprefix("Bearer ")
        return Answer(401 if token in self.revoked else 200, body=token.encode())


@pytest.fixture
def salesforce(provider: FaultServer) -> Salesforce:
    return Salesforce(provider)


def data_360(salesforce: Salesforce, **fields: Any) -> SalesforceData360:
    given = {"login_url": salesforce.url, "client_id": "app", "client_secret": SECRET}
    return SalesforceData360(**{**given, **fields})


def form(request: CapturedRequest) -> list[tuple[str, str]]:
    assert request.method == "POST"
    assert request.header("content-type") == "application/x-www-form-urlencoded"
    return parse_qsl(request.body.decode(), strict_parsing=True)


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_first_step_asks_salesforce_for_a_core_token(salesforce: Salesforce, slash: str) -> None:
    data_360(salesforce, login_url=salesforce.url + slash).check()

    (request,) = salesforce.asked(CORE)
    assert form(request) == [
        ("grant_type", "client_credentials"),
        ("client_id", "app"),
        ("client_secret", SECRET),
    ]


def test_the_first_step_asks_for_the_scope_if_there_is_one(salesforce: Salesforce) -> None:
    data_360(salesforce, scope="cdp_api cdp_query_api").check()

    assert form(salesforce.asked(CORE)[0])[-1] == ("scope", "cdp_api cdp_query_api")


@pytest.mark.parametrize("dataspace", [None, "marketing space"])
def test_the_second_step_exchanges_it_for_the_dataspace(salesforce: Salesforce, dataspace: str | None) -> None:
    data_360(salesforce, **({"dataspace": dataspace} if dataspace else {})).check()

    (request,) = salesforce.asked(EXCHANGE)
    assert form(request) == [
        ("grant_type", "urn:salesforce:grant-type:external:cdp"),
        ("subject_token", "core-t0ken-1"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("dataspace", dataspace or "default"),
    ]


def test_the_token_of_the_second_step_is_the_one_that_is_sent(salesforce: Salesforce) -> None:
    with httpx.Client(auth=data_360(salesforce).auth()) as client:
        client.get(f"{salesforce.url}/api/v2/query")

    assert salesforce.server.requests[-1].header("authorization") == "Bearer tenant-t0ken-1"


@pytest.mark.parametrize(
    "instance_url",
    [
        "abc123.c360a.salesforce.com",
        "abc123.c360a.salesforce.com/",
        "https://abc123.c360a.salesforce.com",
        "https://abc123.c360a.salesforce.com/",
    ],
)
def test_the_host_is_the_tenants_whatever_form_it_came_in(salesforce: Salesforce, instance_url: str) -> None:
    salesforce.instance_url = instance_url
    credential = data_360(salesforce)

    assert credential.host() == "abc123.c360a.salesforce.com"
    assert anyio.run(credential.ahost) == "abc123.c360a.salesforce.com"
    assert credential.check().host == "abc123.c360a.salesforce.com"
    assert len(salesforce.asked(EXCHANGE)) == 1


@pytest.mark.parametrize("instance_url", [None, "", "https://", 17, {"host": "a"}, "\ud800"])
def test_without_a_host_there_is_no_token(salesforce: Salesforce, instance_url: Any) -> None:
    salesforce.instance_url = instance_url

    with pytest.raises(CredentialError, match=r"the Data 360 token exchange at .* answered without an instance_url"):
        data_360(salesforce).host()


@pytest.mark.parametrize(
    ("path", "step"), [(CORE, "the Salesforce token request"), (EXCHANGE, "the Data 360 token exchange")]
)
@pytest.mark.parametrize(
    ("behaviour", "said", "transient"),
    [
        (as_json(400, error="invalid_client", error_description=f"bad {SECRET}"), "answered 400 invalid_client", False),
        (Answer(200, [("Content-Type", "text/html")], b"<html>Login</html>"), "with text/html where JSON", False),
        (Answer(302, [("Location", "https://login.salesforce.com/")]), "answered 302, a redirect to", False),
        (as_json(200, token_type="Bearer"), "answered without an access_token", False),
        (as_json(503, error="unavailable"), "answered 503 unavailable", True),
        ("close", "failed", True),
    ],
)
def test_a_step_that_fails_says_which_and_why(
    salesforce: Salesforce, path: str, step: str, behaviour: Answer | str, said: str, transient: bool
) -> None:
    salesforce.answers[path] = behaviour

    with pytest.raises(CredentialError) as refusal:
        data_360(salesforce).check()

    assert str(refusal.value).startswith(f"SalesforceData360: {step} at {salesforce.url}{path} ")
    assert said in str(refusal.value)
    assert SECRET not in str(refusal.value)
    assert refusal.value.transient is transient
    assert len(salesforce.asked(path)) == 1
    assert path == EXCHANGE or not salesforce.asked(EXCHANGE)


def test_the_core_token_is_not_shown_when_the_exchange_echoes_it(salesforce: Salesforce) -> None:
    salesforce.answers[EXCHANGE] = as_json(400, error="invalid_grant", error_description="no good: core-t0ken-1")

    with pytest.raises(CredentialError, match=r"no good: \*\*\*"):
        data_360(salesforce).check()


def test_a_401_of_the_tenant_runs_both_steps_again_once(salesforce: Salesforce) -> None:
    credential = data_360(salesforce)
    credential.check()
    salesforce.revoked = {"tenant-t0ken-1"}

    # The token is masked in the answer that echoes it.
    assert send_request.fn("POST", f"{salesforce.url}/query", credential=credential, json={"sql": "SELECT 1"}).text

    assert len(salesforce.asked(CORE)) == len(salesforce.asked(EXCHANGE)) == 2
    assert [call.header("authorization") for call in salesforce.asked("/query")] == [
        "Bearer tenant-t0ken-1",
        "Bearer tenant-t0ken-2",
    ]


def test_a_tenant_that_refuses_every_token_is_asked_twice(salesforce: Salesforce) -> None:
    credential = data_360(salesforce)
    credential.check()
    salesforce.revoked = {"tenant-t0ken-1", "tenant-t0ken-2"}

    with pytest.raises(ResponseError, match="answered 401"):
        send_request.fn("GET", f"{salesforce.url}/query", credential=credential)

    assert len(salesforce.asked(CORE)) == len(salesforce.asked(EXCHANGE)) == 2
    assert len(salesforce.asked("/query")) == 2
