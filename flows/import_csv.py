"""Starts Action Flows from the CSV files that arrive in a bucket: schedule it every few minutes."""

import csv
import hashlib
import io
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prefect_atomic import AtomicEnvironment, AtomicError, RequestError, S3Bucket, S3Object
from prefect_atomic.integrations.atomic import Invocation
from prefect_atomic.integrations.atomic.bulk_csv import REJECTED, BulkCsv, Row
from prefect_atomic.integrations.s3 import resolve
from prefect_atomic.tasks.alone import alone
from prefect_atomic.tasks.progress import ProgressArtifact
from prefect_atomic.tasks.saved import Saved
from prefect_atomic.tasks.variables import recall, remember

_ENVIRONMENTS = Saved("environment", "atomic-environment/production", RequestError)


class ImportedFile(BaseModel):
    """What became of a file; kept in the bucket while it is imported, so that nothing in it is done twice.

    Attributes:
        file: Its key in the folder of the bucket.
        etag: Which content it had.
        started: How many rows started an Action Flow.
        rejected: The lines that did not, and why.
        through: The line that everything was tried up to.
        again: Lines before that where it is not known what became of them; they are sent again, with the same ids.
        fault: What is wrong with the file as a whole.
        finished: Whether there is nothing left to do.
    """

    model_config = ConfigDict(validate_assignment=False)

    file: str
    etag: str
    started: int = 0
    rejected: dict[int, str] = Field(default_factory=dict)
    through: int = 1
    again: list[int] = Field(default_factory=list)
    fault: str | None = None
    finished: bool = False


@flow(name="import-csv")
def import_csv_flow(
    bucket: str,
    environment: str,
    action_flow_id: str,
    prefix: str = "",
    outcomes: str = "imported",
    test: bool = False,
) -> list[dict[str, Any]]:
    """Starts an Action Flow for each row of the CSV files that are new in a bucket.

    The columns are those of Atomic's bulk send. A bad row goes, with its line and the reason, into a rejects file; the
    good ones go through. A file is imported once; the same key with another content is another file. For each file, the
    folder of the outcomes has a `.json` with what became of it, and a `.rejects.csv` where rows were rejected: mended
    and uploaded again, those rows are imported.

    A run that was killed is taken up by the next one where it was. The rows of the request that was under way are sent
    again then, with the same `flowInvocationId`.

    Args:
        bucket: The slug of a bucket, such as `atomic-s3-bucket/imports`.
        environment: The slug of an Atomic environment, such as `atomic-environment/production`.
        action_flow_id: The Action Flow that is started.
        prefix: What the keys of the files begin with.
        outcomes: The folder for the outcomes, in the folder of the bucket.
        test: Whether only test users are reached.

    Returns:
        For each file: its key, how many rows started and were rejected, and what is wrong with it.

    Raises:
        RequestError: There is no such block, or it is of another kind.
        AtomicError: A file could not be read as a whole, or not to its end; the others were imported.
    """
    source = resolve(bucket)
    target = _ENVIRONMENTS.load(environment)
    if not isinstance(target, AtomicEnvironment):
        raise RequestError(f"environment: {environment!r} is a {type(target).__name__}, which is no AtomicEnvironment.")
    folder = outcomes.strip("/")
    if not folder:
        raise RequestError("outcomes: is empty; the outcomes need a folder of their own, or they would be imported.")
    about = "\n".join((bucket, environment, action_flow_id, prefix, folder, str(test)))
    name = f"atomic-import-{hashlib.sha256(about.encode()).hexdigest()[:12]}"
    with alone(name) as is_ours:
        if not is_ours:
            get_run_logger().info("Another run is importing; it, or the next one, has these files.")
            return []
        found, cursor = source.new_objects(recall(name), prefix=prefix)
        files = [each for each in found if each.key.endswith(".csv") and not each.key.startswith(f"{folder}/")]
        done, unfinished = list[ImportedFile](), list[str]()
        for each in files:
            outcome = import_file.submit(source, target, action_flow_id, each, folder, test).result(
                raise_on_failure=False
            )
            if isinstance(outcome, ImportedFile):
                done.append(outcome)
            else:
                unfinished.append(f"{each.key}: {outcome}")
        if not unfinished:  # else all of them are found again, and those that are finished are left alone
            remember(name, cursor, tag="atomic-import")
    rows: list[dict[str, Any]] = [
        {"file": each.file, "started": each.started, "rejected": len(each.rejected), "fault": each.fault or ""}
        for each in done
    ]
    create_table_artifact(
        [*rows, *({"file": text, "fault": "not finished; the next run goes on"} for text in unfinished)],
        key="csv-import-results",
        description=f"CSV files of {bucket} that started {action_flow_id}.",
    )
    if unfinished or any(each.fault for each in done):
        refused = [f"{each.file}: {each.fault}" for each in done if each.fault]
        raise AtomicError(f"{len(unfinished) + len(refused)} of {len(files)} files: {'; '.join(unfinished + refused)}")
    return rows


@task(name="import_file", task_run_name="import {file.key}", cache_policy=NO_CACHE)
def import_file(
    source: S3Bucket, target: AtomicEnvironment, action_flow_id: str, file: S3Object, folder: str, test: bool
) -> ImportedFile:
    """Imports a file, or the rest of it.

    Raises:
        AtomicError: Atomic or the bucket failed; the next run goes on from there.
    """
    record = _Record(source, file, folder, f"{target.environment_id} {'test of ' * test}{action_flow_id}")
    state = record.state
    if state.finished:
        return state
    with tempfile.TemporaryDirectory() as scratch:
        path = source.download_object_to_path(file, Path(scratch) / "file.csv")
        if source.head(file).etag != file.etag:
            raise AtomicError("was replaced just now; what it holds by now is another file.", transient=True)
        progress = ProgressArtifact("csv-import", f"Rows of {file.key}")
        for batch, share in _batches(path, target.batch_size, state):
            todo = [row for row in batch if row.line > state.through or row.line in state.again]
            if not todo:
                continue  # done by a run that was killed
            unknown = _start(todo, state, target, action_flow_id, record.invocation_id, test)
            state.again = [line for line in state.again if line not in {row.line for row in todo}] + unknown
            state.through = max(state.through, batch[-1].line)
            record.save()
            progress.tell(share)
            if unknown:
                raise AtomicError(
                    f"it is not known what became of {len(unknown)} rows, from line {unknown[0]}; the next run sends "
                    "them again, with the same ids.",
                    transient=True,
                )
        if state.rejected or state.fault:
            source.write_stream(f"{record.name}.rejects.csv", _rejects(path, state), content_type="text/csv")
    state.finished = True
    record.save()
    progress.end()
    return state


def _start(
    rows: list[Row],
    state: ImportedFile,
    target: AtomicEnvironment,
    action_flow_id: str,
    invocation_id: Callable[[int], str],
    test: bool,
) -> list[int]:
    """Starts what can be started, and notes what cannot; returns the lines of which nothing is known."""
    good: list[tuple[int, Invocation]] = []
    for row in rows:
        try:
            if row.invocation is None:
                state.rejected[row.line] = row.fault or ""
            else:
                named = {"flowInvocationId": invocation_id(row.line), **row.invocation}
                good.append((row.line, Invocation.model_validate(named)))
        except ValidationError as error:
            state.rejected[row.line] = "; ".join(
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].removeprefix('Value error, ')}"
                for fault in error.errors()
            )
    if not good:
        return []
    invocations = [invocation for _, invocation in good]
    unknown = []
    outcomes = target.start_action_flow(action_flow_id, invocations, test=test, raise_on_failure=False)
    for (line, _), outcome in zip(good, outcomes, strict=True):
        if outcome.state == "started":
            state.started += 1
        elif outcome.state == "refused":
            state.rejected[line] = outcome.reason or "Atomic refused it"
        else:
            unknown.append(line)
    return unknown


class _Record:
    """What is kept of a file in the bucket, beside it."""

    def __init__(self, bucket: S3Bucket, file: S3Object, folder: str, of: str) -> None:
        self._bucket = bucket
        self._file = file
        self._of = of  # a file that was tested, or started another Action Flow elsewhere, is still to be imported
        digest = hashlib.sha256(f"{file.full_key} {file.etag} {of}".encode()).hexdigest()[:12]
        self.name = f"{folder}/{file.key.removesuffix('.csv')[:400]}.{digest}"
        self.state = self._known() or ImportedFile(file=file.key, etag=file.etag)

    def save(self) -> None:
        self._bucket.write_path(f"{self.name}.json", self.state.model_dump_json().encode())

    def invocation_id(self, line: int) -> str:
        """The id of a row, the same whenever it is sent."""
        file = self._file
        return str(uuid5(NAMESPACE_URL, f"s3://{self._bucket.bucket}/{file.full_key}#{file.etag}:{line} {self._of}"))

    def _known(self) -> ImportedFile | None:
        name = f"{self.name}.json"
        return ImportedFile.model_validate_json(self._bucket.read_path(name)) if self._bucket.exists(name) else None


def _batches(path: Path, size: int, state: ImportedFile) -> Iterator[tuple[list[Row], float]]:
    """The rows of a file, and which share of it is read with them; none where the file as a whole is at fault."""
    whole = path.stat().st_size
    with path.open("rb") as file:
        try:
            table = BulkCsv(file)
        except RequestError as error:
            state.fault = str(error)
            return
        rows = table.rows()
        while batch := list(islice(rows, size)):
            yield batch, file.tell() / whole


def _rejects(path: Path, state: ImportedFile) -> Iterator[bytes]:
    """The rejected rows as they were, each with its line and the reason."""
    text = io.StringIO()
    writer = csv.writer(text)
    with path.open("rb") as file:
        if state.fault:
            writer.writerow(REJECTED)
            writer.writerow([1, state.fault])
        else:
            table = BulkCsv(file)
            own = [at for at, column in enumerate(table.columns) if column not in REJECTED]
            writer.writerow([*REJECTED, *(table.columns[at] for at in own)])
            for row in table.rows():
                if row.line in state.rejected:
                    whole = len(row.cells) == len(table.columns)
                    cells = [row.cells[at] for at in own] if whole else row.cells
                    writer.writerow([row.line, state.rejected[row.line], *cells])
                if text.tell() > 1024 * 1024:
                    yield _utf_8(text)
                    text.seek(0)
                    text.truncate()
    yield _utf_8(text)


def _utf_8(text: io.StringIO) -> bytes:
    """The text with a mark where something was not UTF-8, so that it can be opened."""
    return text.getvalue().encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode()
