"""A response is fit to be a task's result: immutable, picklable, small, and it holds nothing secret."""

import gzip
import json
import pickle

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.serializers import CompressedSerializer, JSONSerializer, PickleSerializer
from pydantic import ValidationError

from prefect_atomic import BasicAuth, CustomHeaders, Response, ResponseError
from prefect_atomic.transport import Headers
from tests.e2e.servers.faulty import Answer

SECRET = "hunter2-is-a-long-secret"


def response_of(content=b"", headers=(), **fields) -> Response:
    given = {"status_code": 200, "url": "https://example.com/", "elapsed": 0.1, "attempts": 1}
    return Response(content=content, headers=Headers(headers), **{**given, **fields})


responses = st.builds(
    response_of,
    content=st.binary(),
    headers=st.lists(st.tuples(st.text(min_size=1), st.text())),
    status_code=st.integers(100, 599),
    elapsed=st.floats(0, 1e6),
    attempts=st.integers(1, 10),
)
WAYS = {
    "pickle": lambda response: pickle.loads(pickle.dumps(response)),  # noqa: S301
    "cloudpickle": lambda response: cloudpickle.loads(cloudpickle.dumps(response)),
    "JSONSerializer": lambda response: JSONSerializer().loads(JSONSerializer().dumps(response)),
    "PickleSerializer": lambda response: PickleSerializer().loads(PickleSerializer().dumps(response)),
    "CompressedSerializer": lambda response: CompressedSerializer(serializer="json").loads(
        CompressedSerializer(serializer="json").dumps(response)
    ),
    "model_dump": lambda response: Response.model_validate(response.model_dump()),
    "model_dump_json": lambda response: Response.model_validate_json(response.model_dump_json()),
}


@pytest.mark.parametrize("way", WAYS)
@given(response=responses)
def test_a_response_survives_every_way_a_result_is_kept(way, response):
    assert WAYS[way](response) == response


def test_what_a_server_sent_is_in_the_response(send, server):
    headers = [("Content-Type", "text/plain"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    server.script([Answer(201, headers, b"\x00\xffbinary")])

    response = send("POST", f"{server.url}/p?key=hunter2")

    assert (response.status_code, response.content, response.attempts) == (201, b"\x00\xffbinary", 1)
    assert response.is_success
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert response.url == f"{server.url}/p?key=***"
    assert 0 < response.elapsed < 60
    assert WAYS["CompressedSerializer"](response) == response


def test_a_response_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        response_of().status_code = 500


def test_a_response_prints_in_one_short_line():
    response = response_of(b"x" * 100_000)

    assert repr(response) == str(response) == "<Response 200, 100000 bytes from https://example.com/>"


@pytest.mark.parametrize(
    ("content", "content_type", "text"),
    [
        ("é".encode(), None, "é"),
        ("é".encode(), "application/json", "é"),
        ("é".encode("latin-1"), "text/plain; charset=ISO-8859-1", "é"),
        ("é".encode("utf-16"), 'text/plain; format=flowed; Charset="utf-16"', "é"),
        ("é".encode(), "text/plain; charset=klingon", "é"),
        ("é".encode(), "text/plain; charset=idna", "é"),
        (b"6869", "text/plain; charset=hex", "6869"),
        ("é".encode(), "text/plain; charset=", "é"),
        (b"\xff", "text/plain; charset=utf-8", "\ufffd"),
        (b"\xef\xbb\xbfname,mail", "text/csv; charset=UTF-8", "name,mail"),
        (b"\xef\xbb\xbfname,mail", "text/csv", "name,mail"),
        (b"", None, ""),
    ],
)
def test_text_is_decoded_as_declared_or_as_utf_8_and_never_fails(content, content_type, text):
    headers = [("Content-Type", content_type)] if content_type else []

    assert response_of(content, headers).text == text


@given(content=st.binary(), charset=st.text() | st.sampled_from(["utf-7", "punycode", "undefined", "rot13", "cp037"]))
def test_no_charset_makes_text_fail(content, charset):
    assert isinstance(response_of(content, [("content-type", f"text/plain; charset={charset}")]).text, str)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_json_is_read_in_every_unicode_encoding(encoding):
    assert response_of(json.dumps({"é": "漢"}, ensure_ascii=False).encode(encoding)).json() == {"é": "漢"}


@pytest.mark.parametrize("content", [b"", b"<html>", b"\xff\xfe\xff", b'{"a":'])
def test_what_is_no_json_says_what_it_claims_to_be(content):
    with pytest.raises(ValueError, match=r"The answer of https://example.com/ \(200, text/html\) is not JSON"):
        response_of(content, [("Content-Type", "text/html")]).json()


def test_headers_are_a_mapping_by_name_in_any_case():
    headers = Headers([("X-Tag", "a"), ("x-tag", "b"), ("ETag", '"1"')])

    assert dict(headers) == {"x-tag": "a, b", "etag": '"1"'}
    assert len(headers) == 2
    assert headers["X-TAG"] == "a, b"
    assert headers.get("nothing") is None
    assert "etag" in headers
    assert 5 not in headers
    assert headers == Headers(headers.pairs)
    assert hash(headers) == hash(Headers(headers.pairs))
    with pytest.raises(KeyError):
        headers["nothing"]


@given(pairs=st.lists(st.tuples(st.text(), st.text())))
def test_headers_keep_the_contract_of_a_mapping(pairs):
    headers = Headers(pairs)

    assert len(headers) == len(list(headers)) == len(dict(headers))
    assert all(name in headers for name in headers)
    assert sorted(value for name in headers for value in headers.get_list(name)) == sorted(value for _, value in pairs)


def test_a_secret_that_comes_back_is_masked_in_body_and_headers(send, server):
    server.handler = lambda request: Answer(
        200, [("X-Echo", request.header("X-Key"))], f'{{"you sent": "{request.header("X-Key")}"}}'.encode()
    )

    response = send("GET", f"{server.url}/p", credential=CustomHeaders(headers={"X-Key": SECRET}))

    assert server.requests[0].header("X-Key") == SECRET
    assert response.headers["x-echo"] == "***"
    assert response.json() == {"you sent": "***"}


def test_a_secret_that_comes_back_compressed_is_masked(send, server):
    body = gzip.compress(SECRET.encode())
    server.script([Answer(200, [("Content-Encoding", "gzip")], body)])

    response = send("GET", f"{server.url}/p", credential=CustomHeaders(headers={"X-Key": SECRET}))

    assert response.content == b"***"


def test_a_basic_proof_that_comes_back_is_masked(send, server):
    server.handler = lambda request: Answer(200, body=request.header("Authorization").encode())

    response = send("GET", f"{server.url}/p", credential=BasicAuth(username="me", password=SECRET))

    assert response.content == b"Basic ***"


def test_a_short_secret_does_not_spoil_the_answer(send, server):
    server.script([Answer(200, body=b'{"a": 1, "ab": 2}')])

    response = send("GET", f"{server.url}/p", credential=BasicAuth(username="me", password="a"))

    assert response.json() == {"a": 1, "ab": 2}


def test_a_secret_that_comes_back_in_an_error_is_in_neither_its_text_nor_its_response(send, server):
    server.handler = lambda request: Answer(400, body=b"bad key " + request.header("X-Key").encode())

    with pytest.raises(ResponseError, match=r"answered 400 Bad Request: bad key \*\*\*") as error:
        send("GET", f"{server.url}/p", credential=CustomHeaders(headers={"X-Key": SECRET}))

    assert error.value.response.content == b"bad key ***"
