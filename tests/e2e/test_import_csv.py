"""CSV files that start Action Flows: bad rows are rejected, good ones go through, and nothing is done twice."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prefect import flow

from flows.import_csv import import_csv_flow
from prefect_atomic import AtomicEnvironment, AtomicError, RequestError, S3Bucket, instant_retries
from prefect_atomic.sandbox import Sandbox
from tests.e2e import around_flows
from tests.e2e.around_flows import empty_bucket, forget_state, let_go_of_leases
from tests.e2e.atomic_programs import Runner
from tests.e2e.prefect_server import PrefectServer
from tests.e2e.servers.moto import MotoServer

pytestmark = around_flows.MARKS

GOOD = "target.attributes.atomic___id,payload.variables.name,payload.cardOptions.priority\n"


@pytest.fixture
def sandbox(shared_sandbox: Sandbox, prefect_api: PrefectServer) -> Sandbox:
    shared_sandbox.reset()
    account = shared_sandbox.accounts.atomic
    AtomicEnvironment(
        organization_id=account.organization_id,
        environment_id=account.environment_id,
        client_id=account.client_id,
        client_secret=account.client_secret,
        base_url=account.base_url,
        token_url=account.token_url,
        batch_size=10,
    ).save("production", overwrite=True)
    return shared_sandbox


@pytest.fixture
def bucket(moto_server: MotoServer, sandbox: Sandbox) -> S3Bucket:
    """The saved bucket `atomic-s3-bucket/imports`, empty."""
    bucket = empty_bucket(moto_server, "imports")
    bucket.save("imports", overwrite=True)
    forget_state("atomic-import-")
    return bucket


def run(action_flow_id: str = "reminder", **more: Any) -> list[dict[str, Any]]:
    with instant_retries():
        return import_csv_flow("atomic-s3-bucket/imports", "atomic-environment/production", action_flow_id, **more)


def rows(first: int, last: int) -> str:
    return "".join(f"user-{number},Name {number},5\n" for number in range(first, last + 1))


def started(sandbox: Sandbox) -> list[str]:
    return [user for each in sandbox.atomic()["invocations"] for user in each["target"]["usersById"]]


def rejects(bucket: S3Bucket, file: str) -> list[list[str]]:
    found = [each for each in bucket.list_objects(f"imported/{file}.") if each.key.endswith(".rejects.csv")]
    assert len(found) == 1
    return list(csv.reader(io.StringIO(bucket.read_path(found[0]).decode())))


def test_good_rows_start_and_bad_ones_are_rejected_with_line_and_reason(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path(
        "daily/one.csv",
        (
            "\ufeff"
            + GOOD
            + "user-1,Ann,1\n"
            + ",nobody,1\n"  # line 3: no target
            + "user-2,Bob\n"  # line 4: a cell is missing
            + "user-3,Cid,eleven\n"  # line 5
            + "user-4,,2\n"  # line 6: Atomic refuses it, as `name` is required
            + 'user-5,"two\nlines",11\n'  # line 7: Atomic's priorities end with 10
            + "\n"
            + "user-6,Eve,10\n"
        ).encode()
        + b"user-7,\xff\xfe,1\n",
    )
    assert run() == [{"file": "daily/one.csv", "started": 2, "rejected": 6, "fault": ""}]

    assert started(sandbox) == ["user-1", "user-6"]
    header, *rejected = rejects(bucket, "daily/one")
    assert header == ["rejected.line", "rejected.reason", *GOOD.strip().split(",")]
    assert [row[0] for row in rejected] == ["3", "4", "5", "6", "7", "11"]
    for row, reason in zip(
        rejected, ["no target", "has 2 cells", "priority", "name", "priority", "not UTF-8"], strict=True
    ):
        assert reason in row[1], row
    assert rejected[4][3] == "two\nlines"


def test_a_file_is_imported_once_and_its_new_content_is_another_file(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("a.csv", (GOOD + rows(1, 25)).encode())
    bucket.write_path("notes.txt", b"not a CSV file")
    assert run()[0]["started"] == 25
    assert run() == []

    bucket.write_path("a.csv", (GOOD + rows(26, 30)).encode())
    assert run()[0]["started"] == 5
    assert started(sandbox) == [f"user-{number}" for number in range(1, 31)]


def test_a_lost_cursor_imports_nothing_again(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("a.csv", (GOOD + rows(1, 3)).encode())
    run()
    forget_state("atomic-import-")
    run()
    assert len(started(sandbox)) == 3


def test_mended_rejects_can_be_uploaded_again(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("a.csv", (GOOD + "user-1,Ann,99\nuser-2,Bob,1\n").encode())
    run()
    header, row = rejects(bucket, "a")
    text = io.StringIO()
    csv.writer(text).writerows([header, [*row[:-1], "9"]])
    bucket.write_path("mended.csv", text.getvalue().encode())

    assert run()[0] == {"file": "mended.csv", "started": 1, "rejected": 0, "fault": ""}
    assert sorted(started(sandbox)) == ["user-1", "user-2"]


def test_rejects_of_rejects_can_be_uploaded_again(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("a.csv", (GOOD + "user-1,Ann,99\n").encode())
    run()
    text = io.StringIO()
    csv.writer(text).writerows(rejects(bucket, "a"))
    bucket.write_path("b.csv", text.getvalue().encode())  # not mended
    run()
    header, row = rejects(bucket, "b")
    assert header == ["rejected.line", "rejected.reason", *GOOD.strip().split(",")]
    assert row[2:] == ["user-1", "Ann", "99"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "the file is empty"),
        (b"  \r\n", "the file is empty"),
        ((GOOD + rows(1, 2)).encode("utf-16"), "is UTF-16"),
        ((GOOD + rows(1, 2)).encode("utf-16-le"), "is UTF-16"),
        (b"payload.variables.name\nAnn\n", "there is no target column"),
        (b"target.attributes.atomic___id;payload.variables.name\n1;Ann\n", "separated by semicolons"),
        (b"target.attributes.atomic___id,payload.variables.name,payload.variables.name\n1,a,b\n", "more than once"),
        (b"target.attributes.atomic___id,payload.variable.name\n1,a\n", "'payload.variable.name' is none of Atomic's"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_file_fails_the_run_once_and_harms_no_other(
    content: bytes, fault: str, bucket: S3Bucket, sandbox: Sandbox
) -> None:
    bucket.write_path("bad.csv", content)
    bucket.write_path("good.csv", (GOOD + rows(1, 2)).encode())
    with pytest.raises(AtomicError, match=r"1 of 2 files: bad\.csv: ") as failure:
        run()
    assert fault in str(failure.value)
    assert started(sandbox) == ["user-1", "user-2"]
    assert fault in rejects(bucket, "bad")[1][1]
    assert run() == []


def test_a_quote_that_is_not_closed_ends_a_file_and_says_so(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("a.csv", (GOOD + rows(1, 12) + 'user-13,"Name,5\n' + rows(14, 20)).encode())
    assert run()[0] == {"file": "a.csv", "started": 12, "rejected": 1, "fault": ""}
    assert "nothing after it was read" in rejects(bucket, "a")[1][1]


def test_what_atomic_did_not_answer_is_sent_again_with_the_same_ids(bucket: S3Bucket, sandbox: Sandbox) -> None:
    path = f"/atomic/v1/{sandbox.accounts.atomic.environment_id}/action-flow"
    bucket.write_path("a.csv", (GOOD + rows(1, 25)).encode())
    sandbox.misbehave(path, times=1, delay=0.01)
    sandbox.misbehave(path, times=1, cut=True)
    with pytest.raises(AtomicError, match="it is not known what became of 10 rows, from line 12"):
        run()
    assert started(sandbox) == [f"user-{number}" for number in range(1, 11)]

    assert run() == [{"file": "a.csv", "started": 25, "rejected": 0, "fault": ""}]
    assert started(sandbox) == [f"user-{number}" for number in range(1, 26)]
    assert run() == []


def test_a_refused_environment_leaves_the_file_for_later(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("a.csv", (GOOD + rows(1, 3)).encode())
    with pytest.raises(AtomicError, match=r"a\.csv"):
        run("no-such-flow")
    assert run()[0]["started"] == 3


def test_runs_that_are_killed_lose_no_row_and_only_repeat_the_request_that_was_under_way(
    bucket: S3Bucket, sandbox: Sandbox, prefect_server: PrefectServer
) -> None:
    rolls = random.Random(7)
    bucket.write_path("a.csv", (GOOD + rows(1, 400)).encode())
    path = f"/atomic/v1/{sandbox.accounts.atomic.environment_id}/action-flow"
    sandbox.misbehave(path, delay=0.05)
    parameters = {
        "bucket": "atomic-s3-bucket/imports",
        "environment": "atomic-environment/production",
        "action_flow_id": "reminder",
    }
    killed = 0
    with Runner(prefect_server) as runner:
        for _ in range(4):
            outcome = runner.run("import", kill_after=rolls.uniform(1.0, 4.0), **parameters)
            killed += outcome == "killed"
            let_go_of_leases("atomic-import-")
        assert runner.run("import", **parameters) == "completed"
    assert killed >= 2

    invocations = sandbox.atomic()["invocations"]
    users = Counter(user for each in invocations for user in each["target"]["usersById"])
    assert set(users) == {f"user-{number}" for number in range(1, 401)}
    ids = {(each["target"]["usersById"][0], each["flowInvocationId"]) for each in invocations}
    assert len(ids) == 400  # whatever was sent twice had the same id
    assert sum(users.values()) <= 400 + 10 * killed
    state = next(each for each in bucket.list_objects("imported/a.") if each.key.endswith(".json"))
    assert json.loads(bucket.read_path(state))["started"] == 400


def test_two_runs_at_once_import_a_file_once(bucket: S3Bucket, sandbox: Sandbox, prefect_server: PrefectServer) -> None:
    path = f"/atomic/v1/{sandbox.accounts.atomic.environment_id}/action-flow"
    sandbox.misbehave(path, delay=0.3)
    bucket.write_path("a.csv", (GOOD + rows(1, 100)).encode())
    parameters = {
        "bucket": "atomic-s3-bucket/imports",
        "environment": "atomic-environment/production",
        "action_flow_id": "reminder",
    }
    with Runner(prefect_server) as one, Runner(prefect_server) as other, ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(runner.run, "import", **parameters) for runner in (one, other)]
        assert [each.result() for each in runs] == ["completed", "completed"]
    assert len(started(sandbox)) == 100


def test_the_outcomes_need_a_folder_of_their_own(bucket: S3Bucket) -> None:
    with pytest.raises(RequestError, match="outcomes: is empty"):
        run(outcomes="/")


def test_test_users_only(bucket: S3Bucket, sandbox: Sandbox) -> None:
    bucket.write_path("a.csv", (GOOD + rows(1, 2)).encode())
    run(test=True)
    assert [each["test"] for each in sandbox.atomic()["invocations"]] == [True, True]

    run()  # a test is no import
    run("welcome")  # nor is one of another Action Flow
    invocations = sandbox.atomic()["invocations"]
    assert [each["actionFlowId"] for each in invocations] == ["reminder"] * 4 + ["welcome"] * 2
    assert len({each["flowInvocationId"] for each in invocations}) == 6


def test_a_flow_run_that_is_retried_uses_the_same_ids(sandbox: Sandbox) -> None:
    """However it starts Action Flows."""
    atomic, ids = AtomicEnvironment.load("production"), list[list[str]]()

    @flow(retries=1, retry_delay_seconds=0)
    def starts() -> None:
        outcomes = atomic.start_action_flow(
            "welcome", [{"target": {"usersById": [user]}} for user in ("ada", "ada", "b")]
        )
        ids.append([outcome.flow_invocation_id for outcome in outcomes])
        if len(ids) == 1:
            raise RuntimeError("after all was started")

    starts()

    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 3
