"""From the acceptance of an event to its delivery, or to where redelivery goes on with it."""

import asyncio
import json
import random
import signal
import socket
import threading
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import pairwise

import anyio
import pytest

from prefect_atomic import BasicAuth, OAuthClientCredentials, awebhook, instant_retries, verify_webhook, webhook
from prefect_atomic.tasks import course
from prefect_atomic.webhooks import outbox, redeliver
from tests.e2e.servers.faulty import Answer, FaultServer
from tests.webhooks.conftest import CONTENT, NOW, event
from tests.webhooks.test_signature import PRIVATE, PUBLIC, SECRET

LATE = [3600.0]
"""A schedule that leaves the event to redelivery after the first attempt."""


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_a_delivery(tell, subscribe, server, waiting, clock, status):
    server.script([Answer(status)])

    delivery = tell(event(), to := subscribe())

    assert (delivery.state, delivery.delivered, delivery.event_id) == ("delivered", True, "evt_1")
    assert [(made.status_code, made.problem, made.at) for made in delivery.attempts] == [
        (status, None, datetime.fromtimestamp(NOW, UTC))
    ]
    assert delivery.next_attempt_at is None
    assert waiting(to) == []


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_the_event_is_sent_as_it_is(tell, subscribe, server, clock, method):
    tell({"type": "t", "id": "1", "n": 1.5, "é": ["☃", None]}, subscribe(method=method))

    (request,) = server.requests
    assert (request.method, request.path) == (method, "/hook")
    assert request.header("Content-Type") == "application/json"
    assert (
        request.body.decode()
        == '{"type":"t","id":"1","n":1.5,"é":["☃",null],"timestamp":"2026-01-02T03:04:05.000+00:00"}'
    )
    assert request.header("webhook-signature") is None


@pytest.mark.parametrize("location", ["/elsewhere", "https://elsewhere.example/"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_no_delivery(subscribe, server, waiting, status, location):
    server.script([Answer(status, [("Location", location)])])

    delivery = webhook.fn(event(), to := subscribe(retry_delays=LATE))

    assert delivery.state == "waiting"
    assert delivery.attempts[0].status_code == status
    assert delivery.attempts[0].problem.startswith(f"answered {status} ")
    assert len(server.requests) == 1
    assert len(waiting(to)) == 1


@pytest.mark.parametrize("status", [304, 400, 401, 403, 404, 409, 422, 500, 501, 502, 504, 599])
def test_any_other_status_is_a_failure_that_may_pass(tell, subscribe, server, clock, status):
    server.script([Answer(status), Answer(status)])

    delivery = tell(event(), subscribe(retry_delays=[5, 10, 20]))

    assert [made.status_code for made in delivery.attempts] == [status, status, 200]


def test_gone_pauses_at_once_and_keeps_the_event(tell, subscribe, server, waiting, said):
    server.script([Answer(410)])

    delivery = tell(event(), to := subscribe())

    assert delivery.state == "paused"
    assert to.paused
    assert len(server.requests) == 1
    assert [(entry.event["id"], len(entry.attempts), entry.is_exhausted) for entry in waiting(to)] == [
        ("evt_1", 1, False)
    ]
    assert "The webhook subscription 127.0.0.1 is paused: answered 410 Gone" in said


WIRE = {
    "close": "got an answer that is not valid HTTP, or only a part of one",
    "reset": "lost the connection|could not|not valid HTTP",
    "garbage": "not valid HTTP",
    "cut-headers": "not valid HTTP",
    "cut-body": "not valid HTTP",
    "cut-chunk": "not valid HTTP",
    "endless-headers": "not valid HTTP",
}


@pytest.mark.parametrize("fault", WIRE)
def test_a_failure_on_the_wire_is_one_that_may_pass(tell, subscribe, server, clock, fault):
    server.script([fault])

    delivery = tell(event(), subscribe(retry_delays=[5]))

    assert delivery.delivered
    assert [made.status_code for made in delivery.attempts] == [None, 200]
    assert any(words in delivery.attempts[0].problem for words in WIRE[fault].split("|"))


def test_a_receiver_that_never_answers_is_given_up_after_the_timeout(tell, subscribe, server):
    server.mode = "hang"

    delivery = tell(event(), subscribe(retry_delays=LATE, timeout=0.1))

    assert "got no answer in time" in delivery.attempts[0].problem


def test_a_receiver_that_never_comes_to_its_end_is_given_up_after_the_timeout(tell, subscribe, server):
    """Each byte arrives in time, so nothing but the whole shows that it takes too long."""
    server.mode, server.drip_interval = "drip", 0.01

    delivery = tell(event(), subscribe(retry_delays=LATE, timeout=0.3))

    (made,) = delivery.attempts
    assert (made.status_code, made.problem) == (None, "got no answer in time")


def test_a_connection_that_is_refused_is_a_failure_that_may_pass(tell, subscribe, server):
    with FaultServer() as gone:
        pass

    delivery = tell(event(), subscribe(url=gone.url, retry_delays=LATE))

    assert delivery.state == "waiting"
    assert "could not connect" in delivery.attempts[0].problem


@pytest.mark.parametrize("fault", ["endless", "huge", "gzip-bomb", "not-gzip"])
def test_a_receiver_that_accepts_has_the_event_whatever_it_says_on(tell, subscribe, server, waiting, fault):
    server.mode = fault

    delivery = tell(event(), to := subscribe())

    assert (delivery.state, delivery.attempts[0].status_code) == ("delivered", 200)
    assert waiting(to) == []
    assert server.bytes_sent < 2**20


def test_the_attempts_follow_the_schedule(tell, subscribe, server, clock):
    delays = [5, 300, 1800, 3000, 1]
    server.script([Answer(500)] * 5)

    delivery = tell(event(), subscribe(retry_delays=delays), max_wait=3600)

    times = [made.at.timestamp() for made in delivery.attempts]
    apart = [after - before for before, after in pairwise(times)]
    for waited, seconds, planned in zip(clock.waits, apart, delays, strict=True):
        assert waited == pytest.approx(seconds, abs=1e-3)
        assert planned * 0.9 <= waited <= planned * 1.1


def test_the_jitter_is_drawn_anew_each_time(subscribe, server, clock):
    server.mode = "close"

    webhook.fn(event(), subscribe(retry_delays=[20] * 30))

    assert len(set(clock.waits)) == 30
    assert min(clock.waits) < 19.5 < 20.5 < max(clock.waits)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("asked", ["7", format_datetime(datetime.fromtimestamp(NOW + 7, UTC), usegmt=True)])
def test_a_receiver_that_asks_to_wait_is_given_the_time(tell, subscribe, server, clock, status, asked):
    server.script([Answer(status, [("Retry-After", asked)])])

    assert tell(event(), subscribe(retry_delays=[29])).delivered
    assert clock.waits == [7]


@pytest.mark.parametrize("headers", [[], [("Retry-After", "soon")], [("Retry-After", "-7")]])
def test_one_that_does_not_say_how_long_follows_the_schedule(tell, subscribe, server, clock, headers):
    server.script([Answer(503, headers)])

    assert tell(event(), subscribe(retry_delays=[20])).delivered
    assert 18 <= clock.waits[0] <= 22


def test_retry_after_counts_for_those_two_only(tell, subscribe, server, clock):
    server.script([Answer(500, [("Retry-After", "7")])])

    assert tell(event(), subscribe(retry_delays=[20])).delivered
    assert 18 <= clock.waits[0] <= 22


def test_nobody_can_have_us_wait_for_more_than_a_day(tell, subscribe, server, clock):
    server.script([Answer(429, [("Retry-After", "99999999999999999999")])])

    delivery = tell(event(), subscribe())

    assert delivery.next_attempt_at == datetime.fromtimestamp(NOW + 86_400, UTC)


@pytest.mark.parametrize(("max_wait", "tried"), [(0, 1), (30, 2), (3600, 3)])
def test_a_long_delay_is_left_to_redelivery(tell, subscribe, server, waiting, clock, max_wait, tried):
    server.mode = "close"

    delivery = tell(event(), to := subscribe(retry_delays=[5, 300, 36_000]), max_wait=max_wait)

    (entry,) = waiting(to)
    assert delivery.state == "waiting"
    assert len(delivery.attempts) == len(server.requests) == len(clock.waits) + 1 == tried
    assert (entry.attempts, entry.is_exhausted) == (delivery.attempts, False)
    assert entry.due == pytest.approx(delivery.next_attempt_at.timestamp(), abs=1e-3)
    last, planned = delivery.attempts[-1].at, [5, 300, 36_000][tried - 1]
    assert planned * 0.9 <= (delivery.next_attempt_at - last).total_seconds() <= planned * 1.1


@pytest.mark.parametrize("delays", [[], [1, 2]])
def test_an_event_that_exhausts_its_schedule_stays_and_pauses_the_subscription(
    tell, subscribe, server, waiting, clock, said, delays
):
    server.handler = lambda request: Answer(500)

    delivery = tell(event(), to := subscribe(retry_delays=delays))

    (entry,) = waiting(to)
    assert (delivery.state, delivery.next_attempt_at, to.paused) == ("paused", None, True)
    assert (entry.is_exhausted, entry.attempts) == (True, delivery.attempts)
    assert len(server.requests) == len(delays) + 1
    assert said[-2:] == [
        "The webhook subscription 127.0.0.1 is paused: answered 500 Internal Server Error",
        "The subscription to 127.0.0.1 is not saved, so nobody else knows of this.",
    ]


def test_while_paused_an_event_is_stored_without_a_request(tell, subscribe, server, waiting):
    delivery = tell(event(), to := subscribe(paused=True))

    assert (delivery.state, delivery.attempts) == ("paused", ())
    assert not server.requests
    assert [entry.event["id"] for entry in waiting(to)] == ["evt_1"]


def test_an_event_of_another_type_is_neither_stored_nor_sent(tell, subscribe, server, outbox_path):
    delivery = tell(event(), subscribe(event_types=["card-issued"]))

    assert (delivery.state, delivery.event_id, delivery.delivered) == ("unwanted", "evt_1", False)
    assert not server.requests
    assert not outbox_path.exists()


@pytest.mark.parametrize("template", [None, '{"text": {{ event.data.note | tojson }}}'])
def test_the_bytes_that_are_signed_are_those_that_arrive(tell, subscribe, server, template):
    tell(event(), subscribe(signing_secret=f"{SECRET} {PRIVATE}", body_template=template))

    (request,) = server.requests
    expected = {"text": CONTENT} if template else event(timestamp=json.loads(request.body).get("timestamp"))
    for secret in (SECRET, PUBLIC):
        assert verify_webhook(dict(request.headers), request.body, secret) == expected


def test_over_retries_the_id_stays_and_the_timestamp_is_that_of_the_attempt(tell, subscribe, server, clock):
    server.script([Answer(503, [("Retry-After", "7")]), Answer(503, [("Retry-After", "9")])])

    tell(event(), subscribe(signing_secret=SECRET))

    sent = [
        [request.header(f"webhook-{name}") for request in server.requests] for name in ("id", "timestamp", "signature")
    ]
    assert sent[0] == ["evt_1"] * 3
    assert sent[1] == [str(NOW), str(NOW + 7), str(NOW + 16)]
    assert len(set(sent[2])) == 3
    assert len({request.body for request in server.requests}) == 1
    assert verify_webhook(dict(server.requests[2].headers), server.requests[2].body, SECRET)["id"] == "evt_1"


@pytest.mark.parametrize("name", ["Content-Type", "content-type"])
def test_headers_of_the_subscription_are_sent_and_may_set_the_content_type(tell, subscribe, server, name):
    tell(event(), subscribe(headers={name: "application/cloudevents+json", "X-Api-Key": "k3y"}))

    (request,) = server.requests
    assert request.header("Content-Type") == "application/cloudevents+json"
    assert request.header("X-Api-Key") == "k3y"


def test_the_credential_proves_who_delivers(tell, subscribe, server):
    tell(event(), subscribe(credential=BasicAuth(username="me", password="hunter2")))

    assert server.requests[0].header("Authorization") == "Basic bWU6aHVudGVyMg=="


def test_a_token_that_is_rejected_is_renewed_within_the_attempt(tell, subscribe, server):
    tokens = iter("12")
    with FaultServer() as provider:
        provider.handler = lambda request: Answer(
            headers=[("Content-Type", "application/json")],
            body=b'{"access_token": "token-%s", "token_type": "Bearer", "expires_in": 3600}' % next(tokens).encode(),
        )
        credential = OAuthClientCredentials(
            identity_url=f"{provider.url}/token", client_id="client", client_secret="s3cret-of-the-client"
        )
        credential.check()
        server.script([Answer(401)])

        delivery = tell(event(), subscribe(credential=credential, signing_secret=SECRET))

    assert [made.status_code for made in delivery.attempts] == [200]
    assert [request.header("Authorization") for request in server.requests] == ["Bearer token-1", "Bearer token-2"]
    for request in server.requests:
        assert verify_webhook(dict(request.headers), request.body, SECRET)


def test_a_credential_without_a_proof_is_a_failure_that_may_pass(tell, subscribe, server, waiting):
    with FaultServer() as provider:
        provider.handler = lambda request: Answer(500)
        credential = OAuthClientCredentials(
            identity_url=f"{provider.url}/token", client_id="client", client_secret="s3cret-of-the-client"
        )
        delivery = tell(event(), to := subscribe(credential=credential, retry_delays=LATE))

    assert delivery.state == "waiting"
    assert "answered 500" in delivery.attempts[0].problem
    assert not server.requests
    assert len(waiting(to)) == 1


def test_a_private_address_is_refused_where_only_public_ones_may_be_asked(tell, subscribe, server):
    delivery = tell(event(), subscribe(allow_private_networks=False, retry_delays=LATE))

    assert "127.0.0.1" in delivery.attempts[0].problem
    assert not server.requests


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_receiver_does_first_the_event_is_delivered_once_it_answers(
    tell, subscribe, server, waiting, clock, seed
):
    faults = [Answer(500), Answer(429, [("Retry-After", "11")]), Answer(301, [("Location", "/x")]), "hang", "close"]
    drawn = random.Random(seed)
    faults = drawn.sample(faults, k=5) + drawn.choices(faults[:3] + faults[4:], k=5)
    server.script(faults)

    delivery = tell(event(), to := subscribe(retry_delays=[20] * 10, timeout=1))

    assert delivery.delivered
    assert [made.status_code for made in delivery.attempts] == [getattr(fault, "status", None) for fault in faults] + [
        200
    ]
    assert {request.header("webhook-id") for request in server.requests} == {"evt_1"}
    for fault, waited in zip(faults, clock.waits, strict=True):
        assert waited == 11 if getattr(fault, "status", None) == 429 else 18 <= waited <= 22
    assert waiting(to) == []


def test_nothing_that_is_said_of_a_failure_quotes_the_event_or_a_secret(subscribe, outbox_path, said):
    """The HTTP parser quotes a line that it cannot read, and this receiver echoes what it was sent in one."""
    listener = socket.create_server(("127.0.0.1", 0))

    def echo() -> None:
        connection, _ = listener.accept()
        with connection:
            while not (received := connection.recv(65536)).endswith(b"}"):
                pass
            connection.sendall(
                b"HTTP/1.1 200 OK\r\n" + b" ".join((b"k3y-of-the-receiver " + received).split()) + b"\r\n\r\n"
            )

    thread = threading.Thread(target=echo)
    thread.start()
    to = subscribe(
        url=f"http://127.0.0.1:{listener.getsockname()[1]}/",
        headers={"X-Api-Key": "k3y-of-the-receiver"},
        retry_delays=[],
    )
    with listener:
        delivery = webhook.fn(event(), to)
        thread.join()

    for told in (delivery.model_dump_json(), *said):
        assert CONTENT not in told
        assert "k3y-of-the-receiver" not in told
    assert "not valid HTTP" in delivery.attempts[0].problem


def test_cancelling_a_wait_leaves_the_event_to_redelivery_at_once(subscribe, server, waiting, monkeypatch):
    server.script([Answer(500)])
    to = subscribe(retry_delays=[5])

    async def cancelled():
        is_waiting = asyncio.Event()

        async def asleep(_seconds):
            is_waiting.set()
            await anyio.sleep_forever()

        monkeypatch.setattr(course, "asleep", asleep)
        task = asyncio.create_task(awebhook.fn(event(), to))
        await is_waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return waiting(to)

    (entry,) = asyncio.run(cancelled())

    assert len(entry.attempts) == 1
    assert redeliver(to, retry_all=True).delivered == 1


def test_interrupting_a_wait_leaves_the_event_to_redelivery_at_once(subscribe, server, waiting, monkeypatch):
    server.script([Answer(500)])
    monkeypatch.setattr(course, "sleep", lambda _seconds: signal.raise_signal(signal.SIGINT))
    to = subscribe(retry_delays=[5])

    with pytest.raises(KeyboardInterrupt) as interruption:
        webhook.fn(event(), to)

    assert [len(entry.attempts) for entry in waiting(to)] == [1], "though its traceback still has the frames"
    assert interruption.tb
    assert redeliver(to, retry_all=True).delivered == 1


def test_cancelling_an_attempt_leaves_the_event_to_redelivery_at_once(subscribe, server, waiting):
    server.script([Answer(hold=True)])
    to = subscribe()

    async def cancelled():
        task = asyncio.create_task(awebhook.fn(event(), to))
        await asyncio.to_thread(server.wait, lambda server: server.requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return waiting(to)

    assert [entry.attempts for entry in asyncio.run(cancelled())] == [()]
    assert redeliver(to).delivered == 1


@pytest.mark.parametrize("call", ["put", "keep"])
def test_cancelling_while_a_thread_writes_leaves_nothing_held(subscribe, server, waiting, monkeypatch, call):
    """The thread goes on: what it brings is nobody's any more, so it must be everybody's."""
    server.script([Answer(500)])
    to, is_writing, may_write = subscribe(retry_delays=[5]), threading.Event(), threading.Event()
    write = outbox.FolderOutbox._written

    def written(self, name, entry, *, is_new):
        if is_new is (call == "put"):
            is_writing.set()
            may_write.wait()
        return write(self, name, entry, is_new=is_new)

    monkeypatch.setattr(outbox.FolderOutbox, "_written", written)

    async def cancelled():
        task = asyncio.create_task(awebhook.fn(event(), to))
        await asyncio.to_thread(is_writing.wait)
        task.cancel()
        await asyncio.wait([task], timeout=0.1)
        may_write.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    before = set(threading.enumerate())
    asyncio.run(cancelled())
    for thread in set(threading.enumerate()) - before:  # of others, some live as long as the tests do
        thread.join()

    assert len(waiting(to)) == 1


def test_instant_retries_do_not_wait(tell, subscribe, server):
    server.script([Answer(500)] * 3)

    with instant_retries():
        delivery = tell(event(), subscribe(retry_delays=[1800] * 3), max_wait=3600)

    assert [made.status_code for made in delivery.attempts] == [500, 500, 500, 200]
