"""Servers that break on the wire: every fault is an error that says what happened, and costs no more than it must."""

import asyncio
import gzip
import threading
from collections.abc import Callable, Iterator

import pytest

from prefect_atomic import Response, ResponseError, TransportError, asend_request, instant_retries, send_request
from tests.e2e.servers.faulty import Answer, FaultServer

LIMIT = 1_000_000


@pytest.fixture(autouse=True)
def _without_waits() -> Iterator[None]:
    with instant_retries():
        yield


@pytest.fixture(params=["send_request", "asend_request"])
def send(request: pytest.FixtureRequest) -> Callable[..., Response]:
    if request.param == "send_request":
        return send_request.fn
    return lambda *arguments, **options: asyncio.run(asend_request.fn(*arguments, **options))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("close", "not valid HTTP, or only a part of one"),
        ("reset", "lost the connection"),
        ("garbage", "not valid HTTP"),
        ("cut-headers", "not valid HTTP, or only a part of one"),
        ("endless-headers", "not valid HTTP"),
        ("cut-body", "only a part of one"),
        ("cut-chunk", "only a part of one"),
    ],
)
def test_a_broken_answer_is_asked_for_three_times_and_then_told(send, fault_server, fault, words):
    with pytest.raises(TransportError, match=words) as error:
        send("GET", f"{fault_server.url}/{fault}?key=hunter2")

    assert len(fault_server.requests) == 3
    assert "(3 attempts)" in str(error.value)
    assert error.value.transient
    assert f"GET {fault_server.url}/{fault}?key=*** " in str(error.value)


@pytest.mark.parametrize("fault", ["close", "reset", "garbage", "cut-headers", "cut-body", "cut-chunk"])
def test_a_post_with_a_broken_answer_is_not_sent_again(send, fault_server, fault):
    with pytest.raises(TransportError):
        send("POST", f"{fault_server.url}/{fault}", json={})

    assert len(fault_server.requests) == 1


@pytest.mark.parametrize("fault", ["reset", "cut-body", "garbage"])
def test_a_fault_that_passes_is_not_noticed(send, fault_server, fault):
    fault_server.script([fault, "ok"])

    response = send("GET", f"{fault_server.url}/p")

    assert response.json() == {"ok": True}
    assert response.attempts == 2


def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_the_timeout(send, fault_server):
    with pytest.raises(TransportError, match="got no answer in time"):
        send("GET", f"{fault_server.url}/hang", timeout=0.1, retry=None)

    assert len(fault_server.requests) == 1


def test_an_endless_answer_is_read_up_to_the_limit(send, fault_server):
    with pytest.raises(ResponseError, match=f"max_response_bytes={LIMIT}") as error:
        send("GET", f"{fault_server.url}/endless", max_response_bytes=LIMIT)

    assert fault_server.bytes_sent < 3 * LIMIT
    assert error.value.response.content == b""
    assert not error.value.transient


def test_an_answer_that_is_declared_too_long_is_not_read(send, fault_server):
    with pytest.raises(ResponseError, match=f"max_response_bytes={LIMIT}"):
        send("GET", f"{fault_server.url}/huge", max_response_bytes=LIMIT)

    fault_server.wait(lambda server: server.open_connections == 0)
    assert fault_server.bytes_sent < LIMIT


def test_a_small_answer_that_unpacks_to_a_huge_one_is_too_long(send, fault_server):
    with pytest.raises(ResponseError, match=f"max_response_bytes={LIMIT}"):
        send("GET", f"{fault_server.url}/gzip-bomb", max_response_bytes=LIMIT)


def test_an_answer_packed_more_than_once_is_not_unpacked(send, fault_server):
    body = gzip.compress(gzip.compress(b"x"))
    fault_server.script([Answer(200, [("Content-Encoding", "gzip, gzip")], body)])

    with pytest.raises(ResponseError, match="encoded more than once"):
        send("GET", f"{fault_server.url}/p")


def test_an_answer_that_is_not_packed_as_it_claims_is_an_error(send, fault_server):
    with pytest.raises(ResponseError, match="not the gzip it claims to be") as error:
        send("GET", f"{fault_server.url}/not-gzip")

    assert error.value.response.status_code == 200
    assert len(fault_server.requests) == 1


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_an_answer_exactly_as_long_as_the_limit_passes(send, fault_server, size):
    fault_server.ok_body = b"x" * size

    assert len(send("GET", f"{fault_server.url}/p", max_response_bytes=size).content) == size


def test_an_answer_one_byte_longer_does_not(send, fault_server):
    fault_server.ok_body = b"x" * 1001

    with pytest.raises(ResponseError, match="max_response_bytes=1000"):
        send("GET", f"{fault_server.url}/p", max_response_bytes=1000)


def test_a_length_without_a_body_is_not_too_long(send, fault_server):
    length = [("Content-Length", "1000000000")]
    fault_server.script([Answer(200, length), Answer(304, length), Answer(204)])

    assert send("HEAD", f"{fault_server.url}/p", max_response_bytes=10).content == b""
    assert send("GET", f"{fault_server.url}/p", max_response_bytes=10).status_code == 304
    assert send("GET", f"{fault_server.url}/p", max_response_bytes=10).status_code == 204


def test_a_port_where_nobody_listens_is_an_error_of_the_wire(send):
    with FaultServer() as gone:
        url = gone.url

    with pytest.raises(TransportError, match=r"could not connect \(3 attempts\)") as error:
        send("POST", f"{url}/p", json={})

    assert error.value.transient


def test_a_name_that_does_not_exist_is_an_error_of_the_wire(send):
    with pytest.raises(TransportError, match="could not connect"):
        send("GET", "http://nowhere.invalid/", retry=None)


@pytest.mark.parametrize("certificate", ["good", "wrong-host", "expired"])
def test_a_certificate_that_is_not_trusted_is_refused_once_and_named(send, certificate):
    with FaultServer(tls=True, certificate=certificate) as server:
        with pytest.raises(TransportError, match="did not trust the server's certificate") as error:
            send("GET", f"{server.url}/p?key=hunter2")

        assert server.requests == []
        assert server.connections == 1
        assert not error.value.transient
        assert "hunter2" not in str(error.value)


def test_tls_with_a_server_that_speaks_none_is_an_error_of_the_wire(send, fault_server):
    with pytest.raises(TransportError, match="could not connect"):
        send("GET", fault_server.url.replace("http", "https"), retry=None, timeout=0.2)


def test_a_connection_that_the_server_closed_in_the_meantime_costs_nobody_a_request(fault_server):
    """The pool notices before it sends: a POST could not be repeated."""
    fault_server.script([Answer(200, [("Connection", "close")], b"1"), "ok"])

    send_request.fn("POST", f"{fault_server.url}/p")
    send_request.fn("POST", f"{fault_server.url}/p")

    assert len(fault_server.requests) == 2


def test_a_request_that_is_cancelled_gives_its_connection_back(fault_server):
    async def cancel_then_send() -> Response:
        waiting = [asyncio.create_task(asend_request.fn("GET", f"{fault_server.url}/hang")) for _ in range(120)]
        await asyncio.to_thread(fault_server.wait, lambda server: len(server.requests) == 100)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return await asend_request.fn("GET", f"{fault_server.url}/p", timeout=5)

    assert asyncio.run(cancel_then_send()).status_code == 200


def test_a_slow_answer_holds_up_nobody_else(fault_server):
    fault_server.script([Answer(hold=True), "ok"])
    slow = threading.Thread(target=send_request.fn, args=("GET", f"{fault_server.url}/slow"))
    slow.start()
    fault_server.wait(lambda server: len(server.requests) == 1)

    assert send_request.fn("GET", f"{fault_server.url}/p").status_code == 200

    fault_server.release()
    slow.join()
