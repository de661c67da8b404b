"""What flows do with Marketing Cloud, as Prefect tasks. Each takes a block, or the slug of a saved one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run
from prefect.tasks import task

from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.marketing_cloud.api import check_number
from prefect_atomic.integrations.marketing_cloud.block import SalesforceMarketingCloud, resolve
from prefect_atomic.integrations.marketing_cloud.upserting import Mode
from prefect_atomic.integrations.records import OnError, Outcomes


def _run_name() -> str:
    """The task, and what it is about: no row, and no contact."""
    about = task_run.parameters.get("data_extension_key") or task_run.parameters.get("event_definition_key", "")
    return f"{task_run.task_name} {about}".strip()[:200]


# Prefect's cache keys leave secrets out, and what Marketing Cloud has is no function of the arguments.
@task(name="marketing_cloud_upsert_rows", task_run_name=_run_name, cache_policy=NO_CACHE)
def marketing_cloud_upsert_rows(
    marketing_cloud: SalesforceMarketingCloud | str,
    data_extension_key: str,
    rows: Iterable[Mapping[str, Any]],
    *,
    keys: Sequence[str],
    mode: Mode = "auto",
    wait: float = 600.0,
    on_error: OnError = "raise",
) -> Outcomes:
    """Inserts rows into a data extension, and changes those that are there already.

    Args:
        marketing_cloud: A `SalesforceMarketingCloud`, or the slug of a saved one, such as
            `atomic-marketing-cloud/production`.
        data_extension_key: The data extension's external key.
        rows: The rows, each a mapping of columns to values.
        keys: The columns of the data extension's primary key.
        mode: `sync`, `async`, or `auto`; see `SalesforceMarketingCloud.upsert_rows`.
        wait: The longest to wait until an asynchronous request is processed, in seconds.
        on_error: `raise`, or `return` the outcomes whatever they are.

    Returns:
        What became of each row.

    Raises:
        RequestError: The arguments make no request; nothing was sent.
        RecordsError: Some rows did not surely arrive; has the outcomes.
        AtomicError: None arrived, as none can; says why.
    """
    return resolve(marketing_cloud).upsert_rows(
        data_extension_key, rows, keys=keys, mode=mode, wait=wait, on_error=on_error
    )


@task(name="marketing_cloud_read_rows", task_run_name=_run_name, cache_policy=NO_CACHE)
def marketing_cloud_read_rows(
    marketing_cloud: SalesforceMarketingCloud | str,
    data_extension_key: str,
    *,
    filter: str | None = None,  # noqa: A002 - as the API calls it
    order_by: str | None = None,
    limit: int = 10_000,
) -> list[dict[str, Any]]:
    """The rows of a data extension.

    Args:
        marketing_cloud: A `SalesforceMarketingCloud`, or the slug of a saved one.
        data_extension_key: The data extension's external key.
        filter: Only rows that fit, such as `"Score gt 10"`.
        order_by: A column, such as `"Score desc"`.
        limit: The most rows; more are an error, as a result lies in memory. `SalesforceMarketingCloud.read_rows` has
            no limit.

    Raises:
        RequestError: There are more rows, or an argument makes no request.
        AtomicError: Marketing Cloud refused, or its answer cannot be read.
    """
    check_number("limit", limit)
    rows = resolve(marketing_cloud).read_rows(
        data_extension_key, filter=filter, order_by=order_by, page_size=min(limit + 1, 2500)
    )
    found = list(islice(rows, limit + 1))
    if len(found) > limit:
        raise RequestError(f"limit: there are more than {limit} rows; raise it, or narrow the filter.")
    return found


# Never with retries: a run that failed may have let in contacts, who would then enter once more.
@task(name="marketing_cloud_fire_entry_events", task_run_name=_run_name, cache_policy=NO_CACHE, retries=0)
def marketing_cloud_fire_entry_events(
    marketing_cloud: SalesforceMarketingCloud | str,
    event_definition_key: str,
    members: Iterable[Mapping[str, Any]],
    *,
    on_error: OnError = "raise",
) -> Outcomes:
    """Has contacts enter a journey. Leave its `retries` at 0: a contact who has entered would enter once more.

    Args:
        marketing_cloud: A `SalesforceMarketingCloud`, or the slug of a saved one.
        event_definition_key: The key of the journey's entry event.
        members: Who enters, such as `{"contact_key": "123", "data": {"Name": "Ada"}}`.
        on_error: `raise`, or `return` the outcomes whatever they are.

    Returns:
        What became of each member. One that is `unknown` may have entered.

    Raises:
        RequestError: The arguments make no request; nothing was sent.
        RecordsError: Some did not surely enter; has the outcomes.
        AtomicError: None entered, as none can; says why.
    """
    return resolve(marketing_cloud).fire_entry_events(event_definition_key, members, on_error=on_error)
