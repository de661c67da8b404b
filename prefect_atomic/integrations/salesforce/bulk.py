"""Bulk API 2.0 ingest jobs: any number of records, in little memory, with an outcome for each.

A job processes nothing before it is closed: until then it can be aborted and made again, whatever happened on the way.
Source: Bulk API 2.0 and Bulk API Developer Guide, Ingest Jobs.
"""

from __future__ import annotations

import csv
import io
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Literal, NamedTuple, cast

from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger

from prefect_atomic.errors import AtomicError, ResponseError, TransportError
from prefect_atomic.integrations.records.outcomes import Outcome, Outcomes
from prefect_atomic.integrations.salesforce.org import Org, as_json
from prefect_atomic.integrations.salesforce.rows import Places, Rows, UnsendableError, cells_of
from prefect_atomic.transport.retry import sleep

_AT_ONCE = 4
"""Jobs that Salesforce works on while the next is written."""

_TRIES = 3
_LOOK_AHEAD = 1000
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 10.0
_DONE = frozenset({"JobComplete", "Failed", "Aborted"})


class _Job(NamedTuple):
    id: str
    rows: Rows


class Ingest:
    """Writes records by jobs.

    Args:
        org: Where.
        operation: What is done with them.
        sobject: The API name of the object.
        key: The external id of an upsert.
        outcomes: Where what became of each is noted.
        wait: The longest to wait for a job, in seconds.
    """

    def __init__(
        self,
        org: Org,
        operation: Literal["insert", "update", "upsert", "delete"],
        sobject: str,
        key: str,
        outcomes: Outcomes,
        *,
        wait: float,
    ) -> None:
        self._org = org
        self._description = {
            "operation": operation,
            "object": sobject,
            "contentType": "CSV",
            "lineEnding": "CRLF",
            **({"externalIdFieldName": key} if operation == "upsert" else {}),
        }
        self._key = key
        self._outcomes = outcomes
        self._wait = wait

    def write(
        self, records: Iterable[Mapping[str, Any]], check: Callable[[Mapping[str, Any]], str | None] | None
    ) -> None:
        """Reads the records as they are needed, and follows every job to its end."""
        under_way: deque[_Job] = deque()
        try:
            for rows in self._cut(records, check):
                try:
                    under_way.append(self._submitted(rows))
                except BaseException:
                    rows.close()
                    raise
                if len(under_way) >= _AT_ONCE:
                    self._finish(under_way.popleft())
            while under_way:
                self._finish(under_way.popleft())
        finally:
            for job in under_way:  # they were closed, so they are processed; nobody waits for what comes of it
                self._outcomes.add(
                    Outcome(position, "unknown", code=None, message=f"job {job.id} was not followed to its end")
                    for position in job.rows.positions
                )
                job.rows.close()

    def _cut(
        self, records: Iterable[Mapping[str, Any]], check: Callable[[Mapping[str, Any]], str | None] | None
    ) -> Iterator[Rows]:
        cells = self._cells(records, check)
        columns: dict[str, None] = {}
        rows: Rows | None = None
        try:
            while ahead := list(islice(cells, _LOOK_AHEAD)):
                for position, row in ahead:
                    if rows is not None and not rows.takes(row):
                        full, rows = rows, None
                        yield full
                    if rows is None:
                        # The fields of those that come next too: each new field would begin another job.
                        columns |= dict.fromkeys(name for _, other in ahead for name in other)
                        rows = Rows(tuple(columns))
                    rows.add(position, row)
            if rows is not None:
                full, rows = rows, None
                yield full
        finally:
            if rows is not None:
                rows.close()

    def _cells(
        self, records: Iterable[Mapping[str, Any]], check: Callable[[Mapping[str, Any]], str | None] | None
    ) -> Iterator[tuple[int, dict[str, str]]]:
        only_key = self._description["operation"] == "delete"
        for position, record in enumerate(records):
            try:
                if not isinstance(record, Mapping):
                    raise UnsendableError("INVALID_RECORD", f"is a {type(record).__name__}, not a mapping")
                if check and (fault := check(record)):
                    raise UnsendableError("INVALID_RECORD", fault)
                cells = cells_of(record)
            except UnsendableError as fault:
                self._outcomes.add([Outcome(position, "not sent", code=fault.code, message=fault.message)])
                continue
            if only_key:
                cells = {"Id": next(value for name, value in cells.items() if name.lower() == "id")}
            yield position, cells

    def _submitted(self, rows: Rows) -> _Job:
        """A job that is closed, and so on its way."""
        for left in reversed(range(_TRIES)):
            job_id = ""
            try:
                job_id = str(self._org.read("POST", "jobs/ingest", body=as_json(self._description))["id"])
                path = f"jobs/ingest/{job_id}/batches"
                # A job takes one upload: where one was cut, another job takes the next.
                self._org.ask("PUT", path, body=rows.ready(), content_type="text/csv", repeatable=False)
                if self._is_closed(job_id):
                    return _Job(job_id, rows)
                fault: AtomicError = TransportError(f"Job {job_id} could not be closed.", transient=True)
            except _UnsureError as error:
                told = str(error)
                self._outcomes.add(Outcome(position, "unknown", message=told) for position in rows.positions)
                raise
            except AtomicError as error:
                fault = error
            except BaseException:
                self._abort(job_id)
                raise
            self._abort(job_id)
            if not left or not _may_pass(fault):
                raise fault
            _logger().warning("The upload of a job failed, and is done again: %s", fault)
        raise AssertionError("the last try returns or raises")

    def _is_closed(self, job_id: str) -> bool:
        """Closes a job. Where that is not answered, the job itself says whether it is closed."""
        path = f"jobs/ingest/{job_id}"
        try:
            self._org.ask("PATCH", path, body=as_json({"state": "UploadComplete"}), repeatable=True)
        except (TransportError, ResponseError) as error:
            try:
                return bool(self._org.read("GET", path).get("state") != "Open")
            except AtomicError:
                raise _UnsureError(f"{error} Nor does job {job_id} say whether it is closed.") from error
        return True

    def _abort(self, job_id: str) -> None:
        """Drops a job that was not closed. One that stays open is processed by nobody, and gone after 7 days."""
        if job_id:
            with suppress(AtomicError):
                self._org.ask("PATCH", f"jobs/ingest/{job_id}", body=as_json({"state": "Aborted"}), repeatable=True)

    def _finish(self, job: _Job) -> None:
        try:
            ended = follow(self._org, f"jobs/ingest/{job.id}", self._wait)
            places = job.rows.places()
            self._note(job, "successfulResults", places, _succeeded)
            self._note(job, "failedResults", places, _failed)
            told = str(ended.get("errorMessage") or f"the job ended as {ended.get('state')}")
            if ended.get("state") != "JobComplete":
                self._note(job, "unprocessedrecords", places, lambda position, _: _unprocessed(position, told))
            self._outcomes.add(
                Outcome(position, "unknown", message=f"the results of job {job.id} do not have it")
                for position in places.rest()
            )
            _logger().info(
                "Job %s ended with %d rows; so far %d records succeeded, %d failed.",
                *(job.id, len(job.rows.positions), self._outcomes.succeeded, self._outcomes.failed),
            )
        except BaseException as error:
            known = type(error).__name__ if not isinstance(error, AtomicError) else str(error)
            missing = (position for position in job.rows.positions if not self._has(position))
            self._outcomes.add(
                [Outcome(position, "unknown", message=f"job {job.id} was sent; then: {known}") for position in missing]
            )
            raise
        finally:
            job.rows.close()

    def _has(self, position: int) -> bool:
        try:
            self._outcomes[position]
        except IndexError:
            return False
        return True

    def _note(self, job: _Job, what: str, places: Places, outcome: Callable[[int, Mapping[str, str]], Outcome]) -> None:
        file = cast("BinaryIO", TemporaryFile())  # noqa: SIM115 - closed with the text that is read of it
        with io.TextIOWrapper(file, "utf-8", newline="") as text:
            self._org.ask("GET", f"jobs/ingest/{job.id}/{what}", headers={"Accept": "text/csv"}, sink=file)
            file.seek(0)
            rows = csv.DictReader(text)
            self._outcomes.add(outcome(position, row) for row in rows if (position := places.take(row)) is not None)


class _UnsureError(TransportError):
    """It is not known whether a job was closed; if it was, its records are processed."""


def follow(org: Org, path: str, wait: float) -> Mapping[str, Any]:
    """Waits for a job's end, and returns what Salesforce says of it then.

    Raises:
        TransportError: It did not end within `wait` seconds.
    """
    pause, waited = _FIRST_WAIT, 0.0
    while True:
        job: Mapping[str, Any] = org.read("GET", path)
        if job.get("state") in _DONE:
            return job
        if waited >= wait:
            raise TransportError(
                f"{path} is {job.get('state')} after {waited:.0f} s, which is all that bulk_wait allows; it goes on at "
                "Salesforce, and its results can be read there for 7 days.",
                reason="did not end in time",
            )
        sleep(pause)
        waited += pause  # what was asked to wait counts, not the clock: that is the same when nobody really waits
        pause = min(pause * 1.5, _LONGEST_WAIT)


def _may_pass(error: AtomicError) -> bool:
    return (
        isinstance(error, TransportError)
        or error.transient
        or (isinstance(error, ResponseError) and error.response.status_code >= 500)
    )


def _succeeded(position: int, row: Mapping[str, str]) -> Outcome:
    return Outcome(position, "succeeded", id=row.get("sf__Id") or None, created=row.get("sf__Created") == "true")


def _failed(position: int, row: Mapping[str, str]) -> Outcome:
    """`REQUIRED_FIELD_MISSING:Required fields are missing: [LastName]:LastName --` has code, message and fields."""
    text = (row.get("sf__Error") or "").strip()
    code, _, rest = text.partition(":")
    fields: tuple[str, ...] = ()
    if rest.endswith("--"):
        rest, _, named = rest.removesuffix("--").rstrip().rpartition(":")
        fields = tuple(name for name in named.replace(",", " ").split() if name)
    return Outcome(
        position,
        "failed",
        id=row.get("sf__Id") or None,
        code=code or "UNKNOWN_EXCEPTION",
        message=rest.strip() or text or "Salesforce gave no reason",
        fields=fields,
    )


def _unprocessed(position: int, told: str) -> Outcome:
    return Outcome(position, "failed", code="UNPROCESSED", message=told)


def _logger() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("atomic.salesforce")
