"""Action Flows: all that can be started is, each once, and what was not is told."""

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_atomic import (
    AtomicEnvironment,
    CredentialError,
    DestinationError,
    Invocation,
    InvocationError,
    RequestError,
    Response,
    ResponseError,
    TransportError,
)
from prefect_atomic.integrations.atomic import starting
from prefect_atomic.integrations.atomic.invocation import numbered
from prefect_atomic.tasks.course import Wait
from prefect_atomic.transport import Headers
from tests.e2e.servers.faulty import Answer
from tests.integrations.atomic.conftest import block_for, of_json

ADA = {"target": {"usersById": ["ada"]}}


def to(*users: str) -> list[dict[str, Any]]:
    return [{"target": {"usersById": [user]}} for user in users]


def states(outcomes) -> list[str]:
    return [outcome.state for outcome in outcomes]


def test_an_action_flow_is_started_for_each(sandbox, atomic, call):
    given = {"target": {"usersById": ["1", "2"]}, "payload": {"variables": {"name": "Ada"}}, "flowInvocationId": "one"}

    first, second = call(atomic.start_action_flow, "reminder", [given, {**given, "flowInvocationId": "two"}])

    assert (first.position, first.flow_invocation_id, first.state, first.reason) == (0, "one", "started", None)
    assert len(first.flow_instance_ids) == 2
    assert second.position == 1
    arrived = sandbox.atomic()["invocations"]
    assert [one["flowInvocationId"] for one in arrived] == ["one", "two"]
    assert arrived[0]["payload"] == {"variables": {"name": "Ada"}}
    assert not arrived[0]["test"]


def test_a_test_reaches_drafts(sandbox, atomic, call):
    call(atomic.start_action_flow, "draft", [ADA], test=True)

    assert sandbox.atomic()["invocations"][0]["test"]


def test_both_spellings_are_taken(sandbox, atomic):
    atomic.start_action_flow(
        "welcome",
        [
            Invocation(
                target={"users_by_id": ["1"]}, payload={"card_options": {"priority": 3}}, flow_invocation_id="a"
            ),
            {"target": {"usersById": ["1"]}, "payload": {"cardOptions": {"priority": 3}}, "flow_invocation_id": "b"},
        ],
    )

    first, second = sandbox.atomic()["invocations"]
    assert (first["target"], first["payload"]) == (second["target"], second["payload"])
    assert (first["flowInvocationId"], second["flowInvocationId"]) == ("a", "b")


def test_many_go_with_one_request(sandbox, call):
    atomic = block_for(sandbox.accounts.atomic, batch_size=3)

    call(atomic.start_action_flow, "welcome", to(*"abcdefg"))

    assert sandbox.calls()[f"POST /atomic/v1/{atomic.environment_id}/action-flow"] == 3
    assert [one["target"]["usersById"] for one in sandbox.atomic()["invocations"]] == [[user] for user in "abcdefg"]


def test_nothing_is_sent_for_nothing(sandbox, atomic, call):
    assert call(atomic.start_action_flow, "welcome", []) == []
    assert sandbox.calls() == {}


def test_a_target_may_go_into_the_payload(raw, call):
    raw.answers = [of_json({})]

    call(raw.block(target_in_payload=True).start_action_flow, "f", [{**ADA, "payload": {"metadata": {"a": 1}}}])

    (sent,) = json.loads(raw.asked[0].body)["flows"]
    assert sent["payload"] == {"metadata": {"a": 1}, "target": ADA["target"]}
    assert "target" not in sent


def test_an_id_in_the_path_leads_nowhere_else(raw):
    raw.answers = [of_json({})]

    raw.block().start_action_flow("../../a b?c", [ADA])

    assert raw.asked[0].target == "/v1/env/action-flow/..%2F..%2Fa%20b%3Fc/start"


@pytest.mark.parametrize(
    ("invocation", "told"),
    [
        ({}, "target: Field required"),
        ({"target": {}}, "target: .*at least 1"),
        ({"target": {"usersById": []}}, "target: usersById is empty"),
        ({"target": {"usersById": "123"}}, "target: usersById is a list of user ids"),
        ({"target": {"usersById": [123]}}, "target: usersById is a list of user ids, each a text"),
        ({"target": {"attributes": {}}}, "target: attributes is empty"),
        ({"target": {"tags": ["a"], "segment": None}}, "target: segment is empty"),
        ({**ADA, "payload": {"variable": {}}}, "payload: has no variable; it has variables, cardOptions"),
        ({**ADA, "payload": {"variables": ["a"]}}, "payload: variables is a mapping, not list"),
        ({**ADA, "payload": {"cardOptions": {"priority": 11}}}, "priority is a whole number from 1 to 10"),
        ({**ADA, "payload": {"cardOptions": {"priority": True}}}, "priority is a whole number from 1 to 10"),
        ({**ADA, "payload": {"variables": {"a": {1}}}}, "payload: holds something that is no JSON .*set"),
        ({**ADA, "payload": {"variables": {"a": float("nan")}}}, "payload: holds something that is no JSON"),
        ({**ADA, "payload": {"variables": {"a": 1, 2: 3}}}, "payload: holds something that is no JSON"),
        ({**ADA, "payload": {"variables": {"a": "\ud800"}}}, "payload: holds something that is no JSON"),
        ({**ADA, "flowInvocationId": ""}, "flowInvocationId: .*at least 1"),
        ({**ADA, "flowInvocationID": "x"}, "flowInvocationID: Extra inputs"),
        ("ada", r"is a str; give an Invocation, or a mapping such as"),
    ],
)
def test_all_are_checked_before_the_first_is_sent(sandbox, atomic, call, invocation, told):
    with pytest.raises(RequestError, match=rf"^invocations\[1\]: {told}" if told[:2] == "is" else told) as error:
        call(atomic.start_action_flow, "welcome", [ADA, invocation])

    assert str(error.value).startswith("invocations[1]: ")
    assert sandbox.calls() == {}


def test_what_was_given_is_not_kept_with_the_refusal(atomic):
    with pytest.raises(RequestError) as error:
        atomic.start_action_flow("welcome", [{**ADA, "payload": {"variables": "hunter2-hunter2"}}])

    assert "hunter2" not in str(error.value)
    assert error.value.__context__ is None


def test_an_id_that_was_given_twice_is_refused(sandbox, atomic, call):
    given = [{**user, "flowInvocationId": "same"} for user in to("a", "b")]

    with pytest.raises(RequestError, match=r"^invocations\[1\]: flowInvocationId: is that of invocations\[0\]"):
        call(atomic.start_action_flow, "welcome", given)

    assert sandbox.calls() == {}


@pytest.mark.parametrize("flow_id", ["", " ", ".", "..", None])
def test_an_action_flow_has_an_id(atomic, flow_id):
    with pytest.raises(RequestError, match=r"^action_flow_id: "):
        atomic.start_action_flow(flow_id, [ADA])


class TestIds:
    def test_the_same_invocation_twice_is_two_invocations(self, atomic, call):
        outcomes = call(atomic.start_action_flow, "welcome", [ADA, ADA])

        assert len({outcome.flow_invocation_id for outcome in outcomes}) == 2

    def test_outside_of_a_flow_each_call_has_its_own(self, atomic):
        first, second = (atomic.start_action_flow("welcome", [ADA])[0] for _ in range(2))

        assert first.flow_invocation_id != second.flow_invocation_id

    def test_a_test_and_another_flow_have_other_ids(self):
        given = [Invocation(**ADA)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PREFECT__FLOW_RUN_ID", "00000000-0000-0000-0000-000000000001")
            ids = [numbered(given, of=of)[0].id for of in ("start f", "start f", "start g", "test f")]

        assert ids[0] == ids[1]
        assert len(set(ids)) == 3


class TestRefusals:
    def test_a_bad_one_does_not_take_the_others_with_it(self, sandbox, atomic, call):
        good = {**ADA, "payload": {"variables": {"name": "Ada"}}}

        with pytest.raises(InvocationError) as error:
            call(atomic.start_action_flow, "reminder", [good, good, ADA, good, good])

        assert states(error.value.outcomes) == ["started", "started", "refused", "started", "started"]
        assert "requires a variable that is missing: name" in error.value.outcomes[2].reason
        assert len(sandbox.atomic()["invocations"]) == 4
        assert str(error.value).startswith(
            "1 of 5 invocations were not surely started: 1 refused. The first is invocations[2]"
        )
        assert "requires a variable that is missing" in str(error.value)
        assert not error.value.transient

    def test_the_outcomes_can_be_had_without_an_error(self, atomic, call):
        outcomes = call(atomic.start_action_flow, "reminder", [ADA], raise_on_failure=False)

        assert states(outcomes) == ["refused"]

    def test_the_error_survives_pickling(self, atomic):
        with pytest.raises(InvocationError) as error:
            atomic.start_action_flow("reminder", [ADA])

        copy = pickle.loads(pickle.dumps(error.value))  # noqa: S301 - our own
        assert str(copy) == str(error.value)
        assert copy.outcomes == error.value.outcomes

    @pytest.mark.parametrize("flow_id", ["nowhere", "draft"])
    def test_what_is_wrong_for_all_is_an_error_of_its_own(self, sandbox, atomic, call, flow_id):
        with pytest.raises(ResponseError, match="Action Flow"):
            call(atomic.start_action_flow, flow_id, to("a", "b"), raise_on_failure=False)

        assert sandbox.calls()[f"POST /atomic/v1/{atomic.environment_id}/action-flow"] == 1

    def test_without_a_token_nothing_is_started(self, sandbox, call):
        with pytest.raises(CredentialError, match="invalid_client"):
            call(block_for(sandbox.accounts.atomic, client_secret="wrong").start_action_flow, "welcome", [ADA])

    def test_a_host_that_is_not_allowed_is_not_asked(self, sandbox, call):
        block = block_for(sandbox.accounts.atomic, allowed_hosts=["api.example.com"])

        with pytest.raises(DestinationError, match=r"allowed_hosts are api\.example\.com"):
            call(block.start_action_flow, "welcome", [ADA])
        assert sandbox.calls() == {}

    def test_where_nobody_answers_nothing_is_started(self, raw, call):
        block = raw.block(base_url="http://127.0.0.1:1")

        with pytest.raises(TransportError, match="could not connect") as error:
            call(block.start_action_flow, "f", [ADA], raise_on_failure=False)
        assert error.value.transient

    @pytest.mark.parametrize("status", [401, 403, 404, 429])
    def test_the_rest_is_not_sent_where_that_makes_no_sense(self, raw, call, status):
        raw.answers = [of_json({}), of_json({"error": "no more"}, status)]

        outcomes = call(raw.block(batch_size=2).start_action_flow, "f", to(*"abcdef"), raise_on_failure=False)

        assert states(outcomes) == ["started"] * 2 + ["not sent"] * 4
        assert f"answered {status}" in outcomes[-1].reason

    @pytest.mark.parametrize("failure", ["close", "reset", "garbage", "cut-body", of_json({"error": "oops"}, 500)])
    def test_what_nobody_knows_is_unknown_and_the_others_are_started(self, raw, call, failure):
        raw.answers = [failure, of_json({})]

        outcomes = call(raw.block(batch_size=2).start_action_flow, "f", to(*"abcd"), raise_on_failure=False)

        assert states(outcomes) == ["unknown"] * 2 + ["started"] * 2
        assert outcomes[0].reason
        assert len(raw.asked) == 2  # what may have been processed is not sent twice

    def test_what_is_unknown_is_not_forgotten_where_the_rest_cannot_be_sent(self, raw, call):
        raw.answers = ["close", of_json({"error": "no"}, 403)]

        outcomes = call(raw.block(batch_size=1).start_action_flow, "f", to("a", "b"), raise_on_failure=False)

        assert states(outcomes) == ["unknown", "not sent"]

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"data": {"flows": [1]}}'])
    def test_a_yes_in_any_shape_is_a_yes(self, raw, call, body):
        raw.answers = [Answer(200, body=body)]

        assert states(call(raw.block().start_action_flow, "f", [ADA])) == ["started"]

    def test_no_text_holds_the_token(self, raw):
        raw.server.handler = None
        raw.answers = [of_json({})]
        raw.server.handler = lambda sent: (
            raw._answer(sent) if sent.path == "/token" else of_json({"error": sent.header("authorization")}, 400)
        )

        with pytest.raises(InvocationError) as error:
            raw.block().start_action_flow("f", [ADA])

        assert "t0ken" not in str(error.value)
        assert b"t0ken" not in pickle.dumps(error.value)


class TestBulk:
    def test_bulk_targets_wait_until_the_running_ones_are_through(self, raw, call):
        busy = of_json({"error": "5 bulk tasks run"}, 429, Retry_After="7")
        raw.answers = [busy, busy, of_json({})]

        assert states(call(raw.block().start_action_flow, "f", [{"target": {"tags": ["vip"]}}])) == ["started"]
        assert len(raw.asked) == 3

    @pytest.mark.parametrize(
        ("headers", "rounds"), [({"Retry_After": "7"}, 5), ({"Retry_After": "0"}, None), ({}, None)]
    )
    def test_the_wait_has_an_end(self, raw, call, headers, rounds):
        raw.answers = [of_json({"error": "5 bulk tasks run"}, 429, **headers)]

        outcomes = call(
            raw.block().start_action_flow, "f", [{"target": {"segment": "s"}}], bulk_wait=25, raise_on_failure=False
        )

        assert states(outcomes) == ["refused"]
        assert "5 bulk tasks run" in outcomes[0].reason
        assert len(raw.asked) == rounds if rounds else 2 < len(raw.asked) < 40

    def test_those_that_come_after_do_not_wait_once_more(self, raw, call):
        raw.answers = [of_json({"error": "5 bulk tasks run"}, 429, Retry_After="10")]
        given = [{"target": {"tags": [str(number)]}} for number in range(12)]

        outcomes = call(raw.block().start_action_flow, "f", given, bulk_wait=20, raise_on_failure=False)

        assert states(outcomes) == ["refused"] * 12
        assert len(raw.asked) == 3 + 1 + 1

    def test_a_start_renews_the_patience(self, raw, call):
        busy = of_json({"error": "5 bulk tasks run"}, 429, Retry_After="10")
        raw.answers = [busy, busy, of_json({}), busy, busy, of_json({})]
        given = [{"target": {"tags": [str(number)]}} for number in range(10)]

        assert states(call(raw.block().start_action_flow, "f", given, bulk_wait=20)) == ["started"] * 10

    def test_atomic_takes_no_more_than_five_at_once(self, sandbox, atomic, call):
        sandbox.set_atomic(bulk_seconds=0)
        given = [{"target": {"tags": [str(number)]}} for number in range(12)]

        outcomes = call(atomic.start_action_flow, "welcome", [*given[:6], ADA, *given[6:]])

        assert states(outcomes) == ["started"] * 13
        assert len(sandbox.atomic()["invocations"]) == 13

    @pytest.mark.parametrize("target", [{"usersById": ["1"]}, {"allTestUsers": True}, {"attributes": {"a": "b"}}])
    def test_others_are_no_bulk_targets(self, target):
        assert not Invocation(target=target).is_bulk
        assert Invocation(target={**target, "tags": ["a"]}).is_bulk

    @pytest.mark.parametrize("bulk_wait", [-1, float("nan")])
    def test_the_longest_wait_is_a_number_of_seconds(self, atomic, bulk_wait):
        with pytest.raises(RequestError, match=r"^bulk_wait: "):
            atomic.start_action_flow("welcome", [ADA], bulk_wait=bulk_wait)


kinds = st.sampled_from(["good", "bad", "bulk", "bad bulk"])


@given(given=st.lists(kinds, max_size=40), size=st.integers(1, 12), busy=st.integers(0, 3))
def test_each_has_one_outcome_and_each_good_one_is_started_once(given, size, busy):
    """The course of any mixture, against an Atomic that takes all of a request or nothing."""
    block = AtomicEnvironment(
        organization_id="o", environment_id="e", client_id="c", client_secret="s3cret", batch_size=size
    )
    invocations = [
        {
            "target": {"tags": [str(number)]} if "bulk" in kind else {"usersById": [str(number)]},
            "payload": {"metadata": {"bad": "bad" in kind}},
            "flowInvocationId": str(number),
        }
        for number, kind in enumerate(given)
    ]
    started: list[str] = []
    busy_times = busy

    def answer(request: Any) -> Response:
        nonlocal busy_times
        flows = json.loads(b"".join(request.stream))["flows"]
        is_bulk = "tags" in flows[0]["target"]
        assert all(("tags" in one["target"]) == is_bulk for one in flows)
        assert len(flows) <= (min(size, 5) if is_bulk else size)
        status = 200
        if is_bulk and busy_times:
            busy_times, status = busy_times - 1, 429
        elif any(one["payload"]["metadata"]["bad"] for one in flows):
            status = 400
        else:
            started.extend(one["flowInvocationId"] for one in flows)
        return Response(status_code=status, headers=Headers(), content=b"{}", url="u", elapsed=0, attempts=1)

    course = starting.start(block._api("start_action_flow"), "f", numbered(invocations, of="f"), bulk_wait=600)
    outcomes = None
    step = next(course, None) if given else None
    try:
        while step is not None:
            if isinstance(step, Wait):
                step = course.send(None)
                continue
            response = answer(step.request)
            if response.is_success:
                step = course.send(response)
            else:
                step = course.throw(ResponseError("no", response=response))
    except StopIteration as end:
        outcomes = end.value

    expected = ["refused" if "bad" in kind else "started" for kind in given]
    assert states(outcomes or []) == expected
    assert [outcome.position for outcome in outcomes or []] == list(range(len(given)))
    assert sorted(started, key=int) == [str(number) for number, kind in enumerate(given) if "bad" not in kind]
