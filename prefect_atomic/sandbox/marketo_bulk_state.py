"""What the sandbox's Marketo keeps of bulk imports and exports: jobs, of which two run at a time while others wait.

A job gets on when somebody asks for its status, so that no test waits for a clock. Whoever asks for one that still
waits for its turn lets the running ones get on instead: jobs that nobody asks for do not stop the line.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

RUNNING_AT_ONCE = 2
DELIMITERS = {"csv": ",", "tsv": "\t", "ssv": ";"}


@dataclass(kw_only=True, eq=False)
class Job:
    """What waits, runs and ends; `looks` is how often it was asked for while it ran."""

    status: str
    looks: int = 0


AnyJob = TypeVar("AnyJob", bound=Job)


class Line(Generic[AnyJob]):
    """Jobs in the order in which they were queued, the first of which run."""

    def __init__(self, running_word: str) -> None:
        self._running_word = running_word
        self.waiting: list[AnyJob] = []
        self.running: list[AnyJob] = []

    def join(self, job: AnyJob) -> None:
        """A job waits for its turn."""
        job.status = "Queued"
        self.waiting.append(job)

    def leave(self, job: AnyJob) -> None:
        """A job goes, wherever it is in the line."""
        for jobs in (self.waiting, self.running):
            if job in jobs:
                jobs.remove(job)

    def start(self) -> None:
        """Those whose turn it is run."""
        while self.waiting and len(self.running) < RUNNING_AT_ONCE:
            job = self.waiting.pop(0)
            job.status = self._running_word
            self.running.append(job)

    def look(self, job: AnyJob, *, pending: int) -> list[AnyJob]:
        """Somebody asks for a job: gives those that are over now, each of which was running for so many looks."""
        self.start()
        if job in self.running:
            job.looks += 1
        elif job in self.waiting:
            return self.hurry(pending=pending)
        return self._over(pending)

    def hurry(self, *, pending: int) -> list[AnyJob]:
        """Somebody waits for a place: time passes for those that have one."""
        self.start()
        for job in self.running:
            job.looks += 1
        return self._over(pending)

    def _over(self, pending: int) -> list[AnyJob]:
        over = [job for job in self.running if job.looks > pending]
        self.running = [job for job in self.running if job.looks <= pending]
        self.start()
        return over


class Returned:
    """The rows of an import that are given back, each with the reason; written anew, so that quotes may differ."""

    def __init__(self, columns: Sequence[str], reason: str, *, delimiter: str) -> None:
        self.count = 0
        self._width = len(columns)
        self._buffer = io.StringIO(newline="")
        self._writer = csv.writer(self._buffer, delimiter=delimiter, lineterminator="\n")
        self._writer.writerow([*columns, reason])

    def add(self, row: Sequence[str], reason: str) -> None:
        """A row, as far as the header goes."""
        padding = [""] * (self._width - len(row))
        self._writer.writerow([*row[: self._width], *padding, reason])
        self.count += 1

    def content(self) -> bytes:
        """The file."""
        return self._buffer.getvalue().encode()


@dataclass(kw_only=True, eq=False)
class Import(Job):
    """A file that was taken; `write` takes a row of it as the fields it has, or raises `Reason`."""

    batch_id: int
    kind: str
    about: Mapping[str, Any]
    delimiter: str
    columns: Sequence[str]
    write: Callable[[Mapping[str, Any]], object]
    size: int
    body: bytes  # emptied once it was processed
    rows: int
    failed: Returned
    warned: Returned
    complaint: str = ""
    processed: int = 0

    @property
    def over(self) -> bool:
        """Whether it ended."""
        return self.status in ("Complete", "Failed")


@dataclass(kw_only=True, eq=False)
class Export(Job):
    """A job that makes a file of what its filter selects."""

    export_id: str
    kind: str
    format: str
    fields: Sequence[str]
    header: Sequence[str]
    filter: Mapping[str, Any]
    about: dict[str, Any] = field(default_factory=dict)  # what its status says beside the status
    content: bytes | None = None
    enqueued: int = 0
    downloads: int = 0


class BulkState:
    """All jobs. What a row is numbered counts over all imports, for the settings that are about each so manieth."""

    def __init__(self) -> None:
        self.imports: dict[int, Import] = {}
        self.exports: dict[str, Export] = {}
        self.import_line: Line[Import] = Line("Importing")
        self.export_line: Line[Export] = Line("Processing")
        self.rows = 0
        self.exported_bytes = 0

    def shown(self) -> dict[str, list[dict[str, Any]]]:
        """`imports` and `exports`, in the order in which they were made."""
        imports = [
            {"id": job.batch_id, "kind": job.kind, "rows": job.rows, "bytes": job.size, "status": job.status}
            for job in self.imports.values()
        ]
        exports = [
            {
                "id": job.export_id,
                "kind": job.kind,
                "status": job.status,
                "enqueued": job.enqueued,
                "filter": job.filter,
                "downloads": job.downloads,
            }
            for job in self.exports.values()
        ]
        return {"imports": imports, "exports": exports}
