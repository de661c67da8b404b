"""Events that become activities of leads: each once, whatever is killed, lost, refused or used up."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from typing import Any

import pytest

from flows.sync_marketo_activities import sync_marketo_activities_flow
from prefect_atomic import AtomicError, MarketoQuotaError, RequestError, S3Bucket, instant_retries
from prefect_atomic.sandbox import Sandbox
from tests.e2e import around_flows
from tests.e2e.around_flows import empty_bucket, forget_state, let_go_of_leases, marketo_of
from tests.e2e.atomic_programs import Runner
from tests.e2e.prefect_server import PrefectServer
from tests.e2e.servers.moto import MotoServer

pytestmark = around_flows.MARKS

EXTERNAL = "/marketo/rest/v1/activities/external.json"
READ = "GET /marketo/rest/v1/activities.json"
LEADS = "GET /marketo/rest/v1/leads.json"
LEAD_COUNT = 40
MAPPING = {
    "primaryAttributeValue": "event.card.title",
    "event": "event.type",
    "eventId": "{{ event.id }}",
    "score": "event.score",
}
PARAMETERS: dict[str, Any] = {
    "bucket": "atomic-s3-bucket/exports",
    "marketo": "atomic-marketo/production",
    "activity_type": 100001,
    "lead": "event.email",
    "mapping": MAPPING,
    "settle_after": 0,
}


@pytest.fixture
def sandbox(shared_sandbox: Sandbox, prefect_api: PrefectServer, limits_path: str) -> Sandbox:
    """Marketo with the leads `user0@example.com` and on, and a saved instance `atomic-marketo/production`."""
    shared_sandbox.reset()
    shared_sandbox.set_marketo(enforce=False, generate_leads=LEAD_COUNT)
    marketo_of(shared_sandbox).save("production", overwrite=True)
    return shared_sandbox


@pytest.fixture
def bucket(moto_server: MotoServer, sandbox: Sandbox) -> S3Bucket:
    """The saved bucket `atomic-s3-bucket/exports`, empty."""
    bucket = empty_bucket(moto_server, "card-events")
    bucket.save("exports", overwrite=True)
    forget_state("atomic-marketo-")
    return bucket


def run(**more: Any) -> list[dict[str, Any]]:
    with instant_retries():
        return sync_marketo_activities_flow(**{**PARAMETERS, **more})


def event(number: int, **more: Any) -> bytes:
    made = {
        "id": f"event-{number}",
        "type": "card-completed",
        "timestamp": f"2026-10-01T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}.250+00:00",
        "email": f"User{number % LEAD_COUNT}@example.com",
        "card": {"title": "Welcome"},
        "score": number,
    }
    return json.dumps({**made, **more}).encode() + b"\n"


def events(first: int, last: int) -> bytes:
    return b"".join(event(number) for number in range(first, last + 1))


def added(sandbox: Sandbox) -> Counter[str]:
    """How often each event was added, by its id."""
    return Counter(
        next(each["value"] for each in activity["attributes"] if each["name"] == "eventId")
        for activity in sandbox.marketo()["custom_activities"]
    )


def once(first: int, last: int) -> Counter[str]:
    return Counter(f"event-{number}" for number in range(first, last + 1))


def kept(bucket: S3Bucket, key: str, ending: str) -> bytes:
    [found] = [each for each in bucket.list_objects(f"synced/{key}.") if each.key.endswith(ending)]
    return bucket.read_path(found)


def test_events_become_activities_and_those_that_cannot_are_kept_with_the_reason(
    bucket: S3Bucket, sandbox: Sandbox
) -> None:
    marketo_of(sandbox).sync_leads([{"email": "twin@example.com"}] * 2, action="createDuplicate")
    bucket.write_path(
        "analytics/one.ndjson",
        b"\xef\xbb\xbf"
        + events(1, 12)
        + b"\nno json\n"  # line 14, after an empty one
        + event(90, email="nobody@example.com")
        + event(91, email="twin@example.com")
        + event(92, email=None)
        + event(93, timestamp="yesterday")
        + event(94, score="many")  # refused by the sandbox
        + event(95, score={"an": "object"})
        + event(96, email="a@example.com,b@example.com")
        + event(97, card={})
        + event(98, card={"title": ""})
        + event(99, timestamp="0001-01-01T00:00:00+14:00")
        + events(13, 20),
    )
    assert run() == [{"key": "analytics/one.ndjson", "added": 20, "rejected": 11, "fault": ""}]

    assert added(sandbox) == once(1, 20)
    first = sandbox.marketo()["custom_activities"][0]
    assert first["activityDate"] == "2026-10-01T00:00:01Z"
    assert first["primaryAttributeValue"] == "Welcome"
    assert {each["name"]: each["value"] for each in first["attributes"]} == {
        "event": "card-completed",
        "eventId": "event-1",
        "score": 1,
    }
    rejects = [json.loads(line) for line in kept(bucket, "analytics/one.ndjson", ".rejects.ndjson").splitlines()]
    assert [each["line"] for each in rejects] == list(range(14, 25))
    reasons = [
        "is no JSON",
        "there is none with this email",
        "2 leads have this email",
        "lead: has no value",
        "activityDate: ",
        "1001: Invalid value 'many'",
        "score: is a dict",
        "has a comma",
        "'title'",
        "primaryAttributeValue: ",
        "activityDate: is before the year 1",
    ]
    for each, reason in zip(rejects, reasons, strict=True):
        assert reason in each["reason"], each
    assert rejects[1]["event"]["id"] == "event-90"
    assert not [each.key for each in bucket.list_objects("synced/") if each.key.endswith("0.json")], "parts are left"


def test_an_object_is_synced_once_and_of_its_new_content_only_what_is_new(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("analytics/a.ndjson", events(1, 25) + b"bad\n")
    bucket.write_path("analytics/b.jsonl.gz", gzip.compress(events(26, 30)))
    bucket.write_path("analytics/empty.ndjson", b"")
    bucket.write_path("analytics/notes.txt", b"no events")
    assert [each["added"] for each in run()] == [25, 5, 0]
    asked = sandbox.calls()
    assert run() == []
    forget_state("atomic-marketo-")
    mapping = {**MAPPING, "outcome": "event.type"}  # an activity that was added stays as it is
    assert [each["added"] for each in run(mapping=mapping)] == [25, 5, 0]
    assert sandbox.calls()[f"POST {EXTERNAL}"] == asked[f"POST {EXTERNAL}"] == 2

    bucket.write_path("analytics/a.ndjson", events(20, 40))
    assert [each["added"] for each in run()] == [21]
    assert added(sandbox) == once(1, 40)
    assert [each.key for each in bucket.list_objects("synced/analytics/a") if "rejects" in each.key] == []


@pytest.mark.parametrize("arrived", [True, False], ids=["that arrived", "that did not arrive"])
def test_a_call_without_an_answer_is_settled_by_reading(bucket: S3Bucket, sandbox: Sandbox, arrived: bool) -> None:
    twins = event(311) * 2  # as often as they are in the file
    bucket.write_path("analytics/a.ndjson", events(1, 310) + twins + event(9, email="nobody@example.com"))
    sandbox.misbehave(EXTERNAL, times=1, delay=0.01)
    sandbox.misbehave(EXTERNAL, times=1, cut=True, after=arrived)
    with pytest.raises(AtomicError, match=r"1 of 1 objects: analytics/a\.ndjson: not all is known to be added.* 12 "):
        run()
    state = json.loads(kept(bucket, "analytics/a.ndjson", ".json"))
    assert (state["added"], state["through"], len(state["sending"])) == (300, 300, 12)

    assert run() == [{"key": "analytics/a.ndjson", "added": 312, "rejected": 1, "fault": ""}]
    assert added(sandbox) == once(1, 310) + Counter({"event-311": 2})
    assert run() == []


def test_when_the_calls_of_the_day_are_used_up_the_run_stops_at_once_and_a_later_one_goes_on(
    bucket: S3Bucket, sandbox: Sandbox
) -> None:
    bucket.write_path("analytics/a.ndjson", events(1, 650))
    bucket.write_path("analytics/b.ndjson", events(651, 700))
    # Types, fields, and for each call a look-up; the second time there is none left for the activities.
    sandbox.set_marketo(quota_after=sandbox.marketo()["calls"]["total"] + 5)
    with pytest.raises(MarketoQuotaError, match=r"2 of 2 objects: .*607.*may go on at \d{4}-.*b\.ndjson: was not"):
        run()
    assert added(sandbox) == once(1, 300)
    asked = sandbox.marketo()["calls"]["total"]
    with pytest.raises(MarketoQuotaError):
        run()
    assert sandbox.marketo()["calls"]["total"] == asked + 1

    sandbox.set_marketo(quota_after=0)
    assert [each["added"] for each in run()] == [650, 50]
    assert added(sandbox) == once(1, 700)
    assert READ not in sandbox.calls(), "nothing was in doubt"


def test_leads_are_looked_up_many_at_once_and_not_at_all_by_their_ids(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("analytics/a.ndjson", events(1, 600))
    run()
    assert sandbox.calls()[LEADS] == 2

    [lead] = marketo_of(sandbox).leads("email", ["user3@example.com"], fields=["id"])
    bucket.write_path(
        "by id/b.ndjson", event(601, email=lead["id"]) + event(602, email="me") + event(603, email=987654)
    )
    assert [(each["added"], each["rejected"]) for each in run(lead_field="id", prefix="by id/")] == [(1, 2)]
    assert sandbox.calls()[LEADS] == 3
    first, second = kept(bucket, "by id/b.ndjson", ".rejects.ndjson").splitlines()
    assert "lead: " in json.loads(first)["reason"]
    assert "1004" in json.loads(second)["reason"]


def test_an_object_of_which_nothing_is_taken_fails_the_run_and_says_why(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("analytics/a.ndjson", events(1, 12))
    with pytest.raises(AtomicError, match=r"none of its 12 events was taken; .* 1001: .*integer") as failure:
        run(mapping={**MAPPING, "score": "event.type"})
    assert "example.com" not in str(failure.value)
    assert run() == []


def test_look_ups_that_marketo_refuses_are_rejects_and_keep_no_other_object_from_its_turn(
    bucket: S3Bucket, sandbox: Sandbox
) -> None:
    marketo_of(sandbox).sync_leads([{"email": "eu@example.com"}], partition="Europe")
    for number in range(3):
        bad = (event(10 * number + each, email=f"bad{each}") for each in range(5))
        bucket.write_path(f"analytics/{number}.ndjson", b"".join(bad))
    bucket.write_path("analytics/9.ndjson", event(99, email=2) + event(98, email="bad") + event(97, email=2))
    with pytest.raises(AtomicError, match=r"3 of 4 objects: .*none of its 5 events was taken; .* 1001, when its lead"):
        run(lead_field="leadPartitionId")

    assert added(sandbox) == Counter(["event-99", "event-97"])
    rejects = kept(bucket, "analytics/0.ndjson", ".rejects.ndjson").splitlines()
    assert len(rejects) == 5
    assert "lead: " in json.loads(rejects[0])["reason"]
    assert "Required of type 'Integer'" in json.loads(rejects[0])["reason"]
    assert run(lead_field="leadPartitionId") == []


def test_objects_that_fail_for_what_is_their_own_keep_no_other_from_its_turn(
    bucket: S3Bucket, sandbox: Sandbox
) -> None:
    for number in range(4):
        bucket.write_path(f"analytics/{number}.ndjson", event(number))
    sandbox.misbehave(EXTERNAL, times=3, cut=True)
    with pytest.raises(AtomicError, match=r"3 of 4 objects: .*not all is known"):
        run()
    assert added(sandbox) == Counter(["event-3"])


def test_three_objects_that_fail_for_what_is_nobodys_own_are_enough(bucket: S3Bucket, sandbox: Sandbox) -> None:
    for number in range(5):
        bucket.write_path(f"analytics/{number}.ndjson", event(number))
    sandbox.set_marketo(error_every=1, error_code="603", error_message="Access denied", error_path="/leads.json")
    with pytest.raises(AtomicError, match=r"5 of 5 objects: .*603.*4\.ndjson: was not tried, as 3 before it failed"):
        run()
    assert sandbox.calls()[LEADS] == 3
    sandbox.set_marketo(error_every=0)
    assert [each["added"] for each in run()] == [1] * 5


@pytest.mark.parametrize("damage", [b"", b'{"added": 3}'], ids=["empty", "of another kind"])
def test_an_outcome_that_is_damaged_is_named_and_made_anew_from_what_marketo_has(
    bucket: S3Bucket, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    bucket.write_path("analytics/a.ndjson", events(1, 5) + b"bad\n")
    run()
    [outcome] = [each for each in bucket.list_objects("synced/") if each.key.endswith(".json")]
    bucket.write_path(outcome.key, damage)
    forget_state("atomic-marketo-")

    assert run() == [{"key": "analytics/a.ndjson", "added": 5, "rejected": 1, "fault": ""}]
    assert added(sandbox) == once(1, 5)
    assert json.loads(bucket.read_path(outcome.key))["done"] is True
    told = f"{outcome.key} is damaged; so Marketo is asked which events of analytics/a.ndjson it has"
    assert told in caplog.text


def test_where_nothing_is_new_there_are_no_artifacts(
    bucket: S3Bucket, sandbox: Sandbox, prefect_server: PrefectServer
) -> None:
    before = len(prefect_server.all_of("artifacts/filter"))
    assert run() == []
    assert len(prefect_server.all_of("artifacts/filter")) == before
    assert sandbox.calls() == {}


def test_an_object_that_cannot_be_unpacked_fails_the_run_once_and_harms_no_other(
    bucket: S3Bucket, sandbox: Sandbox
) -> None:
    bucket.write_path("analytics/a.ndjson.gz", gzip.compress(events(1, 900))[:-50])
    bucket.write_path("analytics/b.ndjson", events(1001, 1003))
    with pytest.raises(AtomicError, match=r"1 of 2 objects: analytics/a\.ndjson\.gz: cannot be unpacked"):
        run()
    state = json.loads(kept(bucket, "analytics/a.ndjson.gz", ".json"))
    assert 300 < state["added"] == len(added(sandbox)) - 3
    assert run() == []


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"mapping": {}}, "mapping: has nothing for primaryAttributeValue"),
        ({"mapping": {**MAPPING, "event": "{{ event.id"}}, "mapping: event: does not parse"),
        ({"mapping": {**MAPPING, "leadId": "event.id"}}, "mapping: leadId: is no attribute"),
        ({"mapping": {**MAPPING, "Nope": "event.id"}}, "mapping: Nope: is no attribute of Atomic Card; .*cardTitle"),
        ({"lead": "email"}, "lead: email: is not known"),
        ({"lead_field": "phone"}, "lead_field: .* by 'phone', but by .*email"),
        ({"activity_type": 1}, "activity_type: 1 is no custom activity; there are: 100001 Atomic Card"),
        ({"activity_type": 0}, "^activity_type: "),
        ({"settle_after": -1}, "^settle_after: "),
        ({"outcomes": "/"}, "outcomes: is empty"),
        ({"marketo": "atomic-s3-bucket/exports"}, "which is no Marketo"),
        ({"marketo": "atomic-marketo/nobody"}, "there is no saved block"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_parameters_that_cannot_be_used_are_refused(bucket: S3Bucket, parameters: dict[str, Any], text: str) -> None:
    bucket.write_path("analytics/a.ndjson", events(1, 1))
    with pytest.raises(RequestError, match=text):
        sync_marketo_activities_flow.fn(**{**PARAMETERS, **parameters})  # without a run, which takes seconds


def test_neither_logs_nor_artifacts_tell_who_the_leads_are_or_have_a_secret(
    bucket: S3Bucket, sandbox: Sandbox, prefect_server: PrefectServer
) -> None:
    marketo_of(sandbox).sync_leads([{"email": "lovelace4711@example.com"}])
    bucket.write_path(
        "analytics/a.ndjson", event(1, email="Lovelace4711@example.com") + event(2, email="byron4711@b.c")
    )
    sandbox.misbehave(LEADS.removeprefix("GET "), method="GET", times=1, status=500)
    with pytest.raises(AtomicError, match=r"leads\.json"):
        run()
    sandbox.misbehave(EXTERNAL, times=1, cut=True)
    with pytest.raises(AtomicError, match="not all is known"):
        run()
    [made] = run()
    assert (made["added"], made["rejected"]) == (1, 1)

    seen = "".join(
        json.dumps(prefect_server.all_of(path)).casefold()
        for path in ("logs/filter", "artifacts/filter", "flow_runs/filter", "task_runs/filter", "variables/filter")
    )
    assert "analytics/a.ndjson" in seen
    for secret in ("lovelace4711", "byron4711", sandbox.accounts.marketo.client_secret.casefold()):
        assert secret not in seen


def test_runs_that_are_killed_add_each_activity_once(
    bucket: S3Bucket, sandbox: Sandbox, prefect_server: PrefectServer, limits_path: str
) -> None:
    rolls = random.Random(5)
    bucket.write_path("analytics/a.ndjson", events(1, 1500) + b"bad\n")
    bucket.write_path("analytics/b.ndjson", event(0, email="nobody@example.com") + events(1501, 1980))
    sandbox.misbehave(EXTERNAL, delay=0.5)
    killed, before = 0, 0

    def is_adding() -> bool:
        return sandbox.calls().get(f"POST {EXTERNAL}", 0) > before or len(added(sandbox)) == 1980

    with Runner(prefect_server, PREFECT_ATOMIC_LIMITS_PATH=limits_path) as runner:
        for number in range(4):
            before = sandbox.calls().get(f"POST {EXTERNAL}", 0)
            how: dict[str, Any] = {"kill_when": is_adding} if number % 2 else {"kill_after": rolls.uniform(1.0, 3.0)}
            killed += runner.run("marketo-activities", **how, **PARAMETERS) == "killed"
            let_go_of_leases("atomic-marketo-")
        assert runner.run("marketo-activities", **PARAMETERS) == "completed"
    assert killed >= 2

    assert added(sandbox) == once(1, 1980)
    assert sandbox.calls()[READ] > 0, "none was killed while it sent"
    states = [
        json.loads(bucket.read_path(each)) for each in bucket.list_objects("synced/") if each.key.endswith(".json")
    ]
    assert [(each["added"], each["rejected"]) for each in states] == [(1500, 1), (480, 1)]
    assert run() == []
