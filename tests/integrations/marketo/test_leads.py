"""Leads: written with outcomes, read by their values, merged, deleted, associated; on lists and in programs."""

import json
import pickle
import random
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_atomic import (
    Marketo,
    MarketoBusyError,
    MarketoInputError,
    MarketoQuotaError,
    Outcomes,
    RecordsError,
    RequestError,
)
from prefect_atomic.sandbox import Sandbox
from tests.e2e.servers.faulty import Answer, CapturedRequest
from tests.integrations.marketo.conftest import REST, Instance, block_for, nobody, says_no, says_yes, taken

LEADS = f"{REST}/leads.json"
MB = 1_000_000

PIECE = st.text("ab\"\\'{}[],:\n\u2028äß€😀", min_size=1, max_size=6)
RUNS = st.lists(
    st.tuples(PIECE, st.integers(0, 700), st.integers(0, 300))
    | st.tuples(PIECE, st.integers(0, 20), st.integers(0, 60_000))
    | st.tuples(PIECE, st.integers(0, 3), st.integers(MB - 200, MB)),
    max_size=4,
)
"""What is repeated in a field of so many leads, up to so many bytes."""


def lead(number: int, **fields: Any) -> dict[str, Any]:
    return {"email": f"user{number}@example.com", "leadScore": number, **fields}


def states(outcomes: Outcomes) -> dict[str, int]:
    return dict(Counter(outcome.state for outcome in outcomes))


def sent(request: CapturedRequest) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(request.body)["input"]
    return found


def test_leads_are_created_and_then_changed(sandbox: Sandbox, marketo: Marketo) -> None:
    first = marketo.sync_leads(lead(number) for number in range(700))
    again = marketo.sync_leads([lead(5, firstName="Ada")])
    assert states(first) == {"succeeded": 700}
    assert all(outcome.created for outcome in first)
    assert (again[0].created, again[0].id) == (False, first[5].id)
    assert sandbox.calls()[f"POST {LEADS}"] == 4
    assert [each["firstName"] for each in marketo.leads("email", ["user5@example.com"], fields=["firstName"])] == [
        "Ada"
    ]


def test_each_action_does_what_it_says(sandbox: Sandbox, marketo: Marketo) -> None:
    (there,) = marketo.sync_leads([lead(1)])
    only_new = marketo.sync_leads([lead(1), lead(2)], action="createOnly", on_error="return")
    assert [(outcome.state, outcome.code) for outcome in only_new] == [("failed", "1005"), ("succeeded", None)]
    only_old = marketo.sync_leads([lead(1), lead(3)], action="updateOnly", on_error="return")
    assert [(outcome.state, outcome.code) for outcome in only_old] == [("succeeded", None), ("failed", "1004")]
    (twin,) = marketo.sync_leads([lead(1)], action="createDuplicate")
    assert twin.created
    assert twin.id != there.id
    (by_id,) = marketo.sync_leads([{"id": there.id, "lastName": "L"}], action="updateOnly", lookup_field="id")
    assert by_id.id == there.id


def test_what_is_wrong_with_one_lead_is_told_of_it_alone(marketo: Marketo) -> None:
    leads = [
        lead(1),
        lead(2, shoeSize=42),
        {"leadScore": 1},
        lead(4, notes={"a": 1}),
        {"email": "ä@example.com"},
        lead(6),
    ]
    outcomes = marketo.sync_leads(leads, on_error="return")
    assert [outcome.state for outcome in outcomes] == [
        "succeeded",
        "failed",
        "not sent",
        "not sent",
        "not sent",
        "succeeded",
    ]
    assert (outcomes[1].code, outcomes[1].fields) == ("1006", ("shoeSize",))
    assert "has no email" in str(outcomes[2])
    assert "notes: is a dict" in str(outcomes[3])
    assert "ASCII" in str(outcomes[4])
    with pytest.raises(RecordsError, match="4 of 6 leads") as caught:
        marketo.sync_leads(leads)
    assert caught.value.outcomes.succeeded == 2


def test_a_partition_that_is_not_there_is_refused_by_its_reason(sandbox: Sandbox, marketo: Marketo) -> None:
    with pytest.raises(MarketoInputError, match="Nowhere"):
        marketo.sync_leads([lead(number) for number in range(300)], partition="Nowhere")
    with pytest.raises(RecordsError, match="1008: Access to partition 'Secret' denied"):
        marketo.sync_leads([lead(1)], partition="Secret")
    assert sandbox.marketo()["leads"] == 0
    assert sandbox.calls()[f"POST {LEADS}"] < 20


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"action": "upsert"}, "action: is one of"),
        ({"lookup_field": ""}, "lookup_field"),
        ({"lookup_field": "id"}, "updateOnly"),
        ({"partition": "\n"}, "partition"),
        ({"on_error": "ignore"}, "on_error"),
        ({"leads": {"email": "a@example.com"}}, "leads: takes a list"),
        ({"leads": "a@example.com"}, "leads: takes a list"),
        ({"leads": None}, "leads: takes a list"),
    ],
)
def test_what_makes_no_request_is_named(instance: Instance, arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(RequestError, match=named):
        instance.block().sync_leads(**{"leads": [lead(1)], **arguments})
    assert instance.server.requests == []


def test_a_batch_stays_below_300_leads_and_1_mb(instance: Instance) -> None:
    instance.answer = taken
    outcomes = instance.block().sync_leads(lead(number, notes="x" * 9000) for number in range(350))
    assert states(outcomes) == {"succeeded": 350}
    bodies = [len(request.body) for request in instance.asked()]
    assert len(bodies) == 4
    assert max(bodies) <= 1_000_000


def body_of(*records: dict[str, Any]) -> bytes:
    body = {"action": "createOrUpdate", "lookupField": "email", "input": records}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize(("over", "calls"), [(0, 1), (1, 2)])
def test_a_call_is_full_to_the_last_byte(instance: Instance, over: int, calls: int) -> None:
    instance.answer = taken
    leads = [lead(number, notes="ä" * 10_000) for number in range(40)] + [lead(40, notes="")]
    leads[-1]["notes"] = "x" * (MB + over - len(body_of(*leads)))
    assert states(instance.block().sync_leads(leads)) == {"succeeded": 41}
    assert len(instance.asked()) == calls


def room_of(text: str) -> int:
    """How many bytes of a body a text takes, without its quotes."""
    return len(json.dumps(text, ensure_ascii=False).encode()) - 2


@settings(max_examples=40)
@given(RUNS)
def test_each_lead_that_fits_into_1_mb_is_sent_once_in_order_300_and_1_mb_a_call(
    instance: Instance, runs: list[tuple[str, int, int]]
) -> None:
    """However large they are, and whatever their texts hold."""
    instance.server.requests.clear()
    instance.answer = taken
    notes = [piece * (size // room_of(piece)) for piece, count, size in runs for _ in range(count)]
    leads = [lead(number, notes=note, firstName='"\\"ü"') for number, note in enumerate(notes)]
    # One call at a time, for their order.
    block = instance.block(concurrent_calls=1, calls_per_20_seconds=10_000)
    outcomes = block.sync_leads(iter(leads), on_error="return")

    calls = instance.asked()
    assert all(len(call.body) <= MB for call in calls)
    assert all(1 <= len(sent(call)) <= 300 for call in calls)
    assert all(call.body == body_of(*sent(call)) for call in calls)
    fit = [len(body_of(each)) <= MB for each in leads]
    assert [each for call in calls for each in sent(call)] == [
        each for each, fits in zip(leads, fit, strict=True) if fits
    ]
    assert [outcome.state for outcome in outcomes] == ["succeeded" if fits else "not sent" for fits in fit]


def test_a_quota_stops_at_once_and_the_rest_can_be_sent_when_it_begins_anew(sandbox: Sandbox) -> None:
    leads = [lead(number) for number in range(3000)]
    sandbox.set_marketo(quota_after=4)
    with pytest.raises(RecordsError, match="midnight in US Central time") as caught:
        block_for(sandbox, concurrent_calls=1).sync_leads(leads)
    assert isinstance(caught.value.__cause__, MarketoQuotaError)
    outcomes = caught.value.outcomes
    assert states(outcomes) == {"succeeded": 1200, "not sent": 1800}
    assert {outcome.code for outcome in outcomes.failures()} == {"607"}
    assert sandbox.calls()[f"POST {LEADS}"] == 5
    sandbox.set_marketo(quota_after=0)
    rest = [leads[outcome.position] for outcome in outcomes.failures()]
    assert states(block_for(sandbox).sync_leads(rest)) == {"succeeded": 1800}
    assert sandbox.marketo()["leads"] == 3000


def test_a_quota_that_is_used_up_before_is_raised_itself(sandbox: Sandbox, marketo: Marketo) -> None:
    sandbox.set_marketo(error_every=1, error_code="607", error_message="Daily quota reached")
    with pytest.raises(MarketoQuotaError):
        marketo.sync_leads([lead(1)], on_error="return")


def test_a_lost_answer_of_an_upsert_is_asked_for_again(sandbox: Sandbox, marketo: Marketo) -> None:
    sandbox.misbehave(LEADS, method="POST", times=1, cut=True, after=True)
    outcomes = marketo.sync_leads([lead(1), lead(2)])
    assert states(outcomes) == {"succeeded": 2}
    assert [outcome.created for outcome in outcomes] == [None, None]  # the first attempt, or somebody else
    assert sandbox.marketo()["leads"] == 2


def test_a_duplicate_whose_answer_was_lost_is_in_doubt_and_not_made_twice(sandbox: Sandbox, marketo: Marketo) -> None:
    sandbox.misbehave(LEADS, method="POST", times=1, cut=True, after=True)
    outcomes = marketo.sync_leads([lead(1), lead(2)], action="createDuplicate", on_error="return")
    assert states(outcomes) == {"unknown": 2}
    assert sandbox.marketo()["leads"] == 2


def test_a_new_lead_that_exists_after_a_lost_answer_is_in_doubt(sandbox: Sandbox, marketo: Marketo) -> None:
    sandbox.misbehave(LEADS, method="POST", times=1, cut=True, after=True)
    assert states(marketo.sync_leads([lead(1)], action="createOnly", on_error="return")) == {"unknown": 1}


def test_nobody_at_home_is_no_doubt(instance: Instance) -> None:
    url = nobody()
    block = instance.block(rest_endpoint=f"{url}/rest")
    with pytest.raises(Exception, match="could not connect"):
        block.sync_leads([lead(1)])


def test_the_same_lead_is_never_under_way_twice(instance: Instance) -> None:
    under_way: set[str] = set()
    lock, most = threading.Lock(), [0]
    gate = threading.Barrier(2)

    def respond(request: CapturedRequest) -> Answer:
        emails = {each["email"] for each in sent(request)}
        with lock:
            assert not under_way & emails
            under_way.update(emails)
            most[0] = max(most[0], len(under_way) // 300)
        try:
            gate.wait(0.2)  # until a second call is here, if one comes
        except threading.BrokenBarrierError:
            gate.reset()
        with lock:
            under_way.difference_update(emails)
        return taken(request)

    instance.answer = respond
    twice = [lead(number % 300) for number in range(600)]
    others = [lead(number) for number in range(300, 900)]
    outcomes = instance.block(concurrent_calls=4).sync_leads(twice + others)
    assert states(outcomes) == {"succeeded": 1200}
    first, second = (json.loads(r.body)["input"][0]["email"] for r in instance.asked()[:2])
    assert (first, second) == ("user0@example.com", "user0@example.com") or most[0] >= 1


def test_an_iterator_that_fails_leaves_what_was_sent_told(instance: Instance) -> None:
    instance.answer = taken

    def failing() -> Iterator[dict[str, Any]]:
        yield from (lead(number) for number in range(310))
        raise OSError("the disk is gone")

    with pytest.raises(RecordsError, match="OSError") as caught:
        instance.block().sync_leads(failing())
    assert states(caught.value.outcomes) == {"succeeded": 310}


def test_one_lead_that_spoils_a_call_is_found(instance: Instance) -> None:
    def respond(request: CapturedRequest) -> Answer:
        if any(each["email"] == "user123@example.com" for each in sent(request)):
            return says_no("1001", "Invalid value 'x'. Required of type 'Integer'")
        return taken(request)

    instance.answer = respond
    outcomes = instance.block().sync_leads([lead(number) for number in range(600)], on_error="return")
    assert states(outcomes) == {"succeeded": 599, "failed": 1}
    assert outcomes[123].code == "1001"


def test_an_answer_that_leaves_out_a_lead_is_no_success(instance: Instance) -> None:
    instance.answer = lambda request: says_yes({"id": 1, "status": "created"})
    outcomes = instance.block().sync_leads([lead(1), lead(2)], on_error="return")
    assert states(outcomes) == {"unknown": 2}


def test_results_belong_to_the_leads_that_their_seq_says(instance: Instance) -> None:
    dice = random.Random(7)

    def respond(request: CapturedRequest) -> Answer:
        results: list[dict[str, Any]] = []
        for place, each in enumerate(sent(request)):
            told = str(each["leadId"])
            result = {"status": "skipped", "reasons": [{"code": "1004", "message": told}]}
            results.append({"seq": place, **({"leadId": told, "status": "updated"} if each["leadId"] % 7 else result)})
        dice.shuffle(results)
        return says_yes(*results)

    instance.answer = respond
    ids = range(1, 311)  # two calls, each of which counts from 0
    outcomes = instance.block().set_program_status(2001, "Registered", ids, on_error="return")
    assert [(outcome.state, outcome.id or outcome.message) for outcome in outcomes] == [
        ("succeeded" if each % 7 else "failed", str(each)) for each in ids
    ]


def test_what_no_seq_names_is_in_doubt_and_the_others_are_not(instance: Instance) -> None:
    results = [{"seq": place, "leadId": 10 + place, "status": "updated"} for place in (3, 0, 2)]
    instance.answer = lambda request: says_yes(*results)
    outcomes = instance.block().set_program_status(2001, "Registered", [10, 11, 12, 13], on_error="return")
    assert [(outcome.state, outcome.id) for outcome in outcomes] == [
        ("succeeded", "10"),
        ("unknown", None),
        ("succeeded", "12"),
        ("succeeded", "13"),
    ]


@pytest.mark.parametrize("name", ["reasons", "errors"])
def test_failures_are_told_under_either_name(instance: Instance, name: str) -> None:
    instance.answer = lambda request: says_yes({"status": "skipped", name: [{"code": "1003", "message": "is bad"}]})
    outcomes = instance.block().sync_leads([lead(1)], on_error="return")
    assert (outcomes[0].state, outcomes[0].code, outcomes[0].message) == ("failed", "1003", "is bad")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["good", "skipped", "no key", "no mapping"]), max_size=40), st.integers(1, 5))
def test_outcomes_stand_where_their_leads_stood(instance: Instance, kinds: list[str], at_once: int) -> None:
    """Whatever the mixture, and however many calls are made at once."""

    def respond(request: CapturedRequest) -> Answer:
        return says_yes(
            *(
                {"status": "skipped", "reasons": [{"code": "1006", "message": str(each["leadScore"])}]}
                if each.get("firstName") == "skipped"
                else {"id": each["leadScore"] + 1, "status": "updated"}
                for each in sent(request)
            )
        )

    instance.answer = respond
    records: list[Any] = []
    for number, kind in enumerate(kinds):
        records.append(
            {"good": lead(number), "skipped": lead(number, firstName="skipped"), "no key": {"leadScore": number}}.get(
                kind, kind
            )
        )
    outcomes = instance.block(concurrent_calls=at_once).sync_leads(records, on_error="return")
    assert len(outcomes) == len(kinds)
    for number, (kind, outcome) in enumerate(zip(kinds, outcomes, strict=True)):
        expected = {"good": "succeeded", "skipped": "failed"}.get(kind, "not sent")
        assert (outcome.position, outcome.state) == (number, expected)
        if kind == "good":
            assert outcome.id == str(number + 1)
        elif kind == "skipped":
            assert outcome.message == str(number)


def test_any_number_of_values_is_read_300_a_call_and_page_by_page(sandbox: Sandbox, marketo: Marketo) -> None:
    marketo.sync_leads(lead(number) for number in range(650))
    emails = [f"user{number}@example.com" for number in range(650)]
    calls = sandbox.calls()
    found = marketo.leads("email", iter(emails), fields=["email", "leadScore"])
    assert sandbox.calls() == calls  # nothing is asked before it is needed
    assert sorted(each["leadScore"] for each in found) == list(range(650))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("", ["a"]), "filter_type"),
        (("email", "a@example.com"), "values: takes a list"),
        (("email", [None]), "values"),
        (("email", ["a,b"]), "comma"),
        (("email", [""]), "values"),
    ],
)
def test_a_filter_that_makes_no_request_is_named(instance: Instance, arguments: tuple[Any, ...], named: str) -> None:
    with pytest.raises(RequestError, match=named):
        list(instance.block().leads(*arguments))
    assert instance.asked() == []


def test_a_field_that_marketo_does_not_know_is_told_by_its_reason(marketo: Marketo) -> None:
    with pytest.raises(MarketoInputError, match="shoeSize"):
        list(marketo.leads("email", ["a@example.com"], fields=["shoeSize"]))
    with pytest.raises(MarketoInputError, match="shoeSize"):
        list(marketo.leads("shoeSize", ["42"]))


def test_leads_are_merged_25_a_call(sandbox: Sandbox, marketo: Marketo) -> None:
    ids = [int(outcome.id or 0) for outcome in marketo.sync_leads(lead(number) for number in range(31))]
    marketo.merge_leads(ids[0], ids[1:])
    assert [each["id"] for each in marketo.leads("id", ids)] == [ids[0]]
    assert sandbox.calls()[f"POST {REST}/leads/{{leadId}}/merge.json"] == 2
    with pytest.raises(RequestError, match="winner among them"):
        marketo.merge_leads(ids[0], ids)
    with pytest.raises(MarketoInputError, match="1004"):
        marketo.merge_leads(ids[0], [999_999])


@pytest.mark.parametrize(
    ("last", "kind"),
    [(says_no("1004", "Lead '30' not found"), MarketoInputError), (says_no("606", "Max rate limit"), MarketoBusyError)],
)
def test_a_merge_that_fails_later_on_says_how_far_it_came(instance: Instance, last: Answer, kind: Any) -> None:
    """In the error itself, which is what the state of a Prefect run shows."""
    answers = iter([says_yes(), says_yes()])
    instance.answer = lambda request: next(answers, last)
    with pytest.raises(kind, match="The first 50 of 58 leads, up to 51, were merged before") as caught:
        instance.block().merge_leads(1, [*range(2, 60), 2])
    assert not caught.value.transient
    assert "The first 50 of 58" in str(pickle.loads(pickle.dumps(caught.value)))  # noqa: S301 - our own bytes
    with pytest.raises(kind) as caught:
        instance.block().merge_leads(1, [2])
    assert "before" not in str(caught.value)


def test_leads_are_deleted_and_a_lost_answer_does_not_make_it_a_failure(sandbox: Sandbox, marketo: Marketo) -> None:
    ids = [int(outcome.id or 0) for outcome in marketo.sync_leads(lead(number) for number in range(3))]
    sandbox.misbehave(f"{REST}/leads/delete.json", times=1, cut=True, after=True)
    assert states(marketo.delete_leads(ids[:2])) == {"succeeded": 2}
    outcomes = marketo.delete_leads([*ids, "x"], on_error="return")
    assert [(outcome.state, outcome.code) for outcome in outcomes] == [
        ("failed", "1004"),
        ("failed", "1004"),
        ("succeeded", None),
        ("not sent", "INVALID_RECORD"),
    ]


def test_a_lead_is_associated_with_a_cookie(marketo: Marketo) -> None:
    (outcome,) = marketo.sync_leads([lead(1)])
    marketo.associate_lead(int(outcome.id or 0), "id:123-ABC-456&token:_mch-example.com-1594662481190-60776")
    with pytest.raises(MarketoInputError, match="1004"):
        marketo.associate_lead(999_999, "id:123-ABC-456&token:_mch-example.com-1594662481190-60776")


def test_fields_are_described(marketo: Marketo) -> None:
    described = marketo.describe()
    assert {"email", "leadScore"} <= {each["name"] for each in described["fields"]}
    assert described["searchableFields"]


def test_leads_are_put_on_a_list_and_taken_off_it(sandbox: Sandbox, marketo: Marketo) -> None:
    ids = [int(outcome.id or 0) for outcome in marketo.sync_leads(lead(number) for number in range(310))]
    assert states(marketo.add_to_list(1001, ids)) == {"succeeded": 310}
    assert sorted(each["id"] for each in marketo.list_members(1001, fields=["id"])) == sorted(ids)
    sandbox.misbehave(f"{REST}/lists/{{listId}}/leads.json", method="DELETE", times=1, cut=True, after=True)
    assert states(marketo.remove_from_list(1001, [{"id": each} for each in ids[:305]])) == {"succeeded": 305}
    outcomes = marketo.remove_from_list(1001, ids[304:306], on_error="return")
    assert [(outcome.state, outcome.code) for outcome in outcomes] == [("failed", "1015"), ("succeeded", None)]
    with pytest.raises(MarketoInputError):
        marketo.add_to_list(9999, ids)


def test_leads_become_members_of_a_program_and_move_on(sandbox: Sandbox, marketo: Marketo) -> None:
    ids = [int(outcome.id or 0) for outcome in marketo.sync_leads(lead(number) for number in range(3))]
    assert states(marketo.set_program_status(2001, "Registered", ids)) == {"succeeded": 3}
    marketo.set_program_status(2001, "Attended", ids[:1])
    found = marketo.program_members(2001, "leadId", ids, fields=["leadId", "statusName"])
    assert {each["leadId"]: each["statusName"] for each in found} == {
        ids[0]: "Attended",
        ids[1]: "Registered",
        ids[2]: "Registered",
    }
    assert states(marketo.remove_from_program(2001, ids[:2])) == {"succeeded": 2}
    with pytest.raises((MarketoInputError, RecordsError), match="Dancing"):
        marketo.set_program_status(2001, "Dancing", ids)


def unavailable(times: int, then: Answer) -> Any:
    """Answers with a 503 so many times: whoever says that may have passed the call on before."""
    left = [times]

    def respond(request: CapturedRequest) -> Answer:
        left[0] -= 1
        return Answer(503, [], b"first byte timeout") if left[0] >= 0 else then

    return respond


def test_what_may_have_been_done_is_not_sent_again_after_a_503(instance: Instance) -> None:
    instance.answer = unavailable(1, says_yes({"id": 1, "status": "created"}))
    outcomes = instance.block().sync_leads([lead(1)], action="createDuplicate", on_error="return")
    assert states(outcomes) == {"unknown": 1}
    assert len(instance.asked()) == 1


def test_what_may_be_sent_again_is_after_a_503(instance: Instance) -> None:
    instance.answer = unavailable(3, says_yes({"id": 1, "status": "created"}))
    assert states(instance.block().sync_leads([lead(1)])) == {"succeeded": 1}


@pytest.mark.parametrize("last", [says_no("607", "Daily quota reached"), says_no("606", "Max rate limit"), "close"])
def test_what_the_first_attempt_may_have_done_is_never_told_as_not_sent(instance: Instance, last: Any) -> None:
    answers = iter([says_no("604", "Request timed out")])
    instance.answer = lambda request: next(answers, last)
    outcomes = instance.block().sync_leads([lead(1), lead(2)], on_error="return")
    assert states(outcomes) == {"unknown": 2}


def test_refused_tokens_are_counted_apart_from_busy_times(instance: Instance) -> None:
    busy, token = says_no("606", "Max rate limit"), says_no("602", "Access token expired")
    answers = iter([busy, busy, busy, token, token])
    instance.answer = lambda request: next(answers, says_yes({"id": 1, "status": "created"}))
    assert states(instance.block().sync_leads([lead(1)])) == {"succeeded": 1}


def test_a_filter_that_fits_too_much_is_cut_in_halves(instance: Instance) -> None:
    def respond(request: CapturedRequest) -> Answer:
        values = parse_qs(request.target.partition("?")[2])["filterValues"][0].split(",")
        if len(values) > 2:
            return says_no("1003", "Too many results match the filter")
        return says_yes(*({"company": value} for value in values))

    instance.answer = respond
    companies = [f"c{number}" for number in range(9)]
    assert [each["company"] for each in instance.block().leads("company", companies)] == companies


def test_a_last_page_that_has_a_token_is_the_last(instance: Instance) -> None:
    instance.answer = lambda request: says_yes({"id": 1}, nextPageToken="again", moreResult=False)
    assert len(list(instance.block().list_members(1001))) == 1


def test_a_status_that_a_lead_has_after_a_lost_answer_is_in_doubt(instance: Instance) -> None:
    past = {"seq": 0, "status": "skipped", "leadId": 1, "reasons": [{"code": "1037", "message": "is there already"}]}
    answers = iter([says_no("604", "Request timed out")])
    instance.answer = lambda request: next(answers, says_yes(past))
    assert states(instance.block().set_program_status(2001, "Registered", [1], on_error="return")) == {"unknown": 1}
