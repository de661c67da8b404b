"""What is sent again, when, and how often."""

import asyncio
import time
from contextvars import Context
from datetime import UTC, datetime
from email.utils import format_datetime

import anyio
import httpx
import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from prefect_atomic import Response, ResponseError, Retry, TransportError, asend_request, instant_retries, send_request
from prefect_atomic.transport import Policy, outgoing
from prefect_atomic.transport.exchange import Received, Send, Wait, converse
from prefect_atomic.transport.retry import asleep, retry_after, sleep
from tests.e2e.servers.faulty import Answer

URL = "https://example.com/p"


def course_of(outcomes, method="GET", retry=None, **options) -> tuple[list[Send | Wait], Response | Exception]:
    """What a request does if these are its outcomes: answers as (status, headers), or errors of httpx."""
    arguments = {name: options.pop(name) for name in ("headers", "content") if name in options}
    conversation = converse(outgoing(method, URL, **arguments), None, Policy(retry=retry or Retry(), **options))
    outcomes, steps, outcome = iter(outcomes), [], None
    try:
        while True:
            step = conversation.send(outcome)
            steps.append(step)
            outcome = None
            if isinstance(step, Send):
                outcome = next(outcomes)
                if isinstance(outcome, tuple):
                    status, headers = outcome
                    outcome = Received(httpx.Response(status, headers=headers, request=step.request), b"")
    except StopIteration as end:
        return steps, end.value
    except (ResponseError, TransportError) as error:
        return steps, error


def sends(steps) -> int:
    return sum(isinstance(step, Send) for step in steps)


REPEATABLE = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"]
NOT_REPEATABLE = ["POST", "PATCH"]


@pytest.mark.parametrize(("method", "repeatable", "attempts"), [("POST", True, 2), ("GET", False, 1)])
def test_whoever_knows_better_says_whether_a_request_may_be_repeated(method, repeatable, attempts):
    steps, _ = course_of([httpx.ReadTimeout("lost"), (200, {})], method, repeatable=repeatable)
    assert sends(steps) == attempts

    steps, _ = course_of([(502, {}), (200, {})], method, repeatable=repeatable)
    assert sends(steps) == attempts


@pytest.mark.parametrize("method", REPEATABLE)
@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_a_repeatable_request_is_sent_again_after_what_may_pass(method, status):
    steps, response = course_of([(status, {}), (200, {})], method)

    assert sends(steps) == 2
    assert response.attempts == 2


@pytest.mark.parametrize("method", REPEATABLE + NOT_REPEATABLE)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422, 500, 501, 505])
def test_nothing_is_sent_again_after_an_answer_that_will_not_change(method, status):
    steps, error = course_of([(status, {})], method)

    assert sends(steps) == 1
    assert isinstance(error, ResponseError)
    assert not error.transient


@pytest.mark.parametrize("method", NOT_REPEATABLE)
@pytest.mark.parametrize(("status", "times"), [(429, 2), (503, 2), (408, 1), (502, 1), (504, 1)])
def test_any_other_is_sent_again_only_if_it_was_not_processed(method, status, times):
    steps, _ = course_of([(status, {}), (200, {})], method)

    assert sends(steps) == times


ERRORS = [
    (httpx.ConnectError, True, True),
    (httpx.ConnectTimeout, True, True),
    (httpx.PoolTimeout, True, True),
    (httpx.ReadTimeout, True, False),
    (httpx.WriteTimeout, True, False),
    (httpx.ReadError, True, False),
    (httpx.WriteError, True, False),
    (httpx.RemoteProtocolError, True, False),
    (httpx.ProxyError, True, False),
]


@pytest.mark.parametrize(("error", "repeatable", "other"), ERRORS)
def test_a_failure_on_the_wire_is_a_reason_to_send_again(error, repeatable, other):
    assert sends(course_of([error("!"), (200, {})], "GET")[0]) == 1 + repeatable
    assert sends(course_of([error("!"), (200, {})], "POST")[0]) == 1 + other


@pytest.mark.parametrize("name", ["Idempotency-Key", "idempotency-key"])
@pytest.mark.parametrize("outcome", [(502, {}), httpx.ReadTimeout("!")])
def test_a_post_with_an_idempotency_key_is_repeatable(name, outcome):
    steps, response = course_of([outcome, (200, {})], "POST", headers={name: "1"})

    assert response.attempts == 2
    assert [step.request.headers[name] for step in steps if isinstance(step, Send)] == ["1", "1"]


@pytest.mark.parametrize("outcome", [(503, {}), httpx.ConnectError("!")])
def test_a_stream_is_never_sent_again(outcome):
    steps, _ = course_of([outcome], "PUT", content=iter([b"once"]))

    assert sends(steps) == 1


@pytest.mark.parametrize("retry", [Retry(attempts=1), Retry(attempts=5)])
def test_a_request_is_sent_as_often_as_asked_and_the_error_counts(retry):
    steps, error = course_of([(503, {})] * 9, retry=retry)

    assert sends(steps) == retry.attempts
    assert error.response.attempts == retry.attempts
    assert error.transient
    assert ("after 5 attempts" in str(error)) == (retry.attempts == 5)


def test_without_retries_a_request_is_sent_once(send, server):
    server.script([Answer(503)])

    with pytest.raises(ResponseError, match="answered 503"):
        send("GET", f"{server.url}/p", retry=None)

    assert len(server.requests) == 1


def test_the_last_answer_comes_back_where_a_status_is_no_error(send, server):
    server.script([Answer(503, body=b"1"), Answer(503, body=b"2"), Answer(503, body=b"3")])

    response = send("GET", f"{server.url}/p", raise_for_status=False)

    assert (response.status_code, response.content, response.attempts) == (503, b"3", 3)


def test_an_answer_that_is_not_modified_is_no_error(send, server):
    server.script([Answer(304)])

    assert send("GET", f"{server.url}/p").status_code == 304


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        (" 7 ", 7),
        ("Fri, 02 Jan 2026 03:04:15 GMT", 10),
        ("Fri, 02 Jan 2026 04:04:15 +0100", 10),
        ("Fri, 02 Jan 2026 03:04:15 -0000", 10),
        ("Thu, 01 Jan 2026 03:04:05 GMT", 0),
        ("-7", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("Fri, 99 Jan 2026 03:04:15 GMT", None),
        ("Fri, 02 Jan 99999999999 03:04:15 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms(value, seconds):
    with time_machine.travel(NOW, tick=False):
        assert retry_after(httpx.Headers([(b"Retry-After", value.encode())])) == seconds


@given(value=st.text() | st.datetimes().map(format_datetime) | st.from_regex(r"\w{3}, \d+ \w{3} \d+ \d+:\d+:\d+ .*"))
def test_no_retry_after_is_an_error_or_negative(value):
    seconds = retry_after(httpx.Headers([(b"Retry-After", value.encode("utf-8", "replace"))]))

    assert seconds is None or seconds >= 0


def test_the_wait_is_what_the_server_asks_up_to_the_cap():
    steps, _ = course_of(
        [(429, {"Retry-After": "3"}), (503, {"Retry-After": "3600"}), (200, {})], retry=Retry(max_wait=20)
    )

    assert [step.seconds for step in steps if isinstance(step, Wait)] == [3, 20]


def test_an_error_says_how_long_the_server_asks_to_wait():
    _, error = course_of([(429, {"Retry-After": "3600"})] * 3)

    assert error.retry_after == 3600


@given(
    attempt=st.integers(1, 10_000),
    backoff=st.floats(0, 1e6),
    max_wait=st.floats(0, 1e6),
    asked=st.none() | st.floats(0, 1e9),
)
def test_a_wait_is_never_negative_and_never_beyond_its_limits(attempt, backoff, max_wait, asked):
    seconds = Retry(backoff=backoff, max_wait=max_wait).wait(attempt, asked)

    assert 0 <= seconds <= max_wait
    if asked is None:
        assert seconds <= backoff * 2 ** min(attempt - 1, 32)
    else:
        assert seconds == min(asked, max_wait)


def test_waits_are_drawn_from_the_whole_range():
    """Full jitter: clients that failed together do not come back together."""
    waits = sorted(Retry(backoff=8).wait(1, None) for _ in range(400))

    assert waits[0] < 1
    assert waits[-1] > 7


def test_a_wait_is_slept(monkeypatch, server):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    server.script([Answer(503, [("Retry-After", "2")])])

    Context().run(send_request.fn, "GET", f"{server.url}/p")  # outside of instant_retries

    assert slept == [2]


def test_a_wait_leaves_the_event_loop_to_others(monkeypatch, server):
    slept = []

    async def note(seconds):
        slept.append(seconds)

    monkeypatch.setattr(anyio, "sleep", note)
    server.script([Answer(503, [("Retry-After", "2")])])

    Context().run(asyncio.run, asend_request.fn("GET", f"{server.url}/p"))

    assert slept == [2]


def test_instant_retries_do_not_wait():
    with instant_retries():
        started = time.monotonic()
        sleep(60)
        asyncio.run(asleep(60))
        assert time.monotonic() - started < 30


def test_every_attempt_is_a_request_of_its_own():
    steps, _ = course_of([(503, {}), (503, {}), (200, {})])
    requests = [step.request for step in steps if isinstance(step, Send)]

    assert len({id(request) for request in requests}) == 3
