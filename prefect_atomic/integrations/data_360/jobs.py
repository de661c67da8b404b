"""Bulk jobs of the Ingestion API: created, filled with files of CSV, closed, and processed then.

Source: https://developer.salesforce.com/docs/data/data-cloud-int/references/data-cloud-ingestionapi-ref/c360-a-api-bulk-ingestion.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal

from prefect_atomic.errors import AtomicError, ResponseError
from prefect_atomic.integrations.data_360.api import INGEST, TARGET_HINT, Api, check_name, is_id, object_of

Operation = Literal["upsert", "delete"]

OVER = frozenset({"JobComplete", "Failed", "Aborted"})
_CLOSED = frozenset({"UploadComplete", "InProgress", "JobComplete", "Failed"})
_JOBS = (*INGEST, "jobs")

_UPLOAD_TIMEOUT = 600.0
"""Seconds; a tenant may look through 150 MB before it answers."""


@dataclass(frozen=True, slots=True)
class BulkJob:
    """A bulk job, as Data 360 tells of it.

    Attributes:
        id: Its id.
        state: `Open`, `UploadComplete`, `InProgress`, `JobComplete`, `Failed` or `Aborted`.
        object: The object that it is for.
        operation: `upsert` or `delete`.
        details: All that Data 360 says of it.
    """

    id: str
    state: str
    object: str
    operation: str
    details: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in OVER

    @property
    def reason(self) -> str:
        """Why it failed, where Data 360 says so."""
        named = ("errorMessage", "message", "error", "stateMessage")
        return next((str(self.details[name]) for name in named if self.details.get(name)), "")


@dataclass(frozen=True, slots=True)
class Jobs:
    """The jobs of a tenant."""

    api: Api

    def create(self, source: str, object: str, operation: Operation) -> BulkJob:  # noqa: A002 - as the API calls it
        """A new job. One whose answer is lost stays open, with nothing in it, and is dropped after 7 days."""
        about = {"object": object, "sourceName": source, "operation": operation}
        try:
            return _job(object_of(self.api.ask("POST", *_JOBS, json=about)))
        except ResponseError as error:
            if error.response.status_code != 404:
                raise
            told = f"{error} ({TARGET_HINT})."
            answer = error.response
        raise ResponseError(told, response=answer)

    def upload(self, job_id: str, file: BinaryIO) -> None:
        """Adds a file. Sent twice, its records are there twice, and replace each other."""
        file.seek(0)
        path = (*_JOBS, job_id, "batches")
        self.api.ask("PUT", *path, content=file, content_type="text/csv", timeout=_UPLOAD_TIMEOUT)

    def get(self, job_id: str) -> BulkJob:
        """What became of a job."""
        return _job(object_of(self.api.ask("GET", *_JOBS, check_name("job_id", job_id, "the id of a job"))))

    def close(self, job_id: str) -> None:
        """Has it processed. Where the answer is lost, a look at the job tells whether it was closed."""
        self._become(check_name("job_id", job_id, "the id of a job"), "UploadComplete", _CLOSED)

    def abort(self, job_id: str) -> None:
        """Ends it, with nothing processed."""
        self._become(check_name("job_id", job_id, "the id of a job"), "Aborted", frozenset({"Aborted"}))

    def _become(self, job_id: str, state: str, reached: frozenset[str]) -> None:
        try:
            answer = self.api.ask("PATCH", *_JOBS, job_id, json={"state": state}, repeatable=True)
            found = object_of(answer).get("state")
            if found != state:
                raise ResponseError(f"{answer.url} was to become {state}, and is {str(found)[:100]}.", response=answer)
        except AtomicError:
            if self.get(job_id).state not in reached:
                raise


def _job(about: Mapping[str, Any]) -> BulkJob:
    job_id, state = about.get("id"), about.get("state")
    if not is_id(job_id) or not isinstance(state, str):
        raise AtomicError("Data 360 answered with a job that has no id, or no state.")
    return BulkJob(job_id, state, str(about.get("object", "")), str(about.get("operation", "")), dict(about))
