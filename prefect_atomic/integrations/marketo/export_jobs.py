"""The course of an export: a job for each span of it, followed to its end, its rows added to what there is already.

Jobs are noted before they are started, so that a call that was killed goes on with those that it has, and starts none
twice: an instance exports 500 MB a day. A job that was made and not noted is never started, and costs nothing.
Source: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/bulk-extract/bulk-extract
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Literal, TypeVar, cast

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging import get_logger

from prefect_atomic.errors import (
    AtomicError,
    MarketoBusyError,
    MarketoError,
    MarketoInputError,
    ResponseError,
    TransportError,
)
from prefect_atomic.integrations.marketo.answers import QUEUED
from prefect_atomic.integrations.marketo.api import PATIENT, Api
from prefect_atomic.integrations.marketo.export_files import fetch
from prefect_atomic.integrations.marketo.export_rows import UnreadableError, cells_of, rows
from prefect_atomic.integrations.marketo.export_spans import Span
from prefect_atomic.integrations.marketo.export_targets import Place
from prefect_atomic.integrations.marketo.job_notes import Notes
from prefect_atomic.integrations.marketo.patience import LOOK, Patience
from prefect_atomic.tasks.progress import ProgressArtifact
from prefect_atomic.transport import Retry

T = TypeVar("T")
logger = get_logger("atomic.marketo")

_AT_ONCE = 2
"""Jobs of a call that wait or run: Marketo runs two, and queues ten of all who export."""

_FIRST_LOOK = 15.0
_LONGEST_PAUSE = 60.0
"""Seconds: what Marketo says of a job is up to a minute old."""

_QUEUED_ALREADY = "1029"
_NOT_FOUND = 404
_COMPLETED = frozenset({"completed", "complete"})
_WAITING = frozenset({"queued", "processing"})
_OVER = frozenset({"failed", "canceled", "cancelled"})


@dataclass(frozen=True, slots=True)
class ExportJob:
    """A job that was exported by.

    Attributes:
        id: Its id.
        start_at: The first second of its span, such as `2026-08-01T00:00:00Z`; None for a list.
        end_at: The last one.
        rows: How many rows it gave.
        bytes: The size of its file.
        checksum: The SHA-256 of that, as Marketo says it.
    """

    id: str
    start_at: str | None
    end_at: str | None
    rows: int
    bytes: int
    checksum: str


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was exported.

    Attributes:
        target: The path or the key; None for an open file.
        rows: How many rows, without the header.
        bytes: How large all of it is.
        jobs: The jobs, in the order of their rows.
    """

    target: str | None
    rows: int
    bytes: int
    jobs: tuple[ExportJob, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is exported.

    Attributes:
        kind: Of what.
        fields: The fields; None = all that Marketo gives by itself.
        header_names: What columns are called.
        chosen: The filter, without the time.
        time: The field that the time is about; empty where it is about none.
        parts: The spans, or None alone.
    """

    kind: Literal["leads", "activities"]
    fields: tuple[str, ...] | None
    header_names: Mapping[str, str]
    chosen: Mapping[str, Any]
    time: str
    parts: Sequence[Span | None]

    def body(self, span: Span | None) -> dict[str, Any]:
        """What a job is made with."""
        times = {} if span is None else {self.time: {"startAt": span.start_at, "endAt": span.end_at}}
        body = {"format": "CSV", "filter": {**self.chosen, **times}}
        if self.fields is not None:
            body["fields"] = list(self.fields)
        if self.header_names:
            body["columnHeaderNames"] = dict(self.header_names)
        return body


class Exporting:
    """An export on its way. Its notes have, by the number of the span, the id of the job and what it gave."""

    def __init__(self, api: Api, asked: Asked, goes_to: Place, notes: Notes, wait: float) -> None:
        self._api = api
        self._asked = asked
        self._place = goes_to
        self._notes = notes
        self._noted = notes.noted
        self._jobs: dict[str, dict[str, Any]] = self._noted.setdefault("jobs", {})
        self._wait = wait
        self._from_before: set[int] = {int(number) for number in self._jobs}

    def run(self) -> ExportResult:
        """Goes on from where the notes say, to the end."""
        try:
            return self._run()
        except BaseException:
            if not self._notes.are_kept:
                self._place.discard()
            raise

    def _run(self) -> ExportResult:
        if not self._was_finished():
            waiting = deque(range(self._resumed(), len(self._asked.parts)))
            under_way: deque[int] = deque()
            progress = self._progress()
            while waiting or under_way:
                while waiting and len(under_way) < _AT_ONCE:
                    self._begin(waiting[0])
                    under_way.append(waiting.popleft())
                self._settle(under_way.popleft())
                if progress:
                    progress.tell(self._noted["written"] / len(self._asked.parts))
            self._noted["complete"] = True
            self._notes.save()
            self._place.finish(self._noted["bytes"])
            self._noted["finished"] = True
            self._notes.save()
        return self._result()

    def _progress(self) -> ProgressArtifact | None:
        """Shows how many spans are there, if a run is there to show it."""
        if not (TaskRunContext.get() or FlowRunContext.get()):
            return None
        parts = len(self._asked.parts)
        return ProgressArtifact("marketo-bulk-export", f"{self._asked.kind} of Marketo, by {parts} jobs")

    def _was_finished(self) -> bool:
        """Whether a call before came to the end, and what it made is there."""
        size = self._noted.get("bytes", 0)
        if self._noted.get("finished") and not self._asked.time:  # who is on a list changes
            self._jobs.clear()
            return False
        if self._noted.get("finished"):
            return self._place.is_finished(size)
        if not self._noted.get("complete"):
            return False
        if self._place.resume(self._noted.get("kept", {})):
            self._place.finish(self._noted["bytes"])
        return self._place.is_finished(size)

    def _resumed(self) -> int:
        """How many spans are in the target already."""
        written = int(self._noted.get("written", 0))
        if self._place.resume(self._noted.get("kept", {})) and written:
            return written
        self._noted.update(written=0, bytes=0, kept={}, header=None, complete=False, finished=False)
        return 0

    def _begin(self, number: int) -> None:
        """Has a job for a span, in the queue: that of a call before, if it is any good."""
        job_id = self._jobs.get(str(number), {}).get("id")
        status = self._status_of(job_id) if job_id else None
        if status == "created":
            self._enqueue(str(job_id))
        elif status not in _WAITING | _COMPLETED:
            self._make(number)

    def _make(self, number: int) -> None:
        body = self._asked.body(self._asked.parts[number])
        answer = self._patiently(lambda: self._call("POST", "create", json=body))
        job_id = answer.get("exportId")
        if not isinstance(job_id, str) or not job_id:
            raise AtomicError("Marketo made an export that has no id.")
        self._jobs[str(number)] = {"id": job_id}
        self._from_before.discard(number)
        self._notes.save()
        self._enqueue(job_id)
        logger.info("Export %s is for part %d of %d.", job_id, number + 1, len(self._asked.parts))

    def _enqueue(self, job_id: str) -> None:
        try:
            self._patiently(lambda: self._call("POST", job_id, "enqueue"))
        except MarketoInputError as error:
            if error.code != _QUEUED_ALREADY:
                raise

    def _settle(self, number: int) -> None:
        """Follows a job to its end, and adds its rows to the target."""
        about = self._followed(self._jobs[str(number)]["id"])
        with ExitStack() as files:
            file, clean = (cast("BinaryIO", files.enter_context(TemporaryFile())) for _ in range(2))
            if about.get("fileSize") != 0 or about.get("numberOfRecords") != 0:
                try:
                    fetch(self._api, (self._asked.kind, "export", str(about["exportId"]), "file"), about, file)
                except ResponseError as error:
                    if error.response.status_code != _NOT_FOUND or number not in self._from_before:
                        raise
                    self._make(number)  # its file was dropped, as after 7 days
                    self._settle(number)
                    return
            count = self._cleaned(file, clean, about)
            size = clean.tell()
            clean.seek(0)
            self._noted["kept"] = dict(self._place.add(clean))
            self._noted["bytes"] += size
        checksum = str(about.get("fileChecksum") or "")
        self._jobs[str(number)] |= {"rows": count, "bytes": about.get("fileSize") or 0, "checksum": checksum}
        self._noted["written"] = number + 1
        self._notes.save()

    def _cleaned(self, file: BinaryIO, clean: BinaryIO, about: Mapping[str, Any]) -> int:
        """Writes the rows that are to be added, with the header if it is the first; says how many there are."""
        count = 0
        try:
            for number, row in enumerate(rows(file)):
                if number == 0:
                    self._head(row, clean, about)
                else:
                    clean.write(row)
                    count += 1
        except UnreadableError as error:
            raise MarketoError(f"the file of export {about['exportId']}: {error}.", code="file") from None
        expected = about.get("numberOfRecords")
        if isinstance(expected, int) and expected != count:
            raise MarketoError(
                f"the file of export {about['exportId']} has {count:,} rows, where Marketo says {expected:,}.",
                code="file",
            )
        return count

    def _head(self, row: bytes, clean: BinaryIO, about: Mapping[str, Any]) -> None:
        header, before = cells_of(row), self._noted.get("header")
        if before is None:
            self._noted["header"] = header
            clean.write(row)
        elif before != header:
            raise MarketoError(
                f"the file of export {about['exportId']} has other columns than those before it.", code="file"
            )

    def _followed(self, job_id: str) -> Mapping[str, Any]:
        """What Marketo says of a job that is complete."""
        patience = Patience(self._wait, first=_FIRST_LOOK, longest=_LONGEST_PAUSE)
        status = "not known"
        while True:
            try:
                about = self._call("GET", job_id, "status", retry=LOOK)
                status = str(about.get("status"))
                if status.lower() in _COMPLETED:
                    return {**about, "exportId": job_id}
                if status.lower() in _OVER:
                    reason = about.get("errorMsg") or "Marketo gives no reason"
                    raise MarketoError(f"export {job_id} is {status}: {reason}", code=status)
            except AtomicError as error:
                if not error.transient:
                    raise
                logger.warning("Export %s could not be looked at, and will be again: %s", job_id, error)
            if not patience.wait():
                raise TransportError(
                    f"export {job_id} is {status} after {self._wait:g} seconds; Marketo goes on with it, and has its "
                    "file for 7 days.",
                    reason="did not end in time",
                    transient=True,
                )

    def _status_of(self, job_id: str) -> str | None:
        """How a job of a call before is; None where Marketo has forgotten it, as after 7 days."""
        try:
            return str(self._call("GET", job_id, "status").get("status")).lower()
        except MarketoInputError:
            return None

    def _patiently(self, call: Callable[[], T]) -> T:
        """Does it as soon as Marketo takes it: it queues ten jobs of all who export."""
        patience = Patience(self._wait, first=_LONGEST_PAUSE, longest=_LONGEST_PAUSE)
        while True:
            try:
                return call()
            except MarketoBusyError:
                if not patience.wait():
                    raise

    def _call(self, method: str, *path: str, json: Any = None, retry: Retry = PATIENT) -> dict[str, Any]:
        # A job that is made twice is started once, and one that is started twice says so.
        answer = self._api.call(
            method, self._asked.kind, "export", *path, base="bulk", json=json, repeatable=True, but=QUEUED, retry=retry
        )
        if not answer.result:
            raise ResponseError(f"{answer.response.url} says nothing of an export.", response=answer.response)
        return answer.result[0]

    def _result(self) -> ExportResult:
        jobs = []
        for number, span in enumerate(self._asked.parts):
            noted = self._jobs[str(number)]
            start_at, end_at = span or (None, None)
            jobs.append(ExportJob(noted["id"], start_at, end_at, noted["rows"], noted["bytes"], noted["checksum"]))
        return ExportResult(
            target=self._place.name or None,
            rows=sum(job.rows for job in jobs),
            bytes=self._noted["bytes"],
            jobs=tuple(jobs),
        )
