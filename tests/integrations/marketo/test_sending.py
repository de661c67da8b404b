"""Batches on their way: what an answer shows of a call, and of those after it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from prefect_atomic import MarketoError, MarketoInputError, RecordsError
from prefect_atomic.integrations.records import Outcomes
from tests.e2e.servers.faulty import Answer, CapturedRequest
from tests.integrations.marketo.conftest import Instance, as_json, says_no, says_yes

UNKNOWN_CODES = ["500", "503", "504", "599", "800", "999", "1000", "1081", "9999", "x", ""]


def leads_of(request: CapturedRequest) -> list[int]:
    return [lead["id"] for lead in json.loads(request.body)["input"]["leads"]]


def requested(instance: Instance, ids: range) -> Outcomes:
    return instance.block().request_campaign(3001, ids, on_error="return")


def states(outcomes: Outcomes) -> dict[str, int]:
    return {
        state: count
        for state, count in {
            "succeeded": outcomes.succeeded,
            **Counter(outcome.state for outcome in outcomes.failures()),
        }.items()
        if count
    }


@pytest.mark.parametrize("code", UNKNOWN_CODES)
def test_what_marketo_may_have_done_before_it_broke_is_unknown_and_not_sent_again(
    instance: Instance, code: str
) -> None:
    """A code that is not documented does not say that nothing was done."""
    sent: list[int] = []

    def respond(request: CapturedRequest) -> Answer:
        sent.extend(leads_of(request))
        return says_yes({"id": 3001}) if len(sent) <= 100 else says_no(code, "something broke")

    instance.answer = respond
    assert states(requested(instance, range(1, 251))) == {"succeeded": 100, "unknown": 100, "not sent": 50}
    assert sent == list(range(1, 201))


@pytest.mark.parametrize("code", UNKNOWN_CODES)
def test_what_is_not_known_is_no_matter_of_the_input(instance: Instance, code: str) -> None:
    instance.answer = lambda request: says_no(code, "something broke")
    with pytest.raises(MarketoError, match="something broke") as raised:
        instance.block().usage()
    assert type(raised.value) is MarketoError


@pytest.mark.parametrize("code", ["603", "607"])
def test_what_was_refused_before_it_was_done_is_not_sent(instance: Instance, code: str) -> None:
    answers = iter([says_yes({"id": 3001}), says_no(code, "no")])
    instance.answer = lambda request: next(answers)
    assert states(requested(instance, range(1, 251))) == {"succeeded": 100, "not sent": 150}


def test_too_many_requests_to_the_end_are_not_sent(instance: Instance) -> None:
    """429 says that nothing was done."""
    instance.answer = lambda request: Answer(429)
    with pytest.raises(Exception, match="429"):
        instance.block().request_campaign(3001, [1, 2])
    answers = [says_yes({"id": 3001})]
    instance.answer = lambda request: answers.pop() if answers else Answer(429)
    assert states(requested(instance, range(1, 151))) == {"succeeded": 100, "not sent": 50}


@pytest.mark.parametrize("code", ["605", "610", "612", "613", "616"])
def test_what_is_no_matter_of_a_record_is_asked_about_once(instance: Instance, code: str) -> None:
    instance.answer = lambda request: says_no(code, "no such resource")
    with pytest.raises(MarketoInputError, match=f"{code}: no such resource"):
        instance.block().sync_leads({"email": f"{number}@example.com"} for number in range(3000))
    assert len(instance.asked()) <= 5  # as many as are made at once


def test_threads_look_for_what_is_wrong_together(instance: Instance) -> None:
    instance.answer = lambda request: says_no("1003", "no such partition")
    with pytest.raises(MarketoInputError, match="1003: no such partition"):
        instance.block().sync_leads({"email": f"{number}@example.com"} for number in range(3000))
    assert len(instance.asked()) < 55


def test_a_result_that_says_nothing_is_unknown(instance: Instance) -> None:
    results: list[dict[str, Any]] = [{"id": 1, "status": "updated"}, {}, {"seq": 2}, {"reasons": [{"code": "1006"}]}]
    instance.answer = lambda request: as_json(success=True, requestId="1", result=results)
    with pytest.raises(RecordsError) as raised:
        instance.block().sync_leads([{"email": f"{number}@example.com"} for number in range(4)])
    outcomes = raised.value.outcomes
    assert {outcome.position: outcome.state for outcome in outcomes.failures()} == {
        1: "unknown",
        2: "unknown",
        3: "failed",
    }
    assert [outcome.message for outcome in outcomes.failures()][2] == "Marketo says 1006"
