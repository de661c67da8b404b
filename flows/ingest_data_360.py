"""Ingests the CSV and JSON Lines files that arrive in a bucket into Data 360: schedule it every few minutes."""

import csv
import hashlib
import io
import json
import tempfile
from typing import Any, BinaryIO, Literal, cast

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, Field

from prefect_atomic import AtomicError, RequestError, ResponseError, S3Bucket, S3Object, SalesforceData360
from prefect_atomic.integrations.data_360 import resolve as resolve_data_360
from prefect_atomic.integrations.data_360.api import check_wait
from prefect_atomic.integrations.data_360.bulk import Rejected
from prefect_atomic.integrations.data_360.jobs import BulkJob
from prefect_atomic.integrations.data_360.sources import table_of
from prefect_atomic.integrations.records.csv_tables import REJECTED, RecordTable
from prefect_atomic.integrations.s3 import resolve
from prefect_atomic.tasks.alone import alone
from prefect_atomic.tasks.variables import recall, remember

_SUFFIXES = (".csv", ".jsonl", ".ndjson")
_MOST_FAILURES = 3
"""Jobs of a file that may fail before it is given up."""
_REFUSED = frozenset({400, 413, 422})
"""What Data 360 answers to a file that it does not take."""


class IngestedFile(BaseModel):
    """What became of a file; kept in the bucket, so that the next run knows where a killed one was.

    Attributes:
        file: Its key in the folder of the bucket.
        etag: Which content it had.
        jobs: The bulk jobs it went to. They are noted before anything is uploaded to them.
        uploaded: Whether they have all of it, so that they are closed, or about to be.
        loaded: Whether Data 360 has processed all of them.
        rows: How many rows were uploaded.
        rejected: How many were not, as they cannot be sent.
        failures: How often a job of it failed, or did not take it.
        fault: Why it was given up.
    """

    file: str
    etag: str
    jobs: list[str] = Field(default_factory=list)
    uploaded: bool = False
    loaded: bool = False
    rows: int = 0
    rejected: int = 0
    failures: int = 0
    fault: str | None = None


@flow(name="ingest-data-360")
def ingest_data_360_flow(
    bucket: str,
    data_360: str,
    source: str,
    object: str,  # noqa: A002 - as Data 360 calls it
    prefix: str = "",
    outcomes: str = "outcomes",
    operation: Literal["upsert", "delete"] = "upsert",
    fields: list[str] | None = None,
    wait: float = 3600.0,
) -> list[dict[str, Any]]:
    """Ingests each CSV (UTF-8, commas, a header) and JSON Lines file that is new in a bucket, with a bulk job.

    Files go one after another, those first that were stored first, as a later one may replace records of an earlier
    one: where a file could not be finished, those after it are left to the next run too. A file that cannot be used, or
    that Data 360 refuses, or fails to process, three times, is given up, and fails the run once. A row that cannot be
    sent goes, with its line and the reason, into a rejects file; the others go through.

    A file is ingested once; what is stored anew is another file, even with a content that was there before. For each,
    the folder of the outcomes has a `.json` with what became of it, and a `.rejects.csv` or `.rejects.jsonl` where rows
    were rejected.

    A run that was killed is taken up by the next one: what was uploaded as a whole is followed to its end, and what was
    not is aborted, and uploaded anew.

    Args:
        bucket: The slug of a bucket, such as `atomic-s3-bucket/exports`.
        data_360: The slug of a tenant, such as `atomic-salesforce-data-360/crm`.
        source: The API name of the ingestion connector.
        object: The endpoint's name of the object, such as `contacts_734a9fa2`.
        prefix: What the keys of the files begin with.
        outcomes: The folder for the outcomes, in the folder of the bucket.
        operation: `upsert`, or `delete`, for which the primary key is enough.
        fields: The columns of JSON Lines; none = the fields of a file's first line.
        wait: The longest to wait for Data 360 to process a file, in seconds; the next run waits on.

    Returns:
        For each file: its key, how many rows were loaded and rejected, and what is wrong with it.

    Raises:
        RequestError: There is no such block, or it is of another kind.
        AtomicError: A file was given up, or not finished.
    """
    store, target = resolve(bucket), resolve_data_360(data_360)
    target.bulk_load(source, object, operation=operation)  # refuses names that are none before they spoil a file
    RecordTable([], fields)
    check_wait(wait)
    folder = outcomes.strip("/")
    if not folder:
        raise RequestError("outcomes: is empty; the outcomes need a folder of their own, or they would be ingested.")
    about = "\n".join((bucket, data_360, source, object, prefix, folder, operation))
    name = f"atomic-data-360-{hashlib.sha256(about.encode()).hexdigest()[:12]}"
    if prefix.lstrip("/").startswith(f"{folder}/"):
        raise RequestError("prefix: is in the folder of the outcomes, of which nothing is ingested.")
    with alone(name) as is_ours:
        if not is_ours:
            get_run_logger().info("Another run is ingesting; it, or the next one, has these files.")
            return []
        found, cursor = store.new_objects(recall(name), prefix=prefix)
        files = [
            each for each in found if each.key.lower().endswith(_SUFFIXES) and not each.key.startswith(f"{folder}/")
        ]
        done, unfinished = list[IngestedFile](), list[str]()
        for file in files:
            if unfinished:
                unfinished.append(file.key)
                continue
            outcome = ingest_file.submit(store, target, source, object, file, folder, operation, fields, wait).result(
                raise_on_failure=False
            )
            if isinstance(outcome, IngestedFile):
                done.append(outcome)
            else:
                unfinished.append(f"{file.key}: {outcome}")
        if not unfinished:  # else all of them are found again, and those that are done are left alone
            remember(name, cursor, tag="atomic-data-360")
    rows: list[dict[str, Any]] = [
        {
            "file": each.file,
            "loaded": each.rows if each.loaded else 0,
            "rejected": each.rejected,
            "fault": each.fault or "",
        }
        for each in done
    ]
    create_table_artifact(
        [*rows, *({"file": text, "fault": "not finished; the next run goes on"} for text in unfinished)],
        key="data-360-ingest-results",
        description=f"Files of {bucket} for {object} of {data_360}.",
    )
    if unfinished or any(each.fault for each in done):
        given_up = [f"{each.file}: {each.fault}" for each in done if each.fault]
        raise AtomicError(
            f"{len(unfinished) + len(given_up)} of {len(files)} files: {'; '.join(unfinished + given_up)}"
        )
    return rows


@task(name="ingest_file", task_run_name="ingest {file.key}", cache_policy=NO_CACHE)
def ingest_file(
    store: S3Bucket,
    target: SalesforceData360,
    source: str,
    object: str,  # noqa: A002 - as Data 360 calls it
    file: S3Object,
    folder: str,
    operation: Literal["upsert", "delete"],
    fields: list[str] | None,
    wait: float,
) -> IngestedFile:
    """Ingests a file, or goes on where a killed run was.

    Raises:
        AtomicError: It is not finished; the next run goes on from there.
    """
    record = _Record(store, file, folder, f"{target.login_url} {target.dataspace} {source} {object} {operation}")
    state = record.state
    if state.loaded or state.fault:
        return state
    if not (state.uploaded and _are_there(target, state.jobs)):
        _abort(target, state.jobs)
        state.jobs, state.uploaded = [], False
        try:
            _upload(store, target, (source, object, operation), file, fields, record)
        except RequestError as error:  # of the file, not of us: what is wrong with it will not pass
            state.fault = str(error)
            record.save()
            return state
        except ResponseError as error:
            if not state.jobs or error.response.status_code not in _REFUSED:
                raise
            _fail(f"Data 360 refused it: {error}", record)
            return state
    for job_id in state.jobs:
        target.close_bulk_job(job_id)
    _conclude(target.follow_bulk_jobs(state.jobs, wait=wait), record)
    return state


def _upload(
    store: S3Bucket,
    target: SalesforceData360,
    to: tuple[str, str, Literal["upsert", "delete"]],
    file: S3Object,
    fields: list[str] | None,
    record: "_Record",
) -> None:
    """Uploads a file and its rejects. Nothing is processed yet."""
    state = record.state

    def note(job_id: str) -> None:
        state.jobs.append(job_id)
        record.save()

    source, name, operation = to
    load = target.bulk_load(source, name, operation=operation, on_job=note)
    is_csv = file.key.lower().endswith(".csv")
    with (
        table_of(file, None if is_csv else fields, store) as table,
        tempfile.TemporaryFile() as scratch,
    ):
        rejects = _Rejects(cast("BinaryIO", scratch), table.header if is_csv else None)
        load.upload(table, on_rejected=rejects.add)
        try:
            if store.head(file.key).etag != file.etag:
                raise AtomicError("was replaced just now; what it holds by now is another file.", transient=True)
            if load.rejected:
                scratch.seek(0)
                suffix, kind = ("csv", "text/csv") if is_csv else ("jsonl", "application/jsonl")
                store.upload_from_file_object(
                    cast("BinaryIO", scratch), f"{record.name}.rejects.{suffix}", content_type=kind
                )
        except BaseException:
            load.abort()  # of a file that is gone, there is no next run
            raise
    state.rows, state.rejected = load.rows, load.rejected
    if load.rejected and not load.rows:
        raise RequestError(f"none of its {load.rejected} rows can be sent; the rejects file says why.")
    state.uploaded = True
    record.save()


def _are_there(target: SalesforceData360, jobs: list[str]) -> bool:
    """Whether all jobs may still become complete: none was aborted, or dropped after 7 days."""
    for job_id in jobs:
        try:
            job = target.bulk_job(job_id)
        except ResponseError as error:
            if error.response.status_code != 404:
                raise
            return False
        if job.state == "Aborted":
            return False
    return True


def _abort(target: SalesforceData360, jobs: list[str]) -> None:
    """Aborts jobs that a killed run had not uploaded all of."""
    for job_id in jobs:
        try:
            target.abort_bulk_job(job_id)
        except ResponseError as error:
            get_run_logger().warning("The bulk job %s of a killed run could not be aborted: %s", job_id, error)


def _conclude(jobs: list[BulkJob], record: "_Record") -> None:
    """Notes what became of the jobs of a file.

    Raises:
        AtomicError: They are not complete, and the next run has to go on.
    """
    state = record.state
    failed = [job for job in jobs if job.is_over and job.state != "JobComplete"]
    if failed:
        told = "; ".join(f"the bulk job {job.id} is {job.state}: {job.reason or 'no reason given'}" for job in failed)
        _fail(told, record)
    elif not all(job.is_over for job in jobs):
        raise AtomicError("Data 360 is still processing it.", transient=True)
    else:
        state.loaded = True
        record.save()


def _fail(told: str, record: "_Record") -> None:
    """Notes a job that failed, the last one too.

    Raises:
        AtomicError: It is not the last one.
    """
    state = record.state
    state.failures += 1
    state.jobs, state.uploaded = [], False
    if state.failures >= _MOST_FAILURES:
        state.fault = f"{told}; given up after {state.failures} jobs"
    record.save()
    if not state.fault:
        raise AtomicError(f"{told}; it is uploaded once more.", transient=True)


class _Rejects:
    """Collects the rejected rows in a file: for CSV as they were, each behind its line and the reason."""

    def __init__(self, file: BinaryIO, header: bytes | None) -> None:
        self._file = file
        self._is_csv = header is not None
        if header is not None:
            self._file.write(",".join(REJECTED).encode() + b"," + header)

    def add(self, row: Rejected) -> None:
        if self._is_csv:
            text = io.StringIO()
            csv.writer(text, lineterminator=",").writerow((row.at, row.reason))
            self._file.write(text.getvalue().encode() + row.content)
        else:
            told = {"line": row.at, "reason": row.reason, "row": row.content.decode("utf-8", "replace").rstrip("\r\n")}
            self._file.write(json.dumps(told).encode() + b"\n")


class _Record:
    """What is kept of a file in the bucket, beside it."""

    def __init__(self, bucket: S3Bucket, file: S3Object, folder: str, of: str) -> None:
        self._bucket = bucket
        # With the moment: a content that comes back after another one is to replace that one.
        which = f"{file.full_key} {file.etag} {file.last_modified.isoformat()} {of}"
        digest = hashlib.sha256(which.encode()).hexdigest()[:12]
        short = file.key.rpartition(".")[0].encode()[:400].decode(errors="ignore")  # keys have 1,024 bytes at most
        self.name = f"{folder}/{short}.{digest}"
        known = f"{self.name}.json"
        self.state = (
            IngestedFile.model_validate_json(bucket.read_path(known))
            if bucket.exists(known)
            else IngestedFile(file=file.key, etag=file.etag)
        )

    def save(self) -> None:
        self._bucket.write_path(f"{self.name}.json", self.state.model_dump_json().encode())
