"""Activities, campaigns and custom objects."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import islice
from typing import Any
from urllib.parse import parse_qs

import pytest

from prefect_atomic import Marketo, MarketoInputError, RecordsError, RequestError, ResponseError
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
        ({"types": [1, [2]]}, "types: has a list"),
        ({"types": [None]}, "types: has a NoneType"),
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
        ({"primaryAttributeValue": float("nan")}, "primaryAttributeValue: is NaN"),
        ({"attributes": {"event": "x", "score": float("nan")}}, r"attributes.score: holds .* \(NaN\)"),
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
    given = [activity(1, activityTypeId=100_000 + number % 11) for number in range(33)]
    outcomes = instance.block().add_activities(given, on_error="return")
    assert [outcome.position for outcome in outcomes if outcome.state != "succeeded"] == [10, 21, 32]
    assert "100010 is an 11th type" in str(outcomes[10])


@pytest.mark.parametrize("fault", [{"leadId": None}, {"primaryAttributeValue": ""}, {"card": 1}, {"attributes": [1]}])
def test_types_of_what_is_refused_anyway_are_none_of_the_ten(instance: Instance, fault: dict[str, Any]) -> None:
    instance.answer = lambda request: says_yes({"id": 1, "status": "added"})
    given = [activity(1, activityTypeId=number, **fault) for number in range(1, 12)] + [activity(1)]
    outcomes = instance.block().add_activities(given, on_error="return")
    assert states(outcomes) == {"not sent": 11, "succeeded": 1}


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
    [
        ({"offer": "x"}, "my.offer"),
        ({"my.a": 1}, "a text"),
        ({f"my.a{n}": "x" for n in range(101)}, "up to 100"),
        ({"my.a": "x", "my.b": "\ud800"}, "tokens: 'my.b': value: .*a lone surrogate"),
        ({"my.\ud800": "x"}, "tokens: .*: name: .*a lone surrogate"),
        ({f"my.a{n:02}": "\n" * 5_500 for n in range(90)}, "tokens: take 992,970 bytes, and a call takes 990,000"),
    ],
)
def test_tokens_that_are_none_are_named(instance: Instance, tokens: dict[str, Any], named: str) -> None:
    with pytest.raises(RequestError, match=named):
        instance.block().request_campaign(3001, [1], tokens=tokens)
    with pytest.raises(RequestError, match=named):
        instance.block().schedule_campaign(3002, tokens=tokens)
    assert instance.asked() == []


def test_tokens_leave_room_for_100_leads_a_call(instance: Instance) -> None:
    instance.answer = lambda request: says_yes({"id": 3001})
    ids = range(2**63 - 100, 2**63)
    outcomes = instance.block().request_campaign(3001, ids, tokens={"my.a": "x" * 989_900}, on_error="return")
    assert states(outcomes) == {"succeeded": 100}
    (request,) = instance.asked()
    assert len(request.body) <= 1_000_000


def test_a_batch_campaign_is_scheduled_once(sandbox: Sandbox, marketo: Marketo) -> None:
    run_at = datetime.now(UTC) + timedelta(days=1)
    assert marketo.schedule_campaign(3002, run_at=run_at, tokens={"{{my.offer}}": "20 %"}) == 3002
    (schedule,) = sandbox.marketo()["schedules"]
    assert schedule["runAt"] == run_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    sandbox.misbehave(f"{REST}/campaigns/{{campaignId}}/schedule.json", times=1, cut=True, after=True)
    with pytest.raises(Exception, match="schedule"):
        marketo.schedule_campaign(3002)
    assert len(sandbox.marketo()["schedules"]) == 2


def test_a_campaign_runs_at_a_moment_that_is_a_text(instance: Instance) -> None:
    instance.answer = lambda request: says_yes({"id": 3002})
    run_at = datetime.now(timezone(timedelta(hours=2))) + timedelta(days=1)
    as_text: Any = run_at.isoformat()
    instance.block().schedule_campaign(3002, run_at=as_text)
    (request,) = instance.asked()
    assert json.loads(request.body)["input"] == {"runAt": run_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}


@pytest.mark.parametrize(
    ("run_at", "named"),
    [
        (timedelta(minutes=-6), "run_at: is past; leave it out"),
        (timedelta(days=731), "run_at: is more than two years ahead"),
        ("2020-01-01T00:00:00Z", "run_at: is past; leave it out"),
        ("soon", "run_at: is no moment"),
        ("2036-01-01T00:00:00", "run_at: has no time zone"),
    ],
)
def test_a_time_that_marketo_does_not_take_is_named(instance: Instance, run_at: Any, named: str) -> None:
    with pytest.raises(RequestError, match=named):
        instance.block().schedule_campaign(
            3002, run_at=datetime.now(UTC) + run_at if isinstance(run_at, timedelta) else run_at
        )
    assert instance.asked() == []


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


@pytest.mark.parametrize("delete_by", ["dedupeFields", "idField"])
def test_custom_objects_are_deleted_as_they_were_read(marketo: Marketo, delete_by: Any) -> None:
    """With `seq`, and what else Marketo adds."""
    marketo.sync_custom_objects("car_c", [car(1), car(2)])
    read = list(marketo.custom_objects("car_c", "vin", ["VIN1", "VIN2"]))
    assert "seq" in read[0]
    given = [*read, {"seq": 3, "model": "T"}]
    outcomes = marketo.delete_custom_objects("car_c", given, delete_by=delete_by, on_error="return")
    assert [outcome.state for outcome in outcomes] == ["succeeded", "succeeded", "not sent"]
    assert list(marketo.custom_objects("car_c", "vin", ["VIN1", "VIN2"])) == []


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (None, r"values\[301\]: is a NoneType"),
        (0, r"values\[301\]: is a int"),
        ("VIN1", r"values\[301\]: is a str"),
        ({}, r"values\[301\]: is empty"),
        ({1: "VIN1"}, r"values\[301\]: has a field whose name is a int"),
        ({"vin": float("nan")}, r"values\[301\]: vin: .*NaN"),
    ],
)
def test_what_tells_no_record_is_named_by_its_position(instance: Instance, value: Any, named: str) -> None:
    instance.answer = lambda request: says_yes()
    values = [*({"vin": f"VIN{number}"} for number in range(301)), value]
    with pytest.raises(RequestError, match=named):
        list(instance.block().custom_objects("car_c", "dedupeFields", values))
    assert len(instance.asked()) == 1  # for the first 300


def test_what_tells_a_record_is_written_as_it_is_when_it_is_synchronised(instance: Instance) -> None:
    instance.answer = lambda request: (
        says_yes({"name": "car_c", "dedupeFields": ["sum", "at"]}) if "describe" in request.path else says_yes()
    )
    told_by = {"sum": Decimal("1.10"), "at": datetime(2026, 8, 1, tzinfo=UTC)}
    instance.block().sync_custom_objects("car_c", [told_by], on_error="return")
    list(instance.block().custom_objects("car_c", "dedupeFields", [told_by], fields=["sum"]))
    _, synced, read = (json.loads(request.body or b"{}") for request in instance.asked())
    assert read == {"filterType": "dedupeFields", "fields": ["sum"], "batchSize": 300, "input": synced["input"]}
    assert read["input"] == [{"sum": 1.1, "at": "2026-08-01T00:00:00.000+00:00"}]


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


def pages_of_three(request: CapturedRequest) -> Answer:
    """Activities 0 to 8; the second page is empty, and the last one has a token too."""
    if "pagingtoken" in request.path:
        return says_yes(nextPageToken="0")
    page = int(parse_qs(request.query)["nextPageToken"][0])
    found = {0: range(3), 2: range(3, 6), 3: range(6, 9)}.get(page, range(0))
    return says_yes(*({"id": each} for each in found), nextPageToken=str(min(page + 1, 4)), moreResult=page < 3)


@pytest.mark.parametrize("read", range(1, 11))
def test_a_reading_that_is_given_up_goes_on_with_its_page_and_misses_none(instance: Instance, read: int) -> None:
    """Wherever it was given up; at its end, nothing comes again."""
    instance.answer = pages_of_three
    block = instance.block()
    reading = block.activities(SINCE, types=[1])
    before = [each["id"] for each in islice(reading, read)]
    after = [each["id"] for each in block.activities(paging_token=reading.paging_token, types=[1])]
    assert before == list(range(min(read, 9)))
    assert after == ([] if read > 9 else list(range((read - 1) // 3 * 3, 9)))


def test_a_reading_goes_on_with_the_page_that_could_not_be_read(instance: Instance) -> None:
    fails = [False]
    instance.answer = lambda request: says_no("1003", "not now") if fails[0] else pages_of_three(request)
    reading = instance.block().activities(SINCE, types=[1])
    assert [each["id"] for each in islice(reading, 3)] == [0, 1, 2]
    fails[0] = True
    with pytest.raises(MarketoInputError, match="not now"):
        next(reading)
    fails[0] = False
    assert [each["id"] for each in reading] == list(range(3, 9))


@pytest.mark.parametrize("rows", [[], [{"id": 1}]], ids=["no rows", "rows"])
@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"nextPageToken": "same", "moreResult": True}, "it names itself next"),
        ({"moreResult": True}, "there is more, and no token for it"),
    ],
)
def test_pages_that_lead_nowhere_are_told_and_not_asked_for_without_an_end(
    instance: Instance, rows: list[dict[str, Any]], more: dict[str, Any], told: str
) -> None:
    instance.answer = lambda request: says_yes(*rows, **more)
    block = instance.block()
    for reading in (
        block.activities(paging_token="same", types=[1]),
        block.lead_changes(paging_token="same", fields=["email"]),
        block.leads("email", ["a@example.com"]),
        block.list_members(1001),
        block.custom_objects("car_c", "vin", ["VIN1"]),
        block.custom_objects("car_c", "dedupeFields", [{"vin": "VIN1"}]),
    ):
        with pytest.raises(ResponseError, match=f"leads nowhere: {told}"):
            list(reading)
    assert len(instance.asked()) <= 12


def test_pages_that_do_not_say_whether_there_are_more_end_too(instance: Instance) -> None:
    instance.answer = lambda request: says_yes({"id": 1}, nextPageToken="same")
    block = instance.block()
    assert list(block.activities(paging_token="same", types=[1])) == [{"id": 1}]
    with pytest.raises(ResponseError, match="leads nowhere"):
        list(block.leads("email", ["a@example.com"]))
    pages = iter([says_yes({"id": 1}, nextPageToken="last"), says_yes(nextPageToken="last")])
    instance.answer = lambda request: next(pages)
    assert list(block.leads("email", ["a@example.com"])) == [{"id": 1}]
