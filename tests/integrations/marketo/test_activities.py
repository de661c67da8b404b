"""Activities, campaigns and custom objects."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from prefect_atomic import Marketo, MarketoInputError, RecordsError, RequestError
from prefect_atomic.sandbox import Sandbox
from tests.e2e.servers.faulty import Answer, CapturedRequest
from tests.integrations.marketo.conftest import REST, Instance, as_json, says_no, says_yes
from tests.integrations.marketo.test_leads import lead, states

SINCE = datetime(2026, 7, 31, tzinfo=UTC)
EXTERNAL = f"{REST}/activities/external.json"
TRIGGER = f"{REST}/campaigns/{{campaignId}}/trigger.json"


def activity(lead_id: int, **fields: Any) -> dict[str, Any]:
    return {
        "leadId": lead_id,
        "activityTypeId": 100001,
        "activityDate": "2026-08-01T12:00:00Z",
        "primaryAttributeValue": "card-1",
        "attributes": {"event": "card.completed", "score": 5},
        **fields,
    }


@pytest.fixture
def ids(marketo: Marketo) -> list[int]:
    return [int(outcome.id or 0) for outcome in marketo.sync_leads(lead(number) for number in range(320))]


def test_activities_are_read_over_empty_pages_and_short_ones(sandbox: Sandbox, marketo: Marketo) -> None:
    sandbox.set_marketo(generate_leads=50, generate_activities=2000)
    read = marketo.activities(SINCE, types=[1, "Atomic Card"])
    found = list(read)
    assert len({each["id"] for each in found}) == len(found) == 1000
    assert {each["activityTypeId"] for each in found} == {1, 100001}
    assert list(marketo.activities(paging_token=read.paging_token, types=[1])) == []


def test_a_reading_goes_on_where_another_one_ended(sandbox: Sandbox, marketo: Marketo, ids: list[int]) -> None:
    marketo.add_activities([activity(ids[0])])
    read = marketo.activities(SINCE, types=[100001])
    assert len(list(read)) == 1
    later = datetime.now(UTC) + timedelta(minutes=1)
    marketo.add_activities([activity(ids[1], primaryAttributeValue="card-2", activityDate=later)])
    found = marketo.activities(paging_token=read.paging_token, types=[100001])
    assert [each["primaryAttributeValue"] for each in found] == ["card-2"]


def test_activities_of_some_leads_only(marketo: Marketo, ids: list[int]) -> None:
    marketo.add_activities(activity(each) for each in ids[:5])
    assert {each["leadId"] for each in marketo.activities(SINCE, types=[100001], leads=ids[1:3])} == set(ids[1:3])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"types": []}, "types: is empty"),
        ({"types": list(range(1, 12))}, "types: has 11"),
        ({"types": [1], "leads": range(1, 32)}, "leads: has 31"),
        ({"types": [1], "since": datetime(2026, 8, 1)}, "no time zone"),  # noqa: DTZ001 - that is the point
        ({"types": [1], "since": "yesterday"}, "since: is no moment"),
        ({"types": [1], "since": None}, "since: give either"),
        ({"types": [1], "paging_token": "abc"}, "since: give either"),
        ({"types": 1}, "types: is a list"),
    ],
)
def test_a_reading_that_makes_no_request_is_named(instance: Instance, arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(RequestError, match=named):
        instance.block().activities(**{"since": SINCE, **arguments})
    assert instance.asked() == []


def test_a_type_that_is_not_there_is_named(marketo: Marketo) -> None:
    with pytest.raises(RequestError, match="no type 'Dancing'"):
        marketo.activities(SINCE, types=["Dancing"])


def test_activities_are_added_and_their_failures_told(sandbox: Sandbox, marketo: Marketo, ids: list[int]) -> None:
    moment = datetime(2026, 8, 1, 14, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=2)))
    given = [activity(each) for each in ids] + [activity(999_999), activity(ids[0], activityDate=moment)]
    outcomes = marketo.add_activities(given, on_error="return")
    assert states(outcomes) == {"succeeded": 321, "failed": 1}
    assert outcomes[320].code == "1004"  # which stands under `errors`
    assert outcomes[0].id
    kept = sandbox.marketo()["custom_activities"]
    assert len(kept) == 321
    assert {each["activityDate"] for each in kept} == {"2026-08-01T12:00:00Z"}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"attributes": {"event": {"name": "x"}}}, "event: is a dict"),
        ({"attributes": {"event": [1]}}, "event: is a list"),
        ({"attributes": {f"a{number}": number for number in range(21)}}, "has 21 fields"),
        ({"attributes": [{"name": "event", "value": 1}]}, "attributes: is a mapping"),
        ({"attributes": {"event": "x" * 70_000}}, "65,536"),
        ({"activityDate": None}, "activityDate"),
        ({"activityDate": "soon"}, "activityDate: is no moment"),
        ({"leadId": "x"}, "leadId"),
        ({"activityTypeId": None}, "activityTypeId"),
        ({"primaryAttributeValue": ""}, "primaryAttributeValue"),
        ({"card": 1}, "has card"),
    ],
)
def test_an_activity_that_marketo_would_not_take_is_not_sent(
    instance: Instance, fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(RecordsError, match=named):
        instance.block().add_activities([activity(1, **fields)])
    assert instance.asked() == []


def test_more_than_ten_types_are_named(instance: Instance) -> None:
    instance.answer = lambda request: says_yes(
        *({"id": each["leadId"], "status": "added"} for each in json.loads(request.body)["input"])
    )
    given = [activity(1, activityTypeId=100_000 + number) for number in range(11)]
    outcomes = instance.block().add_activities(given, on_error="return")
    assert states(outcomes) == {"succeeded": 10, "not sent": 1}
    assert "11th type" in str(outcomes[10])


def test_activities_whose_answer_was_lost_are_in_doubt_and_not_added_twice(
    sandbox: Sandbox, marketo: Marketo, ids: list[int]
) -> None:
    sandbox.misbehave(EXTERNAL, times=1, cut=True, after=True)
    outcomes = marketo.add_activities([activity(each) for each in ids], on_error="return")
    assert states(outcomes) == {"unknown": 300, "succeeded": 20}
    assert len(sandbox.marketo()["custom_activities"]) == 320


def test_a_busy_marketo_that_did_nothing_is_asked_again(sandbox: Sandbox, marketo: Marketo, ids: list[int]) -> None:
    sandbox.set_marketo(error_every=2, error_path="external")
    assert states(marketo.add_activities(activity(each) for each in ids)) == {"succeeded": 320}
    assert len(sandbox.marketo()["custom_activities"]) == 320


def test_leads_run_through_a_campaign_100_a_call(sandbox: Sandbox, marketo: Marketo, ids: list[int]) -> None:
    assert states(marketo.request_campaign(3001, ids, tokens={"my.offer": "20 %"})) == {"succeeded": 320}
    requests = sandbox.marketo()["campaigns"]
    assert [len(each["leads"]) for each in requests] == [100, 100, 100, 20]
    assert requests[0]["tokens"] == [{"name": "{{my.offer}}", "value": "20 %"}]


def test_a_campaign_is_never_requested_twice(sandbox: Sandbox, marketo: Marketo, ids: list[int]) -> None:
    sandbox.misbehave(TRIGGER, times=1, cut=True, after=True)
    outcomes = marketo.request_campaign(3001, ids, on_error="return")
    assert states(outcomes) == {"unknown": 100, "succeeded": 220}
    assert sum(len(each["leads"]) for each in sandbox.marketo()["campaigns"]) == 320


def test_three_lost_requests_in_a_row_are_the_last(sandbox: Sandbox, marketo: Marketo, ids: list[int]) -> None:
    sandbox.misbehave(TRIGGER, cut=True)
    outcomes = marketo.request_campaign(3001, ids * 2, on_error="return")
    assert states(outcomes) == {"unknown": 300, "not sent": 340}
    assert sandbox.calls()[f"POST {TRIGGER}"] == 3


def test_a_request_that_may_have_been_processed_is_not_repeated(instance: Instance) -> None:
    """604 says that it took too long, not that it was not done."""
    instance.answer = lambda request: says_no("604", "Request timed out")
    with pytest.raises(RecordsError) as caught:
        instance.block().request_campaign(3001, [1, 2])
    assert not caught.value.transient
    assert states(caught.value.outcomes) == {"unknown": 2}
    assert len(instance.asked()) == 1


@pytest.mark.parametrize(
    "answer",
    [says_yes({"id": 3001}), says_yes({}), says_yes(), as_json(requestId="e42b#1", success=True)],
    ids=["id", "no id", "no result", "nothing"],
)
def test_a_request_that_is_taken_is_a_success_of_each_lead_whatever_else_the_answer_says(
    instance: Instance, answer: Answer
) -> None:
    """It says no word on single leads, and the id that it may have is the campaign's."""
    instance.answer = lambda request: answer
    outcomes = instance.block().request_campaign(3001, range(1, 151), on_error="return")
    assert [(outcome.state, outcome.id) for outcome in outcomes] == [("succeeded", None)] * 150
    assert len(instance.asked()) == 2


def test_a_batch_campaign_cannot_be_requested(marketo: Marketo, ids: list[int]) -> None:
    with pytest.raises((MarketoInputError, RecordsError), match="1003"):
        marketo.request_campaign(3002, ids[:10])


@pytest.mark.parametrize(
    ("tokens", "named"),
    [({"offer": "x"}, "my.offer"), ({"my.a": 1}, "a text"), ({f"my.a{n}": "x" for n in range(101)}, "up to 100")],
)
def test_tokens_that_are_none_are_named(instance: Instance, tokens: dict[str, Any], named: str) -> None:
    with pytest.raises(RequestError, match=named):
        instance.block().request_campaign(3001, [1], tokens=tokens)


def test_a_batch_campaign_is_scheduled_once(sandbox: Sandbox, marketo: Marketo) -> None:
    run_at = datetime.now(UTC) + timedelta(days=1)
    assert marketo.schedule_campaign(3002, run_at=run_at, tokens={"{{my.offer}}": "20 %"}) == 3002
    (schedule,) = sandbox.marketo()["schedules"]
    assert schedule["runAt"] == run_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    sandbox.misbehave(f"{REST}/campaigns/{{campaignId}}/schedule.json", times=1, cut=True, after=True)
    with pytest.raises(Exception, match="schedule"):
        marketo.schedule_campaign(3002)
    assert len(sandbox.marketo()["schedules"]) == 2


@pytest.mark.parametrize("days", [-1, 731])
def test_a_time_that_marketo_does_not_take_is_named(instance: Instance, days: int) -> None:
    with pytest.raises(RequestError, match="run_at: is past, or more than two years ahead"):
        instance.block().schedule_campaign(3002, run_at=datetime.now(UTC) + timedelta(days=days))


def car(number: int, **fields: Any) -> dict[str, Any]:
    return {"vin": f"VIN{number}", "model": "T", "year": 1908, **fields}


def test_custom_objects_are_written_read_and_deleted(sandbox: Sandbox, marketo: Marketo) -> None:
    outcomes = marketo.sync_custom_objects("car_c", (car(number) for number in range(310)))
    assert states(outcomes) == {"succeeded": 310}
    assert outcomes[0].created
    found = list(
        marketo.custom_objects("car_c", "vin", [f"VIN{number}" for number in range(310)], fields=["vin", "year"])
    )
    assert len({each["vin"] for each in found}) == 310
    (one,) = marketo.custom_objects("car_c", "dedupeFields", [{"vin": "VIN7"}])
    assert one["marketoGUID"] == outcomes[7].id
    by_guid = [{"marketoGUID": one["marketoGUID"], "year": 1909}]
    changed = marketo.sync_custom_objects("car_c", by_guid, action="updateOnly", dedupe_by="idField")
    assert changed[0].created is False
    sandbox.misbehave(f"{REST}/customobjects/{{apiName}}/delete.json", times=1, cut=True, after=True)
    assert states(marketo.delete_custom_objects("car_c", [car(1), {"vin": "VIN2"}])) == {"succeeded": 2}
    gone = marketo.delete_custom_objects("car_c", [car(1)], on_error="return")
    assert (gone[0].state, gone[0].code) == ("failed", "1013")


@pytest.mark.parametrize("code", ["1005", "1017"])
@pytest.mark.parametrize(("lost", "state"), [(False, "failed"), (True, "unknown")])
def test_a_new_object_that_exists_is_no_success_and_in_doubt_after_a_lost_answer(
    instance: Instance, code: str, *, lost: bool, state: str
) -> None:
    exists = {"seq": 0, "status": "skipped", "reasons": [{"code": code, "message": "Object already exists"}]}
    answers: list[Answer | str] = [says_yes({"name": "car_c", "dedupeFields": ["vin"]}), says_yes(exists)]
    if lost:
        answers.insert(1, "close")
    left = iter(answers)
    instance.answer = lambda request: next(left)
    outcomes = instance.block().sync_custom_objects("car_c", [car(1)], action="createOnly", on_error="return")
    assert [(outcome.state, outcome.code) for outcome in outcomes] == [(state, code)]


def test_what_is_wrong_with_a_custom_object_is_told_before(sandbox: Sandbox, marketo: Marketo) -> None:
    given = [car(1, wheels=4), {"model": "T"}, car(3)]
    outcomes = marketo.sync_custom_objects("car_c", given, on_error="return")
    assert [outcome.state for outcome in outcomes] == ["not sent", "not sent", "succeeded"]
    assert "wheels" in str(outcomes[0])
    assert "has no vin" in str(outcomes[1])
    with pytest.raises(MarketoInputError):
        marketo.sync_custom_objects("boat_c", [car(1)])


def test_usage_is_what_marketo_counts(marketo: Marketo) -> None:
    marketo.activity_types()
    (today,) = marketo.usage()
    assert today["total"] >= 1


def test_changes_and_deletions_are_read(marketo: Marketo, ids: list[int]) -> None:
    since = datetime.now(UTC) - timedelta(minutes=5)
    marketo.sync_leads([lead(1, firstName="Ada")])
    marketo.delete_leads(ids[5:6])
    assert list(marketo.lead_changes(since, fields=["firstName"]))
    assert [each["leadId"] for each in marketo.deleted_leads(since)] == [ids[5]]


def test_a_paging_token_that_leads_nowhere_is_told(instance: Instance) -> None:
    def respond(request: CapturedRequest) -> Answer:
        return says_yes(nextPageToken="same", moreResult=True)

    instance.answer = respond
    with pytest.raises(Exception, match="leads nowhere"):
        list(instance.block().activities(paging_token="same", types=[1]))
