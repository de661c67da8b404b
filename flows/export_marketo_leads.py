"""Brings the leads that are new or were changed in Marketo to a bucket: schedule it every hour, or every day."""

import hashlib
import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from pydantic import BaseModel, ConfigDict

from prefect_atomic import Marketo, RequestError, S3Bucket
from prefect_atomic.integrations.marketo import resolve as resolve_marketo
from prefect_atomic.integrations.s3 import resolve as resolve_bucket
from prefect_atomic.tasks.alone import alone
from prefect_atomic.tasks.variables import recall, remember

_MOMENT = "%Y-%m-%dT%H:%M:%SZ"
_IN_KEY = "%Y%m%dT%H%M%SZ"


class ExportedLeads(BaseModel):
    """An object that a run made.

    Attributes:
        key: Its key in the folder of the bucket.
        since: The first moment of what it has.
        until: The moment before which it ends.
        rows: How many leads it has.
        bytes: How large it is.
        jobs: The ids of the jobs that it came from.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    since: str
    until: str
    rows: int
    bytes: int
    jobs: list[str]


@flow(name="export-marketo-leads")
def export_marketo_leads_flow(
    bucket: str,
    marketo: str,
    fields: list[str],
    start: datetime,
    by: Literal["updated", "created"] = "updated",
    folder: str = "marketo/leads",
    header_names: dict[str, str] | None = None,
    lag_minutes: float = 15.0,
    until: datetime | None = None,
    wait: float = 14_400.0,
) -> list[ExportedLeads]:
    """Exports the leads that were created or updated since the last run, as CSV, into one object of a bucket.

    An object is called after its span in UTC, `FOLDER/20261125T100000Z-20261125T110000Z.csv`: from the first moment on,
    and before the second, which is where the next run begins. A span without leads has an object too, with the header
    that Marketo gives, if any. Each object is there as a whole, or not at all, and its checksums are verified.

    How far the export is, stands in a Prefect variable, and the jobs of a span are noted beside the objects. A run that
    was killed, or ended for a quota, is taken up by the next one, which finishes the same span first, with the jobs
    that there are: none is started twice, and each row is there once.

    Args:
        bucket: The slug of a bucket, such as `atomic-s3-bucket/exports`.
        marketo: The slug of an instance, such as `atomic-marketo/production`.
        fields: The API names of the fields, such as `["id", "email", "updatedAt"]`.
        start: Where the first run begins, such as `2026-11-01T00:00:00Z`; later runs go on where the last one was. A
            long time is exported by a job for each 31 days.
        by: `updated`, a filter that not all instances have, or `created`.
        folder: Where in the bucket the objects go; another folder is another export.
        header_names: What columns are called, by the name of the field.
        lag_minutes: How long before now a span ends, so that all of it is settled.
        until: Where it ends at the latest.
        wait: The longest to wait for each job, in seconds.

    Returns:
        The objects that were made: none where the last run was just now, and two where one was left to be finished.

    Raises:
        RequestError: There is no such block, or a parameter cannot be used.
        MarketoQuotaError: The bytes, or the calls, of the day are used up; says until when. A later run goes on.
        AtomicError: Marketo or the bucket failed; the next run goes on.
    """
    storage, source = resolve_bucket(bucket), resolve_marketo(marketo)
    folder = folder.strip("/")
    if not folder:
        raise RequestError("folder: is empty; the objects need a folder of their own.")
    if not (math.isfinite(lag_minutes) and lag_minutes >= 0):
        raise RequestError("lag_minutes: is a number of minutes, 0 or more.")
    settled = _second(datetime.now(UTC) - timedelta(minutes=lag_minutes))
    last = min(_second(until), settled) if until else settled
    name = f"atomic-marketo-leads-{_digest(bucket, marketo, by, folder)}"
    with alone(name) as is_ours:
        if not is_ours:
            get_run_logger().info("Another run is exporting; it, or the next one, has these leads.")
            return []
        spans = _Spans(name, {"bucket": bucket, "marketo": marketo, "by": by, "folder": folder}, _second(start))
        notes = _BucketNotes(storage, f"{folder}/.{name}", _digest(fields, header_names))
        done = []
        while span := spans.next(last):
            if not spans.is_resumed:
                notes.clear()  # of a span before, whose run was killed at its end
                spans.begin()
            exported = _export(source, storage, folder, span, notes, by, fields, header_names, wait)
            spans.finish()
            notes.clear()
            done.append(exported)
            get_run_logger().info("%d leads are in %s.", exported.rows, exported.key)
    if done:
        create_table_artifact(
            [{**each.model_dump(), "jobs": len(each.jobs)} for each in done],
            key="marketo-leads-export-results",
            description=f"Leads of {marketo} in {bucket}, by when they were {by}.",
        )
    else:
        get_run_logger().info("There is nothing to export before %s.", f"{last:{_MOMENT}}")
    return done


def _export(
    source: Marketo,
    storage: S3Bucket,
    folder: str,
    span: tuple[datetime, datetime],
    notes: "_BucketNotes",
    by: str,
    fields: list[str],
    header_names: dict[str, str] | None,
    wait: float,
) -> ExportedLeads:
    since, until = span
    key = f"{folder}/{since:{_IN_KEY}}-{until:{_IN_KEY}}.csv"
    made = source.export_leads(
        key,
        fields=fields,
        created=span if by == "created" else None,
        updated=span if by == "updated" else None,
        header_names=header_names,
        bucket=storage,
        state=notes,
        wait=wait,
    )
    return ExportedLeads(
        key=key,
        since=f"{since:{_MOMENT}}",
        until=f"{until:{_MOMENT}}",
        rows=made.rows,
        bytes=made.bytes,
        jobs=[job.id for job in made.jobs],
    )


class _Spans:
    """How far an export is, in a Prefect variable: all up to a moment is done, and a span behind it may be begun.

    Args:
        name: The variable.
        about: What the export is.
        start: Where it begins if there is no such variable yet.
    """

    def __init__(self, name: str, about: dict[str, str], start: datetime) -> None:
        self._name = name
        self._about = about
        known: dict[str, Any] = recall(name) or {}
        self._through = _read(known["through"]) if known else start
        self._until = _read(known["until"]) if known.get("until") else None
        self.is_resumed = False
        """Whether the span was begun by a run before."""

    def next(self, last: datetime) -> tuple[datetime, datetime] | None:
        """The span that was begun, else the one up to a moment; None where there is none."""
        self.is_resumed = self._until is not None
        if self._until is None:
            if last <= self._through:
                return None
            self._until = last
        return self._through, self._until

    def begin(self) -> None:
        """Notes that the span is begun: it stays as it is, until it is finished."""
        self._save()

    def finish(self) -> None:
        """Notes that the span is done."""
        self._through, self._until = self._until or self._through, None
        self._save()

    def _save(self) -> None:
        until = f"{self._until:{_MOMENT}}" if self._until else None
        remember(
            self._name, {**self._about, "through": f"{self._through:{_MOMENT}}", "until": until}, tag="atomic-marketo"
        )


class _BucketNotes:
    """Notes of the jobs of a span, in a bucket.

    Args:
        bucket: The bucket.
        folder: The folder for the notes of this export.
        asked: What is asked of Marketo: where that is changed while a span is not finished, it gets jobs of its own.
    """

    def __init__(self, bucket: S3Bucket, folder: str, asked: str) -> None:
        self._bucket = bucket
        self._folder = folder
        self._key = f"{folder}/{asked}.json"

    def load(self) -> dict[str, Any]:
        if not self._bucket.exists(self._key):
            return {}
        known: dict[str, Any] = json.loads(self._bucket.read_path(self._key))
        return known

    def save(self, notes: dict[str, Any]) -> None:
        self._bucket.write_path(self._key, json.dumps(notes).encode())

    def clear(self) -> None:
        for each in list(self._bucket.list_objects(f"{self._folder}/")):
            self._bucket.delete_object(each)


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _second(moment: datetime) -> datetime:
    if moment.tzinfo is None:  # a form's date picker may leave it out
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).replace(microsecond=0)


def _read(moment: str) -> datetime:
    return datetime.strptime(moment, _MOMENT).replace(tzinfo=UTC)
