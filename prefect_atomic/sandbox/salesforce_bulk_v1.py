"""The first Bulk API, as far as JSON batches go; it tells of an expired session with 400, and in words of its own."""

from dataclasses import dataclass, field
from typing import Any, NoReturn

from prefect_atomic.sandbox.salesforce_door import Call, Door
from prefect_atomic.sandbox.salesforce_errors import RecordRefused
from prefect_atomic.sandbox.salesforce_ids import make_id
from prefect_atomic.sandbox.salesforce_org import lookup
from prefect_atomic.sandbox.salesforce_query import record, run
from prefect_atomic.sandbox.salesforce_schema import SObject, find_object
from prefect_atomic.sandbox.salesforce_soql import parse
from prefect_atomic.sandbox.salesforce_state import SalesforceState
from prefect_atomic.sandbox.wire import Answer, Refused

QUERIES = {"query": False, "queryAll": True}
OPERATIONS = frozenset({"insert", "update", "upsert", "delete", "hardDelete", *QUERIES})


@dataclass
class Job:
    """A job of the first Bulk API."""

    id: str
    operation: str
    sobject: SObject
    external_id: str | None
    state: str = "Open"
    batches: dict[str, tuple[Any, list[Any]]] = field(default_factory=dict)

    def info(self) -> dict[str, Any]:
        """What answers about it say."""
        return {
            "id": self.id,
            "operation": self.operation,
            "object": self.sobject.name,
            "externalIdFieldName": self.external_id,
            "state": self.state,
            "contentType": "JSON",
            "numberBatchesTotal": len(self.batches),
            "numberBatchesCompleted": len(self.batches),
        }


def bulk_v1(door: Door, state: SalesforceState, call: Call) -> Answer:
    """Serves `job` and below."""
    if not door.accepts(call.received.header("x-sfdc-session") or ""):
        _refuse("InvalidSessionId", "Invalid session id")
    return door.counted(lambda: _serve(state, call))


def _serve(state: SalesforceState, call: Call) -> Answer:
    match call.method, call.parts:
        case "POST", ("job",):
            return _create(state, call)
        case "POST", ("job", job_id):
            job = _job(state, job_id)
            job.state = str(call.json_object().get("state"))
            return Answer.of_json(job.info())
        case "GET", ("job", job_id):
            return Answer.of_json(_job(state, job_id).info())
        case "POST", ("job", job_id, "batch"):
            return _batch(state, _job(state, job_id), call)
        case "GET", ("job", job_id, "batch", batch_id):
            job = _job(state, job_id)
            return Answer.of_json(_batch_info(job, batch_id, "Completed"))
        case "GET", ("job", job_id, "batch", batch_id, "request"):
            return Answer.of_json(_content(_job(state, job_id), batch_id)[0])
        case "GET", ("job", job_id, "batch", batch_id, "result"):
            job = _job(state, job_id)
            results = _content(job, batch_id)[1]
            return Answer.of_json([batch_id] if job.operation in QUERIES else results)
        case "GET", ("job", job_id, "batch", batch_id, "result", _):
            return Answer.of_json(_content(_job(state, job_id), batch_id)[1])
    return _refuse("InvalidUrl", f"the sandbox's Bulk API 1.0 has no {call.method} at {call.received.path}", 404)


def _create(state: SalesforceState, call: Call) -> Answer:
    data = call.json_object()
    sobject = find_object(str(data.get("object")))
    if sobject is None or data.get("operation") not in OPERATIONS:
        _refuse("InvalidJob", "object and operation should be those of the org")
    if data.get("contentType") != "JSON":
        _refuse("InvalidJob", "the sandbox's Bulk API 1.0 takes contentType JSON")
    external_id = data.get("externalIdFieldName")
    if data["operation"] == "upsert":
        external_id = lookup(sobject, str(external_id)).name
    job = Job(make_id("750", state.next_number()), data["operation"], sobject, external_id)
    state.bulk_v1[job.id] = job
    return Answer.of_json(job.info(), status=201)


def _batch(state: SalesforceState, job: Job, call: Call) -> Answer:
    if job.state != "Open":
        _refuse("InvalidJobState", f"the job is {job.state}")
    batch_id = make_id("751", state.next_number())
    if job.operation in QUERIES:
        text = call.received.body.decode("utf-8", "replace")
        query = parse(text)
        found = run(state.org, query, deleted=QUERIES[job.operation])
        job.batches[batch_id] = text, [record(query, rows, call.base) for rows in found]
    else:
        records = call.json()
        if not isinstance(records, list) or not all(isinstance(data, dict) for data in records):
            _refuse("InvalidBatch", "a batch is an array of objects")
        job.batches[batch_id] = records, [_result(state, job, dict(data)) for data in records]
    return Answer.of_json(_batch_info(job, batch_id, "Queued"), status=201)


def _result(state: SalesforceState, job: Job, data: dict[str, Any]) -> dict[str, Any]:
    try:
        record_id, created = _write(state, job, data)
    except RecordRefused as refused:
        error = refused.in_list() | {"extendedErrorDetails": None}
        return {"success": False, "created": False, "id": None, "errors": [error]}
    return {"success": True, "created": created, "id": record_id, "errors": []}


def _write(state: SalesforceState, job: Job, data: dict[str, Any]) -> tuple[str, bool]:
    org, sobject = state.org, job.sobject
    if job.operation == "insert":
        return org.insert(sobject, org.values(sobject, data)), True
    if job.operation == "upsert":
        field_ = lookup(sobject, job.external_id or "Id")
        key = str(data.pop(field_.name, ""))
        return org.upsert(sobject, field_, key, org.values(sobject, data))
    record_id = org.record_id(sobject, data.pop("Id", None))
    if job.operation == "update":
        org.update(sobject, record_id, org.values(sobject, data))
    else:
        org.delete(sobject, record_id, hard=job.operation == "hardDelete")
    return record_id, False


def _batch_info(job: Job, batch_id: str, state: str) -> dict[str, Any]:
    results = _content(job, batch_id)[1]
    failed = 0 if job.operation in QUERIES else sum(not result["success"] for result in results)
    counted = {"numberRecordsProcessed": len(results), "numberRecordsFailed": failed}
    return {"id": batch_id, "jobId": job.id, "state": state, **counted}


def _content(job: Job, batch_id: str) -> tuple[Any, list[Any]]:
    if batch_id not in job.batches:
        _refuse("InvalidBatch", "there is no such batch")
    return job.batches[batch_id]


def _job(state: SalesforceState, job_id: str) -> Job:
    found = state.bulk_v1.get(job_id)
    if not isinstance(found, Job):
        _refuse("InvalidJob", "there is no such job")
    return found


def _refuse(code: str, message: str, status: int = 400) -> NoReturn:
    raise Refused(Answer.of_json({"exceptionCode": code, "exceptionMessage": message}, status=status))
