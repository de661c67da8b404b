"""Events that become rows of a data extension: rejects are kept, the others go through, and nothing is lost."""

from __future__ import annotations

import gzip
import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flows.sync_marketing_cloud import sync_marketing_cloud_flow
from prefect_atomic import AtomicError, RequestError, S3Bucket, instant_retries
from prefect_atomic.integrations.marketing_cloud import SalesforceMarketingCloud
from prefect_atomic.sandbox import Sandbox
from tests.e2e import around_flows
from tests.e2e.around_flows import empty_bucket, forget_state, let_go_of_leases
from tests.e2e.atomic_programs import Runner
from tests.e2e.prefect_server import PrefectServer
from tests.e2e.servers.moto import MotoServer

pytestmark = around_flows.MARKS

MAPPING = {"EventId": "{{ event.id }}", "UserId": "event.userId", "Type": "event.type", "Payload": "event | tojson"}
ROWSET = "/marketing-cloud/rest/hub/v1/dataevents/{key}/rowset"
PARAMETERS: dict[str, Any] = {
    "bucket": "atomic-s3-bucket/exports",
    "marketing_cloud": "atomic-marketing-cloud/production",
    "data_extension_key": "Events",
    "keys": ["EventId"],
    "mapping": MAPPING,
}


@pytest.fixture
def sandbox(shared_sandbox: Sandbox, prefect_api: PrefectServer) -> Sandbox:
    """Marketing Cloud, with a saved tenant `atomic-marketing-cloud/production`."""
    shared_sandbox.reset()
    account = shared_sandbox.accounts.marketing_cloud
    SalesforceMarketingCloud(
        subdomain="sandbox",
        auth_url=account.auth_url,
        client_id=account.client_id,
        client_secret=account.client_secret,
        sync_batch=10,
    ).save("production", overwrite=True)
    return shared_sandbox


@pytest.fixture
def bucket(moto_server: MotoServer, sandbox: Sandbox) -> S3Bucket:
    """The saved bucket `atomic-s3-bucket/exports`, empty."""
    bucket = empty_bucket(moto_server, "events")
    bucket.save("exports", overwrite=True)
    forget_state("atomic-marketing-cloud-")
    return bucket


def run(**more: Any) -> list[dict[str, Any]]:
    with instant_retries():
        return sync_marketing_cloud_flow(**{**PARAMETERS, **more})


def events(first: int, last: int) -> bytes:
    return b"".join(
        json.dumps({"id": f"event-{number}", "type": "card-completed", "userId": None}).encode() + b"\n"
        for number in range(first, last + 1)
    )


def rows(sandbox: Sandbox) -> list[str]:
    return sorted(
        (row["EventId"] for row in sandbox.marketing_cloud()["data_extensions"]["Events"]),
        key=lambda event: int(event.partition("-")[2]),
    )


def ids(first: int, last: int) -> list[str]:
    return [f"event-{number}" for number in range(first, last + 1)]


def outcome(bucket: S3Bucket, key: str, ending: str) -> bytes:
    [found] = [each for each in bucket.list_objects(f"synced/{key}.") if each.key.endswith(ending)]
    return bucket.read_path(found)


def test_events_become_rows_and_those_that_cannot_are_kept_with_the_reason(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path(
        "analytics/one.ndjson",
        b"\xef\xbb\xbf"
        + events(1, 12)
        + b"\nno json\n"  # line 14, after an empty one
        + b'{"id": "event-90", "type": "card-completed"}\n'  # no userId
        + b'{"id": null, "type": "x", "userId": "1"}\n'
        + json.dumps({"id": "event-91", "type": "x" * 200, "userId": "Z\u00fc"}).encode()  # refused by the sandbox
        + b"\n[]\n"
        + events(13, 20),
    )
    assert run() == [{"key": "analytics/one.ndjson", "upserted": 20, "rejected": 5, "fault": ""}]

    assert rows(sandbox) == ids(1, 20)
    rejects = [json.loads(line) for line in outcome(bucket, "analytics/one.ndjson", ".rejects.ndjson").splitlines()]
    assert [each["line"] for each in rejects] == [14, 15, 16, 17, 18]
    for each, reason in zip(
        rejects, ["is no JSON", "'userId'", "EventId is missing", "longer than 100", "no JSON object"], strict=True
    ):
        assert reason in each["reason"], each
    assert rejects[3]["event"]["userId"] == "Z\u00fc"
    assert sandbox.marketing_cloud()["data_extensions"]["Events"][0]["UserId"] is None


def test_an_object_is_synced_once_and_its_new_content_is_another_object(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("analytics/a.ndjson", events(1, 25))
    bucket.write_path("analytics/b.jsonl.gz", gzip.compress(events(26, 30)))
    bucket.write_path("analytics/empty.ndjson", b"")
    bucket.write_path("analytics/notes.txt", b"no events")
    assert [each["upserted"] for each in run()] == [25, 5, 0]
    asked = sandbox.calls()[f"POST {ROWSET}"]
    assert run() == []
    forget_state("atomic-marketing-cloud-")
    assert [each["upserted"] for each in run()] == [25, 5, 0]
    assert sandbox.calls()[f"POST {ROWSET}"] == asked

    bucket.write_path("analytics/a.ndjson", events(20, 40))
    assert [each["upserted"] for each in run()] == [21]
    assert rows(sandbox) == ids(1, 40)


def test_many_events_go_asynchronously_and_their_results_are_joined(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bad = json.dumps({"id": "event-0", "type": "x" * 101, "userId": ""}).encode() + b"\n"
    bucket.write_path("analytics/many.ndjson", events(1, 700) + bad + events(701, 1400))

    assert run() == [{"key": "analytics/many.ndjson", "upserted": 1400, "rejected": 1, "fault": ""}]

    assert rows(sandbox) == ids(1, 1400)
    [reject] = outcome(bucket, "analytics/many.ndjson", ".rejects.ndjson").splitlines()
    assert json.loads(reject)["line"] == 701
    assert f"POST {ROWSET}" not in sandbox.calls()


def test_an_object_in_doubt_is_sent_again_by_the_next_run(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("analytics/a.ndjson", events(1, 10))
    bucket.write_path("analytics/b.ndjson", events(11, 30))
    sandbox.misbehave(ROWSET, times=1, delay=0.01)
    sandbox.misbehave(ROWSET, times=1, status=500, after=True)
    with pytest.raises(AtomicError, match=r"1 of 2 objects: analytics/b\.ndjson: it is not known"):
        run()

    assert [each["upserted"] for each in run()] == [10, 20]
    assert rows(sandbox) == ids(1, 30)
    assert run() == []


def test_a_wrong_key_of_the_data_extension_fails_the_run_and_rejects_nothing(
    bucket: S3Bucket, sandbox: Sandbox
) -> None:
    for number in range(5):
        bucket.write_path(f"analytics/{number}.ndjson", events(number, number))
    with pytest.raises(AtomicError, match=r"5 of 5 objects: .*404.*external key") as failure:
        run(data_extension_key="Evnts")
    assert "was not tried, as 3 before it failed" in str(failure.value)
    assert len(run()) == 5


def test_a_column_that_is_not_there_fails_the_run_and_rejects_nothing(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("analytics/a.ndjson", events(1, 80))
    with pytest.raises(AtomicError, match=r"refused for the same reason.*Nope is not a column"):
        run(mapping={**MAPPING, "Nope": "event.id"})
    assert list(bucket.list_objects("synced/")) == []


def test_a_request_that_ends_with_an_error_rejects_nothing_and_is_sent_again(
    bucket: S3Bucket, sandbox: Sandbox
) -> None:
    bucket.write_path("analytics/a.ndjson", events(1, 600))
    sandbox.set_marketing_cloud(fail_next_async="the data extension is being changed")
    with pytest.raises(AtomicError, match=r"1 of 1 objects: .*REQUEST_FAILED: the data extension is being changed"):
        run()
    assert list(bucket.list_objects("synced/")) == []

    assert [each["upserted"] for each in run()] == [600]
    assert rows(sandbox) == ids(1, 600)


def test_an_object_of_which_nothing_is_taken_fails_the_run_once(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("analytics/a.ndjson", events(1, 12))
    with pytest.raises(AtomicError, match=r"1 of 1 objects: .*none of its 12 events was taken.*Nope is not a column"):
        run(mapping={**MAPPING, "Nope": "event.id"})
    assert len(outcome(bucket, "analytics/a.ndjson", ".rejects.ndjson").splitlines()) == 12
    assert run(mapping={**MAPPING, "Nope": "event.id"}) == []


def test_an_object_whose_key_is_as_long_as_can_be_is_synced(bucket: S3Bucket, sandbox: Sandbox) -> None:
    key = "analytics/" + "\u20ac" * 330 + ".ndjson"
    bucket.write_path(key, events(1, 3))
    assert [each["upserted"] for each in run()] == [3]
    assert all(len(each.key.encode()) < 500 for each in bucket.list_objects("synced/"))


def test_an_object_that_cannot_be_unpacked_fails_the_run_once_and_harms_no_other(
    bucket: S3Bucket, sandbox: Sandbox
) -> None:
    bucket.write_path("analytics/a.ndjson.gz", gzip.compress(events(1, 5000))[:-200])
    bucket.write_path("analytics/b.ndjson", events(1, 3))
    with pytest.raises(AtomicError, match=r"1 of 2 objects: analytics/a\.ndjson\.gz: cannot be unpacked"):
        run()
    assert rows(sandbox)[:3] == ids(1, 3)
    assert len(rows(sandbox)) > 3000
    state = json.loads(outcome(bucket, "analytics/a.ndjson.gz", ".json"))
    assert state["upserted"] == len(rows(sandbox))
    assert run() == []


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"mapping": {}}, "mapping: is empty"),
        ({"mapping": {"EventId": "{{ event.id"}}, "mapping: EventId: does not parse"),
        ({"mapping": {"EventId": "id"}}, "mapping: EventId: id: is not known"),
        ({"mapping": {"Type": "event.type"}}, "has nothing for EventId"),
        ({"mapping": {**MAPPING, "eventid": "event.id"}}, "mapping: names a column more than once"),
        ({"keys": []}, "^keys: "),
        ({"wait": -1}, "^wait: "),
        ({"data_extension_key": " "}, "^data_extension_key: "),
        ({"outcomes": "/"}, "outcomes: is empty"),
        ({"marketing_cloud": "atomic-s3-bucket/exports"}, "which is no SalesforceMarketingCloud"),
        ({"marketing_cloud": "atomic-marketing-cloud/nobody"}, "there is no saved block"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_parameters_that_cannot_be_used_are_refused(bucket: S3Bucket, parameters: dict[str, Any], text: str) -> None:
    with pytest.raises(RequestError, match=text):
        run(**parameters)


def test_runs_that_are_killed_lose_no_event_and_double_none(
    bucket: S3Bucket, sandbox: Sandbox, prefect_server: PrefectServer
) -> None:
    rolls = random.Random(11)
    for number in range(10):
        bucket.write_path(f"analytics/{number:02}.ndjson", events(number * 60 + 1, number * 60 + 60) + b"bad\n")
    sandbox.misbehave(ROWSET, delay=0.08)
    killed = 0
    with Runner(prefect_server) as runner:
        for _ in range(5):
            killed += runner.run("sync", kill_after=rolls.uniform(1.5, 4.5), **PARAMETERS) == "killed"
            let_go_of_leases("atomic-marketing-cloud-")
        assert runner.run("sync", **PARAMETERS) == "completed"
    assert killed >= 2

    assert rows(sandbox) == ids(1, 600)
    # Six requests for each object, and for each kill those of the one object that was under way.
    assert sandbox.calls()[f"POST {ROWSET}"] <= 60 + 6 * killed
    states = [
        json.loads(bucket.read_path(each)) for each in bucket.list_objects("synced/") if each.key.endswith(".json")
    ]
    assert [(each["upserted"], each["rejected"]) for each in states] == [(60, 1)] * 10
    assert run() == []


def test_two_runs_at_once_sync_an_object_once(
    bucket: S3Bucket, sandbox: Sandbox, prefect_server: PrefectServer
) -> None:
    sandbox.misbehave(ROWSET, delay=0.3)
    bucket.write_path("analytics/a.ndjson", events(1, 100))
    with Runner(prefect_server) as one, Runner(prefect_server) as other, ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(runner.run, "sync", **PARAMETERS) for runner in (one, other)]
        assert [each.result() for each in runs] == ["completed", "completed"]
    assert sandbox.calls()[f"POST {ROWSET}"] == 10
