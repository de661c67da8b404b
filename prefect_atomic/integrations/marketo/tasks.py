"""What flows do with Marketo, as Prefect tasks. Each takes a block, or the slug of a saved one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run
from prefect.tasks import task

from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.marketo.block import Marketo, resolve
from prefect_atomic.integrations.marketo.export_jobs import ExportResult
from prefect_atomic.integrations.marketo.job_notes import JobNotes
from prefect_atomic.integrations.records import OnError, Outcomes
from prefect_atomic.integrations.records.sources import Records
from prefect_atomic.integrations.s3 import S3Bucket
from prefect_atomic.integrations.s3 import resolve as resolve_bucket

Lead = int | Mapping[str, Any]


def _run_name() -> str:
    """The task, and what it is about: no lead."""
    given = task_run.parameters
    named = next((given[name] for name in ("campaign_id", "list_id", "program_id", "name") if given.get(name)), "")
    return f"{task_run.task_name} {named}".strip()[:200]


# Prefect's cache keys leave secrets out, and what Marketo has is no function of the arguments.
@task(name="marketo_sync_leads", task_run_name=_run_name, cache_policy=NO_CACHE)
def marketo_sync_leads(
    marketo: Marketo | str,
    leads: Iterable[Mapping[str, Any]],
    *,
    action: Literal["createOrUpdate", "createOnly", "updateOnly", "createDuplicate"] = "createOrUpdate",
    lookup_field: str = "email",
    partition: str | None = None,
    on_error: OnError = "raise",
) -> Outcomes:
    """Creates leads, and changes those that are there already.

    Args:
        marketo: A `Marketo`, or the slug of a saved one, such as `atomic-marketo/production`.
        leads: The leads, each a mapping of the API names of fields to values.
        action: `createOrUpdate`, `createOnly`, `updateOnly` or `createDuplicate`.
        lookup_field: The field that tells leads.
        partition: The partition of new leads; None = the block's.
        on_error: `raise`, or `return` the outcomes whatever they are.

    Returns:
        What became of each lead, with its id.

    Raises:
        RequestError: The arguments make no request; nothing was sent.
        RecordsError: Some leads did not surely arrive; has the outcomes.
        AtomicError: None arrived, as none can; says why.
    """
    return resolve(marketo).sync_leads(
        leads, action=action, lookup_field=lookup_field, partition=partition, on_error=on_error
    )


@task(name="marketo_get_leads", task_run_name=_run_name, cache_policy=NO_CACHE)
def marketo_get_leads(
    marketo: Marketo | str,
    filter_type: str,
    values: Iterable[str | int],
    *,
    fields: Sequence[str] | None = None,
    limit: int = 10_000,
) -> list[dict[str, Any]]:
    """Leads that have one of these values in a field.

    Args:
        marketo: A `Marketo`, or the slug of a saved one.
        filter_type: The field, such as `email` or `id`.
        values: The values.
        fields: The fields to read; None = a few that Marketo chooses.
        limit: The most leads; more are an error, as a result lies in memory. `Marketo.leads` has no limit.

    Raises:
        RequestError: There are more leads, or an argument makes no request.
        AtomicError: Marketo refused, or its answer cannot be read.
    """
    most: object = limit
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise RequestError("limit: is a whole number of leads, 1 or more.")
    found = list(islice(resolve(marketo).leads(filter_type, values, fields=fields), most + 1))
    if len(found) > most:
        raise RequestError(f"limit: there are more than {most} leads; raise it, or ask for fewer values.")
    return found


@task(name="marketo_add_to_list", task_run_name=_run_name, cache_policy=NO_CACHE)
def marketo_add_to_list(
    marketo: Marketo | str, list_id: int, leads: Iterable[Lead], *, on_error: OnError = "raise"
) -> Outcomes:
    """Puts leads on a static list.

    Args:
        marketo: A `Marketo`, or the slug of a saved one.
        list_id: The id of the list.
        leads: The ids, or leads that have an `id`.
        on_error: `raise`, or `return` the outcomes whatever they are.

    Returns:
        What became of each.

    Raises:
        RecordsError: Some are not surely on it; has the outcomes.
        AtomicError: None is, as none can be.
    """
    return resolve(marketo).add_to_list(list_id, leads, on_error=on_error)


@task(name="marketo_remove_from_list", task_run_name=_run_name, cache_policy=NO_CACHE)
def marketo_remove_from_list(
    marketo: Marketo | str, list_id: int, leads: Iterable[Lead], *, on_error: OnError = "raise"
) -> Outcomes:
    """Takes leads off a static list. Arguments, result and errors are those of `marketo_add_to_list`."""
    return resolve(marketo).remove_from_list(list_id, leads, on_error=on_error)


@task(name="marketo_sync_custom_objects", task_run_name=_run_name, cache_policy=NO_CACHE)
def marketo_sync_custom_objects(
    marketo: Marketo | str,
    name: str,
    records: Iterable[Mapping[str, Any]],
    *,
    action: Literal["createOrUpdate", "createOnly", "updateOnly"] = "createOrUpdate",
    dedupe_by: Literal["dedupeFields", "idField"] = "dedupeFields",
    on_error: OnError = "raise",
) -> Outcomes:
    """Creates records of a custom object, and changes those that are there already.

    Args:
        marketo: A `Marketo`, or the slug of a saved one.
        name: The API name of the custom object, such as `car_c`.
        records: The records, each a mapping of the API names of fields to values.
        action: `createOrUpdate`, `createOnly` or `updateOnly`.
        dedupe_by: What tells records: `dedupeFields`, or `idField` with `updateOnly`.
        on_error: `raise`, or `return` the outcomes whatever they are.

    Returns:
        What became of each record.

    Raises:
        RecordsError: Some records did not surely arrive; has the outcomes.
        AtomicError: None arrived, as none can; says why.
    """
    return resolve(marketo).sync_custom_objects(name, records, action=action, dedupe_by=dedupe_by, on_error=on_error)


# Never with retries: a run that failed may have added some, and Marketo would keep them twice.
@task(name="marketo_add_activities", task_run_name=_run_name, cache_policy=NO_CACHE, retries=0)
def marketo_add_activities(
    marketo: Marketo | str, activities: Iterable[Mapping[str, Any]], *, on_error: OnError = "raise"
) -> Outcomes:
    """Adds custom activities to leads. Leave its `retries` at 0: what was added would be added once more.

    Args:
        marketo: A `Marketo`, or the slug of a saved one.
        activities: The activities; see `Marketo.add_activities`.
        on_error: `raise`, or `return` the outcomes whatever they are.

    Returns:
        What became of each, with its id.

    Raises:
        RecordsError: Some activities did not surely arrive; has the outcomes.
        AtomicError: None arrived, as none can; says why.
    """
    return resolve(marketo).add_activities(activities, on_error=on_error)


# Never with retries: leads would run through the campaign once more.
@task(name="marketo_request_campaign", task_run_name=_run_name, cache_policy=NO_CACHE, retries=0)
def marketo_request_campaign(
    marketo: Marketo | str,
    campaign_id: int,
    leads: Iterable[Lead],
    *,
    tokens: Mapping[str, str] | None = None,
    on_error: OnError = "raise",
) -> Outcomes:
    """Has leads run through a trigger campaign. Leave its `retries` at 0: they would run through it once more.

    Args:
        marketo: A `Marketo`, or the slug of a saved one.
        campaign_id: The id of the campaign.
        leads: The ids, or leads that have an `id`.
        tokens: My Tokens for this run, such as `{"my.offer": "20 %"}`.
        on_error: `raise`, or `return` the outcomes whatever they are.

    Returns:
        What became of each. One that is `unknown` may run through it.

    Raises:
        RecordsError: Some were not surely taken; has the outcomes.
        AtomicError: None was, as none can be.
    """
    return resolve(marketo).request_campaign(campaign_id, leads, tokens=tokens, on_error=on_error)


# Never with retries: the campaign would run once more.
@task(name="marketo_schedule_campaign", task_run_name=_run_name, cache_policy=NO_CACHE, retries=0)
def marketo_schedule_campaign(
    marketo: Marketo | str,
    campaign_id: int,
    *,
    run_at: datetime | str | None = None,
    tokens: Mapping[str, str] | None = None,
    clone_to_program: str | None = None,
) -> int:
    """Schedules a batch campaign. Leave its `retries` at 0: it would run once more.

    Args:
        marketo: A `Marketo`, or the slug of a saved one.
        campaign_id: The id of the campaign.
        run_at: When it is to run; None = in five minutes.
        tokens: My Tokens for this run, such as `{"my.offer": "20 %"}`.
        clone_to_program: The name of a program to clone the campaign's program to.

    Returns:
        The id of the campaign that was scheduled.

    Raises:
        AtomicError: It was not scheduled, or no answer says whether it was.
    """
    return resolve(marketo).schedule_campaign(
        campaign_id, run_at=run_at, tokens=tokens, clone_to_program=clone_to_program
    )


# Half a million rows are no parameters to be shown: they come as a path, an open file, or a key of a bucket.
@task(name="marketo_import_leads", task_run_name=_run_name, cache_policy=NO_CACHE)
def marketo_import_leads(
    marketo: Marketo | str,
    records: Records,
    *,
    lookup_field: str | None = None,
    list_id: int | None = None,
    partition: str | None = None,
    columns: Sequence[str] | None = None,
    bucket: S3Bucket | str | None = None,
    state: JobNotes | str | Path | None = None,
    wait: float = 3600.0,
    on_error: OnError = "raise",
) -> Outcomes:
    """Creates and updates any number of leads in bulk.

    Args:
        marketo: A `Marketo`, or the slug of a saved one.
        records: Mappings of fields to values; a file of CSV or JSON Lines, by its path or open in binary mode; or the
            key of one in `bucket`.
        lookup_field: The field that tells leads; None = `email`.
        list_id: A static list that they are put on.
        partition: The partition of new leads; None = the block's.
        columns: The fields, for mappings and JSON Lines; None = those of the first record.
        bucket: Where the object is that `records` names: an `S3Bucket`, or the slug of a saved one.
        state: Where notes of the jobs are kept, so that a retry goes on where the task was; see `Marketo.import_leads`.
        wait: The longest to wait for Marketo to process a file, in seconds.
        on_error: `raise`, or `return` the outcomes whatever they are.

    Returns:
        What became of each row.

    Raises:
        RecordsError: Some rows did not surely succeed; has the outcomes.
        AtomicError: Nothing was imported; says why.
    """
    return resolve(marketo).import_leads(
        records,
        lookup_field=lookup_field,
        list_id=list_id,
        partition=partition,
        columns=columns,
        bucket=_bucket(bucket),
        state=state,
        wait=wait,
        on_error=on_error,
    )


@task(name="marketo_import_custom_objects", task_run_name=_run_name, cache_policy=NO_CACHE)
def marketo_import_custom_objects(
    marketo: Marketo | str,
    name: str,
    records: Records,
    *,
    columns: Sequence[str] | None = None,
    bucket: S3Bucket | str | None = None,
    state: JobNotes | str | Path | None = None,
    wait: float = 3600.0,
    on_error: OnError = "raise",
) -> Outcomes:
    """Creates and updates records of the custom object `name` in bulk; all else is as with `marketo_import_leads`."""
    return resolve(marketo).import_custom_objects(
        name, records, columns=columns, bucket=_bucket(bucket), state=state, wait=wait, on_error=on_error
    )


@task(name="marketo_import_program_members", task_run_name=_run_name, cache_policy=NO_CACHE)
def marketo_import_program_members(
    marketo: Marketo | str,
    program_id: int,
    status: str,
    records: Records,
    *,
    columns: Sequence[str] | None = None,
    bucket: S3Bucket | str | None = None,
    state: JobNotes | str | Path | None = None,
    wait: float = 3600.0,
    on_error: OnError = "raise",
) -> Outcomes:
    """Gives leads a status in a program in bulk; all else is as with `marketo_import_leads`."""
    return resolve(marketo).import_program_members(
        program_id,
        status,
        records,
        columns=columns,
        bucket=_bucket(bucket),
        state=state,
        wait=wait,
        on_error=on_error,
    )


@task(name="marketo_export_leads", task_run_name=_run_name, cache_policy=NO_CACHE)
def marketo_export_leads(
    marketo: Marketo | str,
    target: str | Path,
    *,
    fields: Sequence[str],
    created: tuple[datetime | str, datetime | str] | None = None,
    updated: tuple[datetime | str, datetime | str] | None = None,
    static_list: int | str | None = None,
    smart_list: int | str | None = None,
    header_names: Mapping[str, str] | None = None,
    bucket: S3Bucket | str | None = None,
    state: JobNotes | str | Path | None = None,
    wait: float = 14_400.0,
) -> ExportResult:
    """Writes leads into a file of CSV.

    Args:
        marketo: A `Marketo`, or the slug of a saved one.
        target: A path, or a key in `bucket`.
        fields: The API names of the fields.
        created: Leads that were created from the first of two moments on, and before the second.
        updated: Leads that were last updated then.
        static_list: Leads of a static list, by its id or name.
        smart_list: Leads of a smart list, by its id or name.
        header_names: What columns are called, by the name of the field.
        bucket: Where `target` is a key: an `S3Bucket`, or the slug of a saved one.
        state: Where notes of the jobs are kept, so that a retry starts none twice; see `Marketo.export_leads`.
        wait: The longest to wait for each job, in seconds.

    Returns:
        How many rows and bytes there are, and which jobs they came from.

    Raises:
        AtomicError: Not all was exported; says why.
    """
    return resolve(marketo).export_leads(
        target,
        fields=fields,
        created=created,
        updated=updated,
        static_list=static_list,
        smart_list=smart_list,
        header_names=header_names,
        bucket=_bucket(bucket),
        state=state,
        wait=wait,
    )


@task(name="marketo_export_activities", task_run_name=_run_name, cache_policy=NO_CACHE)
def marketo_export_activities(
    marketo: Marketo | str,
    target: str | Path,
    *,
    since: datetime | str,
    until: datetime | str,
    types: Sequence[int] | None = None,
    fields: Sequence[str] | None = None,
    header_names: Mapping[str, str] | None = None,
    bucket: S3Bucket | str | None = None,
    state: JobNotes | str | Path | None = None,
    wait: float = 14_400.0,
) -> ExportResult:
    """Writes activities, from `since` on and before `until`, into a file; else as `marketo_export_leads`."""
    return resolve(marketo).export_activities(
        target,
        since=since,
        until=until,
        types=types,
        fields=fields,
        header_names=header_names,
        bucket=_bucket(bucket),
        state=state,
        wait=wait,
    )


def _bucket(bucket: S3Bucket | str | None) -> S3Bucket | None:
    return None if bucket is None else resolve_bucket(bucket)
