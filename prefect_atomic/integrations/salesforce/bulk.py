"""Bulk API 2.0 ingest jobs: any number of records, in little memory, with an outcome for each.

A job processes nothing before it is closed: until then it can be aborted and made again, whatever happened on the way.
Source: Bulk API 2.0 and Bulk API Developer Guide, Ingest Jobs.
"""

from __future__ import annotations

import io
import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from itertools import islice
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Literal, NamedTuple, cast

from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger

from prefect_atomic.errors import AtomicError, ResponseError, TransportError
from prefect_atomic.integrations.records.batches import Check
from prefect_atomic.integrations.records.outcomes import Outcome, Outcomes
from prefect_atomic.integrations.salesforce.org import Org, as_json
from prefect_atomic.integrations.salesforce.rows import Places, Rows, UnsendableError, cells_of, read_csv
from prefect_atomic.transport.retry import sleep

_AT_ONCE = 4
"""Jobs that Salesforce works on while the next is written."""

_TRIES = 3
_LOOK_AHEAD = 200
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 10.0
_GOES_ON = "it goes on at Salesforce, and its results can be read there for 7 days"
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
        self._outcomes = outcomes
        self._wait = wait
        self._names: dict[str, str] = {}
        self.read = 0
        """How many records were read."""
        self.broken: Exception | None = None
        """What the records' own iterator raised; what was read before was written."""

    def write(self, records: Iterable[Mapping[str, Any]], check: Check) -> None:
        """Reads the records as they are needed, and follows every job to its end, one that fails beside others too.

        Raises:
            AtomicError: A job could not be made, or its results not be had. The outcomes of the others are there.
        """
        under_way: deque[_Job] = deque()
        fault: AtomicError | None = None
        try:
            with closing(self._cut(records, check)) as cut:
                for rows in cut:
                    try:
                        under_way.append(self._submitted(rows))
                    except AtomicError as error:
                        fault = error
                        rows.close()
                        break
                    except BaseException:
                        rows.close()
                        raise
                    if len(under_way) >= _AT_ONCE and (fault := self._finished(under_way.popleft())):
                        break
            while under_way:  # what was closed is processed, whatever else failed
                failed = self._finished(under_way.popleft())
                fault = fault or failed
        except BaseException:
            if under_way:
                ids = ", ".join(job.id for job in under_way)
                _logger().warning("Salesforce goes on with these jobs, and nobody waits for their results: %s.", ids)
            for job in under_way:
                job.rows.close()
            raise
        if fault:
            raise fault

    def _cut(self, records: Iterable[Mapping[str, Any]], check: Check) -> Generator[Rows]:
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

    def _cells(self, records: Iterable[Mapping[str, Any]], check: Check) -> Iterator[tuple[int, dict[str, str]]]:
        only_key = self._description["operation"] == "delete"
        for position, record in enumerate(self._each(records)):
            self.read = position + 1
            try:
                if not isinstance(record, Mapping):
                    raise UnsendableError("INVALID_RECORD", f"is a {type(record).__name__}, not a mapping")
                if fault := check(record):
                    raise UnsendableError("INVALID_RECORD", fault)
                cells = cells_of(record)
            except UnsendableError as fault:
                self._outcomes.add([Outcome(position, "not sent", code=fault.code, message=fault.message)])
                continue
            # Salesforce does not tell letters from capitals: two columns for one field would fail the whole job.
            cells = {self._names.setdefault(name.lower(), name): cell for name, cell in cells.items()}
            if only_key:
                cells = {"Id": cells[self._names["id"]]}
            yield position, cells

    def _each(self, records: Iterable[Any]) -> Iterator[Any]:
        reading = iter(records)
        while True:
            try:
                record = next(reading)
            except StopIteration:
                return
            except Exception as error:  # noqa: BLE001 - told when what was read is written
                self.broken = error
                return
            yield record

    def _submitted(self, rows: Rows) -> _Job:
        """A job that is closed, and so on its way."""
        for left in reversed(range(_TRIES)):
            job_id = ""
            try:
                job_id = self._org.made("jobs/ingest", self._description)
                path = f"jobs/ingest/{job_id}/batches"
                # A job takes one upload: where one was cut, another job takes the next.
                body = rows.ready()
                self._org.ask("PUT", path, body=body, content_type="text/csv", repeatable=False, is_exempt=True)
                self._close(job_id)
                return _Job(job_id, rows)
            except _UnsureError as error:
                told = str(error)
                self._outcomes.add(Outcome(position, "unknown", message=told) for position in rows.positions)
                raise
            except AtomicError as error:
                fault = error
            except BaseException:
                self._abort(job_id)
                raise
            if not self._is_dropped(job_id):
                told = f"job {job_id} can neither be closed nor dropped: {fault}"
                self._outcomes.add(Outcome(position, "unknown", message=told) for position in rows.positions)
                raise fault
            if not left or not _may_pass(fault):
                raise fault
            _logger().warning("The upload of a job failed, and is done again: %s", fault)
        raise AssertionError("the last try returns or raises")

    def _close(self, job_id: str) -> None:
        """Closes a job. Where that is not answered, the job itself says whether it is closed."""
        path = f"jobs/ingest/{job_id}"
        closed = as_json({"state": "UploadComplete"})
        try:
            self._org.ask("PATCH", path, body=closed, repeatable=True, is_exempt=True)
        except (TransportError, ResponseError) as error:
            try:
                state = self._org.read("GET", path, is_exempt=True).get("state")
            except AtomicError:
                raise _UnsureError(f"{error} Nor does job {job_id} say whether it is closed.") from error
            if state == "Open":
                raise

    def _abort(self, job_id: str) -> bool:
        """Whether a job that was not closed is dropped. One that is not is gone after 7 days."""
        aborted = as_json({"state": "Aborted"})
        with suppress(AtomicError):
            self._org.ask("PATCH", f"jobs/ingest/{job_id}", body=aborted, repeatable=True, is_exempt=True)
            return True
        return False

    def _is_dropped(self, job_id: str) -> bool:
        """Whether it is sure that nothing of a job is processed: closing it may have been on its way."""
        if not job_id or self._abort(job_id):
            return True
        with suppress(AtomicError):
            return bool(self._org.read("GET", f"jobs/ingest/{job_id}", is_exempt=True).get("state") == "Open")
        return False

    def _finished(self, job: _Job) -> AtomicError | None:
        """Follows a job to its end, and notes what became of its rows; returns what failed, if something did."""
        try:
            ended = follow(self._org, f"jobs/ingest/{job.id}", self._wait)
            places = job.rows.places()
            self._note(job, "successfulResults", places, _succeeded)
            self._note(job, "failedResults", places, self._failed)
            told = self._org.scrubbed(str(ended.get("errorMessage") or f"the job ended as {ended.get('state')}"))
            if ended.get("state") != "JobComplete":
                self._note(job, "unprocessedrecords", places, lambda position, _: _unprocessed(position, told))
            self._unknown(places.rest(), f"the results of job {job.id} do not have it")
        except AtomicError as error:
            self._unknown(self._unnoted(job), f"job {job.id} was sent; then: {error}")
            return error
        finally:
            job.rows.close()
        _logger().info(
            "Job %s ended with %d rows; so far %d records succeeded, %d failed.",
            *(job.id, len(job.rows.positions), self._outcomes.succeeded, self._outcomes.failed),
        )
        return None

    def _unnoted(self, job: _Job) -> list[int]:
        missing = set(self._outcomes.missing(self.read))
        return [position for position in job.rows.positions if position in missing]

    def _unknown(self, positions: Iterable[int], told: str) -> None:
        self._outcomes.add(Outcome(position, "unknown", message=told) for position in positions)

    def _note(self, job: _Job, what: str, places: Places, outcome: Callable[[int, Mapping[str, str]], Outcome]) -> None:
        file = cast("BinaryIO", TemporaryFile())  # noqa: SIM115 - closed with the text that is read of it
        with io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
            path = f"jobs/ingest/{job.id}/{what}"
            self._org.ask("GET", path, headers={"Accept": "text/csv"}, sink=file, is_exempt=True)
            file.seek(0)
            rows = read_csv(text)
            header = next(rows, [])
            named = (dict(zip(header, row, strict=False)) for row in rows)
            self._outcomes.add(outcome(position, row) for row in named if (position := places.take(row)) is not None)

    def _failed(self, position: int, row: Mapping[str, str]) -> Outcome:
        """`REQUIRED_FIELD_MISSING:Required fields are missing: [LastName]:LastName --`: code, message, fields."""
        text = self._org.scrubbed((row.get("sf__Error") or "").strip())
        code, _, rest = text.partition(":")
        fields: tuple[str, ...] = ()
        if rest.endswith("--"):
            rest, _, listed = rest.removesuffix("--").rstrip().rpartition(":")
            fields = tuple(listed.replace(",", " ").split())
        return Outcome(
            position,
            "failed",
            id=row.get("sf__Id") or None,
            code=code or "UNKNOWN_EXCEPTION",
            message=rest.strip() or text or "Salesforce gave no reason",
            fields=fields,
        )


class _UnsureError(TransportError):
    """It is not known whether a job was closed; if it was, its records are processed."""


def follow(org: Org, path: str, wait: float, *, then: str = _GOES_ON) -> Mapping[str, Any]:
    """Waits for a job's end, and returns what Salesforce says of it then.

    Args:
        org: Where it is.
        path: The job.
        wait: The longest to wait, in seconds.
        then: What becomes of one that does not end by then, as the error says it.

    Raises:
        TransportError: It did not end within `wait` seconds.
    """
    pause, waited = _FIRST_WAIT, 0.0
    while True:
        job: Mapping[str, Any] = org.read("GET", path, is_exempt=True)
        if job.get("state") in _DONE:
            return job
        if waited >= wait:
            raise TransportError(
                f"{path} is {job.get('state')} after {waited:.0f} s, which is all that bulk_wait allows; {then}.",
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


def _unprocessed(position: int, told: str) -> Outcome:
    return Outcome(position, "failed", code="UNPROCESSED", message=told)


def _logger() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("atomic.salesforce")
