"""Rows into a data extension: bad ones are told, good ones go through, and a lost answer loses and doubles nothing."""

import json
import pickle
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum

import pytest

from prefect_atomic import RecordsError, RequestError, ResponseError, TransportError
from prefect_atomic.integrations.marketing_cloud.tasks import marketing_cloud_upsert_rows
from tests.e2e.servers.faulty import Answer
from tests.integrations.marketing_cloud.conftest import (
    ASYNC,
    RESULTS,
    ROWSET,
    STATUS,
    as_json,
    block_for,
    nobody,
    row,
    stored,
)

KEYS = ["EventId"]
BOTH = pytest.mark.parametrize("mode", ["sync", "async"])


class Kind(Enum):
    SHORT = "card-completed"
    LONG = "x" * 4001
    NESTED = {"a": 1}  # noqa: RUF012 - members of an enumeration


class Odd:
    """What compares with nothing, like an array of numbers."""

    def __eq__(self, other):
        raise ValueError("ambiguous")

    __hash__ = None


def bad_rows():
    """Rows that cannot be sent, by the reason."""
    return {
        "is missing or empty": {"UserId": "1"},
        "EventId is missing or empty": row(0, EventId=""),
        "4,001 characters": row(0, Payload="x" * 4001),
        "is a dict": row(0, Payload={"a": 1}),
        "more than once": row(0, eventid="e-1"),
        "no JSON": row(0, Payload="\ud800"),
        "not a mapping": "a row",
        "Type: has 4,001": row(0, Type=Kind.LONG),
        "Type: is a dict": row(0, Type=Kind.NESTED),
        "(a Odd)": row(0, EventId=Odd()),
    }


@BOTH
def test_a_row_that_cannot_be_sent_is_told_and_the_others_arrive(marketing_cloud, sandbox, call, mode):
    bad = bad_rows()
    rows = [row(1), *bad.values(), row(2)]
    outcomes = call(marketing_cloud.upsert_rows, "Events", rows, keys=KEYS, mode=mode, on_error="return")

    assert stored(sandbox).keys() == {"e-1", "e-2"}
    assert [outcome.position for outcome in outcomes.failures()] == list(range(1, len(bad) + 1))
    for outcome, reason in zip(outcomes.failures(), bad, strict=True):
        assert outcome.state == "not sent"
        assert reason in outcome.message


@BOTH
def test_a_row_that_is_refused_is_told_and_the_others_arrive(marketing_cloud, sandbox, call, mode):
    rows = [row(number, Type="x" * 101 if number in (7, 60, 61) else "x") for number in range(120)]
    with pytest.raises(RecordsError, match="3 of 120 rows for Events") as error:
        call(marketing_cloud.upsert_rows, "Events", rows, keys=KEYS, mode=mode)

    outcomes = pickle.loads(pickle.dumps(error.value)).outcomes  # noqa: S301 - as a task run stores it
    assert outcomes.succeeded == 117 == len(stored(sandbox))
    assert [outcome.position for outcome in outcomes.failures()] == [7, 60, 61]
    for outcome in outcomes.failures():
        assert outcome.state == "failed"
        assert "Type: this is longer than 100 characters" in outcome.message


@BOTH
def test_all_kinds_of_values_arrive(marketing_cloud, sandbox, call, mode):
    moment = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
    rows = [row(1, UserId="Zo\u00eb \u2713", OccurredAt=moment, Type=None, Payload='{"a": "\u00fc"}')]
    call(marketing_cloud.upsert_rows, "Events", rows, keys=KEYS, mode=mode)

    [found] = stored(sandbox).values()
    assert found["UserId"] == "Zo\u00eb \u2713"
    assert found["Payload"] == '{"a": "\u00fc"}'
    assert datetime.fromisoformat(found["OccurredAt"]) == moment
    assert found["Type"] is None


@BOTH
def test_upserting_again_changes_rows_and_doubles_none(marketing_cloud, sandbox, mode):
    for kind in ("new", "changed"):
        marketing_cloud.upsert_rows("Events", [row(n, Type=kind) for n in range(60)], keys=KEYS, mode=mode)

    assert {each["Type"] for each in stored(sandbox).values()} == {"changed"}
    assert len(stored(sandbox)) == 60


@pytest.mark.parametrize(("number", "path"), [(500, f"POST {ROWSET}"), (501, f"PUT {ASYNC}")])
def test_auto_goes_asynchronously_from_501_rows(marketing_cloud, sandbox, call, number, path):
    call(marketing_cloud.upsert_rows, "Events", (row(each) for each in range(number)), keys=KEYS)

    assert path in sandbox.calls()
    assert len(stored(sandbox)) == number


@pytest.mark.parametrize("fault", [{"status": 503}, {"cut": True}, {"cut": True, "after": True}, {"status": 429}])
@pytest.mark.parametrize(("mode", "path"), [("sync", ROWSET), ("async", ASYNC), ("async", STATUS), ("async", RESULTS)])
def test_an_answer_that_is_lost_is_asked_for_again(marketing_cloud, sandbox, call, mode, path, fault):
    sandbox.misbehave(path, times=2, **fault)
    rows = [*map(row, range(70)), row(70, Type="x" * 101)]
    outcomes = call(marketing_cloud.upsert_rows, "Events", rows, keys=KEYS, mode=mode, on_error="return")

    assert (outcomes.succeeded, outcomes.failed) == (70, 1)
    assert len(stored(sandbox)) == 70


@pytest.mark.parametrize("code", [50100, 50200])
@BOTH
def test_throttling_is_waited_for(marketing_cloud, sandbox, mode, code):
    sandbox.set_marketing_cloud(throttle_every=2, throttle_code=code)
    outcomes = marketing_cloud.upsert_rows("Events", map(row, range(300)), keys=KEYS, mode=mode)

    assert outcomes.succeeded == 300 == len(stored(sandbox))


def test_rows_whose_fate_is_not_known_are_told_and_the_next_ones_are_sent(marketing_cloud, sandbox):
    sandbox.misbehave(ROWSET, times=1, status=500, after=True)
    outcomes = marketing_cloud.upsert_rows("Events", map(row, range(120)), keys=KEYS, on_error="return")

    assert (outcomes.unknown, outcomes.succeeded) == (50, 70)
    assert len(stored(sandbox)) == 120


def test_after_three_requests_without_an_answer_no_more_are_sent(sandbox):
    sandbox.misbehave(ROWSET, status=500)
    outcomes = block_for(sandbox, sync_batch=10).upsert_rows(
        "Events", map(row, range(100)), keys=KEYS, on_error="return"
    )

    assert (outcomes.unknown, outcomes.not_sent) == (30, 70)
    assert sandbox.calls()[f"POST {ROWSET}"] == 3


def test_a_key_that_is_not_there_is_an_error_with_the_way_to_mend_it(marketing_cloud, sandbox, call):
    for mode in ("sync", "async"):
        with pytest.raises(ResponseError, match=r"404 .*is the key the external key of something in the business unit"):
            call(marketing_cloud.upsert_rows, "Evnts", map(row, range(200)), keys=KEYS, mode=mode, on_error="return")
    assert sandbox.calls()[f"POST {ROWSET}"] == sandbox.calls()[f"PUT {ASYNC}"] == 1


def test_a_column_that_is_not_there_is_not_tried_row_by_row_for_ever(marketing_cloud, sandbox):
    rows = [row(number, Nope="1") for number in range(400)]
    outcomes = marketing_cloud.upsert_rows("Events", rows, keys=KEYS, mode="sync", on_error="return")

    assert (outcomes.failed, outcomes.not_sent) == (50, 350)
    assert "Nope is not a column" in outcomes[0].message
    assert "the first 50 were all refused for the same reason" in outcomes[399].message
    assert sandbox.calls()[f"POST {ROWSET}"] == 99


def test_nobody_at_home_is_a_transient_error(tenant):
    tenant.token = {"rest_instance_url": nobody()}
    with pytest.raises(TransportError, match="could not connect") as error:
        tenant.block().upsert_rows("Events", [row(1)], keys=KEYS)
    assert error.value.transient


def test_batches_keep_to_rows_and_bytes(tenant):
    tenant.answer = lambda request: as_json()
    tenant.block(sync_batch=20, max_async_bytes=2000).upsert_rows(
        "a/b:c ", [row(number, Payload="\u00fc" * 50) for number in range(100)], keys=KEYS
    )

    sizes = [len(json.loads(request.body)) for request in tenant.asked()]
    assert sum(sizes) == 100
    assert max(sizes) <= 20
    assert max(len(request.body) for request in tenant.asked()) <= 2000
    assert {request.target for request in tenant.asked()} == {"/hub/v1/dataevents/key:a%2Fb:c%20/rowset"}
    assert tenant.asked()[0].header("content-type") == "application/json; charset=UTF-8"
    assert json.loads(tenant.asked()[0].body)[0].keys() == {"keys", "values"}


# Asynchronous requests


@pytest.mark.parametrize("word", ["Complete", "Completed"])
def test_a_request_is_followed_until_it_is_processed(marketing_cloud, sandbox, call, word):
    sandbox.set_marketing_cloud(async_polls=5, completed_word=word)
    outcomes = call(marketing_cloud.upsert_rows, "Events", map(row, range(600)), keys=KEYS)

    assert outcomes.succeeded == 600
    assert sandbox.calls()[f"GET {STATUS}"] == 6
    assert f"GET {RESULTS}" not in sandbox.calls()


def test_results_of_all_pages_are_joined_by_their_order(marketing_cloud, sandbox):
    rows = [row(number, Type="x" * 101 if number % 1000 == 999 else "x") for number in range(6000)]
    outcomes = marketing_cloud.upsert_rows("Events", rows, keys=KEYS, on_error="return")

    assert [outcome.position for outcome in outcomes.failures()] == list(range(999, 6000, 1000))
    assert sandbox.calls()[f"GET {RESULTS}"] == 3


def test_a_body_that_is_too_large_is_cut_in_halves(marketing_cloud, sandbox):
    sandbox.set_marketing_cloud(max_async_bytes=20_000)
    outcomes = marketing_cloud.upsert_rows("Events", map(row, range(1000)), keys=KEYS)

    assert outcomes.succeeded == 1000 == len(stored(sandbox))


def test_a_request_that_is_not_processed_in_time_leaves_its_rows_unknown(marketing_cloud, sandbox):
    sandbox.set_marketing_cloud(async_polls=1000)
    outcomes = marketing_cloud.upsert_rows("Events", map(row, range(600)), keys=KEYS, wait=20, on_error="return")

    assert outcomes.unknown == 600
    assert outcomes[0].code == "PENDING"
    assert sandbox.marketing_cloud()["async"][0]["request_id"] in outcomes[0].message


def test_a_request_that_ends_with_an_error_fails_its_rows(marketing_cloud, sandbox):
    sandbox.set_marketing_cloud(fail_next_async="the data extension is being changed")
    outcomes = marketing_cloud.upsert_rows("Events", map(row, range(600)), keys=KEYS, on_error="return")

    assert outcomes.failed == 600
    assert outcomes[0].message == "the data extension is being changed"


def accepts(status, results=None):
    """A tenant that accepts rows, and says this of them."""

    def answer(request):
        if request.method == "PUT":
            return as_json(202, requestId="r-1", resultMessages=[])
        return as_json(**(status if request.path.endswith("/status") else results or {}))

    return answer


CLEAN = {"requestStatus": "Complete", "hasErrors": False, "resultStatus": "OK", "requestId": "r-1"}
DIRTY = CLEAN | {"hasErrors": True, "resultStatus": "Error"}
OK = {"status": "OK", "errorCode": "", "message": "Updated"}


@pytest.mark.parametrize(
    ("status", "results", "states", "said"),
    [
        ({"requestId": "x", "resultMessages": [{"message": "no such request"}]}, None, "uu", "no such request"),
        ({"status": DIRTY}, {"resultMessages": [{"message": "gone"}]}, "uu", "gone"),
        ({"status": DIRTY}, {"page": 1, "count": 1, "items": [OK]}, "uu", "results of 1 of 2 rows"),
        ({"status": DIRTY}, {"page": 7, "count": 2, "items": [OK, OK]}, "uu", "another page"),
        ({"status": DIRTY}, {"page": 1, "count": 2, "items": [OK, {"status": "Odd"}]}, "su", ""),
        ({"status": DIRTY}, {"page": 1, "count": 2, "items": [{"errorCode": 5}, OK]}, "fs", ""),
        ({"status": CLEAN | {"hasErrors": None}}, {"items": [OK, OK]}, "ss", ""),
        ({"status": CLEAN | {"requestStatus": "COMPLETED"}}, None, "ss", ""),
    ],
)
def test_no_row_counts_as_written_unless_an_answer_says_so(tenant, status, results, states, said):
    tenant.answer = accepts(status, results)
    outcomes = tenant.block().upsert_rows("Events", [row(1), row(2)], keys=KEYS, mode="async", on_error="return")

    assert "".join(outcome.state[0] for outcome in outcomes) == states
    assert said in (outcomes[0].message or "")


def test_an_acceptance_that_cannot_be_read_leaves_the_rows_unknown(tenant):
    for answer in (as_json(202), Answer(202, [("Content-Type", "text/html")], b"<html>")):
        tenant.answer = lambda request, answer=answer: answer
        outcomes = tenant.block().upsert_rows("Events", [row(1)], keys=KEYS, mode="async", on_error="return")
        assert outcomes.unknown == 1


def test_the_task_takes_a_block_and_is_not_retried_for_a_partial_failure(marketing_cloud, sandbox):
    outcomes = marketing_cloud_upsert_rows.fn(marketing_cloud, "Events", [row(1)], keys=KEYS)
    assert outcomes.succeeded == 1
    with pytest.raises(RecordsError) as error:
        marketing_cloud_upsert_rows.fn(marketing_cloud, "Events", [{}], keys=KEYS)
    assert not error.value.transient


@BOTH
def test_a_decimal_number_arrives_as_it_is(marketing_cloud, sandbox, mode):
    rows = [row(1, UserId=Decimal("12345678901234567.89"), Type=Kind.SHORT), row(2, UserId=Decimal("1E+30"))]
    marketing_cloud.upsert_rows("Events", rows, keys=KEYS, mode=mode)

    assert stored(sandbox)["e-1"]["UserId"] == "12345678901234567.89"
    assert stored(sandbox)["e-1"]["Type"] == "card-completed"


@pytest.mark.parametrize("arrived", [0, 1])
def test_refusals_without_an_end_are_not_sought_through_for_ever(tenant, arrived):
    answers = [as_json()] * arrived

    def answer(request):
        return answers.pop() if answers else as_json(400, message=f"no {len(tenant.asked())}", errorcode=10000)

    tenant.answer = answer
    outcomes = tenant.block().upsert_rows("E", map(row, range(3000)), keys=KEYS, mode="sync", on_error="return")

    assert (outcomes.succeeded, outcomes.failed, outcomes.not_sent) == (50 * arrived, 1000, 2000 - 50 * arrived)
    assert len(tenant.asked()) < 2000
    assert "1000 in a row were refused" in outcomes[2999].message


@BOTH
def test_rows_that_cannot_be_read_to_their_end_leave_an_outcome_for_each_that_was_read(sandbox, call, mode):
    def broken(number):
        yield from map(row, range(number))
        raise KeyError("the source is gone")

    block = block_for(sandbox, async_batch=50)
    with pytest.raises(RecordsError, match="could not be read any further") as error:
        call(block.upsert_rows, "Events", broken(70), keys=KEYS, mode=mode)
    assert (error.value.outcomes.succeeded, error.value.outcomes.not_sent) == (50, 20)
    assert len(stored(sandbox)) == 50


def test_arguments_that_make_no_request_are_named(tenant, call):
    for given in (None, 5, "abc", {"EventId": "1"}):
        for mode in ("auto", "sync", "async"):
            with pytest.raises(RequestError, match=r"^rows: "):
                call(tenant.block().upsert_rows, "E", given, keys=KEYS, mode=mode)
    with pytest.raises(RequestError, match=r"^wait: "):
        call(tenant.block().upsert_rows, "E", [row(1)], keys=KEYS, wait=10**400)
    with pytest.raises(RequestError, match=r"^data_extension_key: "):
        call(tenant.block().upsert_rows, "\ud800", [row(1)], keys=KEYS)
    assert tenant.asked() == []


def test_more_results_than_rows_are_not_read_without_an_end(tenant):
    tenant.answer = accepts({"status": DIRTY}, {"count": 10**9, "items": [OK, OK]})
    outcomes = tenant.block().upsert_rows("E", [row(1), row(2)], keys=KEYS, mode="async", on_error="return")

    assert outcomes.unknown == 2
    assert len(tenant.asked()) == 4
