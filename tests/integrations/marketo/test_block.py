"""The block: what people enter, its token, and what its answers mean."""

import io
import logging
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from pydantic import ValidationError

from prefect_atomic import (
    CredentialError,
    Marketo,
    MarketoAccessError,
    MarketoBusyError,
    MarketoError,
    MarketoInputError,
    MarketoQuotaError,
    MarketoTokenError,
    ResponseError,
    send_request,
)
from prefect_atomic.integrations.marketo.api import Api
from prefect_atomic.sandbox import Sandbox
from tests.e2e.servers.faulty import Answer, CapturedRequest
from tests.integrations.marketo.conftest import Instance, as_json, block_for, says_no, says_yes

GIVEN = {"client_id": "service", "client_secret": "s3cret"}


@pytest.mark.parametrize(
    "entered",
    ["123-ABC-456", " 123-abc-456 ", "123-ABC-456.mktorest.com", "https://123-ABC-456.mktorest.com/rest"],
)
def test_an_instance_is_named_in_every_way_that_marketo_shows_it(entered: str) -> None:
    block = Marketo(munchkin_id=entered, **GIVEN)
    assert block.munchkin_id == "123-ABC-456"
    assert block.rest_url() == "https://123-abc-456.mktorest.com/rest"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "munchkin_id: is missing"),
        ({"munchkin_id": "abc"}, "123-ABC-456"),
        ({"munchkin_id": "https://evil.example.com/rest"}, "123-ABC-456"),
        ({"rest_endpoint": "https://123-abc-456.mktorest.com/rest"}, "both"),
        (
            {"rest_endpoint": "http://example.com/rest", "identity_endpoint": "https://example.com/identity"},
            "https://",
        ),
        (
            {"rest_endpoint": "https://example.com/", "identity_endpoint": "https://example.com/identity"},
            "ends with /rest",
        ),
        ({"munchkin_id": "123-ABC-456", "calls_per_20_seconds": 0}, "calls_per_20_seconds"),
    ],
)
def test_what_is_entered_wrong_is_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        Marketo(**GIVEN, **fields)


def test_the_token_is_in_the_header_and_the_secret_in_no_log(
    instance: Instance, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    instance.answer = lambda request: says_yes({"name": "API Lead", "fields": [], "searchableFields": []})
    assert instance.block().describe()["name"] == "API Lead"
    (asked,) = instance.asked()
    assert dict(asked.headers)["Authorization"] == "Bearer t0ken-number-1"
    assert "t0ken" not in asked.target
    token_request = instance.server.requests[0]
    assert token_request.method == "POST"
    assert parse_qs(token_request.target.partition("?")[2])["client_secret"] == ["s3cret-of-it"]
    for secret in ("s3cret-of-it", "t0ken-number-1"):
        assert secret not in caplog.text


def test_a_refused_client_is_told_without_its_secret(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    def respond(request: CapturedRequest) -> Answer:
        return as_json(401, error="invalid_client", error_description=f"Bad client credentials {request.target}")

    instance.server.handler = respond
    with pytest.raises(CredentialError, match="invalid_client") as caught:
        instance.block().check()
    assert "s3cret-of-it" not in str(caught.value) + repr(caught.value.__cause__) + caplog.text


@pytest.mark.parametrize("code", ["601", "602"])
def test_a_rejected_token_is_renewed_inside_a_200(instance: Instance, code: str) -> None:
    block = instance.block()
    block.check()

    def respond(request: CapturedRequest) -> Answer:
        if dict(request.headers)["Authorization"] == "Bearer t0ken-number-1":
            return says_no(code, "Access token invalid")
        return says_yes({"name": "API Lead"})

    instance.answer = respond
    assert block.describe() == {"name": "API Lead"}
    assert instance.tokens == 2


def test_any_client_gets_a_new_token_for_a_602(instance: Instance) -> None:
    """`send_request` and plain httpx do not know Marketo, and are served all the same."""
    block = instance.block()
    instance.answer = lambda request: (
        says_yes()
        if "t0ken-number-2" in dict(request.headers)["Authorization"]
        else says_no("602", "Access token expired")
    )
    block.check()
    answer = send_request("GET", f"{block.rest_url()}/v1/stats/usage.json", credential=block)
    assert answer.json()["success"] is True
    block.check()
    with block.get_client() as client:
        assert client.get(f"{block.rest_url()}/v1/stats/usage.json").json()["success"] is True


def test_a_token_that_is_never_accepted_is_told(instance: Instance) -> None:
    instance.answer = lambda request: says_no("601", "Access token invalid")
    with pytest.raises(MarketoTokenError, match="601: Access token invalid"):
        instance.block().usage()


FILE = ("leads", "export", "e-1", "file")


def called(api: Api) -> None:
    api.call("GET", *FILE, base="bulk")


def downloaded(api: Api) -> None:
    api.download(*FILE, sink=io.BytesIO())


def proofs(instance: Instance) -> list[str | None]:
    return [request.header("Authorization") for request in instance.asked()]


@pytest.mark.parametrize("code", ["601", "602"])
def test_a_token_that_is_never_accepted_is_told_alike_by_calls_and_downloads(instance: Instance, code: str) -> None:
    instance.answer = lambda request: says_no(code, "Access token invalid")
    api, told = instance.block()._api(), []
    for ask in (called, downloaded):
        with pytest.raises(MarketoTokenError) as caught:
            ask(api)
        error = caught.value
        assert error.response is not None
        told.append((str(error), error.code, error.transient, error.response.status_code, error.response.content))
    assert told[0] == told[1]
    assert proofs(instance) == [f"Bearer t0ken-number-{number}" for number in range(1, 7)]  # three each, none twice


@pytest.mark.parametrize(
    ("ask", "answer"), [(called, says_yes()), (downloaded, Answer(200, [("Content-Type", "text/csv")], b"id\n1\n"))]
)
@pytest.mark.parametrize("refused", [1, 2, 3])
def test_a_refused_token_is_not_sent_again_and_the_one_after_it_serves_on(
    instance: Instance, ask: Callable[[Api], None], answer: Answer, refused: int
) -> None:
    block = instance.block()
    block.check()
    old = [f"Bearer t0ken-number-{number}" for number in range(1, refused + 1)]
    instance.answer = lambda request: (
        says_no("602", "Access token expired") if request.header("Authorization") in old else answer
    )
    for _ in range(2):
        ask(block._api())
    assert proofs(instance) == [*old, *[f"Bearer t0ken-number-{refused + 1}"] * 2]
    assert instance.tokens == refused + 1


def test_the_remaining_life_counts_and_is_not_asked_for_early(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.token = {"expires_in": 40}
    instance.answer = lambda request: says_yes()
    block, begin = instance.block(), time.time()
    for seconds, tokens in ((0, 1), (20, 1), (39, 1), (41, 2)):
        monkeypatch.setattr(time, "time", lambda seconds=seconds: begin + seconds)
        block.usage()
        assert instance.tokens == tokens, seconds


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("603", "Access denied", MarketoAccessError),
        ("604", "Request timed out", MarketoBusyError),
        ("606", "Max rate limit '100' exceeded with in '20' secs", MarketoBusyError),
        ("607", "Daily quota reached", MarketoQuotaError),
        ("608", "API Temporarily Unavailable", MarketoBusyError),
        ("610", "Requested resource not found", MarketoInputError),
        ("615", "Concurrent access limit reached", MarketoBusyError),
        ("713", "Transient Error", MarketoBusyError),
        ("1003", "Invalid value for 'filterType'", MarketoInputError),
        ("1003", "Too many results match the filter", MarketoInputError),
        ("1008", "Access to partition denied", MarketoAccessError),
        ("1016", "Too many imports", MarketoBusyError),
        ("1017", "Object already exists", MarketoInputError),
        ("1029", "Too many jobs (10) in queue", MarketoBusyError),
        ("1029", "Export daily quota 500MB exceeded.", MarketoQuotaError),
        ("1029", "Job already queued", MarketoInputError),
        ("500", "Internal error", MarketoError),
    ],
)
def test_each_error_has_its_kind_by_code_and_message(
    instance: Instance, code: str, message: str, kind: type[MarketoError]
) -> None:
    instance.answer = lambda request: says_no(code, message)
    with pytest.raises(MarketoError) as caught:
        instance.block().usage()
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert message.rstrip(".") in str(caught.value)
    assert caught.value.transient == (kind is MarketoBusyError)
    assert len(instance.asked()) == (8 if kind is MarketoBusyError else 1)


def test_a_quota_says_when_it_may_go_on(instance: Instance) -> None:
    instance.answer = lambda request: says_no("607", "Daily quota reached")
    with pytest.raises(MarketoQuotaError, match="midnight in US Central time") as caught:
        instance.block().usage()
    assert caught.value.until.timestamp() > time.time()
    assert (caught.value.until.hour, caught.value.until.minute) == (0, 0)


def test_no_data_is_no_error(instance: Instance) -> None:
    instance.answer = lambda request: says_no("702", "No data found within given search scope")
    assert list(instance.block().leads("email", ["a@example.com"])) == []


def test_what_is_no_answer_of_marketos_is_told(instance: Instance) -> None:
    instance.answer = lambda request: Answer(200, [("Content-Type", "text/html")], b"<html>please sign in</html>")
    with pytest.raises(ResponseError, match="text/html"):
        instance.block().usage()


def test_a_secret_that_an_answer_echoes_is_in_no_error(instance: Instance) -> None:
    instance.answer = lambda request: says_no("1003", f"bad {dict(request.headers)['Authorization']} s3cret-of-it")
    with pytest.raises(MarketoInputError) as caught:
        instance.block().usage()
    assert "t0ken-number-1" not in str(caught.value)
    assert "s3cret-of-it" not in str(caught.value)
    assert caught.value.response is not None
    assert b"s3cret-of-it" not in caught.value.response.content


def test_a_long_query_goes_into_the_body(instance: Instance) -> None:
    instance.answer = lambda request: says_yes()
    emails = [f"somebody-with-a-long-address-{number}@example.com" for number in range(300)]
    assert list(instance.block().leads("email", emails)) == []
    (asked,) = instance.asked()
    assert asked.method == "POST"
    assert asked.target.endswith("/leads.json?_method=GET")
    assert parse_qs(asked.body.decode())["filterValues"] == [",".join(emails)]


def test_the_sandbox_serves_the_block(sandbox: Sandbox) -> None:
    check = block_for(sandbox).check()
    assert check.kind == "marketo"
    assert check.expires_at is not None


def test_a_client_waits_for_no_other_host(instance: Instance) -> None:
    """The limits are those of the instance; requests to others with the same block are not held up by them."""
    block = instance.block(concurrent_calls=1)
    auth = block.auth()
    flow = auth.sync_auth_flow(httpx.Request("GET", f"{block.rest_url()}/v1/stats/usage.json"))
    next(flow)
    other = auth.sync_auth_flow(httpx.Request("GET", "http://127.0.0.1:1/elsewhere"))
    next(other)
    other.close()
    flow.close()


def test_a_601_in_the_data_is_no_rejection(instance: Instance) -> None:
    instance.answer = lambda request: says_yes({"date": "2026-11-26", "total": 601})
    assert instance.block().usage() == [{"date": "2026-11-26", "total": 601}]
    assert instance.tokens == 1
