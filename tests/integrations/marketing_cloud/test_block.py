"""The block: what it takes, what its token request is, whom the token is for, and where it leads."""

import json
import time
from datetime import timedelta

import pytest
import time_machine
from pydantic import ValidationError

from prefect_atomic import CredentialError, DestinationError, RequestError, ResponseError, send_request
from prefect_atomic import SalesforceMarketingCloud as MarketingCloud
from tests.integrations.marketing_cloud.conftest import EVENT, ROWSET, TOKEN, as_json, block_for, row, stored

LEAST = {"subdomain": "mc-1", "client_id": "app", "client_secret": "s3cret-of-it"}
TENANT = "mc563885gzs27c5t9-63k636ttgm"


@pytest.mark.parametrize(
    "text",
    [
        TENANT,
        f" {TENANT.upper()} ",
        f"{TENANT}.auth.marketingcloudapis.com",
        f"https://{TENANT}.auth.marketingcloudapis.com/",
        f"https://{TENANT}.auth.marketingcloudapis.com/v2/token",
        f"https://{TENANT}.rest.marketingcloudapis.com/",
        f"https://{TENANT}.soap.marketingcloudapis.com/Service.asmx",
    ],
)
def test_the_urls_that_a_package_shows_are_understood(text):
    assert MarketingCloud(**LEAST | {"subdomain": text}).subdomain == TENANT


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("subdomain", "https://auth.exacttargetapis.com/v1", "legacy API"),
        ("subdomain", "https://mc.s50.exacttarget.com/cloud", "auth_url"),
        ("subdomain", "under_score", "letters, digits and dashes"),
        ("account_id", "business unit 7", "MID"),
        ("auth_url", "http://auth.example.com", "https://"),
        ("auth_url", "https://auth.example.com/?a=1", "query"),
        ("client_id", "a\nb", "line break"),
        ("async_batch", 32_001, "32000"),
    ],
)
def test_what_cannot_be_right_is_refused_with_the_field_and_the_way_to_mend_it(field, value, said):
    with pytest.raises(ValidationError) as refused:
        MarketingCloud(**LEAST | {field: value})
    assert field in str(refused.value)
    assert said in str(refused.value)


def test_the_token_request_is_the_documented_one(tenant):
    tenant.block(account_id=7281234, scope="data_extensions_read  journeys_execute").check()

    sent = tenant.server.requests[0]
    assert (sent.method, sent.target, sent.header("content-type")) == ("POST", "/v2/token", "application/json")
    assert json.loads(sent.body) == {
        "grant_type": "client_credentials",
        "client_id": "app",
        "client_secret": "s3cret-of-it",
        "scope": "data_extensions_read journeys_execute",
        "account_id": "7281234",
    }


@pytest.mark.parametrize("scope", [None, "", "  "])
def test_no_scope_is_left_out_and_never_sent_empty(tenant, scope):
    tenant.block(scope=scope).check()

    assert json.loads(tenant.server.requests[0].body).keys() == {"grant_type", "client_id", "client_secret"}


def test_the_token_is_shared_until_shortly_before_its_end(sandbox):
    first = block_for(sandbox).check()
    block_for(sandbox, sync_batch=7).check()

    assert sandbox.calls() == {f"POST {TOKEN}": 1}
    assert first.expires_at is not None
    assert 1060 < first.expires_at.timestamp() - time.time() < 1079
    with time_machine.travel(first.expires_at + timedelta(seconds=1), tick=False):
        block_for(sandbox).check()
    assert sandbox.calls() == {f"POST {TOKEN}": 2}


def test_fields_that_do_not_change_the_token_share_it_and_the_others_do_not():
    def seal(**fields):
        return MarketingCloud(**{**LEAST, **fields})._seal().name

    for fields in ({"sync_batch": 7}, {"async_batch": 7}, {"max_async_bytes": 5000}, {"max_text": 9}):
        assert seal(**fields) == seal(), fields
    for fields in ({"account_id": "1"}, {"scope": "a"}, {"subdomain": "other"}, {"client_secret": "other"}):
        assert seal(**fields) != seal(), fields


def test_two_business_units_and_two_tenants_do_not_share_anything(tenant, sandbox):
    tenant.answer = lambda request: as_json()
    one, other = tenant.block(account_id="1"), tenant.block(account_id="2")
    for block in (one, other, one, other):
        block.upsert_rows("Events", [row(1)], keys=["EventId"])
    block_for(sandbox).upsert_rows("Events", [row(2)], keys=["EventId"])

    assert [each.header("authorization") for each in tenant.asked()] == ["Bearer t0ken-1", "Bearer t0ken-2"] * 2
    assert stored(sandbox).keys() == {"e-2"}


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_base_of_the_api_comes_with_the_token_with_or_without_a_slash(tenant, slash):
    tenant.token = {"rest_instance_url": f"{tenant.server.url}/rest{slash}"}
    tenant.answer = lambda request: as_json()
    block = tenant.block()
    block.upsert_rows("Events", [row(1)], keys=["EventId"])

    assert block.rest_url() == f"{tenant.server.url}/rest"
    assert tenant.asked()[0].target == "/rest/hub/v1/dataevents/key:Events/rowset"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (None, "without a rest_instance_url"),
        ("", "without a rest_instance_url"),
        ("http://rest.example.com/", "not https"),
        ("https://user:pass@rest.example.com/", "more than a host and a path"),
    ],
)
def test_a_base_that_no_token_may_be_sent_to_is_refused(tenant, url, said):
    tenant.token = {"rest_instance_url": url}
    with pytest.raises(CredentialError, match=said):
        tenant.block().check()


def test_a_base_that_is_not_allowed_gets_nothing(tenant):
    tenant.token = {"rest_instance_url": "https://rest.example.com/"}
    with pytest.raises(DestinationError, match=r"rest\.example\.com"):
        tenant.block(allowed_hosts=["127.0.0.1"]).upsert_rows("Events", [row(1)], keys=["EventId"])


def test_it_is_a_credential_for_any_request(marketing_cloud, sandbox):
    url = f"{marketing_cloud.rest_url()}/hub/v1/dataevents/key:Events/rows/EventId:e-1"
    answer = send_request.fn("PUT", url, credential=marketing_cloud, json={"values": {"Type": "x"}})

    assert answer.status_code == 200
    assert stored(sandbox)["e-1"]["Type"] == "x"


def test_a_token_that_is_not_accepted_any_more_is_renewed_once(marketing_cloud, sandbox, call):
    marketing_cloud.check()
    sandbox.revoke()
    call(marketing_cloud.fire_entry_event, "1", "APIEvent-welcome")

    assert sandbox.calls() == {f"POST {TOKEN}": 2, f"POST {EVENT}": 2}
    assert len(sandbox.marketing_cloud()["events"]) == 1


def test_a_session_that_ends_in_the_middle_loses_no_row(marketing_cloud, sandbox, call):
    sandbox.set_marketing_cloud(session_calls=3)
    outcomes = call(marketing_cloud.upsert_rows, "Events", map(row, range(400)), keys=["EventId"])

    assert outcomes.succeeded == 400
    assert len(stored(sandbox)) == 400


def test_a_new_token_that_is_refused_says_what_to_look_at(tenant):
    tenant.answer = lambda request: as_json(401, message="Not Authorized", errorcode=0, documentation="")
    block = tenant.block()
    block.check()
    with pytest.raises(ResponseError, match="a new token is refused too"):
        block.upsert_rows("Events", [row(1)], keys=["EventId"])
    assert tenant.tokens == 2


@pytest.mark.parametrize(("code", "verb"), [(20002, "lacks"), (20000, "may lack")])
def test_a_missing_scope_is_named(tenant, code, verb):
    tenant.answer = lambda request: as_json(403, message="Insufficient privileges", errorcode=code, documentation="")
    with pytest.raises(ResponseError, match=f"package {verb} the scope data_extensions_write.*business unit 12"):
        tenant.block(account_id="12").upsert_rows("Events", [row(1)], keys=["EventId"])
    with pytest.raises(ResponseError, match=f"package {verb} the scope journeys_execute"):
        tenant.block().fire_entry_event("1", "APIEvent-welcome")


def test_a_wrong_subdomain_is_named(monkeypatch):
    block = MarketingCloud(**LEAST | {"subdomain": "no-such-tenant"})
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        CredentialError, match=r"of subdomain 'no-such-tenant' at https://no-such-tenant\.auth"
    ) as error:
        block.check()
    assert "s3cret-of-it" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scope": "email_read"}, "invalid_scope"),
        ({"account_id": "1"}, "invalid_grant"),
        ({"client_secret": "wrong-s3cret"}, "invalid_client"),
    ],
)
def test_what_the_token_endpoint_refuses_is_told_without_the_secret(sandbox, fields, said):
    block = block_for(sandbox, **fields)
    with pytest.raises(CredentialError, match=said) as error:
        block.upsert_rows("Events", [row(1)], keys=["EventId"])
    assert block.client_secret.get_secret_value() not in str(error.value)
    assert f"POST {ROWSET}" not in sandbox.calls()


def test_arguments_are_checked_before_a_token_is_asked_for(tenant):
    block = tenant.block()
    for wrong in (
        lambda: block.upsert_rows("", [], keys=["a"]),
        lambda: block.upsert_rows("Events", [], keys="EventId"),
        lambda: block.upsert_rows("Events", [], keys=[]),
        lambda: block.upsert_rows("Events", [], keys=["a", "A"]),
        lambda: block.upsert_rows("Events", {"EventId": "1"}, keys=["EventId"]),
        lambda: block.upsert_rows("Events", None, keys=["EventId"]),
        lambda: block.upsert_rows("Events", [], keys=["a"], mode="fast"),
        lambda: block.upsert_rows("Events", [], keys=["a"], wait=-1),
        lambda: block.upsert_rows("Events", [], keys=["a"], on_error="ignore"),
        lambda: list(block.read_rows("Events", page_size=2501)),
        lambda: list(block.read_rows("Events", filter=" ")),
        lambda: block.fire_entry_event("1", "a.b"),
        lambda: block.fire_entry_event("", "a"),
        lambda: block.fire_entry_event("1", "a", {"Score": float("nan")}),
        lambda: block.fire_entry_events("a", {"contact_key": "1"}),
    ):
        with pytest.raises(RequestError):
            wrong()
    assert tenant.server.requests == []
