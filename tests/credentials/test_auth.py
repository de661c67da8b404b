"""`credential.auth()` in clients of the user's own: destinations, redirects, rejected tokens."""

import json
import ssl
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import anyio
import httpx
import pytest

from prefect_atomic import AWSSignedRequest, CustomHeaders, DestinationError, OAuthClientCredentials
from prefect_atomic.credentials import Credential
from tests.e2e.servers.faulty import Answer, CapturedRequest, FaultServer

Get = Callable[..., httpx.Response]


def _sync(credential: Credential, method: str, url: str, *, content: Any = None, **options: Any) -> httpx.Response:
    with httpx.Client(auth=credential.auth(), **options) as client:
        return client.request(method, url, content=content() if callable(content) else content)


def _async(credential: Credential, method: str, url: str, *, content: Any = None, **options: Any) -> httpx.Response:
    async def request() -> httpx.Response:
        async def stream() -> Any:
            for chunk in content():
                yield chunk

        async with httpx.AsyncClient(auth=credential.auth(), **options) as client:
            return await client.request(method, url, content=stream() if callable(content) else content)

    return anyio.run(request)


@pytest.fixture(params=[_sync, _async], ids=["Client", "AsyncClient"])
def ask(request: pytest.FixtureRequest) -> Get:
    """Sends one request with a client of the user's own, of either kind."""
    return request.param


@pytest.fixture
def elsewhere() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def at(server: FaultServer, path: str = "/", host: str = "127.0.0.1") -> str:
    return f"http://{host}:{server.port}{path}"


def api_key(**fields: Any) -> CustomHeaders:
    return CustomHeaders(headers={"X-Api-Key": "s3cret-of-the-header", "X-Tenant": "acme-tenant"}, **fields)


def oauth(identity: FaultServer, **fields: Any) -> OAuthClientCredentials:
    return OAuthClientCredentials(
        identity_url=at(identity, "/token"), client_id="client", client_secret="s3cret-of-the-client", **fields
    )


# -- destinations -------------------------------------------------------------------------------------------------


def test_a_host_that_is_not_allowed_gets_no_request(ask: Get, provider: FaultServer) -> None:
    with pytest.raises(DestinationError, match=r"may not be used at 127\.0\.0\.1.*api\.example\.com"):
        ask(api_key(allowed_hosts=["api.example.com"]), "GET", at(provider))

    assert provider.requests == []


def test_no_token_is_fetched_for_a_host_that_is_not_allowed(ask: Get, provider: FaultServer) -> None:
    with pytest.raises(DestinationError):
        ask(oauth(provider, allowed_hosts=["api.example.com"]), "GET", at(provider))

    assert provider.requests == []


def test_a_host_that_is_allowed_gets_the_request(ask: Get, provider: FaultServer) -> None:
    ask(api_key(allowed_hosts=["127.0.0.1"]), "GET", at(provider))

    assert provider.requests[0].header("x-api-key") == "s3cret-of-the-header"


# -- redirects ----------------------------------------------------------------------------------------------------


def redirect(to: str, status: int = 302) -> Answer:
    return Answer(status, [("Location", to)])


def test_a_redirect_to_the_same_origin_keeps_the_headers(ask: Get, provider: FaultServer) -> None:
    provider.script([redirect("/there")])

    ask(api_key(), "GET", at(provider), follow_redirects=True)

    assert provider.requests[1].header("x-api-key") == "s3cret-of-the-header"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["another port", "another host"])
def test_a_redirect_to_another_origin_takes_no_header_along(
    ask: Get, provider: FaultServer, elsewhere: FaultServer, host: str
) -> None:
    provider.script([redirect(at(elsewhere, host=host))])

    ask(api_key(), "GET", at(provider), follow_redirects=True)

    assert b"s3cret" not in elsewhere.requests[0].raw
    assert elsewhere.requests[0].header("x-tenant") is None


def test_headers_of_the_callers_own_do_go_along(ask: Get, provider: FaultServer, elsewhere: FaultServer) -> None:
    provider.script([redirect(at(elsewhere))])

    ask(api_key(), "GET", at(provider), follow_redirects=True, headers={"X-Request-Id": "42"})

    assert elsewhere.requests[0].header("x-request-id") == "42"


def test_a_redirect_to_an_allowed_host_takes_the_headers_along(
    ask: Get, provider: FaultServer, elsewhere: FaultServer
) -> None:
    provider.script([redirect(at(elsewhere, host="localhost"))])

    ask(api_key(allowed_hosts=["127.0.0.1", "localhost"]), "GET", at(provider), follow_redirects=True)

    assert elsewhere.requests[0].header("x-api-key") == "s3cret-of-the-header"


def test_a_redirect_to_a_host_that_is_not_allowed_is_not_followed(
    ask: Get, provider: FaultServer, elsewhere: FaultServer
) -> None:
    provider.script([redirect(at(elsewhere, host="localhost"))])

    with pytest.raises(DestinationError, match="localhost"):
        ask(api_key(allowed_hosts=["127.0.0.1"]), "GET", at(provider), follow_redirects=True)

    assert elsewhere.requests == []


def test_a_redirect_from_https_to_http_takes_no_header_along(
    ask: Get, provider: FaultServer, elsewhere: FaultServer
) -> None:
    with FaultServer(tls=True) as secure:
        secure.script([redirect(at(elsewhere))])
        url, trust = f"https://127.0.0.1:{secure.port}/", ssl.create_default_context(cafile=secure.ca_file)

        ask(api_key(allowed_hosts=["127.0.0.1"]), "GET", url, follow_redirects=True, verify=trust)

    assert b"s3cret" not in elsewhere.requests[0].raw


def test_a_bearer_token_is_not_taken_along(ask: Get, provider: FaultServer, elsewhere: FaultServer) -> None:
    provider.handler = lambda sent: "ok" if sent.path == "/token" else redirect(at(elsewhere))

    ask(oauth(provider), "GET", at(provider), follow_redirects=True)

    assert provider.requests[1].header("authorization") == "Bearer t0ken-of-the-provider"
    assert b"t0ken" not in elsewhere.requests[0].raw


@pytest.mark.parametrize("sign_query", [False, True], ids=["header", "query"])
def test_a_signature_is_not_taken_along(
    ask: Get, provider: FaultServer, elsewhere: FaultServer, sign_query: bool
) -> None:
    credential = AWSSignedRequest(
        access_key_id="AKIDEXAMPLE",
        secret_access_key="s3cret-of-the-key",
        session_token="t0ken-of-the-session",
        service="s3",
        region="eu-west-1",
        sign_query=sign_query,
    )
    provider.script([redirect(at(elsewhere, "/there"))])

    ask(credential, "GET", at(provider, "/bucket/a/%2e%2e/b"), follow_redirects=True)

    sent = elsewhere.requests[0]
    assert sent.target == "/there"
    assert [name for name, _ in sent.headers if name.lower().startswith(("x-amz-", "authorization"))] == []


def test_the_users_own_trace_is_still_called(provider: FaultServer) -> None:
    events: list[str] = []

    with httpx.Client(auth=api_key().auth()) as client:
        client.get(at(provider), extensions={"trace": lambda event, info: events.append(event)})

    assert "http11.send_request_headers.started" in events


def test_the_users_own_asynchronous_trace_is_still_called(provider: FaultServer) -> None:
    events: list[str] = []

    async def trace(event: str, info: object) -> None:
        events.append(event)

    async def get() -> None:
        async with httpx.AsyncClient(auth=api_key().auth()) as client:
            await client.get(at(provider), extensions={"trace": trace})

    anyio.run(get)

    assert "http11.send_request_headers.started" in events


# -- rejected tokens ----------------------------------------------------------------------------------------------


class Api:
    """An identity provider and an API in one: it numbers its tokens, and takes only those it still likes."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server
        self.minted = 0
        self.accepted = "token-1"
        self.refusal = Answer(401)
        server.handler = self._answer

    def _answer(self, sent: CapturedRequest) -> Answer | str:
        if sent.path == "/token":
            self.minted += 1
            body = {"access_token": f"token-{self.minted}", "token_type": "Bearer"}
            return Answer(headers=[("Content-Type", "application/json")], body=json.dumps(body).encode())
        return Answer(200) if sent.header("authorization") == f"Bearer {self.accepted}" else self.refusal

    @property
    def calls(self) -> list[CapturedRequest]:
        return [request for request in self.server.requests if request.path != "/token"]


@pytest.fixture
def api(provider: FaultServer) -> Api:
    return Api(provider)


def test_a_rejected_token_is_renewed_once_and_the_body_sent_again(ask: Get, api: Api) -> None:
    credential = oauth(api.server)
    ask(credential, "POST", at(api.server), content=b"first")
    api.accepted = "token-2"

    answer = ask(credential, "POST", at(api.server), content=b"second")

    assert answer.status_code == 200
    assert api.minted == 2
    assert [call.body for call in api.calls] == [b"first", b"second", b"second"]


def test_the_renewed_token_is_the_one_everybody_gets(ask: Get, api: Api) -> None:
    credential = oauth(api.server)
    ask(credential, "GET", at(api.server))
    api.accepted = "token-2"
    ask(credential, "GET", at(api.server))

    ask(oauth(api.server), "GET", at(api.server))

    assert api.minted == 2


def test_a_token_that_is_rejected_again_is_not_renewed_again(ask: Get, api: Api) -> None:
    credential = oauth(api.server)
    ask(credential, "GET", at(api.server))
    api.accepted = "no token at all"

    answer = ask(credential, "GET", at(api.server))

    assert answer.status_code == 401
    assert api.minted == 2
    assert len(api.calls) == 3


def test_a_token_that_was_just_minted_is_not_renewed(ask: Get, api: Api) -> None:
    api.accepted = "no token at all"

    answer = ask(oauth(api.server), "GET", at(api.server))

    assert answer.status_code == 401
    assert api.minted == 1
    assert len(api.calls) == 1


def test_a_streamed_body_is_not_sent_twice(ask: Get, api: Api) -> None:
    credential = oauth(api.server)
    ask(credential, "GET", at(api.server))
    api.accepted = "token-2"

    answer = ask(credential, "POST", at(api.server), content=lambda: iter([b"a", b"b"]))

    assert answer.status_code == 401
    assert len(api.calls) == 2


def test_a_403_is_no_reason_to_renew(ask: Get, api: Api) -> None:
    credential = oauth(api.server)
    ask(credential, "GET", at(api.server))
    api.accepted, api.refusal = "token-2", Answer(403)

    assert ask(credential, "GET", at(api.server)).status_code == 403
    assert api.minted == 1


def test_a_refusal_elsewhere_says_nothing_about_the_token(ask: Get, api: Api, elsewhere: FaultServer) -> None:
    credential = oauth(api.server)
    ask(credential, "GET", at(api.server))
    api.accepted, api.refusal = "token-2", redirect(at(elsewhere))
    elsewhere.handler = lambda sent: Answer(401)

    answer = ask(credential, "GET", at(api.server), follow_redirects=True)

    assert answer.status_code == 401
    assert len(elsewhere.requests) == 1
    assert api.minted == 1


def test_the_rest_of_a_refusal_is_not_read(ask: Get, api: Api) -> None:
    credential = oauth(api.server)
    ask(credential, "GET", at(api.server))
    api.accepted = "token-2"
    api.refusal = Answer(401, [("Content-Length", "1000000000")], b"begins, and never ends")

    assert ask(credential, "GET", at(api.server), timeout=2).status_code == 200


def test_clients_of_our_own_carry_the_proof(provider: FaultServer) -> None:
    async def get() -> None:
        async with api_key().get_async_client(base_url=at(provider)) as client:
            await client.get("/async")

    with api_key().get_client(base_url=at(provider)) as client:
        client.get("/sync")
    anyio.run(get)

    assert [(sent.path, sent.header("x-api-key")) for sent in provider.requests] == [
        ("/sync", "s3cret-of-the-header"),
        ("/async", "s3cret-of-the-header"),
    ]


def test_invalidate_has_the_next_request_fetch_a_token(ask: Get, api: Api) -> None:
    credential = oauth(api.server)
    ask(credential, "GET", at(api.server))
    credential.invalidate()
    api.accepted = "token-2"

    assert ask(credential, "GET", at(api.server)).status_code == 200
    assert len(api.calls) == 2


def test_check_says_what_the_token_is_good_for_and_not_what_it_is(provider: FaultServer) -> None:
    checked = oauth(provider, scope="read write", allowed_hosts=["api.example.com"]).check()

    assert (checked.kind, checked.scopes, checked.allowed_hosts) == (
        "oauth-client-credentials",
        ("read", "write"),
        ("api.example.com",),
    )
    assert checked.expires_at is not None
    assert "t0ken" not in repr(checked)
    assert parse_qs(provider.requests[0].body.decode())["scope"] == ["read write"]
