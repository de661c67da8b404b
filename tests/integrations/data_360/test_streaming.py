"""Records that are streamed: each is told what became of it, though Data 360 speaks of requests only."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from prefect_atomic import DestinationError, RecordsError, RequestError, ResponseError, SalesforceData360
from prefect_atomic.sandbox import Sandbox
from tests.e2e.servers.faulty import Answer
from tests.integrations.data_360.conftest import CONTACTS, ORDERS, SOURCE, Tenant, as_json, block_for, order, orders

ORDERS_PATH = "/api/v1/ingest/sources/{connector}/{object}"
CONTACT_FIELDS = ["id", "email", "score", "active", "birthdate", "modified"]


def test_records_arrive_in_requests_that_data_360_takes(crm: SalesforceData360, sandbox: Sandbox) -> None:
    outcomes = crm.ingest(SOURCE, ORDERS, (order(number) for number in range(450)))

    assert (len(outcomes), outcomes.succeeded) == (450, 450)
    assert len(orders(sandbox)) == 450
    requests = sandbox.data_360()["requests"]
    assert (requests["upserts"], requests["largest_records"]) == (3, 200)


def test_requests_stay_below_200_kb(crm: SalesforceData360, sandbox: Sandbox) -> None:
    crm.ingest(SOURCE, ORDERS, [order(number, order_id=f"{number}-{'ä' * 1500}") for number in range(200)])

    assert len(orders(sandbox)) == 200
    assert 190_000 < sandbox.data_360()["requests"]["largest_body"] < 200_000


def test_a_record_of_300_kb_is_told_and_the_others_arrive(crm: SalesforceData360, sandbox: Sandbox) -> None:
    records = [order(0), order(1, order_id="x" * 300_000), order(2)]
    with pytest.raises(RecordsError, match=r"1 of 3 .* records\[1\], not sent: RECORD_TOO_LARGE: takes 300,"):
        crm.ingest(SOURCE, ORDERS, records)
    assert set(orders(sandbox)) == {"o-0", "o-2"}


def test_the_block_sets_how_many_go_with_a_request(sandbox: Sandbox) -> None:
    sandbox.set_data_360(max_records=7)
    block_for(sandbox, batch_size=7).ingest(SOURCE, ORDERS, [order(number) for number in range(20)])

    assert sandbox.data_360()["requests"]["upserts"] == 3


def test_a_tenant_that_takes_fewer_records_still_gets_all(crm: SalesforceData360, sandbox: Sandbox) -> None:
    sandbox.set_data_360(max_records=50)

    assert crm.ingest(SOURCE, ORDERS, [order(number) for number in range(200)]).succeeded == 200
    assert len(orders(sandbox)) == 200


@pytest.mark.parametrize("culprits", [{0}, {199}, {3, 4, 150}, set(range(0, 200, 9))])
def test_only_the_culprits_fail_each_with_its_reason(
    crm: SalesforceData360, sandbox: Sandbox, culprits: set[int]
) -> None:
    records = [order(number, **({"order_id": ""} if number in culprits else {})) for number in range(200)]
    outcomes = crm.ingest(SOURCE, ORDERS, records, on_error="return")

    assert {each.position for each in outcomes.failures()} == culprits
    assert {each.state for each in outcomes.failures()} == {"failed"}
    first = next(outcomes.failures())
    assert first.code == "COMMON_ERROR_GENERIC"
    assert "the primary key is blank" in str(first.message)
    assert len(orders(sandbox)) == 200 - len(culprits)


def test_a_large_record_arrives_beside_a_bad_one(crm: SalesforceData360, sandbox: Sandbox) -> None:
    large = "ä" * 95_000
    outcomes = crm.ingest(SOURCE, ORDERS, [order(0, order_id=large), order(1, amount="many")], on_error="return")

    assert [each.state for each in outcomes] == ["succeeded", "failed"]
    assert set(orders(sandbox)) == {large}


def test_a_lone_bad_record_is_no_endless_split(crm: SalesforceData360) -> None:
    with pytest.raises(RecordsError, match=r"records\[0\], failed"):
        crm.ingest(SOURCE, ORDERS, [order(0, amount="many")])


def test_records_that_are_all_bad_do_not_cost_two_requests_each(crm: SalesforceData360, sandbox: Sandbox) -> None:
    outcomes = crm.ingest(SOURCE, ORDERS, (order(n, amount="many") for n in range(5000)), on_error="return")

    assert (outcomes.failed, outcomes.not_sent) == (200, 4800)
    assert "all 200 records of a request were refused" in str(outcomes[4999].message)
    assert sandbox.calls()[f"POST {ORDERS_PATH}"] < 500


@pytest.mark.parametrize(("batch_size", "padding"), [(5000, 0), (200, 30_000)])
def test_large_or_small_requests_of_bad_records_do_not_cost_thousands(
    sandbox: Sandbox, batch_size: int, padding: int
) -> None:
    records = (order(number, amount="many", order_id="x" * padding) for number in range(600))
    outcomes = block_for(sandbox, batch_size=batch_size).ingest(SOURCE, ORDERS, records, on_error="return")

    assert (outcomes.failed, outcomes.not_sent) == (200, 400)
    assert "200 records in a row were refused" in str(outcomes[599].message)
    assert sandbox.calls()[f"POST {ORDERS_PATH}"] < 500


def test_fields_fill_in_what_a_record_lacks_and_tell_what_it_has_too_much(
    crm: SalesforceData360, sandbox: Sandbox
) -> None:
    records = [{"id": "1", "email": "ann@example.com"}, {"id": "2", "emial": "bob@example.com"}]
    outcomes = crm.ingest(SOURCE, CONTACTS, records, fields=CONTACT_FIELDS, on_error="return")

    assert sandbox.data_360()["objects"][CONTACTS]["1"] == {
        "id": "1",
        "email": "ann@example.com",
        **dict.fromkeys(CONTACT_FIELDS[2:]),
    }
    assert outcomes[1].state == "not sent"
    assert "has emial, which fields has not" in str(outcomes[1].message)


def test_without_fields_all_records_have_those_of_the_first(crm: SalesforceData360) -> None:
    records = [order(0), {"order_id": "1"}, order(2, colour="red")]
    outcomes = crm.ingest(SOURCE, ORDERS, records, on_error="return")

    assert outcomes[0].success
    assert "lacks amount, placed_at, which the first record has" in str(outcomes[1].message)
    assert "has colour, which the first record has not" in str(outcomes[2].message)


def test_dates_moments_and_decimals_may_be_pythons(crm: SalesforceData360, sandbox: Sandbox) -> None:
    record = {
        "id": "1",
        "email": "ann@example.com",
        "score": Decimal("1.5"),
        "active": True,
        "birthdate": date(1990, 2, 3),
        "modified": datetime(2026, 1, 31, 10, 0, 0, 5000, tzinfo=timezone(timedelta(hours=1))),
    }
    crm.ingest(SOURCE, CONTACTS, [record])

    kept = sandbox.data_360()["objects"][CONTACTS]["1"]
    assert kept["modified"] == "2026-01-31T09:00:00.005Z"
    assert (kept["birthdate"], kept["score"]) == ("1990-02-03", 1.5)


def test_a_moment_without_a_time_zone_is_told(crm: SalesforceData360) -> None:
    naive = datetime(2026, 1, 31, tzinfo=UTC).replace(tzinfo=None)
    with pytest.raises(RecordsError, match="a datetime without a time zone"):
        crm.ingest(SOURCE, ORDERS, [order(0, placed_at=naive)])
    with pytest.raises(RecordsError, match="a datetime that is in no year"):
        crm.ingest(SOURCE, ORDERS, [order(0, placed_at=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))))])


@pytest.mark.parametrize(
    ("source", "name", "said"),
    [("wrong", ORDERS, "no connector wrong"), (SOURCE, "orders", "no object orders"), (SOURCE, "a b/c", "no object")],
)
def test_an_unknown_connector_or_object_stops_at_once(
    crm: SalesforceData360, sandbox: Sandbox, source: str, name: str, said: str
) -> None:
    with pytest.raises(ResponseError, match="object is the endpoint's name on its page") as refusal:
        crm.ingest(source, name, (order(number) for number in range(1000)), on_error="return")
    assert said in str(refusal.value)
    assert refusal.value.response.status_code == 404


@pytest.mark.parametrize("name", ["", " ", "..", 5, None, "a\n", "\ud800"])
def test_names_that_are_none_are_refused_before_anything_is_sent(tenant: Tenant, name: Any) -> None:
    for source, given in ((name, ORDERS), (SOURCE, name)):
        with pytest.raises(RequestError, match=r"^(source|object): is a name such as"):
            tenant.block().ingest(source, given, [order(0)])
    assert not tenant.server.requests


def test_a_missing_scope_says_which(tenant: Tenant) -> None:
    tenant.answer = lambda request: as_json(403, message="insufficient scope")
    with pytest.raises(ResponseError, match=r"403 .*\(the external client app needs the scope cdp_ingest_api"):
        tenant.block().ingest(SOURCE, ORDERS, [order(0)], on_error="return")
    assert len(tenant.asked()) == 1


def test_a_web_page_is_no_acceptance(tenant: Tenant) -> None:
    tenant.answer = lambda request: Answer(200, [("Content-Type", "text/html")], b"<html>Sign in</html>")
    outcomes = tenant.block().ingest(SOURCE, ORDERS, [order(0)], on_error="return")

    assert outcomes.unknown == 1
    assert tenant.block().validate_records(SOURCE, ORDERS, [order(0)], on_error="return").unknown == 1
    assert "20 bytes of text/html where a JSON object was expected" in str(outcomes[0].message)


@pytest.mark.parametrize("fault", [{"status": 429}, {"status": 503}, {"status": 502}, {"cut": True}])
def test_what_may_pass_is_sent_again(crm: SalesforceData360, sandbox: Sandbox, fault: dict[str, Any]) -> None:
    sandbox.misbehave(ORDERS_PATH, times=2, **fault)

    assert crm.ingest(SOURCE, ORDERS, [order(0)]).succeeded == 1


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 500}, {"cut": True}, {"status": 429}])
def test_what_does_not_pass_is_unknown_and_the_rest_is_not_sent(sandbox: Sandbox, fault: dict[str, Any]) -> None:
    crm = block_for(sandbox, batch_size=10)
    sandbox.misbehave(ORDERS_PATH, times=1, delay=0.001)
    sandbox.misbehave(ORDERS_PATH, **fault)
    outcomes = crm.ingest(SOURCE, ORDERS, (order(number) for number in range(40)), on_error="return")

    assert [each.state for each in outcomes] == ["succeeded"] * 10 + ["unknown"] * 10 + ["not sent"] * 20


def test_an_answer_that_was_lost_does_no_harm(crm: SalesforceData360, sandbox: Sandbox) -> None:
    sandbox.misbehave(ORDERS_PATH, times=1, cut=True, after=True)
    crm.ingest(SOURCE, ORDERS, [order(number) for number in range(10)])

    assert len(orders(sandbox)) == 10


def test_a_refusal_in_the_middle_keeps_what_arrived(sandbox: Sandbox) -> None:
    sandbox.misbehave(ORDERS_PATH, times=1, delay=0.001)
    sandbox.misbehave(ORDERS_PATH, status=403, body={"message": "no longer"})
    with pytest.raises(RecordsError) as refusal:
        block_for(sandbox, batch_size=1).ingest(SOURCE, ORDERS, [order(0), order(1), order(2)])
    assert [each.state for each in refusal.value.outcomes] == ["succeeded", "failed", "not sent"]


@pytest.mark.parametrize("began", [True, False])
def test_what_may_have_arrived_before_a_refusal_is_unknown(sandbox: Sandbox, began: bool) -> None:
    if began:
        sandbox.misbehave(ORDERS_PATH, times=1, delay=0.001)
    sandbox.misbehave(ORDERS_PATH, times=1, cut=True, after=True)
    sandbox.misbehave(ORDERS_PATH, status=403, body={"message": "no longer"})
    records = [order(number) for number in range(3)][0 if began else 1 :]
    outcomes = block_for(sandbox, batch_size=1).ingest(SOURCE, ORDERS, records, on_error="return")

    assert [each.state for each in outcomes] == [*(["succeeded"] if began else []), "unknown", "not sent"]
    assert set(orders(sandbox)) == {f"o-{number}" for number in range(0 if began else 1, 2)}


def test_what_may_have_arrived_before_the_token_ended_is_unknown(sandbox: Sandbox) -> None:
    sandbox.misbehave(ORDERS_PATH, times=1, cut=True, after=True)
    sandbox.misbehave(ORDERS_PATH, times=1, status=401)
    sandbox.misbehave("/services/oauth2/token", times=1, delay=0.001)
    sandbox.misbehave("/services/oauth2/token", status=400, body={"error": "invalid_client"})
    outcomes = block_for(sandbox).ingest(SOURCE, ORDERS, [order(0)], on_error="return")

    assert [each.state for each in outcomes] == ["unknown"]
    assert set(orders(sandbox)) == {"o-0"}


@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_what_was_read_before_the_records_failed_is_sent_and_told(
    crm: SalesforceData360, sandbox: Sandbox, on_error: Any
) -> None:
    def failing(made: Callable[[int], Any]) -> Iterator[Any]:
        yield from map(made, range(450))
        raise OSError("the disk is gone")

    with pytest.raises(RecordsError, match=r"beyond the first 450, for a OSError; 450 of these") as failure:
        crm.ingest(SOURCE, ORDERS, failing(order), on_error=on_error)
    assert (failure.value.outcomes.succeeded, len(orders(sandbox))) == (450, 450)
    assert isinstance(failure.value.__cause__, OSError)
    with pytest.raises(RecordsError, match=r"beyond the first 450"):
        crm.delete_records(SOURCE, ORDERS, failing("o-{}".format), on_error=on_error)
    assert not orders(sandbox)


def test_a_token_that_ends_in_the_middle_is_renewed_with_both_steps(crm: SalesforceData360, sandbox: Sandbox) -> None:
    sandbox.set_data_360(session_calls=3)
    outcomes = crm.ingest(SOURCE, ORDERS, (order(number) for number in range(2000)))

    assert outcomes.succeeded == 2000
    calls = sandbox.calls()
    assert calls["POST /services/oauth2/token"] == calls["POST /services/a360/token"] == 4


def test_allowed_hosts_guard_ingestion(sandbox: Sandbox) -> None:
    with pytest.raises(DestinationError, match="may not be used at 127"):
        block_for(sandbox, allowed_hosts=["*.c360a.salesforce.com"]).ingest(SOURCE, ORDERS, [order(0)])
    assert f"POST {ORDERS_PATH}" not in sandbox.calls()


def test_a_throttled_tenant_gets_everything(crm: SalesforceData360, sandbox: Sandbox) -> None:
    sandbox.set_data_360(throttle_every=2)

    assert crm.ingest(SOURCE, ORDERS, [order(number) for number in range(1000)]).succeeded == 1000


def test_validation_finds_the_culprit_and_keeps_nothing(crm: SalesforceData360, sandbox: Sandbox) -> None:
    outcomes = crm.validate_records(
        SOURCE, ORDERS, [order(0), order(1, placed_at="yesterday"), order(2)], on_error="return"
    )
    assert [each.state for each in outcomes] == ["succeeded", "failed", "succeeded"]
    assert "placed_at" in str(outcomes[1].message)
    assert not orders(sandbox)


def test_deletes_go_200_at_a_time_and_in_the_body(crm: SalesforceData360, sandbox: Sandbox) -> None:
    awkward = ["a+b", "ä/ö", "a,b", 'quote"', "100%"]
    crm.ingest(SOURCE, ORDERS, [order(0, order_id=record_id) for record_id in awkward])
    crm.ingest(SOURCE, ORDERS, [order(number) for number in range(450)])
    outcomes = crm.delete_records(SOURCE, ORDERS, [*awkward, *(f"o-{number}" for number in range(449))])

    assert outcomes.succeeded == 454
    assert set(orders(sandbox)) == {"o-449"}
    requests = sandbox.data_360()["requests"]
    assert (requests["deletes"], requests["largest_delete"], requests.get("longest_query", 0)) == (3, 200, 0)


def test_ids_that_are_none_are_told(crm: SalesforceData360) -> None:
    outcomes = crm.delete_records(SOURCE, ORDERS, ["a", "", None, 7, True, "\ud800"], on_error="return")

    assert [each.state for each in outcomes] == [
        "succeeded",
        "not sent",
        "not sent",
        "succeeded",
        "not sent",
        "not sent",
    ]


def test_what_is_no_list_of_ids_or_records_is_refused(crm: SalesforceData360) -> None:
    with pytest.raises(RequestError, match="ids: takes a list"):
        crm.delete_records(SOURCE, ORDERS, "o-1")
    with pytest.raises(RequestError, match="records: takes a list"):
        crm.ingest(SOURCE, ORDERS, order(1))  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="fields: is a list"):
        crm.ingest(SOURCE, ORDERS, [order(1)], fields=["a", "a"])
    for fields in (5, [["a"]], [], "ab", b"ab"):
        with pytest.raises(RequestError, match="fields: is a list"):
            crm.ingest(SOURCE, ORDERS, [order(1)], fields=fields)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="ids: takes a list"):
        crm.delete_records(SOURCE, ORDERS, 5)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="records: takes a list"):
        crm.ingest(SOURCE, ORDERS, 5)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="on_error: is"):
        crm.ingest(SOURCE, ORDERS, [order(1)], on_error="ignore")  # type: ignore[arg-type]


def test_fifty_thousand_records_take_little_memory(tenant: Tenant) -> None:
    tenant.answer = lambda request: as_json(202, accepted=True)
    block = tenant.block(batch_size=1000)

    def made() -> Iterator[dict[str, Any]]:
        for number in range(50_000):
            if number % 1000 == 0:
                tenant.server.requests.clear()
            yield order(number)

    tracemalloc.start()
    try:
        assert block.ingest(SOURCE, ORDERS, made()).succeeded == 50_000
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_no_error_shows_a_token(tenant: Tenant) -> None:
    def echo(request: Any) -> Answer:
        return as_json(403, message=f"{request.header('authorization')} has no scope")

    tenant.answer = echo
    with pytest.raises(ResponseError) as refusal:
        tenant.block().ingest(SOURCE, ORDERS, [order(0)])
    assert "t0ken-2" not in str(refusal.value) + json.dumps(refusal.value.response.text)
