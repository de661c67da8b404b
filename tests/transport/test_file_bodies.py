"""A body that is an open file: sent from where it stands, and sent again whole."""

import asyncio
import io
from pathlib import Path

import pytest

from prefect_atomic import RequestError, TransportError
from prefect_atomic.transport import Policy, asend, outgoing, send
from tests.e2e.servers.faulty import Answer


def test_a_file_is_sent_with_its_length_and_again_after_a_failure(server, tmp_path: Path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b"header" + b"x" * 600_000)
    server.script([Answer(503), Answer(200)])

    with path.open("rb") as file:
        file.seek(6)
        response = send(outgoing("PUT", server.url, content=file), None, Policy())

    assert response.attempts == 2
    assert [request.body for request in server.requests] == [b"x" * 600_000] * 2
    assert all(request.header("content-length") == "600000" for request in server.requests)
    assert all(request.header("transfer-encoding") is None for request in server.requests)


def test_a_file_of_text_is_refused(tmp_path: Path):
    path = tmp_path / "rows.csv"
    path.write_text("x")
    with path.open() as file, pytest.raises(RequestError, match="'rb'"):
        outgoing("PUT", "http://127.0.0.1:1/", content=file)


def test_a_file_would_block_an_event_loop(server):
    with pytest.raises(RequestError, match="block"):
        asyncio.run(asend(outgoing("PUT", server.url, content=io.BytesIO(b"x")), None, Policy()))


@pytest.mark.parametrize(("repeatable", "attempts"), [(None, 1), (True, 3), (False, 1)])
def test_who_asks_says_whether_a_post_may_be_repeated(server, repeatable, attempts):
    """An upsert harms nobody twice, whatever its method."""
    server.handler = lambda request: "close"

    with pytest.raises(TransportError):
        send(outgoing("POST", server.url, json={}), None, Policy(repeatable=repeatable))
    assert len(server.requests) == attempts
