"""Brings Atomic's events from a bucket into a data extension: schedule it after the hourly export."""

import hashlib
import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel

from prefect_atomic import AtomicError, Outcome, Outcomes, RequestError, S3Bucket, S3Object
from prefect_atomic.integrations.marketing_cloud import SalesforceMarketingCloud
from prefect_atomic.integrations.marketing_cloud import resolve as resolve_tenant
from prefect_atomic.integrations.marketing_cloud.api import check_key, check_seconds
from prefect_atomic.integrations.marketing_cloud.rows import RowShape
from prefect_atomic.integrations.s3 import resolve as resolve_bucket
from prefect_atomic.tasks.alone import alone
from prefect_atomic.tasks.progress import ProgressArtifact
from prefect_atomic.tasks.variables import recall, remember
from prefect_atomic.webhooks.event_files import ENDINGS, NAME, EventFile, object_template

_IN_A_ROW = 3
"""Objects that fail one after another: the others would fare no better, and each attempt waits for long."""
_UNSENDABLE = frozenset({"INVALID_RECORD", "RECORD_TOO_LARGE"})


class SyncedObject(BaseModel):
    """What became of an object; kept in the bucket when all of it is dealt with, so that it is not sent again.

    Attributes:
        key: Its key in the folder of the bucket.
        etag: Which content it had.
        upserted: How many of its events are rows now.
        rejected: How many are not, and stand in the rejects beside it.
        fault: What is wrong with the object as a whole.
    """

    key: str
    etag: str
    upserted: int = 0
    rejected: int = 0
    fault: str | None = None


@flow(name="sync-marketing-cloud")
def sync_marketing_cloud_flow(
    bucket: str,
    marketing_cloud: str,
    data_extension_key: str,
    keys: list[str],
    mapping: dict[str, str],
    prefix: str = "analytics/",
    outcomes: str = "synced",
    wait: float = 600.0,
) -> list[dict[str, Any]]:
    """Upserts the events of the objects that are new in a bucket into a data extension.

    An object has an event on each line, as JSON, perhaps gzipped: what `export-analytics` stores. Each column gets the
    value of an expression, such as `event.id`, or the text of a template, such as `{{ event.type }}/{{ event.id }}`.
    An event that makes no row, or is refused, goes with its line and the reason into the rejects; the others go
    through. An object is done when it is known what became of its last event: then a `.json` with the numbers stands in
    the folder of the outcomes, and a `.rejects.ndjson` beside it where there are rejects. The same key with another
    content is another object.

    A run that was killed is taken up by the next one: the object that was under way is sent again, as a whole. As rows
    are known by their keys, none is there twice.

    Args:
        bucket: The slug of a bucket, such as `atomic-s3-bucket/exports`.
        marketing_cloud: The slug of a tenant, such as `atomic-marketing-cloud/production`.
        data_extension_key: The data extension's external key.
        keys: The columns of its primary key, such as `["EventId"]`.
        mapping: An expression or a template for each column, such as `{"EventId": "event.id"}`.
        prefix: What the keys of the objects begin with.
        outcomes: The folder for the outcomes, in the folder of the bucket.
        wait: The longest to wait until Marketing Cloud has processed a request, in seconds.

    Returns:
        For each object: its key, how many events were upserted and rejected, and what is wrong with it.

    Raises:
        RequestError: There is no such block, or a parameter cannot be used.
        AtomicError: An object could not be dealt with to its end; the next run sends it again.
    """
    source, target = resolve_bucket(bucket), resolve_tenant(marketing_cloud)
    check_key("data_extension_key", data_extension_key)
    check_seconds("wait", wait)
    RowShape(keys, target.max_text)  # which refuses what cannot be keys
    row_template = _template_of(mapping, keys)
    folder = outcomes.strip("/")
    if not folder:
        raise RequestError("outcomes: is empty; the outcomes need a folder of their own, beside the events.")
    about = json.dumps([bucket, marketing_cloud, data_extension_key, keys, row_template, prefix, folder])
    name = f"atomic-marketing-cloud-{hashlib.sha256(about.encode()).hexdigest()[:12]}"
    with alone(name) as is_ours:
        if not is_ours:
            get_run_logger().info("Another run is syncing; it, or the next one, has these objects.")
            return []
        found, cursor = source.new_objects(recall(name), prefix=prefix)
        objects = [each for each in found if each.key.endswith(ENDINGS) and not each.key.startswith(f"{folder}/")]
        done, unfinished, in_a_row = list[SyncedObject](), list[str](), 0
        progress = ProgressArtifact("marketing-cloud-sync", f"{len(objects)} objects for {data_extension_key}")
        for number, each in enumerate(objects, 1):
            if in_a_row == _IN_A_ROW:
                unfinished.append(f"{each.key}: was not tried, as {_IN_A_ROW} before it failed")
                continue
            made = sync_object.submit(
                source, target, data_extension_key, keys, row_template, each, folder, name, wait
            ).result(raise_on_failure=False)
            if isinstance(made, SyncedObject):
                done.append(made)
                in_a_row = 0
            else:
                unfinished.append(f"{each.key}: {made}")
                in_a_row += 1
            progress.tell(number / len(objects))
        if not unfinished:  # else all of them are found again, and those that are done are left alone
            remember(name, cursor, tag="atomic-marketing-cloud")
        progress.end()
    rows = [{**each.model_dump(exclude={"etag"}), "fault": each.fault or ""} for each in done]
    create_table_artifact(
        [*rows, *({"key": text, "fault": "not finished; the next run sends it again"} for text in unfinished)],
        key="marketing-cloud-sync-results",
        description=f"Events of {bucket} in the data extension {data_extension_key}.",
    )
    if unfinished or any(each.fault for each in done):
        refused = [f"{each.key}: {each.fault}" for each in done if each.fault]
        told = "; ".join((unfinished + refused)[:5])
        raise AtomicError(f"{len(unfinished) + len(refused)} of {len(objects)} objects: {told}")
    return rows


@task(name="sync_object", task_run_name="sync {each.key}", cache_policy=NO_CACHE)
def sync_object(
    source: S3Bucket,
    target: SalesforceMarketingCloud,
    data_extension_key: str,
    keys: list[str],
    row_template: str,
    each: S3Object,
    folder: str,
    of: str,
    wait: float,
) -> SyncedObject:
    """Upserts the events of an object, unless that was done already.

    Raises:
        AtomicError: It is not known what became of all events; nothing is kept of the object.
    """
    digest = hashlib.sha256(f"{each.full_key} {each.etag} {of}".encode()).hexdigest()[:12]
    name = f"{folder}/{each.key.encode()[:400].decode(errors='ignore')}.{digest}"  # a key has 1,024 bytes at most
    if source.exists(f"{name}.json"):
        return SyncedObject.model_validate_json(source.read_path(f"{name}.json"))
    state = SyncedObject(key=each.key, etag=each.etag)
    with tempfile.TemporaryDirectory() as scratch:
        path = source.download_object_to_path(each, Path(scratch) / "events")
        if source.head(each).etag != each.etag:
            raise AtomicError("was replaced just now; what it holds by now is another object.", transient=True)
        events = _Events(path, row_template)
        made = target.upsert_rows(data_extension_key, events.rows(), keys=keys, wait=wait, on_error="return")
        _refuse_unless_settled(made)
        state.upserted = made.succeeded
        for outcome in made.failures():
            events.reject(outcome)
        state.rejected = len(events.rejected)
        if events.rejected:
            source.write_stream(
                f"{name}.rejects.ndjson", events.file.rejects(events.rejected), content_type="application/x-ndjson"
            )
        state.fault = events.file.fault or _fault_of_all(made)
    source.write_path(f"{name}.json", state.model_dump_json().encode())  # from now on it is done
    return state


def _refuse_unless_settled(made: Outcomes) -> None:
    """Raises where a row is in doubt, or was not sent for a reason that is not its own."""
    in_doubt = [outcome for outcome in made.failures() if not _is_rejected(outcome)][:1]
    if in_doubt:
        raise AtomicError(
            f"it is not known that all rows arrived: {made!r}; the first is {in_doubt[0]}", transient=True
        )


def _is_rejected(outcome: Outcome) -> bool:
    if outcome.state == "failed":
        return outcome.code != "REQUEST_FAILED"  # that is of no single event
    return outcome.state == "not sent" and outcome.code in _UNSENDABLE


def _fault_of_all(made: Outcomes) -> str | None:
    """What is told of an object of which nothing was taken: that is hardly a matter of single events."""
    if made.succeeded or not made.failed:
        return None
    first = next(outcome for outcome in made if outcome.state == "failed")
    return f"none of its {len(made)} events was taken; the first was refused: {first.code}: {first.message}"


class _Events:
    """The events of a file, and which of them are rejected.

    Args:
        path: The file.
        row_template: Makes the row of an event.
    """

    def __init__(self, path: Path, row_template: str) -> None:
        self.file = EventFile(path)
        self._template = row_template
        self._lines = array("L")  # of each row: a file may have millions
        self._reasons: dict[str, str] = {}  # each once: most events are rejected for one of a few
        self.rejected: dict[int, str] = {}

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """The rows; an event that makes none is rejected."""
        for number, row, fault in self.file.mapped(self._template):
            if row is None:
                self._reject(number, fault)
            else:
                self._lines.append(number)
                yield row

    def reject(self, outcome: Outcome) -> None:
        """Rejects the event that a row was made of."""
        reason = ": ".join(part for part in (outcome.code, outcome.message) if part)
        self._reject(self._lines[outcome.position], reason)

    def _reject(self, number: int, reason: str) -> None:
        self.rejected[number] = self._reasons.setdefault(reason, reason)


def _template_of(mapping: Mapping[str, str], keys: Iterable[str]) -> str:
    """One template that makes a row, as JSON, of those of its columns.

    Raises:
        RequestError: One does not parse, or is of no column, or a key has none; says which.
    """
    if not mapping:
        raise RequestError('mapping: is empty; give an expression for each column, such as {"EventId": "event.id"}.')
    for column in mapping:
        if not NAME.fullmatch(column):
            raise RequestError(f"mapping: {column[:100]!r} is no name of a column.")
    row_template = object_template(mapping)
    if len({column.lower() for column in mapping}) < len(mapping):
        raise RequestError("mapping: names a column more than once; letters' case does not tell columns apart.")
    missing = [key for key in keys if key.lower() not in {column.lower() for column in mapping}]
    if missing:
        raise RequestError(f"mapping: has nothing for {', '.join(missing)}, which is in `keys`.")
    return row_template
