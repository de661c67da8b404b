"""The OAuth provider: RFC 6749, strictly, in three schemes."""

import base64
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote_plus, urlencode

import pytest


@pytest.fixture
def client(sandbox):
    account = sandbox.accounts.oauth
    return {
        "grant_type": "client_credentials",
        "client_id": account.client_id,
        "client_secret": account.client_secret,
    }


def basic(client_id: str, client_secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()}


@pytest.mark.parametrize("scheme", ["body", "query of a POST", "query of a GET", "basic"])
def test_each_scheme_yields_a_token_that_its_service_accepts(scheme, client, send, sandbox):
    account = sandbox.accounts.oauth
    reply = {
        "body": lambda: send("POST", "/oauth/token", form=client),
        "query of a POST": lambda: send("POST", f"/oauth/token-query?{urlencode(client)}"),
        "query of a GET": lambda: send("GET", f"/oauth/token-get?{urlencode(client)}"),
        "basic": lambda: send(
            "POST",
            "/oauth/token",
            headers=basic(quote_plus(account.client_id), quote_plus(account.client_secret)),
            form={"grant_type": "client_credentials"},
        ),
    }[scheme]()

    assert reply.status == 200
    assert reply.headers["Cache-Control"] == "no-store"
    content = reply.json()
    token = content.pop("access_token")
    assert content == {"token_type": "Bearer", "expires_in": 3600, "scope": "leads.read leads.write"}
    called = send("GET", "/verify/oauth", headers={"Authorization": f"Bearer {token}"})
    assert called.status == 200
    assert called.json()["by"] == "sandbox token registry"
    assert token not in called.body.decode()


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "wrong"}, 401, "invalid_client"),
        ({"client_secret": ""}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": ""}, 400, "invalid_request"),
        ({"scope": "leads.read admin"}, 400, "invalid_scope"),
    ],
)
@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/token-query"])
def test_a_request_that_a_provider_refuses_is_refused(path, change, status, error, client, send, sandbox):
    wrong = {**client, **change}

    reply = send("POST", path, form=wrong) if path == "/oauth/token" else send("POST", f"{path}?{urlencode(wrong)}")

    assert (reply.status, reply.json()["error"]) == (status, error)
    assert reply.json()["error_description"]
    assert ("WWW-Authenticate" in reply.headers) == (status == 401)
    assert sandbox.accounts.oauth.client_secret not in reply.body.decode()


def test_a_scope_may_be_narrowed(client, send):
    assert send("POST", "/oauth/token", form={**client, "scope": "leads.read"}).json()["scope"] == "leads.read"


def test_credentials_in_the_query_are_refused_where_they_belong_in_the_body(client, send):
    reply = send("POST", "/oauth/token?client_id=x", form=client)

    assert reply.status == 400
    assert "credentials belong in the body" in reply.json()["error_description"]


def test_other_query_and_body_parameters_are_left_to_the_provider(client, send):
    assert send("POST", "/oauth/token?tenant=7&tenant=8", form={**client, "audience": "crm"}).status == 200
    assert send("GET", f"/oauth/token-get?tenant=7&{urlencode(client)}&tenant=8").status == 200


def test_credentials_in_the_body_are_refused_where_they_belong_in_the_query(client, send):
    assert send("POST", f"/oauth/token-query?{urlencode(client)}", form={"client_id": "x"}).status == 400


def test_a_repeated_parameter_is_refused(client, send):
    reply = send("POST", "/oauth/token", form=[*client.items(), ("client_id", "another")])

    assert reply.json() == {"error": "invalid_request", "error_description": "client_id is there more than once"}


def test_a_client_may_not_authenticate_twice(client, send):
    reply = send("POST", "/oauth/token", headers=basic("a", "b"), form=client)

    assert (reply.status, reply.json()["error"]) == (400, "invalid_request")


def test_basic_without_form_encoding_is_refused_with_a_hint(send, sandbox):
    account = sandbox.accounts.oauth

    reply = send(
        "POST",
        "/oauth/token",
        headers=basic(account.client_id, account.client_secret),
        form={"grant_type": "client_credentials"},
    )

    assert reply.status == 400
    assert "form-encoded" in reply.json()["error_description"]


def test_json_is_not_a_token_request(send):
    reply = send("POST", "/oauth/token", headers={"Content-Type": "application/json"}, body=b"{}")

    assert "application/x-www-form-urlencoded" in reply.json()["error_description"]


@pytest.mark.parametrize("stated", [20, "20", "soon", 0])
def test_answers_state_the_lifetime_they_are_told_to(stated, client, send, sandbox):
    sandbox.tokens_live(stated)

    content = send("POST", "/oauth/token", form=client).json()

    assert content["expires_in"] == stated
    token = {"Authorization": f"Bearer {content['access_token']}"}
    assert send("GET", "/verify/oauth", headers=token).status == 200


def test_a_lifetime_may_be_left_out(client, send, sandbox):
    sandbox.tokens_live(None)

    assert "expires_in" not in send("POST", "/oauth/token", form=client).json()


def test_revoked_tokens_are_refused_and_later_ones_are_not(client, send, sandbox):
    def call(token):
        return send("GET", "/verify/oauth", headers={"Authorization": f"Bearer {token}"})

    old = send("POST", "/oauth/token", form=client).json()["access_token"]
    sandbox.revoke()
    new = send("POST", "/oauth/token", form=client).json()["access_token"]

    refusal = call(old)
    assert refusal.status == 401
    assert 'error="invalid_token"' in refusal.headers["WWW-Authenticate"]
    assert "revoked" in refusal.json()["reason"]
    assert call(new).status == 200


def test_a_storm_of_clients_gets_a_token_each_and_every_call_is_counted(client, send, sandbox):
    with ThreadPoolExecutor(128) as pool:
        replies = list(pool.map(lambda _: send("POST", "/oauth/token", form=client).json(), range(256)))

    assert len({reply["access_token"] for reply in replies}) == 256
    assert sandbox.calls() == {"POST /oauth/token": 256}
