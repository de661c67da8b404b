"""What is easily got wrong: doubled records, outcomes that lie, and rows that lose their values."""

import json
import os
from collections.abc import Callable, Iterator
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
import time_machine

from prefect_atomic import Outcome, Outcomes, QuotaError, RecordsError, RequestError, ResponseError, Salesforce
from prefect_atomic.integrations.salesforce import rows, usage
from prefect_atomic.integrations.salesforce.rows import Rows, cells_of
from prefect_atomic.integrations.salesforce.soql import read_soql
from prefect_atomic.integrations.salesforce.usage import ApiUsage
from prefect_atomic.sandbox import Sandbox

DATA = "/services/data/{version}"
MANY, QUERY = f"{DATA}/composite/sobjects", f"{DATA}/query"
JOBS, JOB, RESULTS = (f"{DATA}/jobs/ingest{path}" for path in ("", "/{id}", "/{id}/{results}"))


def people(count: int) -> list[dict[str, Any]]:
    return [{"LastName": f"Name {number}", "External_Id__c": f"x{number}"} for number in range(count)]


def count(crm: Salesforce) -> int:
    return sum(1 for _ in crm.query("SELECT Id FROM Contact"))


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 200, "headers": {"Content-Encoding": "gzip"}, "body": "not gzip at all"},
        {"status": 200, "body": "no list"},
        {"status": 207, "body": []},
        {"status": 302, "headers": {"Location": "/elsewhere"}},
        {"status": 500},
        {"status": 503},
        {"cut": True},
    ],
    ids=str,
)
def test_what_was_created_is_not_created_again(crm: Salesforce, sandbox: Sandbox, fault: dict[str, Any]) -> None:
    """Whatever the answer was: the records are unknown, and there once."""
    crm.check()
    sandbox.misbehave(MANY, times=1, after=True, **fault)
    outcomes = crm.create("Contact", people(4), on_error="return")
    assert outcomes.unknown == 4
    assert count(crm) == 4


def test_what_surely_was_not_processed_is_sent_again(crm: Salesforce, sandbox: Sandbox) -> None:
    """A 429 says so."""
    crm.check()
    sandbox.misbehave(MANY, times=2, status=429)
    assert crm.create("Contact", people(4)).succeeded == 4
    assert count(crm) == 4


def test_a_lasting_429_ends_it(crm: Salesforce, sandbox: Sandbox) -> None:
    """It is not the records; those that are left are told as not sent."""
    crm.check()
    sandbox.misbehave(MANY, times=1, delay=0.001)
    sandbox.misbehave(MANY, status=429)
    with pytest.raises(RecordsError, match="429") as raised:
        crm.create("Contact", people(600))
    outcomes = raised.value.outcomes
    assert (len(outcomes), outcomes.succeeded, outcomes.not_sent) == (600, 200, 400)
    assert sandbox.calls()[f"POST {MANY}"] <= 6


def test_a_refusal_of_all_leaves_no_record_without_an_outcome(crm: Salesforce, sandbox: Sandbox) -> None:
    """Those that were read and not sent too."""
    crm.check()
    sandbox.misbehave(MANY, times=1, delay=0.001)
    sandbox.misbehave(MANY, status=403, body=[{"errorCode": "API_DISABLED_FOR_ORG", "message": "no"}])
    with pytest.raises(RecordsError, match="API_DISABLED") as raised:
        crm.create("Contact", people(600), on_error="return")
    assert [outcome.position for outcome in raised.value.outcomes] == list(range(600))
    assert raised.value.outcomes.not_sent == 400


def test_a_deletion_that_found_nothing_is_a_failure(crm: Salesforce, sandbox: Sandbox) -> None:
    """Only the attempt whose answer was lost may have deleted it."""
    (made,) = crm.create("Contact", people(1))
    crm.delete_records("Contact", made.id or "")
    sandbox.misbehave(MANY, times=1, status=429)
    assert crm.delete_records("Contact", made.id or "", on_error="return").code == "ENTITY_IS_DELETED"


def test_an_upsert_whose_answer_was_lost_does_not_say_whether_it_created(crm: Salesforce, sandbox: Sandbox) -> None:
    """The second attempt finds what the first one made."""
    crm.check()
    sandbox.misbehave(f"{MANY}/{{object}}/{{field}}", times=1, cut=True, after=True)
    (outcome,) = crm.upsert("Contact", people(1), external_id="External_Id__c")
    assert (outcome.success, outcome.created) == (True, None)


def test_ids_are_checked_before_anything_is_deleted(crm: Salesforce) -> None:
    """One with a comma would be two; rows of a query are as good as ids."""
    first, second = (outcome.id or "" for outcome in crm.create("Contact", people(2)))
    for bulk_from in (2000, 1):
        bad: list[Any] = [f"{first},{second}", "", None, "003", {"Name": "x"}]
        outcomes = crm.delete_records("Contact", bad, on_error="return", bulk_from=bulk_from)
        assert {outcome.state for outcome in outcomes} == {"not sent"}
    assert count(crm) == 2
    for bulk_from in (2000, 1):
        crm.create("Contact", [{"LastName": "x"}])
        assert crm.delete_records("Contact", crm.query("SELECT Id FROM Contact"), bulk_from=bulk_from).succeeded
    assert count(crm) == 0


@pytest.mark.parametrize("bulk_from", [2000, 1])
def test_an_id_of_another_object_is_not_deleted(crm: Salesforce, bulk_from: int) -> None:
    """Salesforce would delete the account."""
    account = crm.create("Account", {"Name": "A"}).id or ""
    (outcome,) = crm.delete_records("Contact", [account], on_error="return", bulk_from=bulk_from)
    assert outcome.state == "not sent"
    assert "another object" in str(outcome.message)
    assert [row["Id"] for row in crm.query("SELECT Id FROM Account")] == [account]


def test_a_record_does_not_choose_another_object(crm: Salesforce) -> None:
    """What a query answered has its type in it; it is written to the object that was named."""
    crm.create("Contact", [{"attributes": {"type": "Account"}, "LastName": "x"}])
    assert count(crm) == 1


@pytest.mark.parametrize("bulk_from", [2000, 1])
def test_names_and_values_mean_the_same_both_ways(crm: Salesforce, bulk_from: int) -> None:
    """Dotted names relate, an Enum is its value, and what is no number is refused."""

    class Colour(Enum):
        RED = "red"

    crm.create("Account", {"Name": "A", "External_Id__c": "a"})
    key = UUID(int=1)
    records: list[Any] = [
        {"LastName": "1", "Account.External_Id__c": "a", "FirstName": Colour.RED},
        {"LastName": "2", "Account": {"External_Id__c": "a"}, "External_Id__c": key},
        {"LastName": "3", "Score__c": Decimal("NaN")},
        {},
        {"LastName": "4", "lastname": "5"},
    ]
    outcomes = crm.create("Contact", records, bulk_from=bulk_from, on_error="return")
    assert [outcome.state for outcome in outcomes] == ["succeeded"] * 2 + ["not sent"] * 3
    read = list(crm.query("SELECT FirstName, External_Id__c, Account.Name FROM Contact ORDER BY LastName"))
    assert [row["Account.Name"] for row in read] == ["A", "A"]
    assert (read[0]["FirstName"], read[1]["External_Id__c"]) == ("red", str(key))


def test_a_field_in_other_letters_is_the_same_column(crm: Salesforce) -> None:
    """Two columns for one field would have the whole job refused."""
    records = [{"LastName": "a", "FirstName": "x"}, {"lastname": "b", "FIRSTNAME": "y"}]
    assert crm.create("Contact", records, bulk_from=1).succeeded == 2
    assert {row["FirstName"] for row in crm.query("SELECT FirstName FROM Contact")} == {"x", "y"}


def test_rows_are_told_apart_whatever_is_in_them() -> None:
    """Cells that would read the same, one after another."""
    sent = Rows(("A", "B"))
    sent.add(0, {"A": "x", "B": "y\x1fz"})
    sent.add(1, {"A": "x\x1fy", "B": "z"})
    places = sent.places()
    assert places.take({"A": "x\x1fy", "B": "z"}) == 1
    assert places.take({"A": "x", "B": "y\x1fz"}) == 0
    sent.close()


@pytest.mark.parametrize("letter", ["x", "é", "漢", "😀", '"'])
def test_a_job_has_no_more_bytes_than_it_may(monkeypatch: pytest.MonkeyPatch, letter: str) -> None:
    """Letters take up to four bytes, and a quote is doubled."""
    monkeypatch.setattr(rows, "MOST_BYTES", 4_000_000)
    sent = Rows(("A",))
    position = 0
    while sent.takes(cells := cells_of({"A": letter * 20_000})):
        sent.add(position, cells)
        position += 1
    assert 1_000_000 < len(sent.ready().read()) <= 4_000_000
    sent.close()


def test_a_job_whose_results_cannot_be_had_does_not_take_the_others_with_it(
    crm: Salesforce, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were closed, so they are processed."""
    monkeypatch.setattr(rows, "MOST_ROWS", 100)
    crm.check()
    sandbox.misbehave(RESULTS, times=1, status=500)
    with pytest.raises(RecordsError) as raised:
        crm.create("Contact", people(350), bulk_from=10)
    outcomes = raised.value.outcomes
    assert (len(outcomes), outcomes.unknown) == (350, 100)
    assert outcomes.succeeded == 250


def test_a_floor_that_is_reached_lets_begun_jobs_end(
    make: Callable[..., Salesforce], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No further job is made; what was closed is followed, and the rest is told as not sent."""
    monkeypatch.setattr(rows, "MOST_ROWS", 100)
    crm = make(stop_at_usage=0.8)
    sandbox.set_salesforce(api_limit=1000, api_used=792)
    with pytest.raises(RecordsError, match="stop_at_usage") as raised:
        crm.create("Contact", people(1000), bulk_from=10)
    outcomes = raised.value.outcomes
    assert outcomes.unknown == 0
    assert outcomes.succeeded in (200, 300, 400)
    assert outcomes.succeeded == sandbox.salesforce()["objects"]["Contact"]
    assert outcomes.succeeded + outcomes.not_sent == len(outcomes)


def test_a_floor_is_looked_at_again_after_a_while(make: Callable[..., Salesforce], sandbox: Sandbox) -> None:
    """The quota is that of the last 24 hours: a worker that lives for long sees it become less."""
    crm = make(stop_at_usage=0.8)
    sandbox.set_salesforce(api_limit=1000, api_used=900)
    crm.create("Contact", {"LastName": "a"})
    sandbox.set_salesforce(api_used=0)
    with pytest.raises(QuotaError):
        crm.create("Contact", {"LastName": "b"})
    import time

    with time_machine.travel(time.time() + 301, tick=True):
        assert crm.create("Contact", {"LastName": "b"}).success
        assert crm.create("Contact", {"LastName": "c"}).success


def test_usage_is_that_of_the_latest_answer() -> None:
    """Both forms of the header."""
    usage.note("org", {"sforce-limit-info": "api-usage=18/5000; per-app-api-usage=17/250(appName=x)"})
    assert usage.last("org") == ApiUsage(18, 5000)


def test_a_reason_that_echoes_a_secret_is_masked(crm: Salesforce, sandbox: Sandbox) -> None:
    """Of a record, of a request, and in the results of a job."""
    secret, token = crm.client_secret.get_secret_value(), crm._token().token.value  # type: ignore[union-attr]
    said = [{"success": False, "errors": [{"statusCode": "X", "message": f"{secret} {token}", "fields": []}]}]
    sandbox.misbehave(MANY, times=1, status=200, body=said)
    sandbox.misbehave(MANY, times=1, status=400, body=[{"errorCode": "X", "message": f"{secret} {token}"}])
    told = [str(crm.create("Contact", people(1), on_error="return")[0]) for _ in range(2)]
    results = f'"sf__Id","sf__Error","LastName"\n"","X:{secret} {token}:LastName --","L"\n'
    sandbox.misbehave(RESULTS, times=1, status=200, body="", content_type="text/csv")
    sandbox.misbehave(RESULTS, times=1, status=200, body=results, content_type="text/csv")
    told.append(str(crm.create("Contact", [{"LastName": "L"}], bulk_from=1, on_error="return")[0]))
    assert all("X" in text for text in told)
    assert not [text for text in told if secret in text or token in text]


@pytest.mark.parametrize("fields", ["c.Id, c.LastName", "Contact.Id, Contact.LastName", "contact.Id, LastName"])
def test_fields_of_the_object_itself_keep_their_values(crm: Salesforce, sandbox: Sandbox, fields: str) -> None:
    """Qualified by its name, or an alias."""
    records = [{"attributes": {"type": "Contact", "url": ""}, "Id": "003", "LastName": "Ada"}]
    sandbox.misbehave(QUERY, times=1, status=200, body={"totalSize": 1, "done": True, "records": records})
    alias = " c" if "c.Id" in fields and "contact" not in fields else ""
    assert list(crm.query(f"SELECT {fields} FROM Contact{alias}")) == [{"Id": "003", "LastName": "Ada"}]


def test_children_are_read_beyond_their_first_page(crm: Salesforce, sandbox: Sandbox) -> None:
    """A subquery has pages of its own."""
    child = {"attributes": {"type": "Contact", "url": ""}}
    first = {"totalSize": 2, "done": False, "nextRecordsUrl": "/services/data/v62.0/query/next", "records": []}
    first["records"] = [{**child, "Id": "1"}]
    parent = {"attributes": {"type": "Account", "url": ""}, "Id": "001", "Contacts": first}
    sandbox.misbehave(QUERY, times=1, status=200, body={"totalSize": 1, "done": True, "records": [parent]})
    second = {"totalSize": 2, "done": True, "records": [{**child, "Id": "2"}]}
    sandbox.misbehave(f"{QUERY}/{{cursor}}", times=1, status=200, body=second)
    (row,) = crm.query("SELECT Id, (SELECT Id FROM Contacts) FROM Account")
    assert row == {"Id": "001", "Contacts": [{"Id": "1"}, {"Id": "2"}]}


def test_rows_have_the_same_fields_where_there_is_no_related_record(crm: Salesforce, sandbox: Sandbox) -> None:
    """Also where the query selects more than fields."""
    kind = {"attributes": {"type": "Contact", "url": ""}}
    records = [{**kind, "Id": "1", "Account": {**kind, "Name": "A"}}, {**kind, "Id": "2", "Account": None}]
    sandbox.misbehave(QUERY, times=1, status=200, body={"totalSize": 2, "done": True, "records": records})
    read = list(crm.query("SELECT Id, toLabel(Status), Account.Name FROM Contact"))
    assert read == [{"Id": "1", "Account.Name": "A"}, {"Id": "2", "Account.Name": None}]


def test_a_count_is_a_row(crm: Salesforce) -> None:
    """Salesforce answers it without records."""
    crm.create("Contact", people(3))
    assert list(crm.query("SELECT COUNT() FROM Contact")) == [{"count": 3}]


def test_a_limit_is_no_reason_for_a_job(crm: Salesforce, sandbox: Sandbox) -> None:
    """Five rows of many come by a page."""
    crm.create("Contact", people(60))
    sandbox.set_salesforce(query_page=10)
    assert len(list(crm.query("SELECT Id FROM Contact", limit=5, bulk_from=20))) == 5
    assert not [call for call in sandbox.calls() if "jobs/query" in call]


def test_whole_numbers_stay_whole(crm: Salesforce) -> None:
    """A long has more digits than a float."""
    from prefect_atomic.integrations.salesforce.types import _CONVERSIONS

    assert _CONVERSIONS["long"]("9007199254740993") == 9007199254740993
    assert _CONVERSIONS["int"]("12.0") == 12


def test_external_ids_that_differ_in_letters_are_told_apart(crm: Salesforce, sandbox: Sandbox) -> None:
    """Where the org tells them apart."""
    kind = {"attributes": {"type": "Contact", "url": ""}}
    records = [{**kind, "LastName": name, "External_Id__c": name} for name in ("ABC", "abc")]
    sandbox.misbehave(QUERY, times=1, status=200, body={"totalSize": 2, "done": True, "records": records})
    found = crm.get("Contact", ["abc", "ABC", "Abc"], fields=["LastName"], external_id="External_Id__c")
    assert [row and row["LastName"] for row in found] == ["abc", "ABC", "ABC"]


def test_long_ids_are_asked_for_in_several_queries(crm: Salesforce, sandbox: Sandbox) -> None:
    """They stand in the URL."""
    ids = [f"{number}-{'é' * 50}" for number in range(200)]
    crm.upsert("Contact", [{"External_Id__c": each, "LastName": "L"} for each in ids], external_id="External_Id__c")
    found = crm.get("Contact", ids, fields=["External_Id__c"], external_id="External_Id__c")
    assert [row and row["External_Id__c"] for row in found] == ids
    assert sandbox.calls()[f"GET {QUERY}"] > 4


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (lambda crm: crm.create("Contact", None), "records"),
        (lambda crm: crm.create("Contact", 5), "records"),
        (lambda crm: crm.create("Contact", [], bulk_from=0), "bulk_from"),
        (lambda crm: crm.create("Contact", [], bulk_from=1.5), "bulk_from"),
        (lambda crm: list(crm.query(None)), "soql"),
        (lambda crm: list(crm.query("SELECT Id FROM Contact", limit=-1)), "limit"),
        (lambda crm: crm.get("Contact", "describe"), "ids"),
        (lambda crm: crm.get("Contact", "003000000000001AAA", fields="LastName"), "fields"),
    ],
)
def test_arguments_are_refused_by_their_name(crm: Salesforce, act: Callable[[Salesforce], Any], told: str) -> None:
    """Before anything is sent."""
    with pytest.raises(RequestError, match=told):
        act(crm)


def test_odd_answers_are_no_reason_to_lose_outcomes(crm: Salesforce, sandbox: Sandbox) -> None:
    """Half characters, numbers and objects where texts should be."""
    errors = [{"statusCode": {"a": 1}, "message": 5, "fields": "LastName"}]
    said = [{"success": False, "errors": errors}, {"success": True, "id": "\ud800"}, "nothing"]
    sandbox.misbehave(MANY, times=1, status=200, body=json.dumps(said))
    outcomes = crm.create("Contact", people(3), on_error="return")
    assert [outcome.state for outcome in outcomes] == ["failed", "succeeded", "failed"]


def test_why_a_job_cannot_be_closed_is_told(crm: Salesforce, sandbox: Sandbox) -> None:
    """And it is not tried again, as it would not pass."""
    crm.check()
    body = [{"errorCode": "EXCEEDED_QUOTA", "message": "the daily batches are used up"}]
    sandbox.misbehave(JOB, method="PATCH", times=1, status=400, body=body)
    with pytest.raises((RecordsError, ResponseError), match="EXCEEDED_QUOTA"):
        crm.create("Contact", people(50), bulk_from=10)
    assert sandbox.calls()[f"POST {JOBS}"] == 1
    assert count(crm) == 0


def test_a_fork_reads_outcomes_and_does_not_write_them() -> None:
    """It would write into the file of its parent."""
    outcomes = Outcomes()
    outcomes.add([Outcome(0, "succeeded")])
    outcomes._process = os.getpid() + 1
    assert len(outcomes) == 1
    with pytest.raises(RuntimeError, match="process"):
        outcomes.add([Outcome(1, "succeeded")])


def test_what_fails_half_way_is_not_noted_by_half() -> None:
    """All of an addition, or none of it."""

    def some() -> Iterator[Outcome]:
        yield Outcome(0, "succeeded")
        raise ValueError("the answer ends here")

    outcomes = Outcomes()
    with pytest.raises(ValueError, match="ends here"):
        outcomes.add(some())
    assert len(outcomes) == 0
    assert list(outcomes.missing(2)) == [0, 1]


@pytest.mark.parametrize(
    ("soql", "columns"),
    [
        ("SELECT c.Id, c.Account.Name FROM Contact c WHERE c.Id != null", ("Id", "Account.Name")),
        ("SELECT Id FROM Contact WHERE Id = 'x'", ("Id",)),
        ("SELECT Id FROM Contact LIMIT 1", ("Id",)),
        ("SELECT a.Id FROM Contact c, c.Account a", None),
        ("SELECT Id\nFROM\nContact\nORDER BY Id", ("Id",)),
    ],
)
def test_columns_are_read_without_the_objects_name(soql: str, columns: tuple[str, ...] | None) -> None:
    """Salesforce answers with the names of the fields."""
    assert read_soql(soql).columns == columns
