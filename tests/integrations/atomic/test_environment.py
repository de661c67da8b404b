"""The block: what it takes, whom its token is for, and that it is shared."""

import base64
import pickle
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest

from prefect_atomic import AtomicEnvironment, CredentialError, RequestError, send_request
from prefect_atomic.integrations.atomic.operations import OPERATIONS
from tests.integrations.atomic.conftest import block_for, of_json

LEAST = {"organization_id": "01", "environment_id": "env", "client_id": "client", "client_secret": "s3cret-of-it"}


def environment(**fields: Any) -> AtomicEnvironment:
    return AtomicEnvironment(**{**LEAST, **fields})


def test_the_token_request_is_the_documented_one(raw):
    raw.block(client_id="the client", client_secret="a+b:c%d").check()

    sent = raw.server.requests[0]
    assert sent.method == "POST"
    assert parse_qsl(sent.query) == [("grant_type", "client_credentials"), ("client_id", "the client")]
    assert sent.header("content-type") == "application/x-www-form-urlencoded"
    kind, _, pair = sent.header("authorization").partition(" ")
    assert (kind, base64.b64decode(pair)) == ("Basic", b"the+client:a%2Bb%3Ac%25d")


def test_the_query_of_the_token_url_is_kept(raw):
    raw.block(token_url=f"{raw.server.url}/token?tenant=acme").check()

    assert raw.server.requests[0].query.startswith("tenant=acme&grant_type=client_credentials")


def test_the_token_of_atomic_is_accepted_and_lives_an_hour(atomic):
    checked = atomic.check()

    assert checked.kind == "atomic-environment"
    assert checked.expires_at is not None


def test_a_token_is_fetched_once_for_many_calls(sandbox, atomic, call):
    for _ in range(3):
        call(atomic.users)
    block_for(sandbox.accounts.atomic).check()

    assert sandbox.calls()["POST /atomic/oauth2/token"] == 1


def test_fields_that_do_not_change_the_token_share_it():
    plain = environment()

    for fields in (
        {"environment_id": "other"},
        {"base_url": "https://gateway.example.com"},
        {"batch_size": 7},
        {"operations": {"webhooks": "GET webhooks"}},
        {"role": "workbench"},
        {"target_in_payload": True},
        {"allowed_hosts": ["api.example.com"]},
    ):
        assert environment(**fields)._seal() == plain._seal(), fields


@pytest.mark.parametrize(
    "fields",
    [
        {"organization_id": "02"},
        {"client_id": "other"},
        {"client_secret": "other"},
        {"token_url": "https://id.example.com"},
        {"cache_seconds": 60},
    ],
)
def test_fields_that_may_change_the_token_do_not(fields):
    assert environment(**fields)._seal().name != environment()._seal().name


def test_two_tenants_with_different_secrets_do_not_share_a_token(sandbox, atomic):
    atomic.check()

    with pytest.raises(CredentialError, match="invalid_client"):
        block_for(sandbox.accounts.atomic, client_secret="another-s3cret").check()


def test_a_refused_token_request_shows_no_secret(raw):
    raw.server.handler = lambda sent: of_json({"error": "invalid_client", "error_description": str(sent.headers)}, 401)

    with pytest.raises(CredentialError) as error:
        raw.block().check()

    encoded = base64.b64encode(b"client:s3cret-of-the-client").decode()
    for told in (str(error.value), repr(error.value)):
        assert "s3cret" not in told
        assert encoded not in told
    assert b"s3cret" not in pickle.dumps(error.value)


def test_a_rejected_token_is_renewed_once(sandbox, atomic, call):
    call(atomic.users)
    sandbox.revoke()

    assert call(atomic.users) == []
    assert sandbox.calls()["POST /atomic/oauth2/token"] == 2


def test_it_is_a_credential_for_any_other_request(sandbox, atomic):
    answer = send_request.fn("GET", f"{sandbox.accounts.atomic.base_url}/v1/environments", credential=atomic)

    assert answer.json()["data"]["environments"][0]["id"] == atomic.environment_id


def test_a_client_of_the_users_own_without_a_user_agent_gets_one(raw):
    raw.answers = [of_json({})]

    with raw.block().get_client() as client:
        client.headers.pop("User-Agent")
        client.get(f"{raw.server.url}/a")
        client.get(f"{raw.server.url}/b", headers={"User-Agent": "theirs/1"})

    assert [sent.header("user-agent") for sent in raw.asked] == ["prefect-atomic", "theirs/1"]


def test_without_a_base_url_the_host_is_the_organizations():
    step = environment(organization_id="org-1")._api("users").ask()

    assert step.request.url == httpx.URL("https://org-1.customer-api.atomic.io/v1/env/users")


@pytest.mark.parametrize("base_url", ["https://gateway.example.com/atomic", "https://gateway.example.com/atomic/"])
def test_a_base_url_takes_the_place_of_the_host(base_url):
    step = environment(base_url=base_url)._api("users").ask()

    assert str(step.request.url) == "https://gateway.example.com/atomic/v1/env/users"


def test_an_operation_can_have_another_method_and_path(sandbox, raw, call):
    raw.answers = [of_json({"count": 0})]
    block = raw.block(operations={"cancel_cards": "POST cards/all/cancel"})

    call(block.cancel_cards, user_id="1")

    assert (raw.asked[0].method, raw.asked[0].path) == ("POST", "/v1/env/cards/all/cancel")


@pytest.mark.parametrize(
    ("entered", "field", "remedy"),
    [
        ({"organization_id": "org.evil.example"}, "organization_id", "letters, digits and dashes"),
        ({"organization_id": "org/"}, "organization_id", "letters, digits and dashes"),
        ({"organization_id": "-org"}, "organization_id", "letters, digits and dashes"),
        ({"environment_id": "a/b"}, "environment_id", "without a slash"),
        ({"environment_id": ".."}, "environment_id", "without a slash"),
        ({"environment_id": "a b"}, "environment_id", "or a space"),
        ({"client_secret": "hunter2-hunter2\n"}, "client_secret", "pasted with one"),
        ({"base_url": "gateway.example.com"}, "base_url", "must begin with https://"),
        ({"base_url": "https://gateway.example.com/?k=hunter2-hunter2"}, "base_url", "has a query"),
        ({"base_url": "https://gateway.example.com/#x"}, "base_url", "or a fragment"),
        ({"base_url": "https://me:hunter2-hunter2@gateway.example.com"}, "base_url", "BasicAuth credential instead"),
        ({"token_url": "id.example.com"}, "token_url", "must begin with https://"),
        ({"batch_size": 0}, "batch_size", "greater than or equal to 1"),
        ({"batch_size": 1001}, "batch_size", "less than or equal to 1000"),
        ({"role": "admin"}, "role", "'events', 'workbench' or 'auth'"),
        ({"operations": {"cancel": "PUT cards/cancel"}}, "operations", "there is no operation 'cancel'; there are"),
        ({"operations": {"cancel_cards": "cards/cancel"}}, "operations", "such as `PUT cards/cancel`"),
        ({"operations": {"cancel_cards": "PUT /cards/cancel"}}, "operations", "without a slash in front"),
        ({"operations": {"cancel_cards": "PUT ../cards"}}, "operations", "such as `PUT cards/cancel`"),
        ({"operations": {"cancel_cards": "PUT cards/{id}"}}, "operations", "has no {id}"),
        ({"operations": {"delete_webhook": "DELETE webhook"}}, "operations", "needs {id} once"),
    ],
)
def test_a_refusal_names_the_field_and_the_remedy_and_no_secret(entered, field, remedy):
    with pytest.raises(ValueError, match=r".") as refusal:
        environment(**entered)

    assert field in str(refusal.value)
    assert remedy in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("name", ["start_action_flow", "cancel_cards", "cards", "users", "webhooks", "analytics"])
def test_a_client_of_another_role_asks_for_nothing(name):
    role = "auth" if "workbench" in OPERATIONS[name].roles else "workbench"
    role = "events" if name == "webhooks" else role
    arguments = {"start_action_flow": ("f", [{"target": {"tags": ["a"]}}]), "analytics": (None, None)}
    options = {"cancel_cards": {"user_id": "1"}}

    with pytest.raises(RequestError, match=f"{name} needs a client of the role .*, and role is {role}"):
        getattr(environment(role=role), name)(*arguments.get(name, ()), **options.get(name, {}))
