"""The token request of OAuthClientCredentials, as it arrives."""

import base64
from typing import Any
from urllib.parse import parse_qsl

import pytest

from prefect_atomic import OAuthClientCredentials
from tests.e2e.servers.faulty import CapturedRequest, FaultServer

SCHEMES = ["post_body", "post_query", "get_query"]


@pytest.fixture
def asked(provider: FaultServer) -> Any:
    """The token request that a credential with these fields makes."""

    def asked(query: str = "", **fields: Any) -> CapturedRequest:
        url = f"http://127.0.0.1:{provider.port}/oauth/token{query}"
        given = {"identity_url": url, "client_id": "client", "client_secret": "s3cret-of-the-client"}
        OAuthClientCredentials(**{**given, **fields}).check()
        return provider.requests[-1]

    return asked


def parameters(request: CapturedRequest) -> list[tuple[str, str]]:
    return parse_qsl(request.body.decode() or request.query, keep_blank_values=True, strict_parsing=True)


def basic(request: CapturedRequest) -> str:
    kind, _, encoded = (request.header("authorization") or "").partition(" ")
    assert kind == "Basic"
    return base64.b64decode(encoded).decode()


PLAIN = [("grant_type", "client_credentials"), ("client_id", "client"), ("client_secret", "s3cret-of-the-client")]


@pytest.mark.parametrize(("scheme", "method"), [("post_body", "POST"), ("post_query", "POST"), ("get_query", "GET")])
def test_each_scheme_has_its_method(asked: Any, scheme: str, method: str) -> None:
    assert asked(request_scheme=scheme).method == method


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_parameters_are_the_grant_and_the_client(asked: Any, scheme: str) -> None:
    assert parameters(asked(request_scheme=scheme)) == PLAIN


def test_post_body_sends_a_form_and_no_query(asked: Any) -> None:
    sent = asked("?tenant=acme")

    assert sent.target == "/oauth/token"
    assert sent.header("content-type") == "application/x-www-form-urlencoded"
    assert parameters(sent) == [("tenant", "acme"), *PLAIN]


@pytest.mark.parametrize("scheme", ["post_query", "get_query"])
def test_the_query_schemes_send_no_body(asked: Any, scheme: str) -> None:
    sent = asked("?tenant=acme", request_scheme=scheme)

    assert sent.body == b""
    assert sent.path == "/oauth/token"
    assert parameters(sent) == [("tenant", "acme"), *PLAIN]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_identity_urls_own_parameters_keep_their_order_and_their_duplicates(asked: Any, scheme: str) -> None:
    sent = asked("?b=2&a=1&b=1&empty=&flag&t=a%20b%26%2Bc+d%C3%A9", request_scheme=scheme)

    own = [("b", "2"), ("a", "1"), ("b", "1"), ("empty", ""), ("flag", ""), ("t", "a b&+c dé")]
    assert parameters(sent) == [*own, *PLAIN]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_fragment_of_the_identity_url_is_not_sent(asked: Any, scheme: str) -> None:
    assert parameters(asked("#top", request_scheme=scheme)) == PLAIN


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("authentication", ["parameters", "basic"])
def test_the_secret_arrives_whatever_it_is_made_of(asked: Any, scheme: str, authentication: str) -> None:
    secret = " %&+£€=:/?#\"'ü~"

    sent = asked(client_secret=secret, request_scheme=scheme, client_authentication=authentication)

    if authentication == "parameters":
        assert dict(parameters(sent))["client_secret"] == secret
    else:
        assert dict(parse_qsl("secret=" + basic(sent).partition(":")[2])) == {"secret": secret}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_basic_sends_the_client_in_the_header_only(asked: Any, scheme: str) -> None:
    sent = asked(request_scheme=scheme, client_authentication="basic")

    assert basic(sent) == "client:s3cret-of-the-client"
    assert parameters(sent) == [("grant_type", "client_credentials")]


def test_basic_encodes_as_in_the_appendix_of_the_rfc(asked: Any) -> None:
    """RFC 6749, appendix B: U+0020, U+0025, U+0026, U+002B, U+00A3, U+20AC."""
    sent = asked(client_id=" %&+£€", client_secret=" %&+£€", client_authentication="basic")

    assert basic(sent) == "+%25%26%2B%C2%A3%E2%82%AC:+%25%26%2B%C2%A3%E2%82%AC"


def test_a_form_encodes_as_in_the_appendix_of_the_rfc(asked: Any) -> None:
    assert b"client_secret=+%25%26%2B%C2%A3%E2%82%AC" in asked(client_secret=" %&+£€").body


@pytest.mark.parametrize("scheme", SCHEMES)
def test_scope_and_extra_parameters_come_last(asked: Any, scheme: str) -> None:
    extra = {"audience": "https://api.example.com/?a=b&c", "resource": ["one", "two"], "flag": True, "number": 7}

    sent = asked(request_scheme=scheme, scope="read write", extra_parameters=extra)

    assert parameters(sent) == [
        *PLAIN,
        ("scope", "read write"),
        ("audience", "https://api.example.com/?a=b&c"),
        ("resource", "one"),
        ("resource", "two"),
        ("flag", "true"),
        ("number", "7"),
    ]


def test_json_is_what_the_provider_is_asked_for(asked: Any) -> None:
    assert asked().header("accept") == "application/json"
