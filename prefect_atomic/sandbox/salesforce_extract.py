"""Bulk API 2.0, query: a job finds the rows, and its results are had page by page as CSV."""

import base64
import binascii

from prefect_atomic.sandbox.salesforce_csv import DELIMITERS, LINE_ENDINGS, written
from prefect_atomic.sandbox.salesforce_door import Call
from prefect_atomic.sandbox.salesforce_errors import not_found, refuse, wrong_method
from prefect_atomic.sandbox.salesforce_ids import make_id
from prefect_atomic.sandbox.salesforce_ingest import chosen
from prefect_atomic.sandbox.salesforce_jobs import QueryJob
from prefect_atomic.sandbox.salesforce_query import run
from prefect_atomic.sandbox.salesforce_soql import parse
from prefect_atomic.sandbox.salesforce_state import SalesforceState
from prefect_atomic.sandbox.salesforce_values import to_csv
from prefect_atomic.sandbox.wire import Answer

OPERATIONS = ("query", "queryAll")


def extract(state: SalesforceState, call: Call) -> Answer:
    """Serves `jobs/query` and below."""
    match call.method, call.parts[2:]:
        case "POST", ():
            return _create(state, call)
        case "GET", ():
            records = [job.info() for job in state.query_jobs.values()]
            return Answer.of_json({"done": True, "records": records, "nextRecordsUrl": None})
        case "GET", (job_id,):
            job = _job(state, job_id)
            if not job.ended:
                job.poll(state.number("bulk_polls"))
            return Answer.of_json(job.info())
        case "PATCH", (job_id,):
            job = _job(state, job_id)
            if call.json_object().get("state") != "Aborted" or job.ended:
                refuse(400, "INVALIDJOBSTATE", f"a job that is {job.state} cannot become that")
            job.become("Aborted")
            return Answer.of_json(job.info())
        case "DELETE", (job_id,):
            if not _job(state, job_id).ended:
                refuse(400, "INVALIDJOBSTATE", "a job that is not ended cannot be deleted")
            del state.query_jobs[job_id]
            return Answer(204)
        case "GET", (job_id, "results"):
            return _results(state, _job(state, job_id), call)
        case _, () | (_,) | (_, "results"):
            wrong_method(call.method)
    return not_found()


def _create(state: SalesforceState, call: Call) -> Answer:
    data = call.json_object()
    operation = data.get("operation")
    if operation not in OPERATIONS:
        refuse(400, "INVALIDOPERATION", "operation should be query or queryAll")
    query = parse(str(data.get("query", "")))
    if not query.fields:
        refuse(400, "API_ERROR", "Aggregate functions such as COUNT() are not supported in Bulk Query")
    job = QueryJob(
        make_id("750", state.next_number()),
        str(operation),
        query.sobject,
        call.version,
        chosen(data.get("columnDelimiter", "COMMA"), DELIMITERS, "columnDelimiter"),
        chosen(data.get("lineEnding", "LF"), LINE_ENDINGS, "lineEnding"),
        "UploadComplete",
        query=query,
        rows=run(state.org, query, deleted=operation == "queryAll"),
    )
    state.query_jobs[job.id] = job
    return Answer.of_json(job.info())


def _results(state: SalesforceState, job: QueryJob, call: Call) -> Answer:
    if job.state != "JobComplete" or job.query is None:
        refuse(400, "INVALIDJOBSTATE", f"a job that is {job.state} has no results")
    start = _start(call.parameters.get("locator", ""))
    most = state.number("bulk_query_page")
    asked = call.parameters.get("maxRecords", str(most))
    if not asked.isdecimal() or int(asked) < 1:
        refuse(400, "INVALID_QUERY_PARAMETER", "maxRecords should be a whole number, from 1")
    end = start + min(most, int(asked))
    page = job.rows[start:end]
    paths = job.query.fields
    body = written(
        [path.name for path in paths],
        ([to_csv(path.field, path.value(rows)) for path in paths] for rows in page),
        delimiter=job.delimiter,
        line_ending=job.line_ending,
    )
    headers = (
        ("Content-Type", "text/csv"),
        ("Sforce-NumberOfRecords", str(len(page))),
        ("Sforce-Locator", _locator(end) if end < len(job.rows) else "null"),
    )
    return Answer(200, body, headers)


def _locator(start: int) -> str:
    return base64.urlsafe_b64encode(f"row {start}".encode()).decode().rstrip("=")


def _start(locator: str) -> int:
    if not locator:
        return 0
    try:
        word, _, start = base64.urlsafe_b64decode(locator + "=" * (-len(locator) % 4)).decode().partition(" ")
    except (binascii.Error, UnicodeDecodeError):
        word, start = "", ""
    if word != "row" or not start.isdecimal():
        refuse(400, "INVALID_QUERY_LOCATOR", "the locator is not one of this job's answers")
    return int(start)


def _job(state: SalesforceState, job_id: str) -> QueryJob:
    return state.query_jobs.get(job_id) or not_found()
