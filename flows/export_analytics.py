"""Brings Atomic's analytics home, one object for each hour: schedule it every hour."""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.blocks.abstract import ObjectStorageBlock
from prefect.filesystems import WritableFileSystem
from pydantic import BaseModel, ConfigDict

from prefect_atomic import AtomicEnvironment, RequestError
from prefect_atomic.integrations.atomic import AnalyticsHour
from prefect_atomic.tasks import paths
from prefect_atomic.tasks.progress import ProgressArtifact
from prefect_atomic.tasks.saved import Saved
from prefect_atomic.tasks.variables import recall, remember

_HOUR = timedelta(hours=1)
_FIRST = timedelta(hours=24)
"""How far back the first run goes, where nobody says."""
_LATE_AT_MOST = 250
"""Hours that a Prefect variable has room for; where more are late, the export waits for them."""
_IN_MEMORY = 8 * 1024 * 1024
_KEY = "%Y-%m-%dT%H"

_ENVIRONMENTS = Saved("environment", "atomic-environment/production", RequestError)
_STORAGES = Saved("storage", "atomic-s3-bucket/exports", RequestError)


class Exported(BaseModel):
    """What a run did.

    Attributes:
        hours: How many hours it stored.
        empty: How many of them had no events.
        late: The hours that Atomic has not processed yet, by their end; the next run asks for them again.
        through: The last hour that was asked for, by its end.
    """

    model_config = ConfigDict(frozen=True)

    hours: int
    empty: int
    late: list[str]
    through: str


@flow(name="export-analytics")
def export_analytics_flow(
    environment: str,
    storage: str,
    folder: str = "analytics",
    start: datetime | None = None,
    until: datetime | None = None,
) -> Exported:
    """Stores what happened in Atomic since the last run, as JSON Lines, in one object for each hour.

    An object is called after the end of its hour in UTC, `FOLDER/2026/11/25/2026-11-25T10.ndjson` for 9 to 10 o'clock,
    and is empty where nothing happened. An hour that Atomic has not processed is asked for again by the next run. How
    far the export is stands in a Prefect variable, which is moved on when an object is stored: a run that was killed is
    taken up where it was.

    Args:
        environment: The slug of an Atomic environment, such as `atomic-environment/production`.
        storage: The slug of a bucket, or of any other file system block.
        folder: Where in the storage the objects go.
        start: Where the first run begins; none = 24 hours ago. Later runs go on where the last one was.
        until: Where the run ends; none = now.

    Returns:
        What was stored.

    Raises:
        RequestError: There is no such block, or it is of another kind.
        AtomicError: Atomic or the storage failed; what was stored by then stays, and counts.
    """
    source = _ENVIRONMENTS.load(environment)
    if not isinstance(source, AtomicEnvironment):
        raise RequestError(f"environment: {environment!r} is a {type(source).__name__}, which is no AtomicEnvironment.")
    target = _STORAGES.load(storage)
    if not isinstance(target, WritableFileSystem):
        raise RequestError(f"storage: {storage!r} is a {type(target).__name__}, which is no file system.")
    last = _floor(until or datetime.now(UTC))
    state = _State(environment, storage, folder, (_floor(start) if start else last - _FIRST))
    wanted = [*state.late, *_hours(state.through + _HOUR, last)]
    progress = ProgressArtifact("analytics-export", f"{len(wanted)} hours of Atomic's analytics")
    stored, empty = 0, 0
    for number, hour in enumerate(_asked(source, wanted), 1):
        if hour.is_processed:
            _store(hour, target, f"{folder.strip('/')}/{hour.hour:%Y/%m/%d}/{hour.hour:{_KEY}}.ndjson")
            stored, empty = stored + 1, empty + hour.is_empty
        if not state.knows(hour):
            get_run_logger().warning(
                "%d hours are late, which is as many as can be remembered: the export waits for them.", len(state.late)
            )
            break
        progress.tell(number / len(wanted))
    progress.end()
    done = Exported(
        hours=stored,
        empty=empty,
        late=[f"{hour:{_KEY}}" for hour in sorted(state.late)],
        through=f"{state.through:{_KEY}}",
    )
    create_table_artifact(
        [{"stored": stored, "of them empty": empty, "late": ", ".join(done.late) or "none", "through": done.through}],
        key="analytics-export-results",
        description=f"Hours of Atomic's analytics, from {environment} to {storage}, by their end in UTC.",
    )
    get_run_logger().info(
        "%d hours stored, %d of them empty; %d late; through %s", stored, empty, len(done.late), done.through
    )
    return done


class _State:
    """How far an export is, in a Prefect variable: all hours up to one are stored, but for those that are late.

    What it says stays true whatever else happens, and so also where two runs write it at the same time.
    """

    def __init__(self, environment: str, storage: str, folder: str, begins: datetime) -> None:
        self._about = {"environment": environment, "storage": storage, "folder": folder.strip("/")}
        digest = hashlib.sha256("\n".join(self._about.values()).encode()).hexdigest()[:12]
        self._name = f"atomic-analytics-{digest}"
        known: dict[str, Any] = recall(self._name) or {}
        self.through = _read(known["through"]) if known else begins
        self.late = {_read(hour) for hour in known.get("late", [])}

    def knows(self, hour: AnalyticsHour) -> bool:
        """Notes that an hour was stored, or is late; whether there was room for that."""
        late = self.late - {hour.hour} if hour.is_processed else self.late | {hour.hour}
        if len(late) > _LATE_AT_MOST:
            return False
        through = max(self.through, hour.hour)
        if (through, late) != (self.through, self.late):
            self.through, self.late = through, late
            self._save()
        return True

    def _save(self) -> None:
        value = {
            **self._about,
            "through": f"{self.through:{_KEY}}",
            "late": [f"{hour:{_KEY}}" for hour in sorted(self.late)],
        }
        remember(self._name, value, tag="atomic-analytics")


def _asked(source: AtomicEnvironment, wanted: Iterable[datetime]) -> Iterator[AnalyticsHour]:
    """The hours, oldest first; those that follow each other are asked for together."""
    first = last = None
    for hour in [*sorted(wanted), None]:
        if last is not None and first is not None and hour != last + _HOUR:
            yield from source.analytics(first - _HOUR, last)
            first = None
        first, last = first or hour, hour


def _store(hour: AnalyticsHour, storage: WritableFileSystem, path: str) -> None:
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spooled:
        file: BinaryIO = spooled  # type: ignore[assignment]
        hour.download(file)
        file.seek(0)
        if isinstance(storage, ObjectStorageBlock):
            paths.done(storage.upload_from_file_object(file, path))
        else:
            paths.write(storage, path, file.read())


def _hours(first: datetime, last: datetime) -> Iterator[datetime]:
    while first <= last:
        yield first
        first += _HOUR


def _floor(moment: datetime) -> datetime:
    if moment.tzinfo is None:  # a form's date picker may leave it out
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _read(hour: str) -> datetime:
    return datetime.strptime(hour, _KEY).replace(tzinfo=UTC)
