"""A body that is written into a file: whole or not at all, whatever happens on the way."""

import asyncio
import io
import tracemalloc
from collections.abc import Callable

import pytest

from prefect_atomic import RequestError, ResponseError, Retry, TransportError
from prefect_atomic.transport import Policy, Response, asend, outgoing, send
from tests.e2e.servers.faulty import Answer

Get = Callable[..., Response]


@pytest.fixture(params=["send", "asend"])
def get(request) -> Get:
    def get(url: str, **options: object) -> Response:
        if request.param == "send":
            return send(outgoing("GET", url), None, Policy(**options))
        return asyncio.run(asend(outgoing("GET", url), None, Policy(**options)))

    return get


@pytest.fixture
def sink():
    sink = io.BytesIO(b"before, and what is after")
    sink.seek(6)
    return sink


def test_a_success_is_written_where_the_file_stands(get, server, sink):
    server.script([Answer(200, body=b" and now")])

    response = get(server.url, sink=sink)

    assert sink.getvalue() == b"before and now"
    assert (response.status_code, response.content) == (200, b"")


def test_a_failed_attempt_is_taken_back(get, server, sink):
    server.script(["cut-body", Answer(503, body=b"busy"), Answer(200, body=b" now")])

    response = get(server.url, sink=sink)

    assert sink.getvalue() == b"before now"
    assert response.attempts == 3


def test_an_answer_that_says_no_is_not_written(get, server, sink):
    server.script([Answer(404, body=b"there is none")] * 2)

    with pytest.raises(ResponseError, match="there is none"):
        get(server.url, sink=sink)
    assert get(server.url, sink=sink, raise_for_status=False).content == b"there is none"
    assert sink.getvalue() == b"before"


@pytest.mark.parametrize("fault", ["cut-body", "not-gzip"])
def test_what_fails_in_the_end_leaves_nothing(get, server, sink, fault):
    server.handler = lambda request: fault

    with pytest.raises((TransportError, ResponseError)):
        get(server.url, sink=sink, retry=Retry(attempts=2))
    assert sink.getvalue() == b"before"


@pytest.mark.parametrize("answer", [Answer(200, body=b"x" * 11), "endless", "huge"])
def test_more_than_the_most_is_an_error(get, server, sink, answer):
    server.script([answer])

    with pytest.raises(ResponseError, match="more than max_response_bytes=10"):
        get(server.url, sink=sink, max_response_bytes=10)
    assert sink.getvalue() == b"before"


def test_the_body_of_a_redirect_is_not_written(get, server, sink):
    server.script([Answer(302, [("Location", "/there")], b"go there"), Answer(200, body=b" there")])

    get(server.url, sink=sink, follow_redirects=True)

    assert sink.getvalue() == b"before there"


def test_a_large_body_takes_little_memory(get, server, tmp_path):
    server.handler = lambda request: "endless"
    with (tmp_path / "file").open("wb") as file:
        tracemalloc.start()
        try:
            with pytest.raises(ResponseError):
                get(server.url, sink=file, max_response_bytes=64 * 1024 * 1024)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peak < 8 * 1024 * 1024


def test_an_error_of_the_file_is_the_callers(get, server):
    class Full(io.BytesIO):
        def write(self, content):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        get(server.url, sink=Full())


def test_a_file_that_cannot_be_rewound_is_refused():
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    with pytest.raises(RequestError, match=r"^sink: cannot be rewound"):
        Policy(sink=Pipe())
