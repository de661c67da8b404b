"""Whatever a provider answers: a token, or an error that says what came back, and one request in either case."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import time_machine

from prefect_atomic import CredentialError, OAuthClientCredentials
from prefect_atomic.settings import settings
from tests.e2e.servers.faulty import Answer, FaultServer

SECRET = "s3cret-of&the client"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def oauth(provider: FaultServer, **fields: Any) -> OAuthClientCredentials:
    url = f"http://127.0.0.1:{provider.port}/token?tenant=s3cret-tenant"
    return OAuthClientCredentials(identity_url=url, client_id="client", client_secret=SECRET, **fields)


def answer(status: int = 200, *, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
    return Answer(status, [("Content-Type", "application/json"), *(headers or {}).items()], json.dumps(fields).encode())


def html(status: int, text: str = "<html><h1>Sorry</h1></html>") -> Answer:
    return Answer(status, [("Content-Type", "text/html; charset=utf-8")], text.encode())


ODD: dict[str, tuple[Answer | str, str, bool]] = {
    # what comes back, what the error says of it, and whether the same request may work later
    "RFC 6749 error": (
        answer(400, error="invalid_scope", error_description="no such scope"),
        "answered 400 invalid_scope: no such scope.",
        False,
    ),
    "error without description": (answer(401, error="invalid_client"), "answered 401 invalid_client.", False),
    "error of another form": (answer(400, errors=[{"code": 17}]), 'answered 400: {"errors": [{"code": 17}]}', False),
    "HTML and 403": (html(403), "answered 403: <html><h1>Sorry</h1></html>", False),
    "HTML and 200": (html(200), "answered 200 with text/html where JSON was expected", False),
    "nothing and 200": (Answer(200), "answered 200 with nothing where JSON was expected", False),
    "nothing and 400": (Answer(400), "answered 400 and said no more", False),
    "204": (Answer(204), "answered 204 with nothing where JSON was expected", False),
    "a list": (Answer(200, [("Content-Type", "application/json")], b"[]"), "where JSON was expected", False),
    "deep JSON": (Answer(200, [("Content-Type", "application/json")], b"[" * 200_000), "JSON was expected", False),
    "no token": (answer(scope="a"), "answered without an access_token; it has scope", False),
    "no fields": (answer(), "answered without an access_token; it has no fields at all", False),
    "an error and 200": (
        answer(error="bad_verification_code", error_description="it is wrong"),
        "answered without an access_token; bad_verification_code: it is wrong",
        False,
    ),
    "null token": (answer(access_token=None), "answered without an access_token", False),
    "empty token": (answer(access_token=""), "answered without an access_token", False),
    "number for a token": (answer(access_token=17), "answered without an access_token", False),
    "MAC token": (answer(access_token="t", token_type="mac"), "answered with a token_type of 'mac'", False),
    "token with a line break": (answer(access_token="a\nb"), "an access_token that no header can carry", False),
    "token with a space": (answer(access_token="a b"), "an access_token that no header can carry", False),
    "token that is not ASCII": (answer(access_token="é"), "an access_token that no header can carry", False),
    "a redirect": (
        Answer(302, [("Location", "https://id.example.com/new?k=s3cret-tenant")]),
        "answered 302, a redirect to https://id.example.com/new?k=***; enter that URL if it is right",
        False,
    ),
    "429": (answer(429, error="slow_down"), "answered 429 slow_down", True),
    "500": (html(500), "answered 500", True),
    "503": (Answer(503), "answered 503 and said no more", True),
    "the secret, echoed": (html(500, f"no such client {SECRET}"), "answered 500: no such client ***", True),
    "the secret, encoded": (html(400, "bad: s3cret-of%26the+client"), "answered 400: bad: ***", False),
    "the secret in the description": (answer(400, error="e", error_description=SECRET), "answered 400 e: ***", False),
    "the secret as a field": (answer(**{SECRET: 1}), "it has ***", False),
    "cut": ("cut-body", "failed", True),
    "cut within a chunk": ("cut-chunk", "failed", True),
    "cut within the headers": ("cut-headers", "failed", True),
    "closed": ("close", "failed", True),
    "reset": ("reset", "failed", True),
    "not HTTP": ("garbage", "failed", True),
    "not gzip": ("not-gzip", "failed", True),
    "endless": ("endless", "failed: the answer is longer than any token", True),
    "huge": ("huge", "failed: the answer is longer than any token", True),
    "gzip bomb": ("gzip-bomb", "failed: the answer is longer than any token", True),
    "endless headers": ("endless-headers", "failed", True),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_answer_is_an_error_that_says_what_came_back(provider: FaultServer, name: str) -> None:
    behaviour, said, transient = ODD[name]
    provider.handler = lambda sent: behaviour

    with pytest.raises(CredentialError) as refusal:
        oauth(provider).check()

    text = str(refusal.value)
    where = f"http://127.0.0.1:{provider.port}"
    assert text.startswith(f"OAuthClientCredentials: the token request at {where}/token ")
    assert said in text
    assert "s3cret" not in text
    assert "s3cret" not in repr(refusal.value)
    assert len(text) < 700
    assert refusal.value.transient is transient
    assert refusal.value.__cause__ is None
    assert len(provider.requests) == 1


def test_the_error_says_under_which_name_the_credential_is_saved(provider: FaultServer) -> None:
    provider.handler = lambda sent: answer(400, error="invalid_client")
    credential = oauth(provider)
    credential._block_document_name = "crm"

    with pytest.raises(CredentialError, match=r"^OAuthClientCredentials 'crm': the token request at "):
        credential.check()


@pytest.mark.parametrize("behaviour", ["hang", "drip"])
def test_an_answer_that_does_not_end_in_time_is_an_error(
    provider: FaultServer, monkeypatch: pytest.MonkeyPatch, behaviour: str
) -> None:
    monkeypatch.setenv("PREFECT_ATOMIC_TOKEN_REQUEST_TIMEOUT", "0.4")
    settings.cache_clear()
    provider.mode = behaviour

    with pytest.raises(CredentialError, match="got no answer in time") as refusal:
        oauth(provider).check()

    assert refusal.value.transient
    assert "s3cret" not in str(refusal.value)
    assert len(provider.requests) == 1


def test_a_provider_that_is_not_there_is_an_error_that_may_pass(provider: FaultServer) -> None:
    credential = oauth(provider)
    provider.__exit__(None, None, None)
    try:
        with pytest.raises(CredentialError, match=r"the token request at .* failed: ") as refusal:
            credential.check()
    finally:
        provider.__enter__()

    assert refusal.value.transient


def test_a_certificate_that_nobody_trusts_is_an_error_that_does_not_pass() -> None:
    with FaultServer(tls=True) as provider:
        url = f"https://127.0.0.1:{provider.port}/token"
        credential = OAuthClientCredentials(identity_url=url, client_id="client", client_secret=SECRET)

        with pytest.raises(CredentialError, match="the server's certificate is not trusted") as refusal:
            credential.check()

    assert not refusal.value.transient


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("17", 17.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        ("soon", None),
    ],
)
@time_machine.travel(NOW, tick=False)
def test_an_error_says_how_long_the_provider_asks_to_wait(
    provider: FaultServer, value: str, seconds: float | None
) -> None:
    provider.handler = lambda sent: answer(429, headers={"Retry-After": value}, error="slow_down")

    with pytest.raises(CredentialError) as refusal:
        oauth(provider).check()

    assert refusal.value.transient
    assert refusal.value.retry_after == seconds


@pytest.mark.parametrize(
    ("expires_in", "served"),
    [
        (3600, 45),
        ("3600", 45),
        (30, 27),
        ("30", 27),
        (None, 45),
        ("garbage", 45),
        ("", 45),
        ([60], 45),
        (float("inf"), 45),
        (10**400, 45),
        (0, 0),
        (-60, 0),
    ],
)
@time_machine.travel(NOW, tick=False)
def test_a_token_is_served_no_longer_than_it_lives(provider: FaultServer, expires_in: Any, served: int) -> None:
    provider.handler = lambda sent: answer(access_token="t0ken", token_type="bearer", expires_in=expires_in)

    expires_at = oauth(provider).check().expires_at

    assert expires_at is not None
    assert max(0.0, (expires_at - NOW).total_seconds()) == served


@pytest.mark.parametrize("token_type", ["Bearer", "bearer", "BEARER"])
def test_the_token_type_is_not_case_sensitive(provider: FaultServer, token_type: str) -> None:
    provider.handler = lambda sent: answer(access_token="t0ken", token_type=token_type)

    assert oauth(provider).check().expires_at is not None


def test_a_token_type_may_be_absent(provider: FaultServer) -> None:
    provider.handler = lambda sent: answer(access_token="t0ken")

    assert oauth(provider).check().expires_at is not None


def test_the_scope_is_what_was_granted_or_else_what_was_asked_for(provider: FaultServer) -> None:
    provider.script([answer(access_token="t", scope="read"), answer(access_token="t")])
    credential = oauth(provider, scope="read write")

    granted = credential.check().scopes
    credential.invalidate()

    assert granted == ("read",)
    assert credential.check().scopes == ("read", "write")
