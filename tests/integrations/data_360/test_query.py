"""Queries: rows with types, page by page; what can be asked for again is, what cannot says so."""

from __future__ import annotations

import gc
import threading
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest

from prefect_atomic import AtomicError, RequestError, ResponseError, SalesforceData360, TransportError
from prefect_atomic.integrations.data_360.api import Api
from prefect_atomic.integrations.data_360.sql_types import converter
from prefect_atomic.sandbox import Sandbox
from tests.e2e.servers.faulty import Answer, CapturedRequest
from tests.integrations.data_360.conftest import ORDERS, SOURCE, Tenant, as_json, block_for, order

V2, V2_NEXT = "/api/v2/query", "/api/v2/query/{nextBatchId}"
V3, V3_ONE, V3_ROWS = "/api/v3/query", "/api/v3/query/{queryId}", "/api/v3/query/{queryId}/rows"


@pytest.mark.parametrize("api", ["v2", "v3", "auto"])
def test_rows_have_names_and_types(crm: SalesforceData360, api: Any) -> None:
    first, second = crm.query("SELECT * FROM numbers(2)", api=api)

    assert first == {
        "n": 0,
        "text": "row 0",
        "half": Decimal("0.0"),
        "odd": False,
        "day": date(2026, 1, 1),
        "moment": datetime(2026, 1, 1, tzinfo=UTC),
    }
    assert (second["half"], type(second["half"])) == (Decimal("0.5"), Decimal)


@pytest.mark.parametrize("api", ["v2", "v3"])
@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 5003])
def test_every_row_comes_once_and_in_order(crm: SalesforceData360, sandbox: Sandbox, api: Any, count: int) -> None:
    sandbox.set_data_360(chunk_rows=1000)

    sql = f"SELECT n FROM numbers({count})"  # noqa: S608 - a number of our own
    assert [row["n"] for row in crm.query(sql, api=api)] == list(range(count))


def test_parameters_are_values_and_no_sql(crm: SalesforceData360) -> None:
    crm.ingest(SOURCE, ORDERS, [order(1, order_id="it's; --"), order(2), order(3)])
    select = f"SELECT order_id FROM {ORDERS} WHERE "  # noqa: S608 - a name of our own

    assert list(crm.query(f"{select} order_id = ?", parameters=["it's; --"])) == [{"order_id": "it's; --"}]
    assert list(crm.query(f"{select} amount >= :least AND amount < :end", parameters={"least": 2, "end": 2.5})) == [
        {"order_id": "o-2"}
    ]


@pytest.mark.parametrize("value", [None, [1], float("nan"), datetime(2026, 1, 1)])  # noqa: DTZ001 - that is the point
def test_a_parameter_that_cannot_be_sent_is_told(crm: SalesforceData360, value: Any) -> None:
    with pytest.raises(RequestError, match=r"^parameters: number 2 is "):
        crm.query("SELECT 1", parameters=["a", value])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"sql": " "}, "sql: is a statement"),
        ({"sql": None}, "sql: is a statement"),
        ({"sql": "SELECT 1", "api": "v4"}, "api: is 'auto'"),
        ({"sql": "SELECT 1", "api": "v2", "parameters": [1]}, "parameters: version 2 of the query API has none"),
        ({"sql": "SELECT 1", "parameters": "1"}, "parameters: takes a list"),
        ({"sql": "SELECT 1", "parameters": 1}, "parameters: takes a list"),
        ({"sql": "SELECT 1", "parameters": {1, 2}}, "parameters: takes a list"),
        ({"sql": "SELECT 1", "wait": "1"}, "wait: is a number of seconds"),
        ({"sql": "SELECT 1", "wait": float("nan")}, "wait: is a number of seconds"),
    ],
)
def test_what_is_no_query_is_refused_before_anything_is_sent(
    tenant: Tenant, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(RequestError, match=said):
        tenant.block().query(**arguments)
    assert not tenant.server.requests


def test_a_tenant_without_version_3_is_asked_with_version_2(crm: SalesforceData360, sandbox: Sandbox) -> None:
    sandbox.set_data_360(v3=False)

    assert len(list(crm.query("SELECT * FROM numbers(2500)"))) == 2500
    with pytest.raises(RequestError, match=r"parameters: .* version 2 has none"):
        list(crm.query("SELECT n FROM numbers(5) WHERE n = ?", parameters=[1]))
    with pytest.raises(ResponseError, match="404"):
        list(crm.query("SELECT n FROM numbers(5)", api="v3"))


def test_a_query_that_runs_is_looked_at_until_it_is_done(crm: SalesforceData360, sandbox: Sandbox) -> None:
    sandbox.set_data_360(query_polls=5)

    assert len(list(crm.query("SELECT n FROM numbers(3)"))) == 3
    assert sandbox.calls()[f"GET {V3_ONE}"] == 6


def test_a_query_that_runs_too_long_is_cancelled(crm: SalesforceData360, sandbox: Sandbox) -> None:
    sandbox.set_data_360(query_polls=1_000_000)
    with pytest.raises(AtomicError, match="had no result after 0 seconds, and was cancelled"):
        list(crm.query("SELECT n FROM numbers(3)", wait=0))
    assert sandbox.calls()[f"DELETE {V3_ONE}"] == 1


def test_rows_are_read_as_they_are_needed_and_closing_early_cancels(crm: SalesforceData360, sandbox: Sandbox) -> None:
    sandbox.set_data_360(chunk_rows=100)
    rows = crm.query("SELECT n FROM numbers(1000)")
    assert not sandbox.calls().get(f"POST {V3}")

    assert next(rows) == {"n": 0}
    assert sandbox.calls()[f"GET {V3_ROWS}"] == 1
    rows.close()
    assert sandbox.calls()[f"DELETE {V3_ONE}"] == 1


def test_a_query_that_nobody_reads_is_cancelled_in_another_thread(
    crm: SalesforceData360, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The garbage collector closes it wherever it likes, also where a lock is held that a request waits for."""
    asked: list[str] = []
    ask = Api.ask

    def noted(api: Api, method: str, *path: str, **more: Any) -> Any:
        asked.append(f"{method} {threading.current_thread().name}")
        return ask(api, method, *path, **more)

    monkeypatch.setattr(Api, "ask", noted)
    sandbox.set_data_360(chunk_rows=100)
    rows = crm.query("SELECT n FROM numbers(1000)")
    next(rows)
    del rows
    gc.collect()

    assert asked[-1] == "DELETE prefect-atomic-aside"
    assert sandbox.calls()[f"DELETE {V3_ONE}"] == 1


@pytest.mark.parametrize("query_id", ["..", "\ud800", 5])
def test_an_id_that_cannot_be_asked_for_is_no_query(tenant: Tenant, query_id: Any) -> None:
    tenant.answer = lambda request: as_json(queryId=query_id)
    with pytest.raises(ResponseError, match="without the query's id"):
        list(tenant.block().query("SELECT 1"))
    assert len(tenant.asked()) == 1


@pytest.mark.parametrize("state", [["x"], {}, None, "FAILED"])
def test_a_state_that_nobody_knows_ends_the_query(tenant: Tenant, state: Any) -> None:
    def answer(request: CapturedRequest) -> Answer:
        return as_json(queryId="q/1", completionStatus=state, rowCount=1)

    tenant.answer = answer
    with pytest.raises(ResponseError, match="answered that the query is "):
        list(tenant.block().query("SELECT 1"))


def test_version_2_that_goes_round_in_circles_ends(tenant: Tenant) -> None:
    tenant.answer = lambda request: as_json(data=[[1]], metadata=COLUMNS[:1], done=False, nextBatchId="again")
    with pytest.raises(ResponseError, match="there is more, but not where"):
        list(tenant.block().query("SELECT 1", api="v2"))
    assert len(tenant.asked()) == 2


def test_a_query_that_was_read_to_its_end_is_not_cancelled(crm: SalesforceData360, sandbox: Sandbox) -> None:
    list(crm.query("SELECT n FROM numbers(10)"))

    assert f"DELETE {V3_ONE}" not in sandbox.calls()


@pytest.mark.parametrize("path", [V3, V3_ONE, V3_ROWS])
def test_version_3_asks_again_for_what_may_pass(crm: SalesforceData360, sandbox: Sandbox, path: str) -> None:
    sandbox.misbehave(path, times=2, status=503)

    assert len(list(crm.query("SELECT n FROM numbers(10)"))) == 10


def test_version_2_does_not_ask_again_for_a_batch_and_says_so(crm: SalesforceData360, sandbox: Sandbox) -> None:
    sandbox.misbehave(V2_NEXT, times=1, cut=True, after=True)
    rows = crm.query("SELECT n FROM numbers(2500)", api="v2")
    read = [next(rows) for _ in range(1000)]

    with pytest.raises(TransportError, match=r"1000 rows were read\. Version 2 .* gives out each batch once"):
        next(rows)
    assert len(read) == 1000
    assert sandbox.calls()[f"GET {V2_NEXT}"] == 1


@pytest.mark.parametrize("api", ["v2", "v3"])
def test_a_token_that_ends_between_pages_is_renewed_with_both_steps(
    crm: SalesforceData360, sandbox: Sandbox, api: Any
) -> None:
    sandbox.set_data_360(session_calls=2, chunk_rows=500, v2_batch=500)

    assert [row["n"] for row in crm.query("SELECT n FROM numbers(3000)", api=api)] == list(range(3000))
    calls = sandbox.calls()
    assert calls["POST /services/oauth2/token"] == calls["POST /services/a360/token"] >= 3


@pytest.mark.parametrize("api", ["v2", "v3"])
def test_bad_sql_says_what_is_wrong(crm: SalesforceData360, api: Any) -> None:
    with pytest.raises(ResponseError, match="table nowhere does not exist"):
        list(crm.query("SELECT * FROM nowhere", api=api))


def test_a_missing_scope_says_which(tenant: Tenant) -> None:
    tenant.answer = lambda request: as_json(403, message="no")
    with pytest.raises(ResponseError, match="cdp_query_api"):
        list(tenant.block().query("SELECT 1"))


def test_allowed_hosts_guard_queries(sandbox: Sandbox) -> None:
    with pytest.raises(AtomicError, match="may not be used at 127"):
        list(block_for(sandbox, allowed_hosts=["*.c360a.salesforce.com"]).query("SELECT 1"))


def served(*pages: Any, header: str = '{"queryId": "q/1"}', count: int = 2) -> Any:
    """A tenant whose rows are these answers, one after the other."""
    left = list(pages)

    def answer(request: CapturedRequest) -> Answer:
        if request.method == "POST":
            return as_json(200, [("x-hyperdb-status", header)] if header else (), queryId="q/1")
        if request.method == "DELETE":
            return Answer(204)
        assert request.path.startswith("/api/v3/query/q%2F1")
        if request.path.endswith("/rows"):
            return left.pop(0)
        return as_json(completionStatus="FINISHED", rowCount=count)

    return answer


COLUMNS = [{"name": "a", "type": "Integer"}, {"name": "b", "type": "Varchar"}]


@pytest.mark.parametrize("header", ['{"queryId": "q/1"}', "q/1", ""])
@pytest.mark.parametrize(
    "metadata",
    [
        {"columns": COLUMNS},
        COLUMNS,
        {"b": {"type": "VARCHAR", "placeInOrder": 1}, "a": {"type": "INTEGER", "placeInOrder": 0}},
        {"a": {"type": "INTEGER", "placeInOrder": None}, "b": {"type": "VARCHAR", "placeInOrder": 1}},
    ],
)
def test_answers_are_understood_in_each_form_that_is_known(tenant: Tenant, header: str, metadata: Any) -> None:
    tenant.answer = served(as_json(metadata=metadata, data=[[1, "x"], [2, "y"]]), header=header)

    assert list(tenant.block().query("SELECT 1")) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (as_json(metadata=COLUMNS, data=[]), "without the rows from 0 on"),
        (as_json(metadata=COLUMNS), "answered without rows"),
        (as_json(data=[[1, 2]]), "without the names of their columns"),
        (as_json(metadata=COLUMNS, data=[[1]]), "a row of another shape"),
        (as_json(metadata=[COLUMNS[0], COLUMNS[0]], data=[[1, 2]]), "name them with AS"),
        (Answer(200, [("Content-Type", "text/html")], b"<html>"), "text/html where a JSON object was expected"),
    ],
)
def test_answers_that_cannot_be_read_end_the_query_and_cancel_it(tenant: Tenant, page: Answer, said: str) -> None:
    tenant.answer = served(page)
    with pytest.raises(AtomicError, match=said):
        list(tenant.block().query("SELECT 1"))
    assert tenant.asked()[-1].method == "DELETE"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("Varchar", "1", "1"),
        ("TimestampTZ", "2026-01-31T09:00:00.123456Z", datetime(2026, 1, 31, 9, 0, 0, 123456, UTC)),
        ("TIMESTAMP", "2020-09-28T00:00:00.000+00:00", datetime(2020, 9, 28, tzinfo=UTC)),
        ("timestamp with time zone", "2020-09-28 00:00:00.000 UTC", datetime(2020, 9, 28, tzinfo=UTC)),
        ("Date", "2026-01-31", date(2026, 1, 31)),
        ("DATE", "2026-01-31T00:00:00.000Z", date(2026, 1, 31)),
        ("DATE", "12026-01-31", "12026-01-31"),
        ("DATE", "0044-03-15 BC", "0044-03-15 BC"),
        ("INTEGER", Decimal("1.5"), Decimal("1.5")),
        ("Time", "10:11:12", time(10, 11, 12)),
        ("Numeric(38,18)", "0.100000000000000001", Decimal("0.100000000000000001")),
        ("Double", Decimal("0.5"), 0.5),
        ("BigInt", "9007199254740993", 9007199254740993),
        ("Bool", "false", False),
        ("Bool", None, None),
        ("Whatever", "x", "x"),
    ],
)
def test_types(name: str, value: Any, expected: Any) -> None:
    convert = converter(name)
    found = convert(value) if convert else value
    assert (found, type(found)) == (expected, type(expected))
