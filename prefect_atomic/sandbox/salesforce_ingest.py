"""Bulk API 2.0, ingest: a CSV is uploaded, processed record by record, and its outcomes are had in three files."""

from collections import Counter
from collections.abc import Callable
from typing import NoReturn

from prefect_atomic.sandbox.salesforce_csv import DELIMITERS, LINE_ENDINGS, Malformed, read, written
from prefect_atomic.sandbox.salesforce_door import Call
from prefect_atomic.sandbox.salesforce_errors import RecordRefused, not_found, refuse, wrong_method
from prefect_atomic.sandbox.salesforce_ids import make_id
from prefect_atomic.sandbox.salesforce_jobs import IngestJob
from prefect_atomic.sandbox.salesforce_org import lookup
from prefect_atomic.sandbox.salesforce_rows import Writer
from prefect_atomic.sandbox.salesforce_schema import find_object
from prefect_atomic.sandbox.salesforce_state import SalesforceState
from prefect_atomic.sandbox.salesforce_table import many
from prefect_atomic.sandbox.wire import Answer

OPERATIONS = frozenset({"insert", "update", "upsert", "delete", "hardDelete"})
CHUNK = 200  # as many as Salesforce takes at once, and among which it looks for the same external id


def ingest(state: SalesforceState, call: Call) -> Answer:
    """Serves `jobs/ingest` and below."""
    match call.method, call.parts[2:]:
        case "POST", ():
            return _create(state, call)
        case "GET", ():
            records = [job.info() for job in state.ingest_jobs.values()]
            return Answer.of_json({"done": True, "records": records, "nextRecordsUrl": None})
        case "PUT", (job_id, "batches"):
            return _upload(state, _job(state, job_id), call)
        case "PATCH", (job_id,):
            return _change(_job(state, job_id), call)
        case "GET", (job_id,):
            job = _job(state, job_id)
            _get_on(state, job)
            return Answer.of_json(job.counted())
        case "DELETE", (job_id,):
            return _delete(state, _job(state, job_id))
        case "GET", (job_id, results):
            return _results(_job(state, job_id), results.lower())
        case _, () | (_,) | (_, "batches"):
            wrong_method(call.method)
    return not_found()


def _create(state: SalesforceState, call: Call) -> Answer:
    data = call.json_object()
    operation, name = data.get("operation"), data.get("object")
    if operation not in OPERATIONS:
        refuse(400, "INVALIDOPERATION", f"operation should be one of {', '.join(sorted(OPERATIONS))}")
    sobject = find_object(str(name))
    if sobject is None:
        refuse(400, "INVALIDENTITY", f"Unable to find object: {name}")
    if data.get("contentType", "CSV") != "CSV":
        refuse(400, "INVALIDCONTENTTYPE", "contentType should be CSV")
    external_id = None
    if operation == "upsert":
        external_id = lookup(sobject, str(data.get("externalIdFieldName"))).name
    job = IngestJob(
        make_id("750", state.next_number()),
        str(operation),
        sobject,
        call.version,
        chosen(data.get("columnDelimiter", "COMMA"), DELIMITERS, "columnDelimiter"),
        chosen(data.get("lineEnding", "LF"), LINE_ENDINGS, "lineEnding"),
        "Open",
        external_id=external_id,
    )
    state.ingest_jobs[job.id] = job
    return Answer.of_json(job.info())


def chosen(value: object, known: dict[str, str], name: str) -> str:
    """One of the words that a job knows."""
    if value not in known:
        refuse(400, "INVALIDPROPERTYVALUE", f"{name} should be one of {', '.join(known)}")
    return str(value)


def _upload(state: SalesforceState, job: IngestJob, call: Call) -> Answer:
    media_type = (call.received.header("content-type") or "").partition(";")[0].strip().lower()
    if media_type != "text/csv":
        refuse(415, "UNSUPPORTED_MEDIA_TYPE", "the Content-Type of job data is text/csv")
    if job.state != "Open":
        _wrong_state(job, "be given data")
    if job.body is not None:
        refuse(400, "INVALIDJOBSTATE", f"Found multiple contents for job: {job.id}; a job takes one PUT")
    if len(call.received.body) > state.number("bulk_upload_limit"):
        refuse(413, "REQUEST_ENTITY_TOO_LARGE", "the upload is larger than 150 MB; split it over several jobs")
    job.body = call.received.body
    return Answer(201)


def _change(job: IngestJob, call: Call) -> Answer:
    wanted = call.json_object().get("state")
    if wanted == "UploadComplete":
        if job.state != "Open":
            _wrong_state(job, "be closed")
        if job.body is None:
            _wrong_state(job, "be closed without data")
        job.become(wanted)
        try:
            with many():
                job.queue(*read(job.body, delimiter=job.delimiter, line_ending=job.line_ending))
        except Malformed as complaint:
            job.complaint = str(complaint)
    elif wanted == "Aborted":
        if job.ended:
            _wrong_state(job, "be aborted")
        job.become(wanted)
    else:
        refuse(400, "INVALIDJOBSTATE", "state should be UploadComplete or Aborted")
    return Answer.of_json(job.info())


def _get_on(state: SalesforceState, job: IngestJob) -> None:
    if job.state not in ("UploadComplete", "InProgress"):
        return
    if job.complaint:
        job.fail(job.complaint)
        return
    done = job.poll(state.number("bulk_polls"))
    try:
        writer = Writer(state.org, job.sobject, job.operation, job.columns, job.external_id)
    except RecordRefused as refused:
        job.fail(f"InvalidBatch : {refused.message}")
        return
    with many():
        job.work(done, _processor(job, writer))


def _processor(job: IngestJob, writer: Writer) -> Callable[[list[list[str]]], None]:
    def process(batch: list[list[str]]) -> None:
        for start in range(0, len(batch), CHUNK):
            chunk = batch[start : start + CHUNK]
            often = Counter(writer.key(row) for row in chunk) if job.operation == "upsert" else Counter()
            for row in chunk:
                try:
                    if often[writer.key(row)] > 1 and writer.key(row):
                        message = f"Duplicate external id specified: {writer.key(row)}"
                        raise RecordRefused("DUPLICATE_VALUE", message, [job.external_id or "Id"])
                    record_id, created = writer.write(row)
                except RecordRefused as refused:
                    job.failed.append((writer.named_id(row), refused.in_csv(), row))
                else:
                    job.succeeded.append((record_id, created, row))

    return process


def _delete(state: SalesforceState, job: IngestJob) -> Answer:
    if job.state in ("UploadComplete", "InProgress"):
        _wrong_state(job, "be deleted")
    del state.ingest_jobs[job.id]
    return Answer(204)


def _results(job: IngestJob, results: str) -> Answer:
    if results not in ("successfulresults", "failedresults", "unprocessedrecords"):
        not_found()
    if not job.ended:
        _wrong_state(job, "have results")
    columns = list(job.columns)
    if results == "successfulresults":
        columns = ["sf__Id", "sf__Created", *columns]
        rows = ([record_id, "true" if created else "false", *row] for record_id, created, row in job.succeeded)
    elif results == "failedresults":
        columns = ["sf__Id", "sf__Error", *columns]
        rows = ([record_id, error, *row] for record_id, error, row in job.failed)
    else:
        rows = (row for batch in job.waiting for row in batch)
    body = written(columns, rows, delimiter=job.delimiter, line_ending=job.line_ending)
    return Answer(200, body, (("Content-Type", "text/csv"),))


def _job(state: SalesforceState, job_id: str) -> IngestJob:
    return state.ingest_jobs.get(job_id) or not_found()


def _wrong_state(job: IngestJob, what: str) -> NoReturn:
    refuse(400, "INVALIDJOBSTATE", f"Invalid job state: a job that is {job.state} cannot {what}")
