"""The jobs of Bulk API 2.0, and how far each has come."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from prefect_atomic.sandbox.salesforce_filters import Row2
from prefect_atomic.sandbox.salesforce_schema import SObject
from prefect_atomic.sandbox.salesforce_soql import Query
from prefect_atomic.sandbox.salesforce_values import timestamp

BATCH = 10_000
USER = "005000000000001AAA"
ENDED = frozenset({"JobComplete", "Failed", "Aborted"})


@dataclass
class Job:
    """What every job has. It gets on when somebody asks for it, so that tests need not wait."""

    id: str
    operation: str
    sobject: SObject
    version: str
    delimiter: str
    line_ending: str
    state: str
    polls: int = 0
    made: str = field(default_factory=timestamp)
    changed: str = field(default_factory=timestamp)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ENDED

    def become(self, state: str) -> None:
        """Changes the state."""
        self.state = state
        self.changed = timestamp()

    def poll(self, polls: int) -> float:
        """Counts a question for the state: how much of the work is done by now, from 0 to 1."""
        self.polls += 1
        self.become("InProgress" if self.polls <= polls else "JobComplete")
        return min(1.0, self.polls / (polls + 1))

    def info(self) -> dict[str, Any]:
        """What answers about any job say."""
        return {
            "id": self.id,
            "operation": self.operation,
            "object": self.sobject.name,
            "createdById": USER,
            "createdDate": self.made,
            "systemModstamp": self.changed,
            "state": self.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(self.version[1:]),
            "lineEnding": self.line_ending,
            "columnDelimiter": self.delimiter,
        }


@dataclass
class QueryJob(Job):
    """A job that reads; its rows are those of when it was made."""

    query: Query | None = None
    rows: list[Row2] = field(default_factory=list)

    def info(self) -> dict[str, Any]:
        """What answers about this job say."""
        counted = {"numberRecordsProcessed": len(self.rows) if self.state == "JobComplete" else 0}
        return super().info() | {"jobType": "V2Query", "retries": 0, "totalProcessingTime": 0} | counted

    def summary(self) -> dict[str, object]:
        """What a test sees."""
        return {"id": self.id, "operation": self.operation, "state": self.state, "rows": len(self.rows)}


@dataclass
class IngestJob(Job):
    """A job that writes, in batches that Salesforce processes in no particular order."""

    external_id: str | None = None
    body: bytes | None = None
    columns: list[str] = field(default_factory=list)
    waiting: list[list[list[str]]] = field(default_factory=list)
    batches: int = 0
    succeeded: list[tuple[str, bool, list[str]]] = field(default_factory=list)
    failed: list[tuple[str, str, list[str]]] = field(default_factory=list)
    complaint: str | None = None

    def queue(self, columns: list[str], rows: list[list[str]]) -> None:
        """Puts rows into batches, in an order of its own: callers must not rely on any."""
        self.columns, self.body = columns, b""
        order = random.Random(self.id)  # noqa: S311 - an order that a rerun can be compared with
        self.waiting = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
        for batch in self.waiting:
            order.shuffle(batch)
        order.shuffle(self.waiting)
        self.batches = len(self.waiting)

    def work(self, done: float, process: Callable[[list[list[str]]], None]) -> None:
        """Processes batches until this part of all is done."""
        left = self.batches - int(self.batches * done)
        while len(self.waiting) > left:
            process(self.waiting.pop())

    def fail(self, complaint: str) -> None:
        """Ends the job; what was not processed stays so."""
        self.complaint = complaint
        self.become("Failed")

    def info(self) -> dict[str, Any]:
        """What answers about this job say."""
        content = super().info() | {"jobType": "V2Ingest"}
        if self.external_id:
            content["externalIdFieldName"] = self.external_id
        if self.state == "Open":
            content["contentUrl"] = f"services/data/{self.version}/jobs/ingest/{self.id}/batches"
        if self.complaint:
            content["errorMessage"] = self.complaint
        return content

    def counted(self) -> dict[str, Any]:
        """What an answer about its progress says: processed are those that failed, too."""
        return self.info() | {
            "numberRecordsProcessed": len(self.succeeded) + len(self.failed),
            "numberRecordsFailed": len(self.failed),
            "retries": 0,
            "totalProcessingTime": 0,
            "apiActiveProcessingTime": 0,
            "apexProcessingTime": 0,
        }

    def summary(self) -> dict[str, object]:
        """What a test sees."""
        return {
            "id": self.id,
            "operation": self.operation,
            "object": self.sobject.name,
            "state": self.state,
            "succeeded": len(self.succeeded),
            "failed": len(self.failed),
            "waiting": sum(map(len, self.waiting)),
        }
