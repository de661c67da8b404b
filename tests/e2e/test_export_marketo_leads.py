"""The scheduled export of leads: each row once, in spans that follow each other, whatever is killed or used up."""

from __future__ import annotations

import csv
import io
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flows.export_marketo_leads import ExportedLeads, export_marketo_leads_flow
from prefect_atomic import MarketoError, MarketoInputError, MarketoQuotaError, S3Bucket, instant_retries
from prefect_atomic.errors import RequestError
from prefect_atomic.sandbox import Sandbox
from tests.e2e import around_flows
from tests.e2e.around_flows import empty_bucket, forget_state, let_go_of_leases, marketo_of
from tests.e2e.atomic_programs import Runner
from tests.e2e.prefect_server import PrefectServer
from tests.e2e.servers.moto import MotoServer

pytestmark = around_flows.MARKS

BEGIN = datetime(2026, 8, 1, tzinfo=UTC)
"""When the sandbox's first lead was made; there are as many on each of 90 days from then on."""
DAY = timedelta(days=1)
LEADS = 270
PARAMETERS: dict[str, Any] = {
    "bucket": "atomic-s3-bucket/exports",
    "marketo": "atomic-marketo/production",
    "fields": ["id", "email", "updatedAt"],
}


@pytest.fixture
def sandbox(shared_sandbox: Sandbox, prefect_api: PrefectServer, limits_path: str) -> Sandbox:
    """Marketo with leads, and a saved instance `atomic-marketo/production`."""
    shared_sandbox.reset()
    shared_sandbox.set_marketo(enforce=False, generate_leads=LEADS)
    marketo_of(shared_sandbox).save("production", overwrite=True)
    return shared_sandbox


@pytest.fixture
def bucket(moto_server: MotoServer, sandbox: Sandbox) -> S3Bucket:
    """The saved bucket `atomic-s3-bucket/exports`, empty."""
    bucket = empty_bucket(moto_server, "leads")
    bucket.save("exports", overwrite=True)
    forget_state("atomic-marketo-")
    return bucket


def run(until: datetime | None, **more: Any) -> list[ExportedLeads]:
    with instant_retries():
        return export_marketo_leads_flow(**{**PARAMETERS, "start": BEGIN, "until": until, **more})


def rows(bucket: S3Bucket, key: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(bucket.read_path(key).decode())))


def exported(bucket: S3Bucket) -> Counter[str]:
    """How often each lead is in the objects, by its address."""
    return Counter(row["email"] for each in bucket.list_objects() for row in rows(bucket, each.key))


def each_once(days: int) -> Counter[str]:
    return Counter(f"user{number}@example.com" for number in range(LEADS) if number % 90 < days)


def keys(bucket: S3Bucket) -> list[str]:
    return [each.key for each in bucket.list_objects()]


def started_once(sandbox: Sandbox) -> int:
    """How many jobs were started; no two for the same span. One that is made and not noted is never started."""
    filters = [str(job["filter"]) for job in sandbox.marketo()["exports"] if job["status"] != "Created"]
    assert len(filters) == len(set(filters))
    return len(filters)


def test_each_run_exports_what_came_since_the_last_one(bucket: S3Bucket, sandbox: Sandbox) -> None:
    [first] = run(BEGIN + 40 * DAY)
    assert first.key == "marketo/leads/20260801T000000Z-20260910T000000Z.csv"
    assert (first.since, first.until) == ("2026-08-01T00:00:00Z", "2026-09-10T00:00:00Z")
    assert (first.rows, len(first.jobs)) == (120, 2)  # of 31 days and of 9
    assert run(BEGIN + 40 * DAY) == []
    [second] = run(BEGIN + 41 * DAY, start=BEGIN + 5 * DAY)  # where it began is of the first run
    assert (second.since, second.rows) == (first.until, 3)
    assert keys(bucket) == [first.key, second.key]
    assert exported(bucket) == each_once(41)
    assert list(rows(bucket, first.key)[0]) == PARAMETERS["fields"]


def test_a_span_ends_a_while_before_now(bucket: S3Bucket, sandbox: Sandbox) -> None:
    earliest = datetime.now(UTC) - timedelta(minutes=31)
    [made] = run(None, start=datetime.now(UTC) - timedelta(hours=2), lag_minutes=30)
    assert earliest < datetime.fromisoformat(made.until) <= datetime.now(UTC) - timedelta(minutes=30)
    assert run(None, lag_minutes=90) == []


def test_a_span_that_is_to_end_later_ends_a_while_before_now_too(bucket: S3Bucket, sandbox: Sandbox) -> None:
    """What comes in between belongs to the next run."""
    [made] = run(datetime.now(UTC) + timedelta(days=30))
    assert datetime.fromisoformat(made.until) <= datetime.now(UTC) - timedelta(minutes=15)


def test_a_span_without_leads_has_an_object_with_the_header(bucket: S3Bucket, sandbox: Sandbox) -> None:
    [made] = run(BEGIN - 10 * DAY, start=BEGIN - 11 * DAY, header_names={"email": "E-Mail"})
    assert made.rows == 0
    assert bucket.read_path(made.key) == b"id,E-Mail,updatedAt\r\n"


def test_those_that_were_created_are_another_export(bucket: S3Bucket, sandbox: Sandbox) -> None:
    [updated] = run(BEGIN + 2 * DAY)
    [created] = run(BEGIN + 3 * DAY, by="created", folder="new leads")
    assert (updated.rows, created.rows) == (6, 9)
    assert created.key == "new leads/20260801T000000Z-20260804T000000Z.csv"
    assert [list(each["filter"]) for each in sandbox.marketo()["exports"]] == [["updatedAt"], ["createdAt"]]


def test_fields_that_are_changed_in_between_and_back_again_leave_no_row_of_each_other(
    bucket: S3Bucket, sandbox: Sandbox
) -> None:
    for fields in (["id", "email", "updatedAt"], ["email", "leadScore"]):
        sandbox.set_marketo(export_bytes_per_day=3000)
        with pytest.raises(MarketoQuotaError):
            run(BEGIN + 90 * DAY, fields=fields)
    sandbox.set_marketo(export_bytes_per_day=500_000_000)
    [made] = run(BEGIN + 90 * DAY)
    assert exported(bucket) == each_once(90)
    assert keys(bucket) == [made.key]
    assert bucket.head(made.key).size == made.bytes


def test_when_the_bytes_of_the_day_are_used_up_a_later_run_finishes_the_same_span(
    bucket: S3Bucket, sandbox: Sandbox
) -> None:
    sandbox.set_marketo(export_bytes_per_day=3000)  # of the three jobs, two are queued before the first has more
    with pytest.raises(MarketoQuotaError, match=r"1029.*may go on at \d{4}-"):
        run(BEGIN + 90 * DAY)
    with pytest.raises(MarketoQuotaError):
        run(BEGIN + 91 * DAY)
    assert [key for key in keys(bucket) if key.endswith("Z.csv")] == []

    sandbox.set_marketo(export_bytes_per_day=500_000_000)
    first, second = run(BEGIN + 92 * DAY)
    assert (first.until, second.since) == ("2026-10-30T00:00:00Z",) * 2
    assert (first.rows, second.rows, len(first.jobs)) == (LEADS, 0, 3)
    assert exported(bucket) == each_once(90)
    assert keys(bucket) == [first.key, second.key], "notes or parts are left"
    assert started_once(sandbox) == 4


def test_a_damaged_file_is_no_object_and_the_next_run_fetches_it_again(bucket: S3Bucket, sandbox: Sandbox) -> None:
    sandbox.set_marketo(wrong_checksums=100)
    with pytest.raises(MarketoError, match="another SHA-256"):
        run(BEGIN + 10 * DAY)
    assert [key for key in keys(bucket) if key.endswith(".csv")] == []
    sandbox.set_marketo(wrong_checksums=0)
    [made] = run(BEGIN + 12 * DAY)[:1]
    assert made.rows == 30
    assert started_once(sandbox) == 2


def test_a_field_that_is_not_there_is_mended_within_the_same_span(bucket: S3Bucket, sandbox: Sandbox) -> None:
    with pytest.raises(MarketoInputError, match="nope"):
        run(BEGIN + 10 * DAY, fields=["id", "nope"])
    [first, second] = run(BEGIN + 12 * DAY)
    assert (first.rows, second.rows) == (30, 6)
    assert exported(bucket) == each_once(12)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"fields": []}, "^fields: is empty"),
        ({"folder": "/"}, "folder: is empty"),
        ({"lag_minutes": -1}, "^lag_minutes: "),
        ({"wait": -1}, "^wait: "),
        ({"header_names": {"nope": "No"}}, "^header_names: 'nope'"),
        ({"marketo": "atomic-s3-bucket/exports"}, "which is no Marketo"),
        ({"bucket": "atomic-s3-bucket/nobody"}, "there is no saved block"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_parameters_that_cannot_be_used_are_refused(bucket: S3Bucket, parameters: dict[str, Any], text: str) -> None:
    given = {**PARAMETERS, "start": BEGIN, "until": BEGIN + DAY, **parameters}
    with pytest.raises(RequestError, match=text):
        export_marketo_leads_flow.fn(**given)  # without a run, which takes seconds


def test_runs_that_are_killed_export_each_row_once_and_start_no_job_twice(
    bucket: S3Bucket, sandbox: Sandbox, prefect_server: PrefectServer, limits_path: str
) -> None:
    rolls = random.Random(8)
    sandbox.set_marketo(latency_milliseconds=150, export_polls=3)
    killed = 0
    with Runner(prefect_server, PREFECT_ATOMIC_LIMITS_PATH=limits_path) as runner:

        def outcome(day: int, **how: Any) -> str:
            moments = {"start": BEGIN.isoformat(), "until": (BEGIN + day * DAY).isoformat()}
            return runner.run("marketo-leads", **how, **moments, **PARAMETERS)

        for day in (85, 86, 87, 88):
            killed += outcome(day, kill_after=rolls.uniform(1.0, 3.5)) == "killed"
            let_go_of_leases("atomic-marketo-")
        assert outcome(90) == "completed"
    assert killed >= 2

    assert exported(bucket) == each_once(90)
    spans = sorted(tuple(key.rpartition("/")[2].removesuffix(".csv").split("-")) for key in keys(bucket))
    assert [end for _, end in spans[:-1]] == [begin for begin, _ in spans[1:]]
    assert started_once(sandbox) == 3 + len(spans) - 1
