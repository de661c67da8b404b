"""No secret in what people read: URLs, excerpts of answers, log lines."""

import base64
import html
import json
import logging
import re
from urllib.parse import quote, quote_plus

import httpx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from prefect_atomic import CustomHeaders, ResponseError
from prefect_atomic.transport import logs
from prefect_atomic.transport.logs import hide_in_logs
from prefect_atomic.transport.redaction import excerpt, redact_url, scrub, scrub_content
from tests.e2e.servers.faulty import Answer

SECRET = 'hünter2/is+a long=secret&"more"\''
LOGGERS = ["httpx", "httpcore.connection", "httpcore.http11"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.com/a/b", "https://example.com/a/b"),
        ("https://example.com/?key=hunter2&b=&c=d=e", "https://example.com/?key=***&b=***&c=***"),
        ("https://me:hunter2@example.com/a@b", "https://example.com/a@b"),
        ("https://hunter2@example.com", "https://example.com"),
        ("https://example.com/#access_token=hunter2", "https://example.com/"),
        ("https://bucket.example.com/?acl&versions", "https://bucket.example.com/?acl&versions"),
        (f"https://example.com/?{'t0ken' * 10}", "https://example.com/?***"),
        (f"https://example.com/?{'t0ken' * 14}=hunter2", "https://example.com/?***"),
        ("/relative?key=hunter2", "/relative?key=***"),
        ("//me:hunter2@example.com/", "//example.com/"),
        ("?a=1", "?a=***"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret_in_it(url, shown):
    assert redact_url(url) == shown


FORMS = {
    "JSON in a URL": lambda secret: quote(json.dumps(secret)[1:-1], safe=""),
    "plain": lambda secret: secret,
    "percent": lambda secret: quote(secret, safe=""),
    "percent, lower case": lambda secret: re.sub("%..", lambda escape: escape[0].lower(), quote(secret, safe="")),
    "path": quote,
    "form": quote_plus,
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "JSON, not escaped": lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    "HTML": html.escape,
    "repr": lambda secret: repr(secret)[1:-1],
    "repr of bytes": lambda secret: repr(secret.encode())[2:-1],
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64url": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("form", FORMS)
@given(secret=st.text(st.characters(blacklist_categories=["Cs"]), min_size=8, max_size=40))
def test_a_secret_is_masked_however_it_is_encoded(form, secret):
    shown = FORMS[form](secret)
    assume("***" not in shown)

    assert shown not in scrub(f"<<{shown}>>", [secret])
    assert shown.encode() not in scrub_content(f"<<{shown}>>".encode(), [secret])


@pytest.mark.parametrize("form", FORMS)
def test_nothing_but_the_secret_is_masked(form):
    assert scrub(f"before {FORMS[form](SECRET)} after", [SECRET]) == "before *** after"


def test_the_whole_secret_is_masked_where_a_part_of_it_is_one_too():
    assert scrub("token-and-more", ["token", "token-and-more"]) == "***"


def test_very_short_secrets_are_left_in_texts_and_short_ones_in_contents():
    assert scrub("a cat sat", ["a"]) == "a cat sat"
    assert scrub_content(b'{"user": true}', ["user"]) == b'{"user": true}'


@given(before=st.text("ab \n", max_size=400), after=st.text("cd \n", max_size=400))
def test_an_excerpt_never_cuts_through_a_secret(before, after):
    secret = "0123456789" * 3

    shown = excerpt(f"{before}{secret}{after}".encode(), [secret])

    assert not any(digit in shown for digit in "0123456789")
    assert len(shown) <= 201
    assert "\n" not in shown


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\x00\xff\xfe\xfd", bytes(range(128, 256))])
def test_an_excerpt_of_what_is_no_text_is_empty(content):
    assert excerpt(content, []) == ""


def test_an_excerpt_holds_no_control_character():
    assert excerpt(b"no\x1b[31m\r\n\tred\x00", []) == "no[31m red"


@pytest.fixture
def logged(caplog):
    for name in LOGGERS:
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


def test_no_secret_is_logged_at_any_level(send, server, logged):
    server.handler = lambda request: Answer(200, [("X-Echo", request.header("X-Key"))])
    credential = CustomHeaders(headers={"X-Key": "hunter2-in-a-header"})

    send("GET", f"{server.url}/p?key=hunter2-in-the-url", credential=credential, params={"other": "hunter2-too"})

    assert "HTTP Request: GET" in logged.text
    assert "receive_response_headers.complete" in logged.text
    assert "hunter2" not in logged.text
    assert "/p?key=***&other=***" in logged.text


def test_no_secret_that_is_not_ascii_is_logged(server, logged):
    """httpcore logs headers as the bytes they are."""
    hide_in_logs(["hünter2-secret"])
    server.handler = lambda request: Answer(200, [("X-Echo", "hünter2-secret".encode().decode("latin-1"))])

    with httpx.Client() as client:
        client.get(f"{server.url}/p")

    assert "nter2-secret" not in logged.text


def test_requests_of_others_are_logged_as_they_are(server, logged):
    with httpx.Client() as client:
        client.get(f"{server.url}/theirs?a=1")

    assert f"{server.url}/theirs?a=1" in logged.text


def test_a_known_secret_is_masked_in_the_logs_of_others_too(server, logged):
    hide_in_logs(["hunter2-known-to-us"])

    with httpx.Client() as client:
        client.get(f"{server.url}/theirs?a=hunter2-known-to-us&b=1")

    assert f"{server.url}/theirs?a=***&b=1" in logged.text


def test_a_record_that_cannot_be_formatted_passes():
    hide_in_logs(["hunter2-known-to-us"])
    record = logging.LogRecord("httpx", logging.INFO, __file__, 1, "%d", ("text",), None)

    assert all(filter_.filter(record) for filter_ in logging.getLogger("httpx").filters)


def test_more_secrets_than_are_remembered_do_not_fill_the_memory():
    hide_in_logs(f"secret-{number}" for number in range(2000))

    assert len(logs._secrets) == len(logs._snapshot) == logs._REMEMBERED_AT_MOST
    assert "secret-1999" in logs._snapshot


def test_a_secret_in_use_is_not_forgotten_for_the_many_that_come_and_go():
    hide_in_logs(["hunter2-in-use"])
    for number in range(2000):
        hide_in_logs(["hunter2-in-use", f"signature-{number}"])

    assert "hunter2-in-use" in logs._snapshot


def test_where_a_redirect_leads_is_shown_without_its_secrets(send, server):
    server.script([Answer(302, [("Location", "https://me:hunter2@example.com/?code=hunter2#t=hunter2")])])

    with pytest.raises(ResponseError) as error:
        send("GET", f"{server.url}/p")

    assert "leads to https://example.com/?code=***" in str(error.value)
    assert "hunter2" not in str(error.value)
