"""What waits is delivered: oldest first, no more than one at a time, and a receiver that is down is left in peace."""

import json
import threading
from collections import Counter

import pytest

from prefect_atomic import RequestError, webhook
from prefect_atomic.webhooks import Redelivery, redeliver
from prefect_atomic.webhooks.entry import Attempt, Entry
from tests.e2e.servers.faulty import Answer
from tests.webhooks.conftest import NOW, event
from tests.webhooks.test_outbox import worker


@pytest.fixture
def store(outbox_of):
    """Puts events with these numbers into the outbox of a subscription, the lowest as the oldest."""

    def store(to, *numbers, **fields):
        for number in numbers:
            made = {"event": event(number), "stored_at": NOW - 1000.0 + number, "due": NOW - 1000.0, **fields}
            outbox_of(to).put(Entry(**made)).release()

    return store


FAILED = {"attempts": (Attempt(at="2026-01-01T00:00:00Z", status_code=500, problem="answered 500", elapsed=1),)}
EXHAUSTED = {**FAILED, "is_exhausted": True}


def told(server):
    return [request.header("webhook-id") for request in server.requests]


def failing(*numbers, status=422):
    """A receiver that takes all but these."""
    bad = {f"evt_{number}" for number in numbers}
    return lambda request: Answer(status if request.header("webhook-id") in bad else 204)


def ids(entries):
    return [entry.event["id"] for entry in entries]


def test_what_is_due_is_delivered_oldest_first(subscribe, server, store, waiting):
    store(to := subscribe(), 3, 1, 2)

    assert redeliver(to) == Redelivery(subscription="127.0.0.1", found=3, delivered=3)
    assert told(server) == ["evt_1", "evt_2", "evt_3"]
    assert waiting(to) == []


def test_what_is_not_due_waits_until_it_is(subscribe, server, store, waiting, clock):
    store(to := subscribe(), 1, due=NOW + 10.0)
    store(to, 2)

    first = redeliver(to)
    clock.shift(10)
    second = redeliver(to)

    assert (first.delivered, first.waiting, second.delivered) == (1, 1, 1)
    assert told(server) == ["evt_2", "evt_1"]


def test_an_empty_outbox_is_no_reason_to_worry(subscribe, server):
    assert redeliver(subscribe()) == Redelivery(subscription="127.0.0.1")


def test_what_webhook_left_is_delivered_with_the_id_it_had(subscribe, server, clock):
    server.script([Answer(500)])
    left = webhook.fn({"type": "t"}, to := subscribe(retry_delays=[300]))
    clock.shift(331)

    assert redeliver(to).delivered == 1
    assert told(server) == [left.event_id] * 2
    assert server.requests[0].body == server.requests[1].body


def test_a_failure_is_recorded_with_the_next_attempt(subscribe, server, store, waiting, clock):
    store(to := subscribe(retry_delays=[5, 300]), 1, **FAILED)
    server.handler = failing(1)

    done = redeliver(to)

    (entry,) = waiting(to)
    assert (done.failed, done.delivered, done.state) == (1, 0, "active")
    assert [made.status_code for made in entry.attempts] == [500, 422]
    assert 270 <= entry.due - NOW <= 330


def test_redelivery_makes_one_attempt_and_does_not_wait(subscribe, server, store, clock):
    store(to := subscribe(retry_delays=[1, 1]), 1)
    server.handler = failing(1)

    redeliver(to)

    assert (told(server), clock.waits) == (["evt_1"], [])


def test_three_failures_in_a_row_leave_the_rest_to_the_next_time(subscribe, server, store):
    store(to := subscribe(), *range(1, 9))
    server.handler = failing(2, 3, 5, 6, 7)

    done = redeliver(to)

    assert told(server) == [f"evt_{number}" for number in range(1, 8)]
    assert (done.found, done.delivered, done.failed) == (8, 2, 5)


@pytest.mark.parametrize("status", [429, 503])
def test_a_receiver_that_asks_to_wait_is_left_in_peace(subscribe, server, store, waiting, clock, status):
    store(to := subscribe(), 1, 2)
    server.script([Answer(status, [("Retry-After", "77")])])

    done = redeliver(to)

    assert told(server) == ["evt_1"]
    assert (done.failed, done.waiting, done.state) == (1, 2, "active")
    assert waiting(to)[0].due == NOW + 77


def test_an_event_that_is_exhausted_pauses_and_leaves_the_rest(subscribe, server, store, waiting):
    store(to := subscribe(retry_delays=[5]), 1, **FAILED)
    store(to, 2)
    server.handler = failing(1)

    done = redeliver(to)

    assert (done.state, done.failed, done.exhausted, to.paused) == ("paused", 1, 1, True)
    assert told(server) == ["evt_1"]
    assert [entry.is_exhausted for entry in waiting(to)] == [True, False]


def test_gone_pauses(subscribe, server, store, waiting):
    store(to := subscribe(), 1, 2)
    server.handler = failing(1, status=410)

    assert redeliver(to).state == "paused"
    assert told(server) == ["evt_1"]
    assert ids(waiting(to)) == ["evt_1", "evt_2"]


@pytest.mark.parametrize("status", [500, 410, 429])
def test_a_paused_subscription_is_probed_with_one_event(subscribe, server, store, waiting, status):
    store(to := subscribe(paused=True), 1, 2, 3)
    before = waiting(to)
    server.handler = lambda request: Answer(status)

    done = redeliver(to)

    assert (done.state, done.delivered, done.failed, to.paused) == ("paused", 0, 1, True)
    assert told(server) == ["evt_1"]
    assert waiting(to) == before, "a probe takes none of its attempts"


def test_a_probe_that_is_delivered_resumes_and_the_rest_follows(subscribe, server, store, waiting, clock):
    store(to := subscribe(paused=True), 1, 2)
    store(to, 3, due=NOW + 3600.0)

    done = redeliver(to)

    assert (done.state, done.delivered, done.waiting, to.paused) == ("active", 3, 0, False)
    assert told(server) == ["evt_1", "evt_2", "evt_3"]


def test_a_paused_subscription_without_events_stays_paused(subscribe, server):
    assert redeliver(subscribe(paused=True)).state == "paused"
    assert not server.requests


def test_the_probe_is_an_event_that_is_not_known_to_fail(subscribe, server, store):
    store(to := subscribe(paused=True), 1, **EXHAUSTED)
    store(to, 2)
    server.handler = lambda request: Answer(500)

    redeliver(to)

    assert told(server) == ["evt_2"]


def test_where_all_are_exhausted_the_oldest_is_the_probe(subscribe, server, store):
    store(to := subscribe(paused=True, retry_delays=[5]), 1, 2, **EXHAUSTED)

    assert redeliver(to).delivered == 2
    assert told(server) == ["evt_1", "evt_2"]


def test_a_poisonous_event_does_not_pause_again_and_is_not_tried_for_ever(subscribe, server, store, waiting):
    store(to := subscribe(paused=True, retry_delays=[5]), 1, **EXHAUSTED)
    store(to, 2, 3)
    server.handler = failing(1)

    resumed, later = redeliver(to), redeliver(to)

    assert (resumed.state, resumed.delivered, resumed.failed, resumed.exhausted) == ("active", 2, 1, 1)
    assert (later.state, later.delivered, later.failed, later.exhausted) == ("active", 0, 0, 1)
    assert told(server) == ["evt_2", "evt_1", "evt_3"]
    assert ids(waiting(to)) == ["evt_1"]


def test_an_exhausted_event_is_tried_where_that_is_asked_for(subscribe, server, store):
    store(to := subscribe(retry_delays=[5]), 1, **EXHAUSTED)

    untried, tried = redeliver(to), redeliver(to, retry_all=True)

    assert (untried.delivered, untried.exhausted) == (0, 1)
    assert (tried.delivered, told(server)) == (1, ["evt_1"])


def test_three_poisonous_events_hold_up_the_others_no_longer_than_a_round(subscribe, server, store):
    store(to := subscribe(paused=True, retry_delays=[5]), 1, 2, 3, **EXHAUSTED)
    store(to, 4, 5, 6)
    server.handler = failing(1, 2, 3)

    resumed, later = redeliver(to), redeliver(to)

    assert (resumed.state, resumed.delivered, resumed.failed) == ("active", 1, 3)
    assert (later.state, later.delivered, later.exhausted) == ("active", 2, 3)


def test_an_event_that_a_task_is_delivering_is_not_touched(subscribe, server):
    server.script([Answer(hold=True)])
    to = subscribe()
    task = threading.Thread(target=webhook.fn, args=[event(), to])
    task.start()
    server.wait(lambda server: server.requests)

    meanwhile = redeliver(to)
    server.release()
    task.join()

    assert (meanwhile.found, meanwhile.delivered, meanwhile.failed) == (1, 0, 0)
    assert told(server) == ["evt_1"]


def test_a_second_redelivery_finds_the_first_at_it(subscribe, server, store):
    store(to := subscribe(), 1, 2)
    server.script([Answer(hold=True)])
    first = threading.Thread(target=redeliver, args=[to])
    first.start()
    server.wait(lambda server: server.requests)

    second = redeliver(to)
    server.release()
    first.join()

    assert second == Redelivery(subscription="127.0.0.1", state="busy")
    assert told(server) == ["evt_1", "evt_2"]


def test_many_threads_at_once_deliver_each_event_once(subscribe, server, store, waiting):
    store(to := subscribe(), *range(40))
    barrier, done = threading.Barrier(6), []

    def redeliverer():
        barrier.wait()
        done.extend(redeliver(to) for _ in range(5))

    def teller(first):
        barrier.wait()
        for number in range(first, first + 10):
            webhook.fn(event(number), to)

    threads = [threading.Thread(target=redeliverer) for _ in range(4)]
    threads += [threading.Thread(target=teller, args=[first]) for first in (100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Counter(told(server)) == {f"evt_{number}": 1 for number in (*range(40), *range(100, 110), *range(200, 210))}
    assert sum(each.delivered for each in done) == 40
    assert waiting(to) == []


def test_two_processes_at_once_deliver_each_event_once(subscribe, server, store, waiting, outbox_path):
    store(to := subscribe(), *range(60))
    fields = json.dumps({"url": to.url, "timeout": to.timeout})
    with worker("deliver", fields) as (first, _), worker("deliver", fields) as (second, _):
        for process in (first, second):
            process.stdin.write("go\n")
            process.stdin.flush()
        delivered = [int(process.stdout.readline()) for process in (first, second)]

    assert sum(delivered) == 60
    assert Counter(told(server)) == {f"evt_{number}": 1 for number in range(60)}
    assert waiting(to) == []


@pytest.mark.parametrize("paused", [True, False])
def test_the_progress_only_grows_and_comes_to_its_end(subscribe, server, store, paused):
    store(to := subscribe(paused=paused), 1, 2, 3, 4, 5)
    server.handler = failing(3)
    reports = []

    redeliver(to, report=lambda done, of: reports.append((done, of)))

    assert reports == sorted(reports)
    assert reports[-1] == (5, 5)
    assert len(reports) > 3


def test_an_event_that_the_template_no_longer_takes_fails_and_stays(subscribe, server, store, waiting):
    store(to := subscribe(body_template="{{ event.nothing | tojson }}"), 1)

    assert redeliver(to).failed == 1
    assert waiting(to)[0].attempts[0].problem.startswith("body_template: 'dict object' has no attribute 'nothing'")
    assert not server.requests


@pytest.mark.parametrize("nobody", ["crm", "Atomic/Crm", 7, None])
def test_what_is_no_subscription_is_refused(tell, nobody):
    for use in (lambda: redeliver(nobody), lambda: tell(event(), nobody)):
        with pytest.raises(RequestError, match="subscription: "):
            use()
