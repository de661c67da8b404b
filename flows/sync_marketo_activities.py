"""Brings Atomic's events from a bucket to Marketo as custom activities: schedule it after the hourly export."""

import hashlib
import json
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel

from prefect_atomic import (
    AtomicError,
    CredentialError,
    Marketo,
    MarketoAccessError,
    MarketoBusyError,
    MarketoInputError,
    MarketoQuotaError,
    MarketoTokenError,
    RequestError,
    S3Bucket,
    S3Object,
    TransportError,
)
from prefect_atomic.integrations.marketo import resolve as resolve_marketo
from prefect_atomic.integrations.marketo.added_before import added_before
from prefect_atomic.integrations.marketo.api import MOST, check_id, check_name
from prefect_atomic.integrations.marketo.limits import next_day
from prefect_atomic.integrations.marketo.moments import written
from prefect_atomic.integrations.s3 import resolve as resolve_bucket
from prefect_atomic.tasks.alone import alone
from prefect_atomic.tasks.progress import ProgressArtifact
from prefect_atomic.tasks.variables import recall, remember
from prefect_atomic.transport.retry import sleep
from prefect_atomic.webhooks.event_files import ENDINGS, EventFile, Mapped, object_template, value_template

_IN_A_ROW = 3
"""Objects that fail one after another for what is `_OF_ALL`: each attempt may wait for long."""
_OF_ALL = (CredentialError, MarketoAccessError, MarketoBusyError, MarketoTokenError, TransportError)
"""What no object is to blame for."""
_MOST_BYTES = 800_000
"""Of the activities of a call, which takes 1 MB."""
_BYTES_AROUND = 30
"""What an attribute takes besides its name and its value."""
_UNSENDABLE = frozenset({"INVALID_RECORD", "RECORD_TOO_LARGE"})
_OWN = ("activityDate", "primaryAttributeValue")
"""Names in the mapping that are of no attribute."""
_LEAD = "leadId"
_QUOTA = ("607", "calls_per_day")
_FIRST_CUSTOM = 100_000
"""Types with higher ids are an instance's own."""

Activity = dict[str, Any]


class SyncedObject(BaseModel):
    """How far an object is; kept in the bucket before and after each call that adds activities.

    Attributes:
        key: Its key in the folder of the bucket.
        etag: Which content it has.
        added: How many of its events are activities now.
        rejected: How many are not, and stand in the rejects beside it.
        fault: What is wrong with the object as a whole.
        done: Whether it is known what became of its last event.
        again: Whether some of it may have been added with the content that the object had before.
        through: The line up to which all is dealt with.
        ahead: Lines behind that one that are dealt with too.
        refused: Of these, those that Marketo refused, with the reasons.
        refusal: What Marketo said of the first one that it refused.
        sending: Activities that are about to be added, or may have been, by their lines.
        saved_at: When this was saved, in seconds since 1970.
    """

    key: str
    etag: str
    added: int = 0
    rejected: int = 0
    fault: str | None = None
    done: bool = False
    again: bool = False
    through: int = 0
    ahead: list[int] = []
    refused: dict[int, str] = {}
    refusal: str | None = None
    sending: dict[int, Activity] = {}
    saved_at: float = 0.0


@flow(name="sync-marketo-activities")
def sync_marketo_activities_flow(
    bucket: str,
    marketo: str,
    activity_type: int,
    lead: str,
    mapping: dict[str, str],
    lead_field: str = "email",
    prefix: str = "analytics/",
    outcomes: str = "synced",
    settle_after: float = 120.0,
) -> list[dict[str, Any]]:
    """Adds the events of the objects that are new in a bucket to leads in Marketo, as custom activities of a type.

    An object has an event on each line, as JSON, perhaps gzipped: what `export-analytics` stores. The lead is the one
    that has the value of `lead` in `lead_field`. Each attribute gets the value of an expression, such as `event.id`, or
    the text of a template, such as `{{ event.type }}/{{ event.id }}`. An event that has no lead, or several, makes no
    activity, or is refused, goes with its line and the reason into the rejects; the others go through. An object is
    done when it is known what became of its last event: then `.json` in the folder of the outcomes says so, and there
    is a `.rejects.ndjson` beside it where there are rejects.

    Marketo keeps each activity that it is sent, and so none is sent twice: what is about to be added is noted before,
    and what was added is noted after each call of 300. Where a run was killed in between, or a call got no answer, the
    next run reads from Marketo which of these are there, and adds the others. Marketo may show an activity with a
    delay, so that is done `settle_after` seconds later. Activities that are the same in all respects cannot be told
    apart then: let an attribute have `event.id`. The same key with another content is read in the same way, as a whole.

    When the calls of the day are used up, the run fails at once, says until when, and a later run goes on there.

    Args:
        bucket: The slug of a bucket, such as `atomic-s3-bucket/exports`.
        marketo: The slug of an instance, such as `atomic-marketo/production`.
        activity_type: The id of the type of custom activities, such as 100001.
        lead: An expression or a template for what the lead is looked up by, such as `event.user.email`.
        mapping: An expression or a template for `primaryAttributeValue` and for the API name of each attribute, such as
            `{"primaryAttributeValue": "event.cardTitle", "eventId": "event.id"}`; also for `activityDate`, which is
            `event.timestamp` else. Another mapping is for what is not yet done.
        lead_field: The field that leads are looked up by, 300 with each call; it is searchable. With `id`, `lead` is
            the id itself, and nothing is looked up.
        prefix: What the keys of the objects begin with.
        outcomes: The folder for the outcomes, in the folder of the bucket.
        settle_after: Seconds after which Marketo surely shows what it was sent; it works on a call for up to 90.

    Returns:
        For each object: its key, how many events were added and rejected, and what is wrong with it.

    Raises:
        RequestError: There is no such block, or a parameter cannot be used.
        MarketoQuotaError: The calls of the day are used up; says until when.
        AtomicError: An object could not be dealt with to its end; the next run goes on with it.
    """
    source, target = resolve_bucket(bucket), resolve_marketo(marketo)
    check_id("activity_type", activity_type)
    check_name("lead_field", lead_field, "email")
    if not (math.isfinite(settle_after) and settle_after >= 0):
        raise RequestError("settle_after: is a number of seconds, 0 or more.")
    made_by = _template_of(lead, mapping)
    folder = outcomes.strip("/")
    if not folder:
        raise RequestError("outcomes: is empty; the outcomes need a folder of their own, beside the events.")
    # Without the mapping: an activity that was added cannot be changed, and would be there twice.
    about = json.dumps([bucket, marketo, activity_type, prefix, folder])
    name = f"atomic-marketo-activities-{hashlib.sha256(about.encode()).hexdigest()[:12]}"
    with alone(name) as is_ours:
        if not is_ours:
            get_run_logger().info("Another run is syncing; it, or the next one, has these objects.")
            return []
        found, cursor = source.new_objects(recall(name), prefix=prefix)
        objects = [each for each in found if each.key.endswith(ENDINGS) and not each.key.startswith(f"{folder}/")]
        if not objects:
            remember(name, cursor, tag="atomic-marketo")
            return []
        kind = _kind(target, activity_type, mapping)
        if lead_field != "id":
            _check_lead_field(target, lead_field)
        how = _How(kind, made_by, lead_field, settle_after)
        done, unfinished, in_a_row = list[SyncedObject](), list[str](), 0
        quota: MarketoQuotaError | None = None
        progress = ProgressArtifact("marketo-activities-sync", f"{len(objects)} objects for type {activity_type}")
        for number, each in enumerate(objects, 1):
            if quota is not None or in_a_row == _IN_A_ROW:
                why = "the quota is used up" if quota else f"{_IN_A_ROW} before it failed"
                unfinished.append(f"{each.key}: was not tried, as {why}")
                continue
            made = sync_object.submit(source, target, how, each, folder, name).result(raise_on_failure=False)
            if isinstance(made, SyncedObject):
                done.append(made)
                in_a_row = 0
            else:
                unfinished.append(f"{each.key}: {made}")
                in_a_row = in_a_row + 1 if isinstance(made, _OF_ALL) else 0
                quota = made if isinstance(made, MarketoQuotaError) else None
            progress.tell(number / len(objects))
        if not unfinished:  # else all of them are found again, and those that are done are left alone
            remember(name, cursor, tag="atomic-marketo")
        progress.end()
    rows: list[dict[str, Any]] = [
        {"key": each.key, "added": each.added, "rejected": each.rejected, "fault": each.fault or ""} for each in done
    ]
    create_table_artifact(
        [*rows, *({"key": text, "fault": "not finished; the next run goes on with it"} for text in unfinished)],
        key="marketo-activities-sync-results",
        description=f"Events of {bucket} as activities of type {activity_type}.",
    )
    refused = [f"{each.key}: {each.fault}" for each in done if each.fault]
    if unfinished or refused:
        told = f"{len(unfinished) + len(refused)} of {len(objects)} objects: {'; '.join((unfinished + refused)[:5])}"
        if quota is not None:
            raise MarketoQuotaError(told, code=quota.code, until=quota.until)
        raise AtomicError(told)
    return rows


class _How:
    """How events become activities.

    Args:
        kind: What Marketo says of their type.
        made_by: The template that makes what an activity needs of an event.
        lead_field: What leads are looked up by.
        settle_after: Seconds after which Marketo shows what it was sent.
    """

    def __init__(self, kind: Mapping[str, Any], made_by: str, lead_field: str, settle_after: float) -> None:
        self.kind = kind
        self.made_by = made_by
        self.lead_field = lead_field
        self.settle_after = settle_after


@task(name="sync_object", task_run_name="sync {each.key}", cache_policy=NO_CACHE)
def sync_object(source: S3Bucket, target: Marketo, how: _How, each: S3Object, folder: str, of: str) -> SyncedObject:
    """Adds the events of an object that were not added yet.

    Raises:
        AtomicError: It is not known what became of all events; the bucket says how far it is.
    """
    record = _Record(source, each, folder, of)
    if record.state.done:
        record.clear()  # which a killed run may have left undone
        return record.state
    with tempfile.TemporaryDirectory() as scratch:
        path = source.download_object_to_path(each, Path(scratch) / "events")
        if source.head(each).etag != each.etag:
            raise AtomicError("was replaced just now; what it holds by now is another object.", transient=True)
        events = EventFile(path)
        _Syncing(target, how, record).run(events)
        record.finish(events)
    return record.state


class _Record:
    """What is kept of an object in the bucket: its state, and the rejects of each call until there are no more."""

    def __init__(self, bucket: S3Bucket, each: S3Object, folder: str, of: str) -> None:
        self._bucket = bucket
        digest = hashlib.sha256(f"{each.full_key} {of}".encode()).hexdigest()[:12]
        # A key has 1,024 bytes at most.
        self._name = f"{folder}/{each.key.encode()[:400].decode(errors='ignore')}.{digest}"
        self.state = SyncedObject(key=each.key, etag=each.etag)
        if bucket.exists(f"{self._name}.json"):
            known = self._known()
            if known.etag == each.etag:
                self.state = known
            else:
                self.clear()
                self.state.again, self.state.saved_at = True, known.saved_at

    def _known(self) -> SyncedObject:
        """What was saved before."""
        name = f"{self._name}.json"
        try:
            return SyncedObject.model_validate_json(self._bucket.read_path(name))
        except ValueError:
            told = "%s is damaged; so Marketo is asked which events of %s it has, and the others are added."
            get_run_logger().warning(told, name, self.state.key)
            return SyncedObject(key=self.state.key, etag="", saved_at=time.time())

    def save(self) -> None:
        self.state.saved_at = time.time()
        self._bucket.write_path(f"{self._name}.json", self.state.model_dump_json().encode())

    def reject(self, reasons: Mapping[int, str]) -> None:
        """Keeps rejects of the lines behind those that are dealt with; done again, it replaces them."""
        self._bucket.write_path(f"{self._name}.rejects/{self.state.through:012}.json", json.dumps(reasons).encode())

    def finish(self, events: EventFile) -> None:
        reasons = dict[int, str]()
        for part in self._bucket.list_objects(f"{self._name}.rejects/"):
            reasons.update({int(line): reason for line, reason in json.loads(self._bucket.read_path(part)).items()})
        rejects = f"{self._name}.rejects.ndjson"
        if reasons:
            self._bucket.write_stream(rejects, events.rejects(reasons), content_type="application/x-ndjson")
        elif self.state.again:
            self._bucket.delete_object(rejects)
        self.state.fault = events.fault or _fault_of_all(self.state)
        self.state.done = True
        self.save()
        self.clear()

    def clear(self) -> None:
        for part in list(self._bucket.list_objects(f"{self._name}.rejects/")):
            self._bucket.delete_object(part)


class _Syncing:
    """An object on its way."""

    def __init__(self, target: Marketo, how: _How, record: _Record) -> None:
        self._target = target
        self._how = how
        self._record = record
        self._state = record.state

    def run(self, events: EventFile) -> None:
        """Adds what is missing.

        Raises:
            AtomicError: Of some activities it is not known whether they were added, or none can be.
        """
        state = self._state
        if state.sending or state.again:
            # A call may have been sent long after it was noted. What came with another content was over by then.
            age = 0.0 if state.sending else time.time() - state.saved_at
            sleep(min(max(self._how.settle_after - age, 0.0), self._how.settle_after))
        if state.sending:
            self._note_added_before(state.sending)
            state.sending = {}
            self._record.save()
        for chunk in _chunks(events.mapped(self._how.made_by, after=state.through), set(state.ahead)):
            self._add(chunk)
        self._reject(state.refused)  # of a call that nothing was left of

    def _add(self, chunk: list[Mapped]) -> None:
        """Adds the activities of a call; they are in doubt from before until after it."""
        state = self._state
        activities, reasons = self._activities(chunk)
        if state.again:
            for line in self._note_added_before(activities):
                del activities[line]
        if activities:
            state.sending = activities
            self._record.save()
            try:
                made = self._target.add_activities(activities.values(), on_error="return")
            except AtomicError:  # none was added, and so none is in doubt
                state.sending = {}
                self._record.save()
                raise
            in_doubt, first = {}, None
            for line, outcome in zip(list(activities), made, strict=True):
                if outcome.success:
                    state.added += 1
                elif outcome.state == "failed" or (outcome.state == "not sent" and outcome.code in _UNSENDABLE):
                    reason = ": ".join(part for part in (outcome.code, outcome.message) if part)
                    state.refused[line] = reason
                    state.refusal = state.refusal or reason
                else:
                    first = first or outcome
                    in_doubt.update({line: activities[line]} if outcome.state == "unknown" else {})
                    continue
                state.ahead.append(line)
            state.sending = in_doubt
            if first is not None:
                self._record.save()
                if first.code in _QUOTA:
                    raise MarketoQuotaError(str(first), code=str(first.code), until=next_day(time.time()))
                raise AtomicError(f"not all is known to be added: {made!r}; the first is {first}", transient=True)
        self._reject(reasons | state.refused)
        state.through = chunk[-1].line
        state.ahead = [line for line in state.ahead if line > state.through]
        self._record.save()

    def _reject(self, reasons: Mapping[int, str]) -> None:
        if reasons:
            self._record.reject(reasons)
        self._state.rejected += len(reasons)
        self._state.refused = {}

    def _note_added_before(self, activities: Mapping[int, Activity]) -> list[int]:
        lines = added_before(self._target, activities, self._how.kind)
        self._state.added += len(lines)
        self._state.ahead += lines
        return lines

    def _activities(self, chunk: list[Mapped]) -> tuple[dict[int, Activity], dict[int, str]]:
        """The activities that events make, by their lines; and of the others, the reasons."""
        reasons = {each.line: each.fault for each in chunk if each.made is None}
        made, values = dict[int, dict[str, Any]](), dict[int, str]()
        for line, parts in ((each.line, each.made) for each in chunk if each.made is not None):
            try:
                parts["activityDate"] = written("activityDate", parts["activityDate"])
                values[line] = _value(parts.pop(_LEAD))
                made[line] = parts
            except RequestError as error:
                reasons[line] = str(error)
        leads, refused = self._leads(set(values.values()))
        activities = {}
        for line, parts in made.items():
            ids = leads.get(values[line].casefold(), set())
            if len(ids) == 1:
                own = {name: parts.pop(name) for name in _OWN}
                activities[line] = {_LEAD: min(ids), "activityTypeId": self._how.kind["id"], **own, "attributes": parts}
            elif ids:
                reasons[line] = f"lead: {len(ids)} leads have this {self._how.lead_field}"
            else:
                reasons[line] = refused.get(values[line]) or f"lead: there is none with this {self._how.lead_field}"
        return activities, reasons

    def _leads(self, values: set[str]) -> tuple[Mapping[str, set[int]], dict[str, str]]:
        """The ids of leads by the value that they were looked up with, and why values were refused."""
        found, refused = defaultdict[str, set[int]](set), dict[str, str]()
        field = self._how.lead_field
        if field == "id":
            for value in values:
                try:
                    found[value].add(check_id("lead", value))
                except RequestError as error:
                    refused[value] = str(error)
            return found, refused
        waiting = [sorted(values)] if values else []
        while waiting:
            some = waiting.pop()
            try:
                for lead in self._target.leads(field, some, fields=["id", field]):
                    found[str(lead.get(field)).strip().casefold()].add(int(lead["id"]))
            except MarketoInputError as error:  # one value may be at fault, such as a text for a number
                if len(some) > 1:
                    waiting += [some[len(some) // 2 :], some[: len(some) // 2]]
                    continue
                refused[some[0]] = f"lead: {error}"
                self._state.refusal = self._state.refusal or f"{error.code}, when its lead was looked up"
        return found, refused


def _chunks(events: Iterable[Mapped], dealt_with: set[int]) -> Iterator[list[Mapped]]:
    """Events whose activities fit into a call."""
    chunk, size = list[Mapped](), 0
    for each in events:
        if each.line in dealt_with:
            continue
        made = each.made or {}
        takes = len(json.dumps(made, ensure_ascii=False).encode("utf-8", "replace")) + _BYTES_AROUND * len(made)
        if chunk and (len(chunk) == MOST or size + takes > _MOST_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(each)
        size += takes
    if chunk:
        yield chunk


def _value(given: object) -> str:
    """What a lead is looked up by."""
    if given is None or (isinstance(given, str) and not given.strip()):
        raise RequestError("lead: has no value.")
    if not isinstance(given, str | int) or isinstance(given, bool):
        raise RequestError("lead: is neither a text nor a whole number.")
    if "," in str(given):
        raise RequestError("lead: has a comma, and Marketo would take it for two values.")
    return str(given).strip()


def _fault_of_all(state: SyncedObject) -> str | None:
    """What is told of an object of which nothing was taken: that is hardly a matter of single events."""
    if state.added or state.refusal is None:
        return None
    return f"none of its {state.rejected} events was taken; Marketo refused the first: {state.refusal}"


def _template_of(lead: str, mapping: Mapping[str, str]) -> str:
    """One template that makes, as JSON, what an activity needs.

    Raises:
        RequestError: One does not parse, or is of no attribute, or there is none for what each activity has.
    """
    try:
        value_template(lead)
    except ValueError as error:
        raise RequestError(f"lead: {error}.") from None
    if "primaryAttributeValue" not in mapping:
        raise RequestError("mapping: has nothing for primaryAttributeValue, which each activity has.")
    if unfit := mapping.keys() & {_LEAD, "activityTypeId"}:
        raise RequestError(f"mapping: {min(unfit)}: is no attribute; there are the parameters lead and activity_type.")
    return object_template({"activityDate": "event.timestamp", **mapping, _LEAD: lead})


def _kind(target: Marketo, activity_type: int, mapping: Mapping[str, str]) -> Mapping[str, Any]:
    """What Marketo says of the type.

    Raises:
        RequestError: There is no such type, or it has no such attribute.
    """
    kinds = {each["id"]: each for each in target.activity_types() if each.get("id", 0) > _FIRST_CUSTOM}
    if activity_type not in kinds:
        there_are = ", ".join(f"{number} {each.get('name')}" for number, each in kinds.items()) or "none"
        raise RequestError(f"activity_type: {activity_type} is no custom activity; there are: {there_are}.")
    kind: Mapping[str, Any] = kinds[activity_type]
    names = {str(each.get("apiName") or each.get("name")) for each in kind.get("attributes") or []}
    if unknown := sorted(mapping.keys() - names - {*_OWN}):
        raise RequestError(
            f"mapping: {unknown[0]}: is no attribute of {kind.get('name')}; there are {', '.join(sorted(names))}."
        )
    return kind


def _check_lead_field(target: Marketo, lead_field: str) -> None:
    fields = [each[0] for each in target.describe().get("searchableFields") or [] if len(each) == 1]
    if lead_field not in fields:
        raise RequestError(
            f"lead_field: leads cannot be looked up by {lead_field!r}, but by {', '.join(map(str, fields))}."
        )
