"""What flows do with an org, as Prefect tasks. Each takes a block, or the slug of a saved one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run
from prefect.tasks import task

from prefect_atomic.errors import CredentialError
from prefect_atomic.integrations.records.outcomes import OnError, Outcome, Outcomes
from prefect_atomic.integrations.salesforce.block import Salesforce
from prefect_atomic.tasks.saved import Saved

Record = Mapping[str, Any]


def _run_name() -> str:
    """The task and the object: queries and records say more than a run's name should."""
    return f"{task_run.task_name} {task_run.parameters.get('sobject', '')}".strip()[:200]


# Prefect's cache keys leave secrets out, and what an org answers is no function of the arguments.
@task(name="salesforce_query", task_run_name=_run_name, cache_policy=NO_CACHE)
def salesforce_query(
    salesforce: Salesforce | str,
    soql: str,
    *,
    include_deleted: bool = False,
    limit: int | None = None,
    bulk_from: int = 50_000,
) -> list[dict[str, Any]]:
    """The rows of a query, all in memory; `Salesforce.query` reads them one by one.

    Args:
        salesforce: A `Salesforce` block, or the slug of a saved one, such as `atomic-salesforce/crm`.
        soql: The query.
        include_deleted: Whether records in the recycle bin count.
        limit: The most rows to read; None = all.
        bulk_from: The number of rows beyond which Bulk API 2.0 reads them.

    Returns:
        The rows, as `Salesforce.query` has them.

    Raises:
        CredentialError: There is no such block, or Salesforce refused to sign in.
        AtomicError: Salesforce refused, or could not be asked.
    """
    block = resolve(salesforce)
    return list(block.query(soql, include_deleted=include_deleted, limit=limit, bulk_from=bulk_from))


@task(name="salesforce_get", task_run_name=_run_name, cache_policy=NO_CACHE)
def salesforce_get(
    salesforce: Salesforce | str,
    sobject: str,
    ids: str | Iterable[str],
    *,
    fields: list[str] | None = None,
    external_id: str = "",
) -> dict[str, Any] | list[dict[str, Any] | None]:
    """One record, or many, by id. Arguments, result and errors are those of `Salesforce.get`."""
    return resolve(salesforce).get(sobject, ids, fields=fields, external_id=external_id)


@task(name="salesforce_create", task_run_name=_run_name, cache_policy=NO_CACHE)
def salesforce_create(
    salesforce: Salesforce | str,
    sobject: str,
    records: Record | Iterable[Record],
    *,
    on_error: OnError = "raise",
    bulk_from: int = 2000,
) -> Outcome | Outcomes:
    """Creates records. Arguments, result and errors are those of `Salesforce.create`.

    With Prefect's retries a second run would create once more what the first one did.
    """
    return resolve(salesforce)._write("insert", sobject, records, "", on_error, bulk_from, _A_DAY)


@task(name="salesforce_update", task_run_name=_run_name, cache_policy=NO_CACHE)
def salesforce_update(
    salesforce: Salesforce | str,
    sobject: str,
    records: Record | Iterable[Record],
    *,
    on_error: OnError = "raise",
    bulk_from: int = 2000,
) -> Outcome | Outcomes:
    """Changes records by their `Id`. Arguments, result and errors are those of `Salesforce.update`."""
    return resolve(salesforce)._write("update", sobject, records, "Id", on_error, bulk_from, _A_DAY)


@task(name="salesforce_upsert", task_run_name=_run_name, cache_policy=NO_CACHE)
def salesforce_upsert(
    salesforce: Salesforce | str,
    sobject: str,
    records: Record | Iterable[Record],
    *,
    external_id: str,
    on_error: OnError = "raise",
    bulk_from: int = 2000,
) -> Outcome | Outcomes:
    """Creates or changes records by an external id. Arguments, result and errors are those of `Salesforce.upsert`."""
    return resolve(salesforce)._write("upsert", sobject, records, external_id, on_error, bulk_from, _A_DAY)


@task(name="salesforce_delete", task_run_name=_run_name, cache_policy=NO_CACHE)
def salesforce_delete(
    salesforce: Salesforce | str,
    sobject: str,
    ids: str | Iterable[str],
    *,
    on_error: OnError = "raise",
    bulk_from: int = 2000,
) -> Outcome | Outcomes:
    """Deletes records by id. Arguments, result and errors are those of `Salesforce.delete_records`."""
    block = resolve(salesforce)
    if isinstance(ids, str):
        return block.delete_records(sobject, ids, on_error=on_error)
    return block.delete_records(sobject, ids, on_error=on_error, bulk_from=bulk_from)


_A_DAY = 86_400.0
_ORGS = Saved("salesforce", "atomic-salesforce/crm", CredentialError)


def resolve(salesforce: Salesforce | str) -> Salesforce:
    """The block itself, loaded if it was given as the slug of a saved one.

    Raises:
        CredentialError: There is no such block, or it is none of Salesforce.
    """
    block = _ORGS.load(salesforce) if isinstance(salesforce, str) else salesforce
    if isinstance(block, Salesforce):
        return block
    raise CredentialError(f"salesforce: is a {type(block).__name__}; give a Salesforce block, or its slug.")
