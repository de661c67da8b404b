"""What flows do with Data 360, as Prefect tasks. Each takes a block, or the slug of a saved one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run
from prefect.tasks import task

from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.data_360.block import SalesforceData360, resolve
from prefect_atomic.integrations.data_360.bulk import BulkIngest
from prefect_atomic.integrations.data_360.jobs import Operation
from prefect_atomic.integrations.data_360.query import Parameters, QueryApi
from prefect_atomic.integrations.records import OnError, Outcomes
from prefect_atomic.integrations.s3 import S3Bucket, S3Object
from prefect_atomic.integrations.s3 import resolve as resolve_bucket


def _run_name() -> str:
    """The task, and the object: no record, and no statement."""
    return f"{task_run.task_name} {task_run.parameters.get('object', '')}".strip()[:200]


# Prefect's cache keys leave secrets out, and what Data 360 has is no function of the arguments.
@task(name="data_360_ingest", task_run_name=_run_name, cache_policy=NO_CACHE)
def data_360_ingest(
    data_360: SalesforceData360 | str,
    source: str,
    object: str,  # noqa: A002 - as Data 360 calls it
    records: Iterable[Mapping[str, Any]],
    *,
    fields: Sequence[str] | None = None,
    on_error: OnError = "raise",
) -> Outcomes:
    """Upserts records by streaming ingestion.

    Args:
        data_360: A `SalesforceData360`, or the slug of a saved one, such as `atomic-salesforce-data-360/crm`.
        source: The API name of the ingestion connector.
        object: The endpoint's name of the object, such as `contacts_734a9fa2`.
        records: The records, as mappings.
        fields: All fields of the schema; see `SalesforceData360.ingest`.
        on_error: `raise`, or `return` the outcomes whatever they are.

    Returns:
        What became of each record.

    Raises:
        RecordsError: Some records did not surely arrive; has the outcomes.
        AtomicError: None can arrive; says why.
    """
    return resolve(data_360).ingest(source, object, records, fields=fields, on_error=on_error)


@task(name="data_360_delete_records", task_run_name=_run_name, cache_policy=NO_CACHE)
def data_360_delete_records(
    data_360: SalesforceData360 | str,
    source: str,
    object: str,  # noqa: A002 - as Data 360 calls it
    ids: Iterable[str | int],
    *,
    on_error: OnError = "raise",
) -> Outcomes:
    """Deletes records by their primary keys; see `SalesforceData360.delete_records`."""
    return resolve(data_360).delete_records(source, object, ids, on_error=on_error)


@task(name="data_360_bulk_ingest", task_run_name=_run_name, cache_policy=NO_CACHE)
def data_360_bulk_ingest(
    data_360: SalesforceData360 | str,
    source: str,
    object: str,  # noqa: A002 - as Data 360 calls it
    records: Iterable[Mapping[str, Any]] | str | Path | S3Object,
    *,
    operation: Operation = "upsert",
    fields: Sequence[str] | None = None,
    bucket: S3Bucket | str | None = None,
    wait: float = 3600.0,
) -> BulkIngest:
    """Upserts or deletes any number of records with bulk jobs.

    Args:
        data_360: A `SalesforceData360`, or the slug of a saved one.
        source: The API name of the ingestion connector.
        object: The endpoint's name of the object.
        records: Mappings, the path of a file, or, with `bucket`, the key of an object.
        operation: `upsert` or `delete`.
        fields: The columns, for mappings and JSON Lines.
        bucket: The bucket that `records` is a key of, or the slug of a saved one.
        wait: The longest to wait for the end of the jobs, in seconds; 0 = not at all.

    Returns:
        The jobs, and how much was sent.

    Raises:
        RequestError: A row or a file cannot be sent; nothing was processed.
        BulkIngestError: A job did not complete; has the result.
        AtomicError: Data 360 or the bucket failed; nothing was processed.
    """
    return resolve(data_360).bulk_ingest(
        source,
        object,
        records,
        operation=operation,
        fields=fields,
        bucket=None if bucket is None else resolve_bucket(bucket),
        wait=wait,
    )


@task(name="data_360_query", task_run_name=_run_name, cache_policy=NO_CACHE)
def data_360_query(
    data_360: SalesforceData360 | str,
    sql: str,
    *,
    parameters: Parameters | None = None,
    api: QueryApi = "auto",
    limit: int = 10_000,
) -> list[dict[str, Any]]:
    """The rows of a query.

    Args:
        data_360: A `SalesforceData360`, or the slug of a saved one.
        sql: The statement.
        parameters: A list of values for `?`, or a mapping for `:name`.
        api: `v3`, `v2`, or `auto`.
        limit: The most rows; more are an error, as a result lies in memory. `SalesforceData360.query` has no limit.

    Raises:
        RequestError: There are more rows, or the arguments make no query.
        AtomicError: Data 360 refused it, or did not answer.
    """
    given: object = limit
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise RequestError("limit: is a whole number of rows, 0 or more.")
    rows = resolve(data_360).query(sql, parameters=parameters, api=api)
    found = list(islice(rows, limit + 1))
    if len(found) > limit:
        rows.close()  # cancels the query
        raise RequestError(f"limit: there are more than {limit} rows; raise it, or narrow the query.")
    return found
