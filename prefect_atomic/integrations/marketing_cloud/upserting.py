"""Rows into a data extension: some at once, with an answer that says yes or no, or many, with word of each later.

An upsert by the primary key may be done twice, so it is sent again wherever an answer is lost, although some are POSTs.
Sources: postDataExtensionRowsetByKey and updateDataExtensionIDAsync of developer.salesforce.com.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Literal, TypeAlias

from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.marketing_cloud.api import Api, check_key, check_seconds
from prefect_atomic.integrations.marketing_cloud.later import follow
from prefect_atomic.integrations.marketing_cloud.rows import Row, RowShape
from prefect_atomic.integrations.marketing_cloud.sending import Given, Sending, halves_within
from prefect_atomic.integrations.records import Batch, OnError, Outcome, Outcomes, json_batches, settled
from prefect_atomic.integrations.records.outcomes import check_on_error
from prefect_atomic.tasks.course import Course

Mode: TypeAlias = Literal["auto", "sync", "async"]
"""How rows are sent."""

SCOPE = "data_extensions_write"

_FEW = 500
"""Rows up to which `auto` sends them synchronously: ten requests, and the answer says at once what is wrong."""

_ARRAY = (b"[", b"]")
_ITEMS = (b'{"items":[', b"]}")


def upsert(
    api: Api, key: str, rows: Iterable[Row], keys: Sequence[str], *, mode: Mode, wait: float, on_error: OnError
) -> Course[Outcomes]:
    """Upserts rows; see `SalesforceMarketingCloud.upsert_rows`."""
    check_key("data_extension_key", key)
    check_on_error(on_error)
    check_seconds("wait", wait)
    if mode not in ("auto", "sync", "async"):
        raise RequestError("mode: is 'auto', 'sync' or 'async'.")
    shape, outcomes, given = RowShape(keys, api.max_text), Outcomes(), Given("rows", rows)
    is_async, waiting = _chosen(mode, given)
    if is_async:
        sending, batches = _later(api, key, waiting, shape, outcomes, wait)
    else:
        sending, batches = _at_once(api, key, waiting, shape, outcomes)
    yield from sending.run(batches, given)
    return settled(outcomes, what=f"rows for {key}", on_error=on_error)


def _chosen(mode: Mode, rows: Iterator[Row]) -> tuple[bool, Iterator[Row]]:
    if mode != "auto":
        return mode == "async", rows
    first = list(islice(rows, _FEW + 1))
    return len(first) > _FEW, chain(first, rows)


def _at_once(
    api: Api, key: str, rows: Iterable[Row], shape: RowShape, outcomes: Outcomes
) -> tuple[Sending, Iterator[Batch]]:
    def deliver(batch: Batch) -> Course[list[Outcome]]:
        # All rows of a request are written, or none is: 2xx says that all are.
        yield from api.ask(
            "POST",
            *("hub", "v1", "dataevents", f"key:{key}", "rowset"),
            content=batch.body,
            repeatable=True,
            scope=SCOPE,
        )
        return [Outcome(position, "succeeded") for position in batch.positions]

    batches = json_batches(
        rows,
        outcomes,
        most=api.sync_batch,
        most_bytes=api.max_bytes,
        wrap=_ARRAY,
        shape=shape.keyed,
        check=shape.fault,
    )
    return Sending(outcomes, deliver, is_repeated=True, halves=halves_within(*_ARRAY)), batches


def _later(
    api: Api, key: str, rows: Iterable[Row], shape: RowShape, outcomes: Outcomes, wait: float
) -> tuple[Sending, Iterator[Batch]]:
    def deliver(batch: Batch) -> Course[list[Outcome]]:
        answer = yield from api.ask(
            "PUT",
            *("data", "v1", "async", "dataextensions", f"key:{key}", "rows"),
            content=batch.body,
            scope=SCOPE,
        )
        # One request after another: of two at once, it is not known which is processed first.
        made = yield from follow(api, answer, batch.positions, wait)
        return made

    batches = json_batches(
        rows,
        outcomes,
        most=api.async_batch,
        most_bytes=api.max_bytes,
        wrap=_ITEMS,
        shape=shape.plain,
        check=shape.fault,
    )
    return Sending(outcomes, deliver, is_repeated=True, halves=halves_within(*_ITEMS)), batches
