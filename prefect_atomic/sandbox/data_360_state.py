"""What the sandbox's Data 360 has: records, jobs, queries, and how it was asked; and what a test sets of it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prefect_atomic.sandbox import settable
from prefect_atomic.sandbox.data_360_schema import OBJECTS, Schema
from prefect_atomic.sandbox.data_360_table import Table

SHOWN = 5000  # records of an object; of more, only their number


@dataclass(frozen=True)
class Data360Settings:
    """How the tenant behaves. Of what happens every so often or after so many, 0 is never."""

    max_records: int = 200
    max_csv_bytes: int = 150_000_000
    throttle_every: int = 0
    session_calls: int = 0
    job_polls: int = 1
    fail_next_job: str = ""
    one_job_per_object: bool = False
    v2_batch: int = 1000
    v3: bool = True
    query_polls: int = 0
    chunk_rows: int = 10_000

    def __post_init__(self) -> None:
        for name in ("v2_batch", "chunk_rows"):
            if getattr(self, name) == 0:
                raise ValueError(f"{name} is a whole number from 1")


@dataclass
class Job:
    """A bulk job: what was said of it, and the records of its files."""

    about: dict[str, Any]
    files: list[list[dict[str, Any]]] = field(default_factory=list)
    polls: int = 0
    failure: str = ""


@dataclass
class Query:
    """A query of version 3, and how often it was looked at."""

    table: Table
    expires: str
    polls: int = 0


class Data360State:
    """All that requests change, and what a test sets; `reset` forgets it."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """As at the start: objects without records."""
        self.settings = Data360Settings()
        self.objects: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in OBJECTS}
        self.jobs: dict[str, Job] = {}
        self.batches: dict[str, tuple[str, Table, int]] = {}
        self.spent: set[str] = set()
        self.queries: dict[str, Query] = {}
        self.requests: Counter[str] = Counter()

    def upsert(self, name: str, records: list[dict[str, Any]]) -> None:
        """Replaces whole records by their primary key: there is no patch."""
        key = OBJECTS[name].key
        self.objects[name].update((str(record[key]), record) for record in records)

    def delete(self, name: str, keys: list[str], *, now: str) -> None:
        """Deletes the records that there are; one that was modified later than now stays."""
        schema, records = OBJECTS[name], self.objects[name]
        for key in keys:
            if key in records and not _is_later(schema, records[key], now):
                del records[key]

    def note(self, name: str, number: int) -> None:
        """Keeps the largest number of its kind."""
        self.requests[name] = max(self.requests[name], number)

    def shown(self) -> dict[str, object]:
        """What a test may compare with what it asked for."""
        counts = {name: len(records) for name, records in self.objects.items()}
        small = {name: records for name, records in self.objects.items() if len(records) <= SHOWN}
        jobs = [job.about | {"files": len(job.files), "rows": sum(map(len, job.files))} for job in self.jobs.values()]
        return {"objects": small, "counts": counts, "jobs": jobs, "requests": dict(self.requests)}

    def set(self, data: Mapping[str, Any]) -> None:
        """Sets what a test wants; raises ValueError with a sentence, and then changes nothing."""
        self.settings = settable.change(self.settings, data, of="Data 360")


def _is_later(schema: Schema, record: Mapping[str, Any], now: str) -> bool:
    if schema.modified is None:
        return False
    modified = str(record.get(schema.modified) or "")
    return modified.removesuffix("Z").partition(".")[0] > now.partition(".")[0]
