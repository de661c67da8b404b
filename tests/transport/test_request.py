"""What is asked for is what is sent; what cannot be sent is refused before anything is."""

import asyncio
import contextlib
import io
import json
import re

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from prefect_atomic import RequestError, Retry, asend_request, send_request
from prefect_atomic.transport import outgoing

UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
paths = st.text(st.sampled_from("ab.%/+;:@=&,!$'()* é漢\U0001f600zF2|^`{}<>\"\\[]"), max_size=20)
queries = st.text(st.sampled_from("ab.%/+;:@=&,!$'()*? é漢zF2|^`{}<>\"\\[]"), max_size=20)


def on_the_wire(text: str, also: str) -> str:
    """RFC 3986 as it reads: what may stand bare stands as it was written, an escape too, the rest is UTF-8 escaped."""
    sent = ""
    for position, character in enumerate(text):
        is_escape = character == "%" and re.match("[0-9A-Fa-f]{2}", text[position + 1 :])
        if is_escape or character in UNRESERVED + "!$&'()*+,;=:@/" + also:
            sent += character
        else:
            sent += "".join(f"%{byte:02X}" for byte in character.encode())
    return sent


@given(path=paths, query=queries)
@example(path="a/../b/./c//", query="a=1&a=2&bare&[]=x")
@example(path="100%/%zz/%2f/%", query="a=%zz&b=+&c=%20")
@example(path="..", query="")
@settings(max_examples=60)
def test_path_and_query_are_sent_as_they_were_written(send, server, path, query):
    path, query = path.rstrip(" "), query.rstrip(" ")
    server.mode = "ok"

    send("GET", f"{server.url}/{path}" + (f"?{query}" if query else ""))

    expected = "/" + on_the_wire(path, "") + (f"?{on_the_wire(query, '?')}" if query else "")
    assert server.requests[-1].target == expected


def test_a_fragment_is_not_sent(send, server):
    send("GET", f"{server.url}/a?b=1#secret")

    assert server.requests[0].target == "/a?b=1"


def test_a_url_without_a_path_asks_for_the_root(send, server):
    send("GET", f"{server.url}?a=1")

    assert server.requests[0].target == "/?a=1"


@pytest.mark.parametrize(
    ("query", "params", "expected"),
    [
        ("?a=1&a=2&bare", {"a": 3}, "a=1&a=2&bare&a=3"),
        ("", [("b", "2"), ("a", "1"), ("b", "3")], "b=2&a=1&b=3"),
        ("?x=%2F+y", {}, "x=%2F+y"),
        ("", {"none": None, "yes": True, "no": False}, "none=&yes=true&no=false"),
        ("", {"list": ["a", 1, None], "tuple": (1.5, True)}, "list=a&list=1&list=&tuple=1.5&tuple=true"),
        ("", {"empty": []}, ""),
        ("", {"a b&c": "d=e&f+g é"}, "a%20b%26c=d%3De%26f%2Bg%20%C3%A9"),
        ("", {"id": 2**60}, f"id={2**60}"),
    ],
)
def test_params_are_added_to_the_query_in_order(send, server, query, params, expected):
    send("GET", f"{server.url}/p{query}", params=params)

    assert server.requests[0].query == expected


async def _achunks():
    yield b"one "
    yield b"two"


@pytest.mark.parametrize(
    ("body", "content_type", "sent"),
    [
        ({"json": {"é": [1, None]}}, "application/json", '{"é":[1,null]}'.encode()),
        ({"json": 0}, "application/json", b"0"),
        ({"json": []}, "application/json", b"[]"),
        ({"data": {"a": "1 2", "b": ["x", "y"]}}, "application/x-www-form-urlencoded", b"a=1+2&b=x&b=y"),
        ({"content": "é"}, None, "é".encode()),
        ({"content": b"\x00\xff"}, None, b"\x00\xff"),
        ({"content": b""}, None, b""),
        ({}, None, b""),
    ],
)
def test_every_kind_of_body_arrives(send, server, body, content_type, sent):
    send("POST", f"{server.url}/p", **body)

    assert server.requests[0].body == sent
    assert server.requests[0].header("Content-Type") == content_type
    assert server.requests[0].header("Content-Length") == str(len(sent))


def test_an_iterator_is_sent_in_chunks(server):
    send_request.fn("POST", f"{server.url}/p", content=iter([b"one ", b"two"]))

    assert server.requests[0].body == b"one two"
    assert server.requests[0].header("Transfer-Encoding") == "chunked"


def test_an_asynchronous_iterator_is_sent_in_chunks(server):
    asyncio.run(asend_request.fn("POST", f"{server.url}/p", content=_achunks()))

    assert server.requests[0].body == b"one two"


def test_a_stream_of_known_length_is_sent_with_its_length(server):
    """S3 takes no chunked uploads."""
    send_request.fn("PUT", f"{server.url}/p", content=iter([b"12", b"345"]), headers={"Content-Length": "5"})

    assert server.requests[0].header("Content-Length") == "5"
    assert server.requests[0].header("Transfer-Encoding") is None


def test_files_and_data_make_a_multipart_form(send, server):
    send("POST", f"{server.url}/p", files={"f": ("a.csv", io.BytesIO(b"1,2"), "text/csv")}, data={"kind": "leads"})

    assert server.requests[0].header("Content-Type").startswith("multipart/form-data; boundary=")
    assert b'name="kind"\r\n\r\nleads\r\n' in server.requests[0].body
    assert b'filename="a.csv"\r\nContent-Type: text/csv\r\n\r\n1,2\r\n' in server.requests[0].body


def test_a_file_is_sent_again_from_its_beginning(send, server):
    server.script(["reset"])

    send("PUT", f"{server.url}/p", files={"f": io.BytesIO(b"whole")})

    assert [b"\r\n\r\nwhole\r\n" in request.body for request in server.requests] == [True, True]


def test_a_request_says_who_sends_it_and_what_it_can_read(send, server):
    send("GET", f"{server.url}/p")

    sent = server.requests[0]
    assert sent.header("User-Agent") == "prefect-atomic"
    assert sent.header("Accept") == "*/*"
    assert sent.header("Accept-Encoding") == "gzip, deflate"
    assert sent.header("Host") == f"127.0.0.1:{server.port}"


def test_headers_of_the_callers_own_win(send, server):
    own = {"USER-AGENT": "mine", "Accept": "text/csv", "accept-encoding": "identity", "Host": "crm.example.com"}

    send("GET", f"{server.url}/p", headers=own)

    for name, value in own.items():
        assert server.requests[0].all(name) == [value]


def test_a_header_may_come_twice_and_keeps_its_order(send, server):
    send("GET", f"{server.url}/p", headers=[("X-Tag", "b"), ("X-Tag", "a"), ("x-tag", "")])

    assert server.requests[0].all("X-Tag") == ["b", "a", ""]


def test_a_method_is_sent_in_capitals(send, server):
    send("patch", f"{server.url}/p")

    assert server.requests[0].method == "PATCH"


URLS = [
    "example.com/contacts",
    "//example.com/contacts",
    "ftp://example.com/contacts",
    "file:///etc/passwd",
    "https:/example.com",
    "https://",
    "https:///contacts",
    "https://user:hunter2hunter2@example.com/",
    "https://hunter2hunter2@example.com/",
    "https://example.com/a\nb",
    "https://example.com/a\x00b",
    " https://example.com/",
    "https://example.com/ ",
    "https://exa mple.com/",
    "https://ex*mple.com/",
    "https://[::1",
    "https://example.com:port/",
    "https://example.com:99999/",
    "https://example.com:0/",
    "https://xn--/",
    "https://..../",
    f"https://{'a' * 64}.com/",
    f"https://{'a.' * 130}com/",
    "https://localhost%00/",
    "https://example.com/\ud800",
    f"https://example.com/?{'a' * 100_000}",
    None,
    b"https://example.com/",
    5,
    "",
]


@pytest.mark.parametrize("url", URLS, ids=lambda url: ascii(url)[:40])
def test_a_url_that_cannot_be_asked_is_refused(send, url):
    with pytest.raises(RequestError, match=r"^url: ") as refusal:
        send("GET", url)

    assert "hunter2" not in str(refusal.value)


@given(url=st.text(max_size=30) | st.from_regex(r"https?://[^/]*/.*", fullmatch=True))
def test_no_text_in_place_of_a_url_gives_anything_but_a_request_or_a_refusal(url):
    with contextlib.suppress(RequestError):
        assert outgoing("GET", url).build().url.host


@pytest.mark.parametrize("method", ["", "GE T", "GET\n", "GET:", "é", None, 5, "CONNECT"])
def test_a_method_that_is_none_is_refused(send, server, method):
    with pytest.raises(RequestError, match=r"^method: "):
        send(method, f"{server.url}/p")

    assert server.requests == []


def test_arguments_in_the_wrong_order_do_not_show_a_long_one(send):
    with pytest.raises(RequestError) as refusal:
        send("https://example.com/?key=hunter2hunter2", "GET")

    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"json": {}, "data": {}}, "json and data"),
        ({"json": {}, "content": b""}, "json and content"),
        ({"json": {}, "files": {"f": b""}}, "json and files"),
        ({"json": float("nan")}, "json"),
        ({"json": {1, 2}}, "json"),
        ({"json": "\ud800"}, "json"),
        ({"json": {"key": SecretStr("hunter2")}}, "json"),
        ({"data": "a=1"}, "data"),
        ({"data": {"a": b"1"}}, "data"),
        ({"data": {"a": SecretStr("hunter2")}}, "data"),
        ({"data": {"a": [{}]}}, "data"),
        ({"content": 5}, "content"),
        ({"content": {"a": 1}}, "content"),
        ({"content": "\ud800"}, "content"),
        ({"files": {"f": 5}}, "files"),
        ({"files": "f"}, "files"),
        ({"files": {"f": io.StringIO("text")}}, "files"),
        ({"params": "a=1"}, "params"),
        ({"params": 5}, "params"),
        ({"params": {"a": {}}}, "params"),
        ({"params": {"a": b"1"}}, "params"),
        ({"params": {"a": SecretStr("hunter2")}}, "params"),
        ({"params": {"a": "\ud800"}}, "params"),
        ({"headers": "X-Key: 1"}, "headers"),
        ({"headers": 5}, "headers"),
        ({"headers": {"X-Key": "a\r\nX-Other: b"}}, "headers"),
        ({"headers": {"X-Key": "a\n"}}, "headers"),
        ({"headers": {"X-Key": "a\x00"}}, "headers"),
        ({"headers": {"X-Key": 1}}, "headers"),
        ({"headers": {"X-Key": None}}, "headers"),
        ({"headers": {"X-Key": b"1"}}, "headers"),
        ({"headers": {"X-Key": "é"}}, "headers"),
        ({"headers": {"X-Key": " 1"}}, "headers"),
        ({"headers": {"X Key": "1"}}, "headers"),
        ({"headers": {"X-Key:": "1"}}, "headers"),
        ({"headers": {"": "1"}}, "headers"),
        ({"headers": {"Clé": "1"}}, "headers"),
        ({"content": b"abc", "headers": {"Content-Length": "5"}}, "headers"),
        ({"content": b"abc", "headers": {"content-length": "1"}}, "headers"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": "3"}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"timeout": httpx.Timeout(0)}, "timeout"),
        ({"max_response_bytes": -1}, "max_response_bytes"),
        ({"max_response_bytes": "1 MB"}, "max_response_bytes"),
        ({"max_response_bytes": None}, "max_response_bytes"),
        ({"max_response_bytes": True}, "max_response_bytes"),
        ({"retry": 3}, "retry"),
        ({"retry": False}, "retry"),
    ],
    ids=ascii,
)
def test_a_wrong_argument_is_named_and_nothing_is_sent(send, server, options, named):
    with pytest.raises(RequestError, match=rf"^{named}: ") as refusal:
        send("POST", f"{server.url}/p", **options)

    assert server.connections == 0
    assert not refusal.value.transient
    assert "hunter2" not in str(refusal.value)


def test_a_refused_header_does_not_show_its_value(send, server):
    with pytest.raises(RequestError, match="the value of X-Key holds a line break") as refusal:
        send("GET", f"{server.url}/p", headers={"X-Key": "hunter2\n"})

    assert "hunter2" not in str(refusal.value)


def test_a_wrong_argument_is_a_value_error_too(send):
    with pytest.raises(ValueError, match="url"):
        send("GET", "nowhere")


def test_an_iterator_of_the_other_kind_is_refused_before_anything_is_sent(send, server, request):
    is_async = "asend" in request.node.callspec.id
    content = iter([b"a"]) if is_async else _achunks()

    with pytest.raises(RequestError, match=r"^content: "):
        send("POST", f"{server.url}/p", content=content)

    assert server.connections == 0


@pytest.mark.parametrize("chunks", [[b"abc"], [b"a" * 10]])
def test_a_stream_that_is_not_as_long_as_declared_is_an_error_of_the_request(server, chunks):
    with pytest.raises(RequestError, match="Content-Length"):
        send_request.fn("PUT", f"{server.url}/p", content=iter(chunks), headers={"Content-Length": "5"})

    server.wait(lambda server: server.connections == 1 and server.open_connections == 0)


@pytest.mark.parametrize("options", [{"attempts": 0}, {"backoff": -1}, {"max_wait": -1}])
def test_a_retry_that_makes_no_sense_is_refused(options):
    with pytest.raises(ValueError, match="Retry"):
        Retry(**options)


@pytest.mark.parametrize("timeout", [None, 1, 0.5, httpx.Timeout(5, read=None), 10**9])
def test_a_timeout_is_seconds_or_httpx_own_or_none(send, server, timeout):
    assert send("GET", f"{server.url}/p", timeout=timeout).json() == json.loads(server.ok_body)
