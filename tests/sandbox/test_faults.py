"""Misbehaviour on demand, as an ordinary client sees it."""

from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import httpx
import pytest

from prefect_atomic.sandbox import SandboxError


@pytest.fixture
def client(sandbox):
    with httpx.Client(base_url=sandbox.url, timeout=10) as client:
        yield client


def test_a_cut_connection_is_a_protocol_error_for_httpx(client, sandbox):
    sandbox.misbehave("/echo", times=2, cut=True)

    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError, match="disconnected without sending a response"):
            client.post("/echo", content=b"x" * 100_000)
    assert client.post("/echo").status_code == 200


def test_a_kept_alive_connection_is_cut_as_well(client, sandbox):
    client.get("/echo")
    sandbox.misbehave("/echo", times=1, cut=True)

    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/echo")


def test_a_hanging_service_never_answers(client, sandbox):
    sandbox.misbehave("/echo", times=1, hang=True)

    with pytest.raises(httpx.ReadTimeout):
        client.get("/echo", timeout=0.1)
    assert client.get("/echo").status_code == 200


def test_a_delay_is_followed_by_the_usual_service_and_delays_nobody_else(client, sandbox):
    sandbox.misbehave("/echo", delay=0.3)
    started = monotonic()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.get("/echo"), range(8)))

    assert {answer.status_code for answer in answers} == {200}
    assert 0.3 <= monotonic() - started < 8 * 0.3


def test_another_answer_takes_the_place_of_the_usual_one(client, sandbox):
    sandbox.misbehave("/echo", times=1, status=429, body={"slow": "down"}, headers={"Retry-After": "7"})

    answer = client.get("/echo/below")

    assert (answer.status_code, answer.json(), answer.headers["retry-after"]) == (429, {"slow": "down"}, "7")
    assert client.get("/echo/below").status_code == 200


def test_a_body_alone_is_answered_with_200(client, sandbox):
    sandbox.misbehave("/echo", body="<html>", content_type="text/html")

    answer = client.get("/echo")

    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (200, "<html>", "text/html")


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_has_none(status, client, sandbox):
    sandbox.misbehave("/echo", status=status, body="ignored")

    answer = client.get("/echo")

    assert (answer.status_code, answer.content) == (status, b"")
    assert client.get("/status/204").status_code == 204


def test_a_provider_may_echo_the_secret_it_was_sent(client, sandbox):
    sandbox.misbehave("/oauth/token", status=400, body='{"error_description": "bad secret {secret}"}')

    in_body = client.post("/oauth/token", data={"client_secret": "a+b&c"})
    in_query = client.post("/oauth/token?client_secret=d%2Be")
    in_header = client.post("/oauth/token", headers={"Authorization": "Basic Zm9v"})

    assert in_body.json()["error_description"] == "bad secret a+b&c"
    assert in_query.json()["error_description"] == "bad secret d+e"
    assert in_header.json()["error_description"] == "bad secret Basic Zm9v"


def test_a_body_shorter_than_it_says_is_a_broken_answer(client, sandbox):
    sandbox.misbehave("/echo", body="short", headers={"Content-Length": "100"})

    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/echo")


def test_faults_of_one_path_follow_each_other(client, sandbox):
    sandbox.misbehave("/echo", times=2, status=503)
    sandbox.misbehave("/echo", times=1, status=429)

    assert [client.get("/echo").status_code for _ in range(4)] == [503, 503, 429, 200]


def test_an_endless_fault_lasts_until_another_is_set_or_all_is_reset(client, sandbox):
    sandbox.misbehave("/echo", status=503)
    assert [client.get("/echo").status_code for _ in range(3)] == [503, 503, 503]

    sandbox.misbehave("/echo", times=1, status=500)
    assert [client.get("/echo").status_code for _ in range(2)] == [500, 200]

    sandbox.misbehave("/echo", status=503)
    sandbox.reset()
    assert client.get("/echo").status_code == 200


def test_calls_are_counted_by_method_and_fixed_path_whatever_happens_to_them(client, sandbox):
    sandbox.misbehave("/verify/basic", times=1, cut=True)
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/verify/basic/a")
    client.get("/verify/basic/b?c=d")
    client.post("/verify/basic")
    client.get("/status/503")

    assert sandbox.calls() == {"GET /verify/basic": 2, "POST /verify/basic": 1, "GET /status": 1}
    sandbox.reset()
    assert sandbox.calls() == {}


def test_a_hanging_call_is_counted_when_it_arrives(client, sandbox):
    sandbox.misbehave("/echo", hang=True)
    with pytest.raises(httpx.ReadTimeout):
        client.get("/echo", timeout=0.1)

    assert sandbox.calls() == {"GET /echo": 1}


@pytest.mark.parametrize(
    ("path", "fault", "reason"),
    [
        ("/typo", {"status": 500}, "path should be one of /oauth/token"),
        ("/_sandbox/reset", {"status": 500}, "path should be one of"),
        ("/echo", {}, "needs at least one of"),
        ("/echo", {"times": 0, "status": 500}, "times is a whole number from 1"),
        ("/echo", {"status": 99}, "status is an HTTP status"),
        ("/echo", {"delay": -1}, "delay is a number of seconds"),
        ("/echo", {"method": "post", "status": 500}, "method is one of GET"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_with_a_reason(path, fault, reason, sandbox):
    with pytest.raises(SandboxError, match=reason):
        sandbox.misbehave(path, **fault)


def test_a_fault_may_come_after_the_usual_service(client, sandbox):
    account = sandbox.accounts.oauth
    form = {"grant_type": "client_credentials", "client_id": account.client_id, "client_secret": account.client_secret}
    sandbox.misbehave("/oauth/token", times=1, status=503, after=True)
    sandbox.misbehave("/oauth/token", times=1, cut=True, after=True)
    sandbox.misbehave("/oauth/token", times=1, delay=0.01, after=True)

    assert client.post("/oauth/token", data=form).status_code == 503
    with pytest.raises(httpx.RemoteProtocolError):
        client.post("/oauth/token", data=form)
    assert "access_token" in client.post("/oauth/token", data=form).json()


def test_a_fault_may_be_for_one_method_only(client, sandbox):
    sandbox.misbehave("/echo", status=500)
    sandbox.misbehave("/echo", method="POST", times=1, status=503)

    assert client.get("/echo").status_code == 500
    assert [client.post("/echo").status_code for _ in range(2)] == [503, 500]


def test_a_fault_over_http_with_a_typo_is_refused(client):
    reply = client.put("/_sandbox/faults", json={"path": "/echo", "stauts": 500})

    assert (reply.status_code, reply.json()) == (400, {"error": "a fault has no stauts"})
