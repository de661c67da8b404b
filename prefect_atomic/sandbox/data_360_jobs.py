"""Bulk ingestion: jobs that take files of CSV, and are processed once they are closed.

Not known, and strict here: a file is checked for its encoding and header when it arrives, and for its values once the
job is processed, where a single wrong value fails the job; `errorMessage`, after Salesforce's Bulk API 2.0, says why. A
job can be aborted until it is processed, and deleted unless it is open. A delete needs no column but the primary key.
"""

import csv
import io
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from prefect_atomic.sandbox.data_360_request import json_object, now, only, query, refuse, whole
from prefect_atomic.sandbox.data_360_schema import CONNECTOR, OBJECTS, fault_of, of_text
from prefect_atomic.sandbox.data_360_state import Data360State, Job
from prefect_atomic.sandbox.wire import Answer, Received

MOST_FILES = 100
STATES = ("Open", "UploadComplete", "InProgress", "JobComplete", "Failed", "Aborted")


def serve(state: Data360State, received: Received) -> Answer:
    """`POST` and `GET /api/v1/ingest/jobs`."""
    return _create(state, received) if received.method == "POST" else _list(state, received)


def serve_one(state: Data360State, received: Received) -> Answer:
    """`GET`, `PATCH` and `DELETE /api/v1/ingest/jobs/{id}`."""
    operations: Mapping[str, Callable[[Data360State, Job, Received], Answer]] = {
        "GET": _info,
        "PATCH": _close,
        "DELETE": _delete,
    }
    query(received, ())
    return operations[received.method](state, _job(state, received), received)


def upload(state: Data360State, received: Received) -> Answer:
    """`PUT /api/v1/ingest/jobs/{id}/batches`: a file of CSV."""
    job = _job(state, received)
    state.note("largest_csv", len(received.body))
    if job.about["state"] != "Open":
        refuse(received, f"the job is {job.about['state']}; only an open one takes files")
    if (received.header("content-type") or "").partition(";")[0].strip().lower() != "text/csv":
        refuse(received, "send Content-Type: text/csv", status=415)
    if len(received.body) > state.settings.max_csv_bytes:
        refuse(received, f"the file has more than {state.settings.max_csv_bytes} bytes", status=413)
    if len(job.files) == MOST_FILES:
        refuse(received, f"the job has {MOST_FILES} files, which is as many as it takes")
    job.files.append(_rows(job, received))
    _touch(job)
    return Answer(202)


def _create(state: Data360State, received: Received) -> Answer:
    content = json_object(received)
    only(received, content, ("object", "sourceName", "operation"))
    name = content.get("object")
    if content.get("sourceName") != CONNECTOR or name not in OBJECTS:
        refuse(received, f"there is no object {name} in the connector {content.get('sourceName')}", status=404)
    if content.get("operation") not in ("upsert", "delete"):
        refuse(received, "operation should be upsert or delete")
    taken = any(job.about["object"] == name and job.about["state"] == "Open" for job in state.jobs.values())
    if state.settings.one_job_per_object and taken:
        refuse(received, f"there is an open job for {name}", status=409)
    job_id = str(uuid.uuid4())
    about = {
        "id": job_id,
        "operation": content["operation"],
        "object": name,
        "sourceName": CONNECTOR,
        "createdById": "005000000000001AAA",
        "createdDate": now(),
        "systemModstamp": now(),
        "state": "Open",
        "contentType": "CSV",
        "apiVersion": "v1",
        "contentUrl": f"api/v1/ingest/jobs/{job_id}/batches",
    }
    state.jobs[job_id] = Job(about)
    return Answer.of_json(about, status=201)


def _list(state: Data360State, received: Received) -> Answer:
    given = query(received, ("limit", "offset", "states"))
    limit = whole(received, given, "limit", usual=20, least=1, most=100)
    offset = whole(received, given, "offset", usual=0, least=0, most=10**9)
    states = given["states"].split(",") if "states" in given else list(STATES)
    if set(states) - set(STATES):
        refuse(received, f"states should be among {', '.join(STATES)}")
    jobs = [job.about for job in state.jobs.values() if job.about["state"] in states]
    return Answer.of_json({"data": jobs[offset : offset + limit]})


def _job(state: Data360State, received: Received) -> Job:
    job_id = unquote(received.path.split("/")[5])
    if job_id not in state.jobs:
        refuse(received, f"there is no job {job_id}", status=404)
    return state.jobs[job_id]


def _info(state: Data360State, job: Job, _: Received) -> Answer:
    if job.about["state"] in ("UploadComplete", "InProgress"):
        job.polls += 1
        if job.polls > state.settings.job_polls:
            _process(state, job)
        else:
            job.about["state"] = "InProgress"
        _touch(job)
    return Answer.of_json(job.about)


def _close(state: Data360State, job: Job, received: Received) -> Answer:
    content = json_object(received)
    only(received, content, ("state",))
    wanted, current = content.get("state"), job.about["state"]
    if wanted not in ("UploadComplete", "Aborted"):
        refuse(received, "state should be UploadComplete or Aborted")
    if current not in (("Open",) if wanted == "UploadComplete" else ("Open", "UploadComplete")):
        refuse(received, f"the job is {current}, and cannot become {wanted}")
    if wanted == "UploadComplete":
        if not job.files:
            refuse(received, "the job has no files")
        job.failure = state.settings.fail_next_job
        state.set({"fail_next_job": ""})
    job.about["state"] = wanted
    _touch(job)
    return Answer.of_json(job.about)


def _delete(state: Data360State, job: Job, received: Received) -> Answer:
    if job.about["state"] in ("Open", "InProgress"):
        refuse(received, f"the job is {job.about['state']}, and cannot be deleted")
    del state.jobs[job.about["id"]]
    return Answer(204)


def _rows(job: Job, received: Received) -> list[dict[str, Any]]:
    """The records of a file, each value as its field has it."""
    schema = OBJECTS[job.about["object"]]
    try:
        text = received.body.decode("utf-8")
    except UnicodeDecodeError:
        refuse(received, "the file is not UTF-8")
    if "\0" in text:
        refuse(received, "the file has a NUL")
    try:
        header, *lines = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
    except csv.Error as error:
        refuse(received, f"the file is not CSV: {error}")
    needed = [schema.key] if job.about["operation"] == "delete" else list(schema.fields)
    missing = [name for name in needed if name not in header]
    if missing or set(header) - schema.fields.keys() or len(set(header)) != len(header):
        refuse(received, f"the header should have {', '.join(needed)}, each once, and nothing that the schema has not")
    if any(len(line) != len(header) for line in lines):
        refuse(received, "a row has more or fewer values than the header")
    return [of_text(schema, dict(zip(header, line, strict=True))) for line in lines]


def _process(state: Data360State, job: Job) -> None:
    name, schema = job.about["object"], OBJECTS[job.about["object"]]
    records = [record for file in job.files for record in file]
    if job.about["operation"] == "upsert" and not job.failure:
        for position, record in enumerate(records):
            if fault := fault_of(schema, record):
                job.failure = f"record {position}, field {fault[0]}: {fault[1]}"
                break
    if job.failure:
        job.about |= {"state": "Failed", "errorMessage": job.failure}
        return
    if job.about["operation"] == "upsert":
        state.upsert(name, records)
    else:
        state.delete(name, [record[schema.key] for record in records], now=now())
    job.about["state"] = "JobComplete"


def _touch(job: Job) -> None:
    job.about["systemModstamp"] = now()
