"""Contacts into journeys: nobody enters twice, whatever is lost, and who may have entered is told as unknown."""

import json
import pickle
from collections import Counter

import pytest

from prefect_atomic import AtomicError, RecordsError, RequestError, ResponseError, TransportError
from prefect_atomic.integrations.marketing_cloud.tasks import marketing_cloud_fire_entry_events
from tests.integrations.marketing_cloud.conftest import EVENT, EVENTS, TOKEN, as_json, block_for, entered, nobody

KEY = "APIEvent-welcome"
LOST = pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 500, "after": True},
        {"status": 503},
        {"status": 503, "after": True},
        {"status": 502, "after": True, "headers": {"Retry-After": "1"}},
        {"cut": True},
        {"cut": True, "after": True},
        {"status": 200, "body": "<html>", "content_type": "text/html", "after": True},
        {"status": 200, "body": "no gzip", "headers": {"Content-Encoding": "gzip"}, "after": True},
        {"status": 302, "headers": {"Location": "/elsewhere"}, "after": True},
        {"status": 304, "after": True},
        {"status": 409, "after": True},
    ],
    ids=str,
)


def members(*numbers):
    return [{"contact_key": f"c-{number}", "data": {"Name": f"Zo\u00eb {number}"}} for number in numbers]


def test_a_contact_enters_with_its_data(marketing_cloud, sandbox, call):
    entry = call(marketing_cloud.fire_entry_event, "c-1", KEY, {"Name": "Zo\u00eb"})

    assert len(entry) == 36
    assert sandbox.marketing_cloud()["events"] == [
        {"eventDefinitionKey": KEY, "contactKey": "c-1", "data": {"Name": "Zo\u00eb"}}
    ]


def test_many_contacts_enter_a_hundred_at_a_time_in_their_order(marketing_cloud, sandbox, call):
    outcomes = call(marketing_cloud.fire_entry_events, KEY, iter(members(*range(250))))

    assert outcomes.succeeded == 250
    assert outcomes[0].id
    assert entered(sandbox) == [f"c-{number}" for number in range(250)]
    assert sandbox.calls()[f"POST {EVENTS}"] == 3


@LOST
def test_one_that_may_have_entered_is_not_sent_again(marketing_cloud, sandbox, call, fault):
    sandbox.misbehave(EVENT, times=1, **fault)
    with pytest.raises(RecordsError, match="it is not known whether the contact entered") as error:
        call(marketing_cloud.fire_entry_event, "c-1", KEY)

    assert sandbox.calls()[f"POST {EVENT}"] == 1
    assert [outcome.state for outcome in error.value.outcomes] == ["unknown"]
    assert not error.value.transient


@LOST
def test_nobody_enters_twice_and_who_may_have_entered_is_unknown(marketing_cloud, sandbox, call, fault):
    sandbox.misbehave(EVENTS, times=1, delay=0.001)
    sandbox.misbehave(EVENTS, times=1, **fault)
    outcomes = call(marketing_cloud.fire_entry_events, KEY, members(*range(350)), on_error="return")

    assert [outcome.position for outcome in outcomes.failures()] == list(range(100, 200))
    assert {outcome.state for outcome in outcomes.failures()} == {"unknown"}
    assert sandbox.calls()[f"POST {EVENTS}"] == 4
    assert max(Counter(entered(sandbox)).values()) == 1
    assert {f"c-{outcome.position}" for outcome in outcomes if outcome.success} <= set(entered(sandbox))


@pytest.mark.parametrize("fault", ["reset", "cut-headers", "cut-body", "garbage"])
def test_no_broken_answer_is_a_reason_to_send_again(tenant, call, fault):
    tenant.answer = lambda request: fault
    with pytest.raises(RecordsError, match="2 unknown"):
        call(tenant.block().fire_entry_events, KEY, members(1, 2))

    assert len(tenant.asked()) == 1


def test_after_three_requests_without_an_answer_nobody_else_is_put_at_risk(marketing_cloud, sandbox):
    sandbox.misbehave(EVENTS, cut=True, after=True)
    outcomes = marketing_cloud.fire_entry_events(KEY, members(*range(500)), on_error="return")

    assert (outcomes.unknown, outcomes.not_sent) == (300, 200)
    assert len(entered(sandbox)) == 300


@pytest.mark.parametrize("code", [50100, 50200])
def test_throttled_entries_are_sent_again(marketing_cloud, sandbox, call, code):
    sandbox.set_marketing_cloud(throttle_every=2, throttle_code=code)
    outcomes = call(marketing_cloud.fire_entry_events, KEY, members(*range(300)))
    call(marketing_cloud.fire_entry_event, "c-single", KEY)

    assert outcomes.succeeded == 300
    assert entered(sandbox) == [*(f"c-{number}" for number in range(300)), "c-single"]


def test_throttling_without_an_end_leaves_the_rest_unsent(marketing_cloud, sandbox):
    sandbox.misbehave(EVENTS, times=1, delay=0.001)
    sandbox.misbehave(EVENTS, status=429)
    outcomes = marketing_cloud.fire_entry_events(KEY, members(*range(300)), on_error="return")

    assert (outcomes.succeeded, outcomes.not_sent) == (100, 200)
    sandbox.reset()
    sandbox.misbehave(EVENTS, status=429)
    with pytest.raises(ResponseError, match="429") as error:
        marketing_cloud.fire_entry_events(KEY, members(*range(300)), on_error="return")
    assert error.value.transient


def test_nobody_at_home_is_a_transient_error_as_nobody_entered(tenant, call):
    tenant.token = {"rest_instance_url": nobody()}
    for fire in (("fire_entry_events", KEY, members(1)), ("fire_entry_event", "c-1", KEY)):
        with pytest.raises(TransportError, match="could not connect") as error:
            call(getattr(tenant.block(), fire[0]), *fire[1:])
        assert error.value.transient


def test_a_token_that_is_refused_between_batches_leaves_the_rest_unsent(tenant):
    answers = [as_json(202, count=100, notQueuedCount=0, members=[{}] * 100)]
    tenant.answer = lambda request: answers.pop(0) if answers else as_json(401, message="Not Authorized", errorcode=0)
    outcomes = tenant.block().fire_entry_events(KEY, members(*range(300)), on_error="return")

    assert (outcomes.succeeded, outcomes.not_sent) == (100, 200)
    assert "none can succeed" in outcomes[299].message


def test_members_that_do_not_enter_are_told_and_the_others_enter(marketing_cloud, sandbox, call):
    given = [*members(1), {"contactKey": "inactive-2"}, {"contact_key": ""}, {"key": "x"}, "c-4", *members(5)]
    outcomes = call(marketing_cloud.fire_entry_events, KEY, given, on_error="return")

    assert [outcome.state for outcome in outcomes] == [
        "succeeded",
        "failed",
        "not sent",
        "not sent",
        "not sent",
        "succeeded",
    ]
    assert outcomes[1].code == "10005"
    assert outcomes[1].message == "the contact is not active"
    assert entered(sandbox) == ["c-1", "c-5"]


@pytest.mark.parametrize(
    ("answer", "states"),
    [
        ({"count": 3, "notQueuedCount": 0, "members": [{}, {}, {}]}, "sss"),
        ({"count": 3, "notQueuedCount": 0}, "sss"),
        ({"count": 3, "notQueuedCount": 3}, "fff"),
        ({"count": 3, "notQueuedCount": 1}, "uuu"),
        ({"count": 3, "notQueuedCount": 1, "members": [{}, {"errorCode": 9, "errorMessage": "no"}, {}]}, "sfs"),
        ({"count": 3, "notQueuedCount": 2, "members": [{}, {"errorcode": "9", "message": "no"}, {}]}, "ufu"),
        ({"members": [{}, {"message": "queued"}, {}]}, "sss"),
        ({"count": 3}, "uuu"),
        ({"count": 3, "notQueuedCount": "1", "members": [{}, {}, {}]}, "uuu"),
        ({"count": 2, "notQueuedCount": 0, "members": [{}, {}, {}]}, "uuu"),
        ({"count": 2, "notQueuedCount": 1, "members": [{}, {"errorCode": 9}, {}]}, "sfs"),
        ({"notQueuedCount": 0, "members": [{"errorCode": "0"}, {"errorCode": "None"}, {}]}, "sss"),
        ({"notQueuedCount": 0, "members": [{"errorCode": 9, "message": "no"}, {}, {}]}, "uss"),
        ({"notQueuedCount": 1, "members": [{"contactKey": "c-3", "errorCode": 9}, {"contactKey": "c-1"}, {}]}, "uuu"),
        ({"notQueuedCount": 1, "members": [{"ContactKey": "c-1", "errorCode": 9}, {"ContactKey": "c-2"}, {}]}, "fss"),
        ({"members": [{"status": "failed"}, {}, {}]}, "fss"),
        ({"errorcode": 10000, "message": "broken", "members": [{}, {}, {}]}, "uuu"),
        ({}, "uuu"),
    ],
)
def test_what_an_answer_says_of_each_member_is_told(tenant, answer, states):
    tenant.answer = lambda request: as_json(202, **answer)
    outcomes = tenant.block().fire_entry_events(KEY, members(1, 2, 3), on_error="return")

    assert "".join(outcome.state[0] for outcome in outcomes) == states


def test_requests_have_the_documented_names(tenant):
    tenant.answer = lambda request: as_json(201, eventInstanceId="i", count=1, notQueuedCount=0, members=[{}])
    block = tenant.block()
    block.fire_entry_event("c-1", 'a "key"', {"Name": "\u00fc"})
    block.fire_entry_events('a "key"', [{"contact_key": "c-1", "data": None}])

    one, many = tenant.asked()
    assert (one.target, many.target) == ("/interaction/v1/events", "/interaction/v1/async/events")
    assert json.loads(one.body) == {"ContactKey": "c-1", "EventDefinitionKey": 'a "key"', "Data": {"Name": "\u00fc"}}
    assert json.loads(many.body) == {"eventDefinitionKey": 'a "key"', "members": [{"contactKey": "c-1", "data": {}}]}
    assert one.header("content-type") == many.header("content-type") == "application/json; charset=UTF-8"


def test_a_definition_that_is_not_there_is_told(marketing_cloud, sandbox, call):
    with pytest.raises(ResponseError, match="there is no event definition nope"):
        call(marketing_cloud.fire_entry_event, "c-1", "nope")
    with pytest.raises(RecordsError, match=r"300 of 300.*there is no event definition nope"):
        call(marketing_cloud.fire_entry_events, "nope", members(*range(300)))
    assert sandbox.calls()[f"POST {EVENTS}"] == 1


def test_two_tenants_side_by_side_keep_to_themselves(tenant, sandbox, marketing_cloud):
    tenant.answer = lambda request: as_json(202, count=1, notQueuedCount=0, members=[{}])
    for number in range(3):
        marketing_cloud.fire_entry_events(KEY, members(number))
        tenant.block().fire_entry_events(KEY, members(100 + number))

    assert entered(sandbox) == ["c-0", "c-1", "c-2"]
    assert {request.header("authorization") for request in tenant.asked()} == {"Bearer t0ken-1"}
    assert sandbox.calls()[f"POST {TOKEN}"] == 1


def test_the_task_is_not_retried_and_needs_a_tenant(marketing_cloud, sandbox):
    assert marketing_cloud_fire_entry_events.retries == 0
    assert marketing_cloud_fire_entry_events.fn(marketing_cloud, KEY, members(1)).succeeded == 1
    with pytest.raises(RequestError, match="which is no SalesforceMarketingCloud"):
        marketing_cloud_fire_entry_events.fn(object(), KEY, members(1))
    with pytest.raises(AtomicError):
        marketing_cloud_fire_entry_events.fn(block_for(sandbox, client_secret="wrong"), KEY, members(1))


@pytest.mark.parametrize("answer", [{}, {"eventInstanceId": None}, {"errorcode": 10006, "message": "is not active"}])
def test_an_answer_without_an_entry_is_no_success(tenant, call, answer):
    tenant.answer = lambda request: as_json(201, **answer)
    with pytest.raises(RecordsError, match="it is not known whether the contact entered"):
        call(tenant.block().fire_entry_event, "c-1", KEY)
    assert len(tenant.asked()) == 1


def test_data_that_is_no_json_is_refused_with_its_field(tenant):
    block = tenant.block()
    with pytest.raises(RequestError, match=r"^data\.Score: holds something that is no JSON \(NaN\)\.$"):
        block.fire_entry_event("c-1", KEY, {"Score": float("nan")})
    with pytest.raises(RequestError, match=r"^data: .*bytes"):
        block.fire_entry_event("c-1", KEY, {"Text": "x" * 10_000_000})


def test_members_that_cannot_be_read_to_their_end_leave_an_outcome_for_each_that_was_read(
    marketing_cloud, sandbox, call
):
    def broken(number):
        yield from members(*range(number))
        raise KeyError("the source is gone")

    with pytest.raises(RecordsError, match=r"could not be read any further \(KeyError\) after 150") as error:
        call(marketing_cloud.fire_entry_events, KEY, broken(150), on_error="return")
    outcomes = error.value.outcomes
    assert [outcome.state for outcome in outcomes] == ["succeeded"] * 100 + ["not sent"] * 50
    assert entered(sandbox) == [f"c-{number}" for number in range(100)]
    with pytest.raises(KeyError):
        call(marketing_cloud.fire_entry_events, KEY, broken(50))
    assert len(entered(sandbox)) == 100


def test_arguments_that_make_no_request_are_named(tenant, call):
    for given in (None, 5, "abc", {"contact_key": "1"}):
        with pytest.raises(RequestError, match=r"^members: "):
            call(tenant.block().fire_entry_events, KEY, given)
    for fire in (("fire_entry_event", "c-1", "\ud800"), ("fire_entry_events", "\ud800", members(1))):
        with pytest.raises(RequestError, match=r"^event_definition_key: "):
            call(getattr(tenant.block(), fire[0]), *fire[1:])
    assert tenant.asked() == []


def test_no_secret_that_an_answer_repeats_comes_into_an_outcome(tenant):
    tenant.token = {"access_token": "t0ken-of-the-tenant"}

    def answer(request):
        said = f"{request.header('authorization')} s3cret-of-it"
        return as_json(202, count=1, notQueuedCount=1, members=[{"errorcode": "1", "message": said}])

    tenant.answer = answer
    [outcome] = tenant.block().fire_entry_events(KEY, members(1), on_error="return")
    assert outcome.message == "Bearer *** ***"
    tenant.answer = lambda request: as_json(400, message="s3cret-of-it")
    with pytest.raises(ResponseError) as error:
        tenant.block().fire_entry_event("c-1", KEY)
    assert b"s3cret" not in pickle.dumps(error.value)
