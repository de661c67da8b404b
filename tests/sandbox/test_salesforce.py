"""The two steps to a Data 360 token, and Salesforce's traps on the way."""

import base64
from urllib.parse import urlsplit

import pytest

EXCHANGE = {
    "grant_type": "urn:salesforce:grant-type:external:cdp",
    "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
}


@pytest.fixture
def client(sandbox):
    account = sandbox.accounts.data_360
    return {
        "grant_type": "client_credentials",
        "client_id": account.client_id,
        "client_secret": account.client_secret,
    }


@pytest.fixture
def core_token(client, send):
    return send("POST", "/services/oauth2/token", form=client).json()["access_token"]


def test_a_core_token_comes_without_a_lifetime(client, send, sandbox):
    content = send("POST", "/services/oauth2/token", form=client).json()

    assert "expires_in" not in content
    assert content["instance_url"] == sandbox.url
    assert content["token_type"] == "Bearer"
    assert content["issued_at"].isdecimal()
    assert {"id", "scope", "signature"} <= content.keys()


def test_a_client_may_use_basic_as_simple_salesforce_does(send, sandbox):
    account = sandbox.accounts.data_360
    proof = base64.b64encode(f"{account.client_id}:{account.client_secret}".encode()).decode()

    reply = send(
        "POST",
        "/services/oauth2/token",
        headers={"Authorization": f"Basic {proof}"},
        form={"grant_type": "client_credentials"},
    )

    assert reply.status == 200


def test_a_wrong_client_is_refused_with_400_as_salesforce_does(client, send):
    reply = send("POST", "/services/oauth2/token", form={**client, "client_secret": "wrong"})

    assert (reply.status, reply.json()["error"]) == (400, "invalid_client")


def test_the_exchanged_token_comes_with_a_bare_host_and_is_the_one_that_data_360_takes(core_token, send, sandbox):
    content = send("POST", "/services/a360/token", form={**EXCHANGE, "subject_token": core_token}).json()

    assert content["instance_url"] == urlsplit(sandbox.url).netloc
    assert content["issued_token_type"] == "urn:ietf:params:oauth:token-type:jwt"
    assert content["expires_in"] == 7130
    reply = send("GET", "/verify/data-360/api/v1", headers={"Authorization": f"Bearer {content['access_token']}"})
    assert reply.json()["verified"] is True


def test_the_core_token_is_not_enough(core_token, send):
    reply = send("GET", "/verify/data-360", headers={"Authorization": f"Bearer {core_token}"})

    assert reply.status == 401
    assert reply.json()["reason"] == "this is a salesforce-core token; a data-360 token was expected"


def test_a_second_exchange_of_a_core_token_answers_a_page_and_a_status_of_200(core_token, send):
    send("POST", "/services/a360/token", form={**EXCHANGE, "subject_token": core_token})

    second = send("POST", "/services/a360/token", form={**EXCHANGE, "subject_token": core_token})

    assert second.status == 200
    assert second.headers.get_content_type() == "text/html"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"subject_token": "unknown"}, "invalid_grant"),
        ({"subject_token": ""}, "invalid_request"),
        ({"subject_token_type": "jwt"}, "invalid_request"),
        ({"dataspace": "elsewhere"}, "invalid_request"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
    ],
)
def test_an_exchange_that_salesforce_refuses_is_refused_and_spends_nothing(change, error, core_token, send):
    right = {**EXCHANGE, "subject_token": core_token, "dataspace": "default"}

    refusal = send("POST", "/services/a360/token", form={**right, **change})

    assert (refusal.status, refusal.json()["error"]) == (400, error)
    assert "access_token" in send("POST", "/services/a360/token", form=right).json()


def test_a_revoked_core_token_cannot_be_exchanged(core_token, send, sandbox):
    sandbox.revoke()

    reply = send("POST", "/services/a360/token", form={**EXCHANGE, "subject_token": core_token})

    assert "revoked" in reply.json()["error_description"]
