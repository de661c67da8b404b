"""Bulk exports: files of leads and activities, made by jobs.

Sources: experienceleague.adobe.com, marketo-developer (rest/bulk-extract: bulk-extract, bulk-lead-extract,
bulk-activity-extract), and Adobe's description of the API.

Not known, and so here: a filter of leads has one of its kinds; both ends of a range are there, with their time zone
and without fractions of a second, and both belong to the range. There are no smart lists, and filters by them are those
that a subscription may not support. What is empty is a blank cell. A job that was enqueued once stays that, also when
it is over. The bytes of a day are never given back, and a test gets more of them by setting more.
"""

import csv
import hashlib
import io
import json
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from prefect_atomic.sandbox.marketo_answers import fail, ok
from prefect_atomic.sandbox.marketo_bulk_state import DELIMITERS, Export
from prefect_atomic.sandbox.marketo_request import Query, json_object, missing, number, one_of
from prefect_atomic.sandbox.marketo_schema import LEAD, LISTS
from prefect_atomic.sandbox.marketo_state import MarketoState
from prefect_atomic.sandbox.wire import Answer, Received

MOST_DAYS = 31
MOST_QUEUED = 10
MOST_VALUES = 50
PIECE = 65_536
SPOILED_EVERY = 10  # rows, when rows should have characters that no row should have
NUL, CR = "\ue000", "\ue001"  # stand for them until the file is written: csv would put them in quotes, or not
ACTIVITY_COLUMNS = (
    "marketoGUID",
    "leadId",
    "activityDate",
    "activityTypeId",
    "campaignId",
    "primaryAttributeValueId",
    "primaryAttributeValue",
    "attributes",
)
# the first of these that is in a file is what is spoiled
SPOILED = ("primaryAttributeValue", "notes", "lastName", "firstName", "company", "email")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:?\d\d)", re.ASCII)
OPTIONAL = ("format", "columnHeaderNames")
STATUSES = ("created", "queued", "processing", "canceled", "completed", "failed")


def create_leads(state: MarketoState, received: Received) -> Answer:
    """`POST /bulk/v1/leads/export/create.json`."""
    content = json_object(received, required=("fields", "filter"), known=OPTIONAL)
    chosen = _object(content, "filter")
    kinds = ("createdAt", "updatedAt", "staticListId", "staticListName", "smartListId", "smartListName")
    if len(chosen) != 1 or not chosen.keys() <= set(kinds):
        fail(1003, f"Invalid value for filter, which is one of {', '.join(kinds)}")
    name, value = next(iter(chosen.items()))
    if name.startswith("smartList"):
        fail(1035, f"Unsupported filter type for target subscription: {name}")
    if name in ("createdAt", "updatedAt"):
        _span(name, value)
    elif _list_id(chosen) not in LISTS:
        fail(1003, f"Invalid value '{value}' for {name}")
    return _create(state, "leads", content, tuple(LEAD))


def create_activities(state: MarketoState, received: Received) -> Answer:
    """`POST /bulk/v1/activities/export/create.json`; all fields, unless it names some."""
    content = json_object(received, required=("filter",), known=("fields", *OPTIONAL))
    chosen = _object(content, "filter")
    values = {"activityTypeIds": int, "primaryAttributeValueIds": int, "primaryAttributeValues": str}
    for name, value in chosen.items():
        if name == "createdAt":
            continue
        if name not in values:
            fail(1003, f"Invalid filter '{name}'")
        if not isinstance(value, list) or not value or any(type(each) is not values[name] for each in value):
            fail(1001, f"Invalid value '{value}' for {name}. Required of type 'array of {values[name].__name__}'")
        if name != "activityTypeIds" and len(value) > MOST_VALUES:
            fail(1003, f"Invalid value for {name}: there are more than {MOST_VALUES}")
    if "createdAt" not in chosen:
        missing("createdAt")
    _span("createdAt", chosen["createdAt"])
    known = (*ACTIVITY_COLUMNS, "actionResult")
    return _create(state, "activities", {"fields": list(ACTIVITY_COLUMNS), **content}, known)


def listed(kind: str, state: MarketoState, received: Received) -> Answer:
    """`GET /bulk/v1/{kind}/export.json`."""
    query = Query(received, ("batchSize", "nextPageToken"), several=("status",))
    wanted = [one_of(_spelled(word), "status", STATUSES) for word in query.texts("status")]
    start = number(query.text("nextPageToken") or 0)
    end = start + query.size()
    jobs = [job for job in state.bulk.exports.values() if job.kind == kind]
    found = [job for job in jobs if not wanted or _spelled(job.status) in wanted]
    more = {"nextPageToken": str(end)} if len(found) > end else {}
    return ok([_told(job) for job in found[start:end]], **more)


def enqueue(kind: str, state: MarketoState, received: Received) -> Answer:
    """`POST /bulk/v1/{kind}/export/{exportId}/enqueue.json`."""
    job, bulk, settings = _find(state, kind, received), state.bulk, state.settings
    job.enqueued += 1
    if _spelled(job.status) == "canceled":
        fail(1003, f"Export {job.export_id} is {job.status}")
    if job.status != "Created":
        fail(1029, f"Export {job.export_id} is already queued")
    if settings.export_bytes_per_day and bulk.exported_bytes >= settings.export_bytes_per_day:
        fail(1029, "Export daily quota exceeded")
    bulk.export_line.start()
    if len(bulk.export_line.waiting) >= MOST_QUEUED:
        _finish(state, bulk.export_line.hurry(pending=settings.export_polls))
        fail(1029, "Too many jobs in queue")
    bulk.export_line.join(job)
    job.about["queuedAt"] = state.clock.now()
    return ok([_told(job)])


def cancel(kind: str, state: MarketoState, received: Received) -> Answer:
    """`POST /bulk/v1/{kind}/export/{exportId}/cancel.json`."""
    job = _find(state, kind, received)
    if job.status not in ("Created", "Queued", "Processing"):
        fail(1003, f"Export {job.export_id} is {job.status}")
    state.bulk.export_line.leave(job)
    job.status = state.settings.canceled_word
    return ok([_told(job)])


def status(kind: str, state: MarketoState, received: Received) -> Answer:
    """`GET /bulk/v1/{kind}/export/{exportId}/status.json`."""
    job = _find(state, kind, received)
    _finish(state, state.bulk.export_line.look(job, pending=state.settings.export_polls))
    return ok([_told(job)])


def file(kind: str, state: MarketoState, received: Received) -> Answer:
    """`GET /bulk/v1/{kind}/export/{exportId}/file.json`, or a range of it."""
    job = state.bulk.exports.get(_segment(received))
    if job is None or job.kind != kind or job.content is None:
        return Answer.of_text("HTTP 404 Not Found", status=404)
    settings, total = state.settings, len(job.content)
    headers = [("Content-Type", "text/csv"), ("Accept-Ranges", "bytes")]
    asked = None if settings.range_ignored else _range(received.header("range"), total)
    start, end = asked or (0, total)
    if start >= end and asked:
        return Answer(416, b"", (("Content-Range", f"bytes */{total}"),))
    if asked:
        headers.append(("Content-Range", f"bytes {start}-{end - 1}/{total}"))
    body, code = job.content[start:end], 206 if asked else 200
    job.downloads += 1
    if settings.wrong_checksums:
        state.settings = settings = replace(settings, wrong_checksums=settings.wrong_checksums - 1)
        middle = len(body) // 2
        body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
    if settings.cut_files:
        state.settings = replace(settings, cut_files=settings.cut_files - 1)
        headers.append(("Content-Length", str(len(body))))
        return Answer(code, _cut(body), tuple(headers))
    return Answer(code, body, tuple(headers))


def _create(state: MarketoState, kind: str, content: Mapping[str, Any], known: Sequence[str]) -> Answer:
    fields, form = content["fields"], one_of(content.get("format", "CSV"), "format", ("CSV", "TSV", "SSV"))
    if not isinstance(fields, list) or not fields or not all(isinstance(name, str) for name in fields):
        fail(1001, "Invalid value for fields. Required of type 'array of string'")
    if len(set(fields)) != len(fields) or not set(fields) <= set(known):
        fail(1003, f"Invalid fields: {', '.join(sorted(set(fields) - set(known)) or fields)}")
    names = _object(content, "columnHeaderNames") if "columnHeaderNames" in content else {}
    if not names.keys() <= set(fields) or not all(isinstance(name, str) for name in names.values()):
        fail(1003, "Invalid value for columnHeaderNames, which gives fields a name")
    job = Export(
        status="Created",
        export_id=str(uuid.uuid4()),
        kind=kind,
        format=form,
        fields=fields,
        header=[str(names.get(name, name)) for name in fields],
        filter=content["filter"],
        about={"createdAt": state.clock.now()},
    )
    state.bulk.exports[job.export_id] = job
    return ok([_told(job)])


def _object(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = content[name]
    if not isinstance(value, dict):
        fail(1001, f"Invalid value '{value}' for {name}. Required of type 'object'")
    return value


def _span(name: str, value: object) -> tuple[datetime, datetime]:
    """Both ends of a range, which belong to it."""
    if not isinstance(value, dict) or value.keys() != {"startAt", "endAt"}:
        fail(1003, f"Invalid value for {name}, which has startAt and endAt")
    start, end = _instant(value["startAt"]), _instant(value["endAt"])
    if start > end:
        fail(1003, f"Invalid value for {name}: startAt is after endAt")
    if end - start > timedelta(days=MOST_DAYS):
        fail(1003, f"Invalid value for {name}: the date range must be within {MOST_DAYS} days")
    return start, end


def _instant(value: object) -> datetime:
    text = str(value)
    try:
        return datetime.fromisoformat(text if INSTANT.fullmatch(text) else "")
    except ValueError:
        fail(1001, f"Invalid value '{text}'. Required of type 'datetime'")


def _finish(state: MarketoState, jobs: Iterable[Export]) -> None:
    for job in jobs:
        records, job.content = _written(job, _selected(state, job), spoiled=_spoiled(state))
        state.bulk.exported_bytes += len(job.content)
        job.status = state.settings.completed_word
        job.about |= {
            "startedAt": job.about["queuedAt"],
            "finishedAt": state.clock.now(),
            "numberOfRecords": records,
            "fileSize": len(job.content),
            "fileChecksum": f"sha256:{hashlib.sha256(job.content).hexdigest()}",
        }


def _selected(state: MarketoState, job: Export) -> Iterable[Mapping[str, Any]]:
    chosen = job.filter
    if "staticListId" in chosen or "staticListName" in chosen:
        members = state.lists[_list_id(chosen)]
        return (state.leads[lead_id] for lead_id in sorted(members) if lead_id in state.leads)
    name = "updatedAt" if "updatedAt" in chosen else "createdAt"
    within = _within(*_span(name, chosen[name]))
    if job.kind == "leads":
        return (lead for lead in state.leads.values() if within(lead.get(name)))
    # what a filter of activities has is one of these
    among = [
        (of, frozenset(chosen[plural]))
        for plural, of in (
            ("activityTypeIds", "activityTypeId"),
            ("primaryAttributeValueIds", "primaryAttributeValueId"),
            ("primaryAttributeValues", "primaryAttributeValue"),
        )
        if plural in chosen
    ]
    return (
        activity
        for activity in state.activities
        if within(activity["activityDate"]) and all(activity.get(of) in values for of, values in among)
    )


def _list_id(chosen: Mapping[str, Any]) -> int:
    """The id of the list of a filter; 0 if there is no such."""
    if "staticListName" in chosen:
        return next((list_id for list_id, name in LISTS.items() if name == chosen["staticListName"]), 0)
    return chosen["staticListId"] if type(chosen["staticListId"]) is int else 0


def _within(start: datetime, end: datetime) -> Callable[[str | None], bool]:
    # the range is one of whole seconds
    until = end + timedelta(seconds=1)

    def within(text: str | None) -> bool:
        if not text:
            return False
        moment = datetime.fromisoformat(text)
        return start <= (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) < until

    return within


def _spoiled(state: MarketoState) -> str:
    return (NUL if state.settings.nul_in_rows else "") + (CR if state.settings.cr_in_rows else "")


def _written(job: Export, records: Iterable[Mapping[str, Any]], *, spoiled: str) -> tuple[int, bytes]:
    """How many records there are, and the file of them."""
    buffer, number = io.StringIO(newline=""), 0
    writer = csv.writer(buffer, delimiter=DELIMITERS[job.format.lower()], lineterminator="\n")
    writer.writerow(job.header)
    place = next((job.fields.index(name) for name in SPOILED if name in job.fields), len(job.fields) - 1)
    for number, record in enumerate(records, 1):
        cells = [_cell(record.get(name)) for name in job.fields]
        if spoiled and number % SPOILED_EVERY == 0:
            middle = len(cells[place]) // 2
            cells[place] = cells[place][:middle] + spoiled + cells[place][middle:]
        writer.writerow(cells)
    return number, buffer.getvalue().replace(NUL, "\0").replace(CR, "\r").encode()


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list() | dict():
            return json.dumps(value, separators=(",", ":"))
        case _:
            return str(value)


def _range(header: str | None, total: int) -> tuple[int, int] | None:
    """The first byte and the one after the last; None for the whole file, also if there are several ranges."""
    found = re.fullmatch(r"bytes=([0-9]*)-([0-9]*)", (header or "").strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        return max(0, total - int(found[2])), total
    start, end = int(found[1]), min(total, int(found[2]) + 1) if found[2] else total
    return start, end


def _cut(body: bytes) -> Iterator[bytes]:
    """The first half; then the connection ends, as it does whenever less was sent than was said."""
    half = body[: len(body) // 2]
    for start in range(0, len(half), PIECE):
        yield half[start : start + PIECE]


def _told(job: Export) -> dict[str, Any]:
    started = {"startedAt": job.about["queuedAt"]} if job.status == "Processing" else {}
    return {"exportId": job.export_id, "format": job.format, "status": job.status, **job.about, **started}


def _find(state: MarketoState, kind: str, received: Received) -> Export:
    job = state.bulk.exports.get(_segment(received))
    if job is None or job.kind != kind:
        fail(610, "Requested resource not found")
    return job


def _segment(received: Received) -> str:
    return unquote(received.path.split("/")[-2])


def _spelled(word: str) -> str:
    word = word.strip().lower()
    return {"cancelled": "canceled", "complete": "completed"}.get(word, word)
