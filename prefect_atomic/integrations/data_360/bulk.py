"""Many records at once: cut into files on disk, uploaded to as many jobs as they need, closed, and followed.

No job is closed before the last row was read, so that a fault in it leaves nothing behind.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from prefect.logging import get_logger

from prefect_atomic.errors import AtomicError, BulkIngestError, RequestError
from prefect_atomic.integrations.data_360.api import check_name, check_wait
from prefect_atomic.integrations.data_360.jobs import BulkJob, Jobs, Operation
from prefect_atomic.integrations.records.csv_tables import Table
from prefect_atomic.transport.retry import sleep

MOST_BYTES = 150 * 1000 * 1000
"""Of a file, as documented: 150 MB."""

MOST_FILES = 100
"""Of a job, as documented."""

_FIRST_LOOK = 2.0
_SLOWEST_LOOK = 60.0

logger = get_logger("atomic.data_360")


class Rejected(NamedTuple):
    """A row that cannot be sent.

    Attributes:
        at: The line that it begins in, from 1; of mappings, the position, from 0.
        reason: Why not.
        content: It as it came; empty for a mapping.
    """

    at: int
    reason: str
    content: bytes


@dataclass(frozen=True, slots=True)
class BulkIngest:
    """What was sent in bulk.

    Attributes:
        jobs: The jobs, as they were seen last; none where there was no row.
        rows: How many rows were sent.
        rejected: How many were not.
        files: How many files they were cut into.
        bytes: How large those were, together.
    """

    jobs: tuple[BulkJob, ...]
    rows: int
    rejected: int
    files: int
    bytes: int

    @property
    def is_complete(self) -> bool:
        """Whether Data 360 has processed all of it."""
        return all(job.state == "JobComplete" for job in self.jobs)


class BulkLoad:
    """Rows on their way through jobs.

    Args:
        jobs: The tenant's jobs.
        source: The connector.
        object: Its object.
        operation: `upsert` or `delete`.
        on_job: Told the id of each job before anything is uploaded to it.
        most_bytes: The most bytes of a file.
        most_files: The most files of a job.
    """

    def __init__(
        self,
        jobs: Jobs,
        source: str,
        object: str,  # noqa: A002 - as Data 360 calls it
        operation: Operation,
        *,
        on_job: Callable[[str], None] | None = None,
        most_bytes: int = MOST_BYTES,
        most_files: int = MOST_FILES,
    ) -> None:
        self._tenant = jobs
        self._target = (source, object, operation)
        self._on_job = on_job
        self._most_bytes = most_bytes
        self._most_files = most_files
        self.jobs: list[BulkJob] = []
        self.rows = self.rejected = self.files = self.bytes = 0

    @property
    def ids(self) -> list[str]:
        """The ids of its jobs."""
        return [job.id for job in self.jobs]

    def upload(self, table: Table, *, on_rejected: Callable[[Rejected], None] | None = None) -> None:
        """Uploads all rows; nothing is processed yet.

        Args:
            table: The rows.
            on_rejected: Told each row that cannot be sent; none = that is an error.

        Raises:
            RequestError: A row cannot be sent; says where it stands.
            AtomicError: Data 360 failed. All jobs were aborted, if it let us.
        """
        try:
            with tempfile.TemporaryFile() as file:
                for rows, size in self._cut(table, file, on_rejected):
                    self._send(file)
                    self.rows += rows
                    self.files += 1
                    self.bytes += size
        except BaseException:
            self.abort()
            raise

    def close(self) -> None:
        """Has all jobs processed."""
        for job_id in self.ids:
            self._tenant.close(job_id)

    def abort(self) -> None:
        """Aborts all jobs, as far as that can be done."""
        for job_id in self.ids:
            try:
                self._tenant.abort(job_id)
            except AtomicError as error:
                logger.warning("Job %s could not be aborted; unclosed, it is dropped after 7 days: %s", job_id, error)

    def result(self, jobs: Iterable[BulkJob]) -> BulkIngest:
        return BulkIngest(tuple(jobs), self.rows, self.rejected, self.files, self.bytes)

    def _cut(
        self, table: Table, file: BinaryIO, on_rejected: Callable[[Rejected], None] | None
    ) -> Iterator[tuple[int, int]]:
        """Fills the file again and again; says how many rows and bytes are in it."""
        rows, size = 0, len(table.header)
        file.write(table.header)
        for row in table.rows():
            fault = row.fault
            if not fault and len(table.header) + len(row.content) > self._most_bytes:
                fault = f"takes {len(row.content):,} bytes, and a file may have {self._most_bytes:,}"
            if fault:
                if on_rejected is None:
                    raise RequestError(f"{table.place.format(row.at)}: {fault}. Nothing was processed.")
                on_rejected(Rejected(row.at, fault, row.content))
                self.rejected += 1
                continue
            if size + len(row.content) > self._most_bytes:
                yield rows, size
                file.seek(0)
                file.truncate()
                file.write(table.header)
                rows, size = 0, len(table.header)
            file.write(row.content)
            rows, size = rows + 1, size + len(row.content)
        if rows:
            yield rows, size

    def _send(self, file: BinaryIO) -> None:
        if self.files % self._most_files == 0:
            job = self._tenant.create(*self._target)
            self.jobs.append(job)
            if self._on_job:
                self._on_job(job.id)
        self._tenant.upload(self.ids[-1], file)


def finish(load: BulkLoad, jobs: Jobs, wait: float) -> BulkIngest:
    """Closes the jobs of a load, and follows them.

    Raises:
        BulkIngestError: They did not complete, or it is not known.
    """
    try:
        load.close()
        seen = follow(jobs, load.ids, wait)
    except AtomicError as error:
        told = f"All was uploaded; what became of the bulk jobs {', '.join(load.ids)} is not known: {error}"
    else:
        result = load.result(seen)
        return complete(result, wait) if wait else result
    raise BulkIngestError(told, result=load.result(load.jobs))


def follow(jobs: Jobs, ids: Iterable[str], wait: float) -> list[BulkJob]:
    """Looks at jobs until all are over, or the time is; returns them as they were seen last.

    Args:
        jobs: The tenant's jobs.
        ids: Their ids.
        wait: The longest to wait, in seconds; an outage meanwhile is no reason to stop.

    Raises:
        RequestError: The arguments are no ids, and no time.
        AtomicError: A job cannot be looked at.
    """
    check_wait(wait)
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise RequestError("job_ids: takes a list, or another iterable, of the ids of jobs.")
    ids = [check_name("job_ids", job_id, "the id of a job") for job_id in ids]
    ends = time.monotonic() + wait
    pause = _FIRST_LOOK
    seen: list[BulkJob] = []
    for job_id in ids:
        while True:
            left = ends - time.monotonic()
            try:
                job = jobs.get(job_id)
            except AtomicError as error:
                if not error.transient or left <= 0:
                    raise
                logger.warning("Job %s could not be looked at, and will be again: %s", job_id, error)
            else:
                if job.is_over or left <= 0:
                    break
            sleep(min(pause, left))
            pause = min(pause * 1.5, _SLOWEST_LOOK)
        seen.append(job)
    return seen


def complete(result: BulkIngest, wait: float) -> BulkIngest:
    """The result, or the error for one that did not complete.

    Raises:
        BulkIngestError: Some jobs failed, were aborted, or are not over yet.
    """
    ended = [job for job in result.jobs if job.is_over and job.state != "JobComplete"]
    if ended:
        told = "; ".join(f"{job.id} is {job.state}{job.reason and f': {job.reason[:500]}'}" for job in ended)
        raise BulkIngestError(f"{len(ended)} of {len(result.jobs)} bulk jobs did not complete: {told}", result=result)
    if not result.is_complete:
        open_jobs = ", ".join(job.id for job in result.jobs if not job.is_over)
        raise BulkIngestError(
            f"Data 360 is still at the bulk jobs {open_jobs} after {wait:g} seconds; bulk_job(ID) says when they are "
            "over.",
            result=result,
        )
    return result
