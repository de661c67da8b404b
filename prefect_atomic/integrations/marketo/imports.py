"""Bulk imports: any number of rows, cut into files of less than 10 MB, followed, and told row by row.

Two files may be worked on by Marketo at the same time, so that a record that is in both may get its values in either
order. An import only creates and updates: what is uploaded a second time, after an answer was lost, changes nothing.
Source: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/bulk-import/bulk-import
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, NamedTuple, cast

from prefect.logging import get_logger

from prefect_atomic.errors import (
    AtomicError,
    MarketoBusyError,
    MarketoError,
    MarketoInputError,
    MarketoQuotaError,
    RecordsError,
    RequestError,
    ResponseError,
    TransportError,
)
from prefect_atomic.integrations.marketo.answers import NOT_DONE, QUEUED, Answer
from prefect_atomic.integrations.marketo.api import Api, Params, check_id, check_name, never_arrived
from prefect_atomic.integrations.marketo.export_rows import UnreadableError
from prefect_atomic.integrations.marketo.import_files import MOST_BYTES, ImportFile, cut
from prefect_atomic.integrations.marketo.import_rows import Returned, columns_of, joined
from prefect_atomic.integrations.marketo.job_notes import JobNotes, Notes
from prefect_atomic.integrations.marketo.patience import LOOK, Patience, check_wait
from prefect_atomic.integrations.records import OnError, Outcome, Outcomes, Reading, State, settled
from prefect_atomic.integrations.records.csv_tables import Row, Table
from prefect_atomic.integrations.records.outcomes import check_on_error
from prefect_atomic.integrations.records.sources import Records, Shown, table_of
from prefect_atomic.integrations.s3 import S3Bucket

logger = get_logger("atomic.marketo")

_AT_ONCE = 3
"""Files that Marketo has while the next is written: it works on two, and takes ten of all who import."""

_UPLOAD_TIMEOUT = 300.0
_FIRST_LOOK = 5.0
_LONGEST_PAUSE = 30.0
_COMPLETE = frozenset({"complete", "completed"})
_FAILED = frozenset({"failed", "canceled", "cancelled"})
_COUNTS = ("numOfLeadsProcessed", "numOfObjectsProcessed")


def import_leads(
    api: Api,
    records: Records,
    *,
    lookup_field: str | None = None,
    list_id: int | None = None,
    partition: str | None = None,
    columns: Sequence[str] | None = None,
    bucket: S3Bucket | None = None,
    state: JobNotes | str | Path | None = None,
    wait: float = 3600.0,
    on_error: OnError = "raise",
) -> Outcomes:
    """Creates and updates leads in bulk; see `Marketo.import_leads`."""
    params = {
        "format": "csv",
        "lookupField": None if lookup_field is None else check_name("lookup_field", lookup_field, "email"),
        "listId": None if list_id is None else check_id("list_id", list_id),
        "partitionName": None if partition is None else check_name("partition", partition, "Europe"),
    }
    kind = _Kind("leads to be imported", ("leads",), ("leads", "batch"), params=params, status=())
    return _import(api, kind, records, columns, bucket, state, wait, on_error)


def import_custom_objects(
    api: Api,
    api_name: str,
    records: Records,
    *,
    columns: Sequence[str] | None = None,
    bucket: S3Bucket | None = None,
    state: JobNotes | str | Path | None = None,
    wait: float = 3600.0,
    on_error: OnError = "raise",
) -> Outcomes:
    """Creates and updates records of a custom object in bulk; see `Marketo.import_custom_objects`."""
    path = ("customobjects", check_name("api_name", api_name, "car_c"), "import")
    kind = _Kind("custom objects to be imported", path, path, params={"format": "csv"})
    return _import(api, kind, records, columns, bucket, state, wait, on_error)


def import_program_members(
    api: Api,
    program_id: int,
    status: str,
    records: Records,
    *,
    columns: Sequence[str] | None = None,
    bucket: S3Bucket | None = None,
    state: JobNotes | str | Path | None = None,
    wait: float = 3600.0,
    on_error: OnError = "raise",
) -> Outcomes:
    """Makes leads members of a program in bulk; see `Marketo.import_program_members`."""
    path = ("program", check_id("program_id", program_id), "members", "import")
    # Adobe's description has this one in capitals, and the others not.
    params = {"format": "CSV", "programMemberStatus": check_name("status", status, "Registered")}
    kind = _Kind("program members to be imported", path, ("program", "members", "import"), params=params)
    return _import(api, kind, records, columns, bucket, state, wait, on_error)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is imported.

    Attributes:
        what: What is to become of the rows, as messages say it.
        create: The path that takes a file.
        batches: The path that batches are under.
        params: The query of the first.
        status: What follows the id of a batch to look at it.
    """

    what: str
    create: tuple[str | int, ...]
    batches: tuple[str | int, ...]
    params: Params = field(kw_only=True)
    status: tuple[str, ...] = field(default=("status",), kw_only=True)


class _Batch(NamedTuple):
    id: int
    file: ImportFile


def _import(
    api: Api,
    kind: _Kind,
    records: Records,
    columns: Sequence[str] | None,
    bucket: S3Bucket | None,
    state: JobNotes | str | Path | None,
    wait: float,
    on_error: OnError,
) -> Outcomes:
    check_on_error(on_error)
    wait = check_wait(wait)
    notes = Notes(state, {"import": list(kind.create), "of": api.bulk, "params": dict(kind.params)})
    files = notes.noted.get("files", {})
    if not isinstance(files, dict) or not all(isinstance(noted, dict) for noted in files.values()):
        where = repr(str(state)) if isinstance(state, str | Path) else "what it loads"
        raise RequestError(
            f"state: {where} has notes that are damaged; delete them, and all rows are uploaded once more, which "
            "changes nothing."
        )
    outcomes = Outcomes()
    with table_of(records, columns, bucket, Shown("marketo-bulk-import", "Marketo"), argument="columns") as table:
        importing = _Importing(api, kind, notes, outcomes, wait)
        reading = importing.run(table)
    end = importing.end
    if end is not None and not importing.tells_all:
        raise end
    try:
        reading.check(outcomes, kind.what)
    except RecordsError as error:
        if not isinstance(error.__cause__, AtomicError):  # the text of any other may have a secret
            raise
        raise RecordsError(f"{error} {error.__cause__}", outcomes=outcomes) from error.__cause__
    if end is None and not outcomes.unknown:  # all is told; the same rows once more are another import
        _done_or_told(notes.forget, "could not be emptied; do so before the same rows are imported once more")
    if end is not None and on_error == "raise":
        raise RecordsError(
            f"{outcomes.succeeded} of {len(outcomes)} {kind.what} succeeded; then it ended: {end}", outcomes=outcomes
        ) from end
    return settled(outcomes, what=kind.what, on_error=on_error)


class _Importing:
    """Files on their way.

    Attributes:
        end: Why no more are sent.
    """

    def __init__(self, api: Api, kind: _Kind, notes: Notes, outcomes: Outcomes, wait: float) -> None:
        self.end: AtomicError | OSError | None = None
        self._was_sent = False
        self._count = 0
        self._api = api
        self._kind = kind
        self._notes = notes
        self._files: dict[str, dict[str, Any]] = notes.noted.setdefault("files", {})
        self._outcomes = outcomes
        self._wait = wait
        self._under_way: deque[_Batch] = deque()

    @property
    def tells_all(self) -> bool:
        """Whether an end leaves an outcome for each row: some may have arrived, or all may at another day."""
        return self._was_sent or isinstance(self.end, MarketoQuotaError)

    def run(self, table: Table) -> Reading[Any]:
        """Sends all rows; says how far they could be read."""
        reading = Reading(table.rows())
        rows = self._counted(reading)
        self._notes.save()  # where they cannot be kept, nothing is sent
        try:
            self._send(rows, table)
            if self.end is not None and self.tells_all:
                deque(rows, maxlen=0)
            while self._under_way:
                self._finish(self._under_way.popleft())
        finally:
            for batch in self._under_way:
                batch.file.close()
        if self.end is not None:
            self._all(self._outcomes.missing(self._count), "not sent", self.end)
        return reading

    def _counted(self, rows: Iterable[Row]) -> Iterator[Row]:
        for self._count, row in enumerate(rows, 1):
            yield row

    def _send(self, rows: Iterator[Row], table: Table) -> None:
        """Sends files until there are no more, or nothing more can be sent."""
        try:
            with closing(cut(rows, table.header, table.place, self._outcomes, MOST_BYTES)) as files:
                for number, file in enumerate(files):
                    self._take(number, file)
                    if self.end is not None:
                        return
        except OSError as error:  # no file can be written any more
            self.end = error

    def _take(self, number: int, file: ImportFile) -> None:
        """Has Marketo take a file, unless it has it from a call before, or no more are sent."""
        batch_id = None
        try:
            file.opened()  # what the disk does not take is told before it is sent
            while len(self._under_way) >= _AT_ONCE:
                self._finish(self._under_way.popleft())
            if self.end is None:
                try:
                    batch_id = self._noted(number, file) or self._uploaded(number, file)
                except (AtomicError, OSError) as error:
                    self._refuse(file, error)
        finally:
            if batch_id is None:
                file.close()
        if batch_id is not None:
            self._was_sent = True
            self._under_way.append(_Batch(batch_id, file))

    def _noted(self, number: int, file: ImportFile) -> int | None:
        """The batch of a call before that has this file; None where there is none, or it failed."""
        noted = self._files.get(str(number), {})
        batch_id = noted.get("batch")
        if noted.get("sha256") != file.sha256 or not isinstance(batch_id, int):
            return None
        try:
            about = self._look(batch_id)
        except MarketoInputError:  # Marketo has forgotten it, as after 7 days
            return None
        except AtomicError:  # told when it is followed
            return batch_id
        return None if _status(about) in _FAILED else batch_id

    def _uploaded(self, number: int, file: ImportFile) -> int:
        answer = self._post(number, file)
        batch_id = answer.result[0].get("batchId") if answer.result else None
        if not isinstance(batch_id, int):
            raise ResponseError(f"{answer.response.url} gave no id of a batch.", response=answer.response)
        self._files[str(number)] = {"sha256": file.sha256, "batch": batch_id}
        _done_or_told(self._notes.save, f"do not have import {batch_id}; a later call may upload its rows once more")
        logger.info("Import %d has file %d: %d rows, %d bytes.", batch_id, number + 1, len(file.positions), file.size)
        return batch_id

    def _post(self, number: int, file: ImportFile) -> Answer:
        """Uploads a file; as long as Marketo has too many, ours are finished, or others waited for."""
        patience: Patience | None = None
        while True:
            try:
                return self._api.call(
                    "POST",
                    *self._kind.create,
                    base="bulk",
                    params=self._kind.params,
                    files={"file": (f"rows-{number + 1}.csv", file.opened(), "text/csv")},
                    repeatable=True,
                    but=QUEUED,
                    timeout=_UPLOAD_TIMEOUT,
                )
            except MarketoBusyError as error:
                if self._under_way:
                    self._finish(self._under_way.popleft())
                else:
                    patience = patience or Patience(self._wait, first=_LONGEST_PAUSE, longest=_LONGEST_PAUSE)
                    if not patience.wait():
                        raise
                if self.end is not None:
                    raise self.end from error

    def _refuse(self, file: ImportFile, error: AtomicError | OSError) -> None:
        """Notes what is known of a file that was not surely taken, and whether others would fare better."""
        if isinstance(error, MarketoInputError) and self._was_sent:
            self._all(file.positions, "failed", error)
            return
        self.end = error
        if _may_have_arrived(error):
            self._was_sent = True
            self._all(file.positions, "unknown", error)

    def _finish(self, batch: _Batch) -> None:
        """Follows a batch to its end, and notes what became of its rows."""
        with closing(batch.file):
            if isinstance(self.end, MarketoQuotaError):
                self._doubt(batch, f"was not looked at any more: {self.end}", self.end)
                return
            try:
                about = self._followed(batch.id)
                if about is None:
                    self._doubt(batch, f"is not over after {self._wait:g} seconds; Marketo goes on with it", None)
                elif _status(about) in _FAILED:
                    self._failed(batch, about)
                else:
                    self._join(batch, about)
            except (AtomicError, OSError) as error:
                if isinstance(error, MarketoQuotaError):
                    self.end = error
                self._doubt(batch, f"has it, and what became of it could not be read: {error}", error)

    def _followed(self, batch_id: int) -> Mapping[str, Any] | None:
        """What Marketo says of a batch that is over; None where it is not in time."""
        patience = Patience(self._wait, first=_FIRST_LOOK, longest=_LONGEST_PAUSE)
        while True:
            try:
                about = self._look(batch_id)
                if _status(about) in _COMPLETE | _FAILED:
                    return about
            except AtomicError as error:
                if not error.transient:
                    raise
                logger.warning("Import %d could not be looked at, and will be again: %s", batch_id, error)
            if not patience.wait():
                return None

    def _look(self, batch_id: int) -> Mapping[str, Any]:
        answer = self._api.call("GET", *self._kind.batches, batch_id, *self._kind.status, base="bulk", retry=LOOK)
        if not answer.result or not _status(answer.result[0]):
            raise ResponseError(f"{answer.response.url} gave no status.", response=answer.response)
        return answer.result[0]

    def _failed(self, batch: _Batch, about: Mapping[str, Any]) -> None:
        """Of an import that failed as a whole, rows that were processed before may be there."""
        told = f"import {batch.id} is {about.get('status')}: {about.get('message') or 'Marketo gives no reason'}"
        state: State = "unknown" if any(about.get(name) for name in _COUNTS) else "failed"
        self._outcomes.add(Outcome(position, state, message=told) for position in batch.file.positions)

    def _join(self, batch: _Batch, about: Mapping[str, Any]) -> None:
        columns = columns_of(batch.file)
        failed, warned = _count(about, "numOfRowsFailed"), _count(about, "numOfRowsWithWarning")
        failures = self._returned(batch, "failures", columns) if failed != 0 else Returned()
        warnings = self._returned(batch, "warnings", columns) if warned != 0 else Returned()
        self._outcomes.add(joined(batch.file, failures, warnings, failed))
        logger.info("Import %d is over: %s of %d rows failed.", batch.id, failed, len(batch.file.positions))

    def _returned(self, batch: _Batch, which: str, columns: list[str]) -> Returned:
        returned = Returned()
        with cast("BinaryIO", TemporaryFile()) as file:
            self._api.download(*self._kind.batches, batch.id, which, sink=file)
            file.seek(0)
            try:
                returned.read(file, columns)
            except UnreadableError as error:
                raise MarketoError(f"its file of {which}: {error}.", code="file") from None
        return returned

    def _doubt(self, batch: _Batch, told: str, error: Exception | None) -> None:
        code = error.code if isinstance(error, MarketoError) else None
        message = f"import {batch.id} {told}"
        self._outcomes.add(
            Outcome(position, "unknown", code=code, message=message) for position in batch.file.positions
        )

    def _all(self, positions: Iterable[int], state: State, error: Exception) -> None:
        code = error.code if isinstance(error, MarketoError) else None
        message = str(error)
        self._outcomes.add(Outcome(position, state, code=code, message=message) for position in positions)


def _done_or_told(do: Callable[[], None], told: str) -> None:
    """Does something with the notes; what was sent is told all the same where they fail."""
    try:
        do()
    except Exception as error:  # noqa: BLE001 - the store may be the caller's own
        reason = error if isinstance(error, AtomicError | OSError) else type(error).__name__
        logger.warning("state: the notes %s: %s", told, reason)


def _may_have_arrived(error: AtomicError | OSError) -> bool:
    if isinstance(error, OSError) or error._may_be_done:
        return True
    if isinstance(error, TransportError):
        return not never_arrived(error)
    if isinstance(error, MarketoError):
        return error.transient and error.code not in NOT_DONE
    return isinstance(error, ResponseError)


def _status(about: Mapping[str, Any]) -> str:
    return str(about.get("status") or "").strip().lower()


def _count(about: Mapping[str, Any], name: str) -> int | None:
    value = about.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
