"""The hourly export: every event once, whatever is late, empty, slow or killed."""

from __future__ import annotations

import json
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.filesystems import LocalFileSystem

from flows.export_analytics import Exported, export_analytics_flow
from prefect_atomic import AtomicEnvironment, AtomicError, RequestError, S3Bucket
from prefect_atomic.sandbox import Sandbox
from tests.e2e import around_flows
from tests.e2e.around_flows import empty_bucket, forget_state
from tests.e2e.atomic_programs import Runner
from tests.e2e.prefect_server import PrefectServer
from tests.e2e.servers.moto import MotoServer

pytestmark = around_flows.MARKS

BEGIN = datetime(2026, 11, 20, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def sandbox(shared_sandbox: Sandbox, prefect_api: PrefectServer) -> Sandbox:
    """Atomic, with a saved environment `atomic-environment/production`."""
    shared_sandbox.reset()
    account = shared_sandbox.accounts.atomic
    AtomicEnvironment(
        organization_id=account.organization_id,
        environment_id=account.environment_id,
        client_id=account.client_id,
        client_secret=account.client_secret,
        base_url=account.base_url,
        token_url=account.token_url,
    ).save("production", overwrite=True)
    return shared_sandbox


@pytest.fixture
def folder(tmp_path: Path, sandbox: Sandbox) -> Path:
    """Where the saved file system `local-file-system/exports` writes."""
    LocalFileSystem(basepath=str(tmp_path / "exports")).save("exports", overwrite=True)
    forget_state("atomic-analytics-")
    return tmp_path / "exports"


@pytest.fixture
def bucket(moto_server: MotoServer, sandbox: Sandbox) -> S3Bucket:
    """The saved bucket `atomic-s3-bucket/exports`, empty."""
    bucket = empty_bucket(moto_server, "analytics", folder="atomic")
    bucket.save("exports", overwrite=True)
    forget_state("atomic-analytics-")
    return bucket


def events(hour: datetime, count: int) -> list[dict[str, Any]]:
    return [{"id": f"{hour:%dT%H}-{number}", "type": "card-completed", "ü": "é"} for number in range(count)]


def test_every_event_comes_home_once_though_runs_are_killed(
    bucket: S3Bucket, sandbox: Sandbox, prefect_server: PrefectServer
) -> None:
    """48 hours, some of them late or empty; half of the runs are killed somewhere."""
    rolls = random.Random(4)
    expected: dict[datetime, list[dict[str, Any]]] = {}
    ready_at: dict[datetime, datetime] = {}
    for number in range(1, 49):
        hour = BEGIN + number * HOUR
        expected[hour] = [] if rolls.random() < 0.2 else events(hour, rolls.randint(1, 40))
        ready_at[hour] = hour + (rolls.randint(1, 6) * HOUR if rolls.random() < 0.3 else timedelta())
    outcomes: list[str] = []
    with Runner(prefect_server) as runner:
        clock, last, usual = BEGIN, BEGIN + 48 * HOUR, 3.0
        while clock < last:
            clock = min(clock + rolls.randint(1, 4) * HOUR, last)
            sandbox.set_atomic(
                hours={
                    f"{hour:%Y-%m-%dT%H}": _files(found, rolls)
                    for hour, found in expected.items()
                    if ready_at[hour] <= clock
                }
            )
            started = time.monotonic()
            kill_after = rolls.uniform(0.0, usual) if rolls.random() < 0.6 else None
            outcomes.append(_run(runner, clock, kill_after=kill_after))
            if outcomes[-1] == "completed" and kill_after is None:
                usual = time.monotonic() - started
        sandbox.set_atomic(hours={f"{hour:%Y-%m-%dT%H}": [found] if found else [] for hour, found in expected.items()})
        assert _run(runner, last) == "completed"
    assert outcomes.count("killed") >= 3, outcomes
    assert set(outcomes) <= {"killed", "completed"}, outcomes

    stored = {each.key: bucket.read_path(each) for each in bucket.list_objects()}
    assert {key: _lines(content) for key, content in stored.items()} == {
        f"analytics/{hour:%Y/%m/%d}/{hour:%Y-%m-%dT%H}.ndjson": found for hour, found in expected.items()
    }


def _files(found: list[dict[str, Any]], rolls: random.Random) -> list[list[dict[str, Any]]]:
    cut = rolls.randint(0, len(found))
    return [part for part in (found[:cut], found[cut:]) if part]


def _lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def _run(runner: Runner, until: datetime, *, kill_after: float | None = None) -> str:
    return runner.run(
        "export",
        kill_after=kill_after,
        environment="atomic-environment/production",
        storage="atomic-s3-bucket/exports",
        start=BEGIN.isoformat(),
        until=until.isoformat(),
    )


def export(until: datetime, **more: Any) -> Exported:
    return export_analytics_flow(
        "atomic-environment/production", "local-file-system/exports", start=BEGIN, until=until, **more
    )


def test_a_late_hour_is_taken_by_the_next_run_and_an_empty_one_is_an_empty_object(
    folder: Path, sandbox: Sandbox
) -> None:
    first, second, third = (BEGIN + number * HOUR for number in (1, 2, 3))
    sandbox.set_atomic(hours={f"{first:%Y-%m-%dT%H}": [events(first, 2)], f"{third:%Y-%m-%dT%H}": []})

    done = export(third)

    assert done == Exported(hours=2, empty=1, late=["2026-11-20T02"], through="2026-11-20T03")
    day = folder / "analytics/2026/11/20"
    assert sorted(file.name for file in day.iterdir()) == ["2026-11-20T01.ndjson", "2026-11-20T03.ndjson"]
    assert (day / "2026-11-20T03.ndjson").read_bytes() == b""

    sandbox.set_atomic(hours={f"{second:%Y-%m-%dT%H}": [events(second, 1), events(second, 3)[1:]]})
    again = export(third)

    assert again == Exported(hours=1, empty=0, late=[], through="2026-11-20T03")
    assert _lines((day / "2026-11-20T02.ndjson").read_bytes()) == events(second, 3)
    assert export(third).hours == 0


def test_what_was_stored_before_a_failure_stays_and_counts(folder: Path, sandbox: Sandbox) -> None:
    hours = [BEGIN + number * HOUR for number in range(1, 5)]
    sandbox.set_atomic(hours={f"{hour:%Y-%m-%dT%H}": [events(hour, 1)] for hour in hours})
    export(hours[1])
    sandbox.misbehave("/atomic/data", status=500)
    with pytest.raises(AtomicError):
        export(hours[3])
    sandbox.reset()
    sandbox.set_atomic(hours={f"{hour:%Y-%m-%dT%H}": [events(hour, 1)] for hour in hours})
    before = sandbox.calls().get("GET /atomic/data", 0)

    assert export(hours[3]).hours == 2
    assert sandbox.calls()["GET /atomic/data"] - before == 2


def test_hours_that_are_a_year_late_do_not_break_the_variable(
    folder: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable holds what is late up to a limit; beyond that the export waits, and nothing is lost."""
    monkeypatch.setattr("flows.export_analytics._LATE_AT_MOST", 3)
    done = export(BEGIN + 10 * HOUR)
    assert (done.through, len(done.late)) == ("2026-11-20T03", 3)

    hours = [BEGIN + number * HOUR for number in range(1, 11)]
    sandbox.set_atomic(hours={f"{hour:%Y-%m-%dT%H}": [events(hour, 1)] for hour in hours})
    assert export(BEGIN + 10 * HOUR).hours == 10


def test_wrong_blocks_are_told_apart(folder: Path, sandbox: Sandbox) -> None:
    with pytest.raises(RequestError, match=r"environment: .*LocalFileSystem, which is no AtomicEnvironment"):
        export_analytics_flow("local-file-system/exports", "local-file-system/exports")
    with pytest.raises(RequestError, match=r"storage: .*AtomicEnvironment, which is no file system"):
        export_analytics_flow("atomic-environment/production", "atomic-environment/production")


def test_no_presigned_url_is_logged_or_kept(
    folder: Path, sandbox: Sandbox, prefect_server: PrefectServer, caplog: pytest.LogCaptureFixture
) -> None:
    hour = BEGIN + HOUR
    sandbox.set_atomic(hours={f"{hour:%Y-%m-%dT%H}": [events(hour, 1)]})
    with caplog.at_level(0):
        state = export_analytics_flow(
            "atomic-environment/production", "local-file-system/exports", start=BEGIN, until=hour, return_state=True
        )
    kept = json.dumps(prefect_server.post("logs/filter", {"limit": 200})) + json.dumps(
        prefect_server.get(f"flow_runs/{state.state_details.flow_run_id}")
    )
    for text in (caplog.text, kept):
        assert "X-Amz-Signature=***" in text or "X-Amz-Signature" not in text
