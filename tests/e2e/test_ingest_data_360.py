"""Files that arrive in a bucket reach Data 360: each once, in their order, whatever is killed or fails on the way."""

from __future__ import annotations

import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flows.ingest_data_360 import ingest_data_360_flow
from prefect_atomic import AtomicError, RequestError, S3Bucket, SalesforceData360, instant_retries
from prefect_atomic.integrations.data_360.bulk import BulkLoad
from prefect_atomic.sandbox import Sandbox
from tests.e2e import around_flows
from tests.e2e.around_flows import empty_bucket, forget_state, let_go_of_leases
from tests.e2e.atomic_programs import Runner
from tests.e2e.prefect_server import PrefectServer
from tests.e2e.servers.moto import MotoServer

pytestmark = around_flows.MARKS

SOURCE, ORDERS = "prefect_connector", "orders_1c2d3e4f"
HEADER = "order_id,amount,placed_at\n"
JOBS, JOB, BATCHES = "/api/v1/ingest/jobs", "/api/v1/ingest/jobs/{id}", "/api/v1/ingest/jobs/{id}/batches"
TO = {
    "bucket": "atomic-s3-bucket/for-data-360",
    "data_360": "atomic-salesforce-data-360/crm",
    "source": SOURCE,
    "object": ORDERS,
}


@pytest.fixture
def sandbox(shared_sandbox: Sandbox, prefect_api: PrefectServer) -> Sandbox:
    shared_sandbox.reset()
    account = shared_sandbox.accounts.data_360
    SalesforceData360(
        login_url=account.login_url, client_id=account.client_id, client_secret=account.client_secret
    ).save("crm", overwrite=True)
    return shared_sandbox


@pytest.fixture
def bucket(moto_server: MotoServer, sandbox: Sandbox) -> S3Bucket:
    """The saved bucket, empty, of which nothing is remembered."""
    bucket = empty_bucket(moto_server, "for-data-360")
    bucket.save("for-data-360", overwrite=True)
    forget_state("atomic-data-360-")
    return bucket


def run(**more: Any) -> list[dict[str, Any]]:
    with instant_retries():
        return ingest_data_360_flow(**{**TO, **more})


def rows(first: int, last: int, amount: int = 1) -> str:
    return "".join(f"o-{number},{amount},\n" for number in range(first, last + 1))


def loaded(sandbox: Sandbox) -> dict[str, Any]:
    return dict(sandbox.data_360()["objects"][ORDERS])


def jobs(sandbox: Sandbox) -> list[tuple[str, int]]:
    return [(job["state"], job["files"]) for job in sandbox.data_360()["jobs"]]


def outcome(bucket: S3Bucket, file: str) -> dict[str, Any]:
    found = [each for each in bucket.list_objects(f"outcomes/{file}.") if each.key.endswith(".json")]
    assert len(found) == 1
    return dict(json.loads(bucket.read_path(found[0])))


def rejects(bucket: S3Bucket, file: str) -> bytes:
    found = [each for each in bucket.list_objects(f"outcomes/{file}.") if ".rejects." in each.key]
    assert len(found) == 1
    return bucket.read_path(found[0])


def test_good_rows_are_loaded_and_bad_ones_kept_with_line_and_reason(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("daily/a.csv", ("\ufeff" + HEADER + rows(1, 2) + "o-3,1\no-4,\0,\n" + rows(5, 5)).encode())
    bucket.write_path("daily/b.jsonl", b'{"order_id": "j", "amount": 2, "placed_at": null}\n{"order_id": [1]}\nno\n')
    bucket.write_path("daily/notes.txt", b"neither of both")

    assert run(prefix="daily/") == [
        {"file": "daily/a.csv", "loaded": 3, "rejected": 2, "fault": ""},
        {"file": "daily/b.jsonl", "loaded": 1, "rejected": 2, "fault": ""},
    ]
    assert set(loaded(sandbox)) == {"o-1", "o-2", "o-5", "j"}
    text = rejects(bucket, "daily/a").decode().replace("\0", "?")
    assert list(csv.reader(io.StringIO(text))) == [
        ["rejected.line", "rejected.reason", "order_id", "amount", "placed_at"],
        ["4", "has 2 cells, and the header has 3", "o-3", "1"],
        ["5", "holds a NUL", "o-4", "?", ""],
    ]
    told = [json.loads(line) for line in rejects(bucket, "daily/b").splitlines()]
    assert [(each["line"], each["row"]) for each in told] == [(2, '{"order_id": [1]}'), (3, "no")]
    state = outcome(bucket, "daily/a")
    assert (state["loaded"], state["rows"], len(state["jobs"])) == (True, 3, 1)
    assert run(prefix="daily/") == []


def test_mended_rejects_can_be_loaded_as_they_are(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("a.csv", (HEADER + "o-1,1\n" + rows(2, 2)).encode())
    run()
    bucket.write_path("a-mended.csv", rejects(bucket, "a").replace(b"o-1,1\n", b"o-1,1,\n"))

    assert run()[0]["loaded"] == 1
    assert set(loaded(sandbox)) == {"o-1", "o-2"}


def test_a_file_is_loaded_once_and_its_new_content_is_another_file(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("a.csv", (HEADER + rows(1, 3)).encode())
    run()
    forget_state("atomic-data-360-")
    assert run() == [{"file": "a.csv", "loaded": 3, "rejected": 0, "fault": ""}]
    assert jobs(sandbox) == [("JobComplete", 1)]

    bucket.write_path("a.csv", (HEADER + rows(1, 3, amount=2)).encode())
    run()
    assert loaded(sandbox)["o-1"]["amount"] == 2


def test_a_content_that_comes_back_is_loaded_again(bucket: S3Bucket, sandbox: Sandbox) -> None:
    for amount in (1, 2, 1):
        bucket.write_path("a.csv", (HEADER + rows(1, 3, amount=amount)).encode())
        assert run()[0]["loaded"] == 3
        assert loaded(sandbox)["o-1"]["amount"] == amount


def test_a_file_that_data_360_refuses_is_given_up_and_harms_no_other(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("1.csv", (HEADER + rows(1, 1)).encode())
    sandbox.misbehave(BATCHES, times=3, status=400, body={"message": "no such column"})
    for _ in range(2):
        with pytest.raises(AtomicError, match=r"1\.csv: .*no such column.*it is uploaded once more"):
            run()
    bucket.write_path("2.csv", (HEADER + rows(2, 2)).encode())
    with pytest.raises(AtomicError, match=r"1 of 2 files: 1\.csv: .*no such column.*given up after 3 jobs"):
        run()
    assert set(loaded(sandbox)) == {"o-2"}
    assert run() == []


def test_a_file_that_is_gone_leaves_no_open_job(
    bucket: S3Bucket, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.write_path("a.csv", (HEADER + rows(1, 1)).encode())
    upload = BulkLoad.upload

    def and_delete(load: BulkLoad, *arguments: Any, **more: Any) -> None:
        upload(load, *arguments, **more)
        bucket.delete_object("a.csv")

    monkeypatch.setattr(BulkLoad, "upload", and_delete)
    with pytest.raises(AtomicError, match=r"a\.csv"):
        run()
    assert jobs(sandbox) == [("Aborted", 1)]
    assert run() == []


def test_a_long_name_has_an_outcome(bucket: S3Bucket, sandbox: Sandbox) -> None:
    name = f"{'ab/' * 200}{'€' * 130}.csv"
    bucket.write_path(name, (HEADER + rows(1, 1) + "bad\n").encode())

    assert (run()[0]["loaded"], run()) == (1, [])


def test_deletes(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("in/a.csv", (HEADER + rows(1, 3)).encode())
    bucket.write_path("gone/a.csv", b"order_id\no-1\no-3\n")
    run(prefix="in/")
    run(prefix="gone/", operation="delete")

    assert set(loaded(sandbox)) == {"o-2"}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "line 1: is empty"),
        (b"order_id;amount\n1;2\n", "line 1: the columns are separated by something else"),
        (HEADER.encode() + b"1,2\n3,4\n", "none of its 2 rows can be sent; the rejects file says why"),
        (HEADER.encode() + b'"' + b"x\n" * 5_100_000, "line 2: begins a row of more than 10,000,000 bytes"),
    ],
    ids=["empty", "semicolons", "all-bad", "open-quote"],
)
def test_a_bad_file_fails_the_run_once_and_harms_no_other(
    content: bytes, fault: str, bucket: S3Bucket, sandbox: Sandbox
) -> None:
    bucket.write_path("bad.csv", content)
    bucket.write_path("good.csv", (HEADER + rows(1, 2)).encode())
    with pytest.raises(AtomicError, match=r"1 of 2 files: bad\.csv: ") as failure:
        run()
    assert fault in str(failure.value)
    assert set(loaded(sandbox)) == {"o-1", "o-2"}
    assert outcome(bucket, "bad")["loaded"] is False
    assert run() == []


def test_a_job_that_fails_is_tried_again_and_not_for_ever(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("a.csv", (HEADER + "o-1,many,\n").encode())
    for _ in range(2):
        with pytest.raises(AtomicError, match=r"is Failed: record 0, field amount.*it is uploaded once more"):
            run()
        assert outcome(bucket, "a")["loaded"] is False
    with pytest.raises(AtomicError, match="given up after 3 jobs"):
        run()
    assert run() == []
    assert jobs(sandbox) == [("Failed", 1)] * 3


def test_a_later_file_waits_for_one_that_is_not_finished(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("1.csv", (HEADER + rows(1, 1, amount=1)).encode())
    sandbox.misbehave(BATCHES, times=1, status=500)
    with pytest.raises(AtomicError, match=r"1 of 1 files: 1\.csv: "):
        run()
    bucket.write_path("2.csv", (HEADER + rows(1, 1, amount=2)).encode())
    sandbox.misbehave(BATCHES, times=1, status=500)
    with pytest.raises(AtomicError, match=r"2 of 2 files: 1\.csv: .*; 2\.csv"):
        run()
    assert not loaded(sandbox)

    assert [each["file"] for each in run()] == ["1.csv", "2.csv"]
    assert loaded(sandbox)["o-1"]["amount"] == 2
    assert sorted(jobs(sandbox)) == [("Aborted", 0), ("Aborted", 0), ("JobComplete", 1), ("JobComplete", 1)]


def test_a_slow_job_is_followed_by_the_next_run_and_not_uploaded_again(bucket: S3Bucket, sandbox: Sandbox) -> None:
    sandbox.set_data_360(job_polls=4)
    bucket.write_path("a.csv", (HEADER + rows(1, 2)).encode())
    with pytest.raises(AtomicError, match="is still processing it"):
        run(wait=0)
    assert outcome(bucket, "a")["loaded"] is False

    assert run()[0]["loaded"] == 2
    assert jobs(sandbox) == [("JobComplete", 1)]


def test_a_job_that_somebody_aborted_is_made_anew(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("a.csv", (HEADER + rows(1, 2)).encode())
    sandbox.misbehave(JOB, method="PATCH", status=503, times=5)
    with pytest.raises(AtomicError, match="503"):
        run()
    (job_id,) = outcome(bucket, "a")["jobs"]
    SalesforceData360.load("crm").abort_bulk_job(job_id)

    assert run()[0]["loaded"] == 2


@pytest.mark.parametrize(
    ("path", "method", "after"),
    [
        (JOBS, "POST", False),
        (JOBS, "POST", True),
        (BATCHES, "PUT", False),
        (BATCHES, "PUT", True),
        (JOB, "PATCH", False),
        (JOB, "PATCH", True),
        (JOB, "GET", False),
    ],
)
def test_a_run_that_is_killed_at_any_point_loses_nothing(
    bucket: S3Bucket, sandbox: Sandbox, prefect_server: PrefectServer, path: str, method: str, after: bool
) -> None:
    bucket.write_path("a.csv", (HEADER + rows(1, 50)).encode())
    bucket.write_path("b.csv", (HEADER + rows(40, 60, amount=2)).encode())
    sandbox.misbehave(path, method=method, times=1, hang=True, after=after)
    with Runner(prefect_server) as runner:
        assert runner.run("ingest", kill_when=lambda: f"{method} {path}" in sandbox.calls(), **TO) == "killed"
        reached = sandbox.calls().get(f"{method} {path}", 0)
        states = [each for each in bucket.list_objects("outcomes/") if each.key.endswith(".json")]
        assert not any(json.loads(bucket.read_path(each))["loaded"] for each in states)
        let_go_of_leases("atomic-data-360-")
        assert runner.run("ingest", **TO) == "completed"

    assert reached == 1  # it was killed there, and not before
    found = loaded(sandbox)
    assert set(found) == {f"o-{number}" for number in range(1, 61)}
    assert found["o-45"]["amount"] == 2
    assert outcome(bucket, "a")["loaded"]
    assert outcome(bucket, "b")["loaded"]
    complete = [job for job in jobs(sandbox) if job[0] == "JobComplete"]
    assert complete == [("JobComplete", 1)] * 2
    # Whatever else was begun was aborted, but for a job whose answer nobody got to see: it is empty.
    assert all(
        state == "Aborted" or (state, files) == ("Open", 0) for state, files in jobs(sandbox) if state != "JobComplete"
    )


def test_two_runs_at_once_load_a_file_once(bucket: S3Bucket, sandbox: Sandbox, prefect_server: PrefectServer) -> None:
    sandbox.misbehave(BATCHES, delay=1.0)
    bucket.write_path("a.csv", (HEADER + rows(1, 10)).encode())
    with Runner(prefect_server) as one, Runner(prefect_server) as other, ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(runner.run, "ingest", **TO) for runner in (one, other)]
        assert [each.result() for each in runs] == ["completed", "completed"]
    assert jobs(sandbox) == [("JobComplete", 1)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"outcomes": "/"}, "outcomes: is empty"),
        ({"prefix": "/outcomes/x"}, "prefix: is in the folder of the outcomes"),
        ({"wait": -1.0}, "wait: is a number of seconds"),
        ({"source": " "}, "source: is a name"),
        ({"fields": ["a", "a"]}, "fields: the column 'a' is there more than once"),
        ({"data_360": "atomic-salesforce-data-360/nobody"}, "data_360: there is no saved block"),
        ({"data_360": "atomic-s3-bucket/for-data-360"}, "data_360: is a S3Bucket"),
    ],
)
def test_arguments_that_cannot_be_spoil_no_file(
    bucket: S3Bucket, sandbox: Sandbox, arguments: dict[str, Any], said: str
) -> None:
    bucket.write_path("a.csv", (HEADER + rows(1, 2)).encode())
    with pytest.raises(RequestError, match=said):
        run(**arguments)
    assert run()[0]["loaded"] == 2


def test_an_unknown_object_spoils_no_file(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("a.csv", (HEADER + rows(1, 2)).encode())
    with pytest.raises(AtomicError, match="source is the connector's API name"):
        run(object="orders")
    assert run()[0]["loaded"] == 2
