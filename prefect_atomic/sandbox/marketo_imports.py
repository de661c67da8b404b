"""Bulk imports: files of leads, custom objects and program members.

Sources: experienceleague.adobe.com, marketo-developer (rest/bulk-import: bulk-lead-import, bulk-custom-object-import,
bulk-program-member-import), and Adobe's description of the API.

Not known, and so here: the header is checked when a file arrives, and names each column once, only columns that Marketo
knows, and the one by which records are told apart. A byte order mark belongs to the name of the first column. A file
that is not CSV fails as a whole, once it is processed. A blank cell empties its field. What was processed counts the
rows that failed too. Files of failures and warnings have the delimiter of the import, and are there once it ended.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import unquote

from prefect_atomic.sandbox.marketo_answers import Reason, fail, ok
from prefect_atomic.sandbox.marketo_bulk_state import DELIMITERS, Import, Returned
from prefect_atomic.sandbox.marketo_multipart import Malformed, parts_of
from prefect_atomic.sandbox.marketo_request import missing, number, one_of
from prefect_atomic.sandbox.marketo_schema import FORBIDDEN, LEAD, LISTS, LOOKUPS, OBJECTS, PARTITIONS, PROGRAMS
from prefect_atomic.sandbox.marketo_state import MarketoState
from prefect_atomic.sandbox.wire import Answer, Received, Refused

MOST_BYTES = 10_000_000
LEAD_COLUMNS = {name: field for name, field in LEAD.items() if field.updateable}


def create_leads(state: MarketoState, received: Received) -> Answer:
    """`POST /bulk/v1/leads.json`."""
    given = dict(received.query_pairs)
    lookup, partition = given.get("lookupField", "email"), given.get("partitionName")
    if lookup not in LOOKUPS:
        known = lookup in LEAD
        fail(1003 if known else 1006, f"Invalid value '{lookup}'" if known else f"Field '{lookup}' not found")
    if partition in FORBIDDEN:
        fail(1008, f"Access to partition '{partition}' is denied")
    if partition is not None and partition not in PARTITIONS:
        fail(1003, f"Partition '{partition}' not found")
    list_id = number(given["listId"]) if "listId" in given else None
    if list_id is not None and list_id not in LISTS:
        fail(1013, f"List '{list_id}' not found")
    # an id says which lead is changed; one cannot be chosen for a new lead
    action = "updateOnly" if lookup == "id" else "createOrUpdate"
    upsert = partial(state.upsert_lead, lookup=lookup, action=action, partition=partition)

    def write(fields: Mapping[str, Any]) -> None:
        lead_id, _ = upsert(fields)
        if list_id is not None:
            state.lists[list_id].add(lead_id)

    columns = {**LEAD_COLUMNS, lookup: LEAD[lookup]}
    return _create(state, received, "leads", {}, ("csv", "tsv", "ssv"), columns, [lookup], write)


def create_objects(state: MarketoState, received: Received) -> Answer:
    """`POST /bulk/v1/customobjects/{apiName}/import.json`."""
    name = _segment(received, -2)
    if name not in OBJECTS:
        fail(1013, f"Object '{name}' not found")
    kind = OBJECTS[name]
    columns = {name: field for name, field in kind.fields.items() if field.updateable}
    write = partial(state.upsert_object, name)
    about = {"objectApiName": name, "operation": "import"}
    return _create(state, received, "customobjects", about, ("csv", "tsv", "ssv"), columns, kind.dedupe_fields, write)


def create_members(state: MarketoState, received: Received) -> Answer:
    """`POST /bulk/v1/program/{programId}/members/import.json`."""
    program = PROGRAMS.get(number(_segment(received, -3)))
    if program is None:
        fail(610, "Requested resource not found")
    status = dict(received.query_pairs).get("programMemberStatus") or missing("programMemberStatus")
    if status not in program.statuses:
        fail(1025, f"Program status '{status}' not found")
    program_id = program.id

    def write(fields: Mapping[str, Any]) -> None:
        lead_id, _ = state.upsert_lead(fields)
        state.set_member(program_id, lead_id, status)

    return _create(state, received, "members", {}, ("CSV", "TSV", "SSV"), LEAD_COLUMNS, ["email"], write)


def leads_status(state: MarketoState, received: Received) -> Answer:
    """`GET /bulk/v1/leads/batch/{batchId}.json`."""
    return _status(state, _find(state, "leads", _segment(received, -1)))


def objects_status(state: MarketoState, received: Received) -> Answer:
    """`GET /bulk/v1/customobjects/{apiName}/import/{batchId}/status.json`."""
    return _status(state, _find_object(state, received))


def members_status(state: MarketoState, received: Received) -> Answer:
    """`GET /bulk/v1/program/members/import/{batchId}/status.json`."""
    return _status(state, _find(state, "members", _segment(received, -2)))


def leads_returned(state: MarketoState, received: Received) -> Answer:
    """`GET /bulk/v1/leads/batch/{batchId}/failures.json` and `warnings.json`."""
    return _returned(_find(state, "leads", _segment(received, -2)), received)


def objects_returned(state: MarketoState, received: Received) -> Answer:
    """`GET /bulk/v1/customobjects/{apiName}/import/{batchId}/failures.json` and `warnings.json`."""
    return _returned(_find_object(state, received), received)


def members_returned(state: MarketoState, received: Received) -> Answer:
    """`GET /bulk/v1/program/members/import/{batchId}/failures.json` and `warnings.json`."""
    return _returned(_find(state, "members", _segment(received, -2)), received)


def _create(
    state: MarketoState,
    received: Received,
    kind: str,
    about: Mapping[str, Any],
    formats: Sequence[str],
    known: Iterable[str],
    keys: Sequence[str],
    write: Callable[[Mapping[str, Any]], object],
) -> Answer:
    chosen = one_of(dict(received.query_pairs).get("format") or missing("format"), "format", formats)
    body, delimiter = _file(received), DELIMITERS[chosen.lower()]
    columns, rows, complaint = _read(body, delimiter, known, keys)
    bulk = state.bulk
    if len(bulk.import_line.waiting) + len(bulk.import_line.running) >= state.settings.most_imports:
        _finish(state, bulk.import_line.hurry(pending=state.settings.import_polls))
        fail(1016, "Import queue is full")
    job = Import(
        status="Queued",
        batch_id=1000 + len(bulk.imports),
        kind=kind,
        about=about,
        delimiter=delimiter,
        columns=columns,
        write=write,
        size=len(body),
        body=body,
        rows=rows,
        failed=Returned(columns, "Import Failure Reason", delimiter=delimiter),
        warned=Returned(columns, "Import Warning Reason", delimiter=delimiter),
        complaint=state.settings.failed_import or complaint,
    )
    state.settings = replace(state.settings, failed_import="")
    bulk.imports[job.batch_id] = job
    bulk.import_line.join(job)
    return _told(job)


def _file(received: Received) -> bytes:
    content_type = received.header("content-type") or ""
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        fail(612, "Invalid Content Type")
    try:
        parts = parts_of(received.body, content_type)
    except Malformed as malformed:
        fail(613, f"Invalid Multipart Request: {malformed}")
    files = [part for part in parts if part.name == "file" and part.filename is not None]
    if len(files) != 1 or len(parts) != 1:
        fail(1002, "Missing value for required parameter 'file', which is the one part of the form, with a filename")
    if len(files[0].content) > MOST_BYTES:
        raise Refused(Answer.of_text("Request Entity Too Large", status=413))
    return files[0].content


def _read(body: bytes, delimiter: str, known: Iterable[str], keys: Sequence[str]) -> tuple[list[str], int, str]:
    """The header, how many rows follow, and why the file cannot be processed, if it cannot."""
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        fail(1003, "The file is not UTF-8")
    lines = _lines(body, delimiter)
    try:
        columns = next(lines, [])
    except csv.Error as error:
        fail(1003, f"Header cannot be read: {error}")
    unknown = [name for name in columns if name not in known]
    if unknown:
        fail(1006, f"Header '{unknown[0]}' not found")
    if not set(keys) <= set(columns) or len(set(columns)) != len(columns):
        fail(1003, f"Header should have {', '.join(keys)}, and each column once")
    try:
        rows = sum(1 for line in lines if line)
    except csv.Error as error:
        return columns, 0, f"The file is not CSV: {error}"
    return columns, rows, "The file has a NUL" if b"\0" in body else ""


def _lines(body: bytes, delimiter: str) -> Iterator[list[str]]:
    text = io.TextIOWrapper(io.BytesIO(body), encoding="utf-8", newline="")
    return csv.reader(text, delimiter=delimiter, strict=True)


def _status(state: MarketoState, job: Import) -> Answer:
    _finish(state, state.bulk.import_line.look(job, pending=state.settings.import_polls))
    return _told(job)


def _finish(state: MarketoState, jobs: Sequence[Import]) -> None:
    for job in jobs:
        if job.complaint:
            job.status = "Failed"
        else:
            _process(state, job)
            job.status = "Complete"
        job.body = b""


def _process(state: MarketoState, job: Import) -> None:
    fail_every, warn_every = state.settings.fail_row_every, state.settings.warn_row_every
    columns, width = job.columns, len(job.columns)
    lines = _lines(job.body, job.delimiter)
    next(lines)
    for place, row in enumerate(filter(None, lines), state.bulk.rows + 1):
        try:
            if fail_every and place % fail_every == 0:
                raise Reason(1003, "The sandbox was told to fail this row")
            if len(row) != width:
                raise Reason(1003, f"The row has {len(row)} values, and the header {width}")
            job.write(dict(zip(columns, row, strict=True)))
        except Reason as reason:
            job.failed.add(row, reason.message)
        else:
            if warn_every and place % warn_every == 0:
                job.warned.add(row, "The sandbox was told to warn of this row")
    job.processed = job.rows
    state.bulk.rows += job.rows


def _told(job: Import) -> Answer:
    result: dict[str, Any] = {"batchId": job.batch_id, "status": job.status, **job.about}
    if job.kind != "customobjects":
        result["importId"] = str(job.batch_id)
    processed = "numOfObjectsProcessed" if job.kind == "customobjects" else "numOfLeadsProcessed"
    result |= {processed: job.processed, "numOfRowsFailed": job.failed.count, "numOfRowsWithWarning": job.warned.count}
    if job.status == "Failed":
        result["message"] = job.complaint
    elif job.over:
        how = f"completed with errors, {job.failed.count} failed" if job.failed.count else "succeeded"
        result["message"] = f"Import {how}, {job.processed - job.failed.count} records imported"
    return ok([result])


def _returned(job: Import, received: Received) -> Answer:
    if not job.over:
        fail(1003, f"The import is {job.status}, and has no such file yet")
    returned = job.failed if received.path.endswith("/failures.json") else job.warned
    return Answer(200, returned.content(), (("Content-Type", "text/csv"),))


def _find(state: MarketoState, kind: str, batch_id: str) -> Import:
    job = state.bulk.imports.get(number(batch_id))
    if job is None or job.kind != kind:
        fail(610, "Requested resource not found")
    return job


def _find_object(state: MarketoState, received: Received) -> Import:
    job = _find(state, "customobjects", _segment(received, -2))
    if job.about["objectApiName"] != _segment(received, -4):
        fail(610, "Requested resource not found")
    return job


def _segment(received: Received, position: int) -> str:
    """A part of the path, decoded and without the `.json` at the end; positions count from there."""
    return unquote(received.path.removesuffix(".json").split("/")[position])
