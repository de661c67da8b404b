"""The tasks: the methods in a flow, with blocks or slugs, and names without content."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.testing.utilities import prefect_test_harness

from prefect_atomic import BulkIngestError, Outcomes, RequestError
from prefect_atomic.integrations.data_360.bulk import BulkIngest
from prefect_atomic.integrations.data_360.tasks import (
    data_360_bulk_ingest,
    data_360_delete_records,
    data_360_ingest,
    data_360_query,
)
from prefect_atomic.sandbox import Sandbox
from tests.e2e.servers.faulty import Answer, CapturedRequest
from tests.integrations.data_360.conftest import ORDERS, SOURCE, Tenant, as_json, block_for, order, orders

pytestmark = [
    pytest.mark.prefect_server,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

SLUG = "atomic-salesforce-data-360/crm"


@pytest.fixture(scope="module", autouse=True)
def _prefect() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


def test_tasks_do_what_the_methods_do(sandbox: Sandbox, tmp_path: Path) -> None:
    block = block_for(sandbox)
    block.save("crm", overwrite=True)
    file = tmp_path / "orders.csv"
    file.write_text("order_id,amount,placed_at\no-8,8,\n")

    @flow
    def everything() -> tuple[Outcomes, BulkIngest, list[dict[str, Any]], Outcomes]:
        ingested = data_360_ingest(block, SOURCE, ORDERS, [order(1), order(2)])
        data_360_ingest(SLUG, SOURCE, ORDERS, (order(number) for number in range(3, 5)))
        loaded = data_360_bulk_ingest(SLUG, SOURCE, ORDERS, file)
        deleted = data_360_delete_records(SLUG, SOURCE, ORDERS, ["o-1"])
        return ingested, loaded, data_360_query(SLUG, f"SELECT order_id FROM {ORDERS}"), deleted  # noqa: S608

    ingested, loaded, rows, deleted = everything()
    assert (ingested.succeeded, loaded.rows, deleted.succeeded) == (2, 1, 1)
    assert {row["order_id"] for row in rows} == set(orders(sandbox)) == {"o-2", "o-3", "o-4", "o-8"}


def test_a_query_of_more_rows_than_its_limit_is_an_error_and_cancelled(sandbox: Sandbox) -> None:
    block = block_for(sandbox)
    with pytest.raises(RequestError, match="limit: there are more than 10 rows"):
        data_360_query.fn(block, "SELECT n FROM numbers(11)", limit=10)
    assert len(data_360_query.fn(block, "SELECT n FROM numbers(10)", limit=10)) == 10


@pytest.mark.parametrize("limit", [-1, "10", None, 1.5])
def test_a_limit_that_is_none_is_told(sandbox: Sandbox, limit: Any) -> None:
    with pytest.raises(RequestError, match=r"^limit: is a whole number"):
        data_360_query.fn(block_for(sandbox), "SELECT 1", limit=limit)


@pytest.mark.parametrize("slug", ["no slug", "atomic-salesforce-data-360/nobody", "atomic-basic-auth/nobody"])
def test_a_slug_of_nothing_is_told(slug: str) -> None:
    with pytest.raises(RequestError, match=r"^data_360: "):
        data_360_query.fn(slug, "SELECT 1")


def test_errors_pickle_with_their_results(sandbox: Sandbox) -> None:
    sandbox.set_data_360(fail_next_job="no")
    with pytest.raises(BulkIngestError) as failure:
        data_360_bulk_ingest.fn(block_for(sandbox), SOURCE, ORDERS, [order(0)])
    again = pickle.loads(pickle.dumps(failure.value))  # noqa: S301
    assert (str(again), again.result) == (str(failure.value), failure.value.result)


def test_a_large_file_shows_its_progress(tenant: Tenant, tmp_path: Path) -> None:
    def answer(request: CapturedRequest) -> Answer:
        state = {"PATCH": "UploadComplete", "GET": "JobComplete"}.get(request.method, "Open")
        return as_json(id="job-1", state=state)

    tenant.answer = answer
    file = tmp_path / "orders.csv"
    file.write_bytes(b"order_id,amount\n" + (b"x" * 9_990 + b",1\n") * 2_000)

    @flow
    def load() -> BulkIngest:
        return data_360_bulk_ingest(tenant.block(), SOURCE, ORDERS, file)

    assert load().rows == 2_000
    with get_client(sync_client=True) as client:
        (artifact,) = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["data-360-bulk-ingest"]))
        )
    assert artifact.data == 100.0
