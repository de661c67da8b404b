"""Bulk API 2.0: any number of records, an outcome for each by its position, whatever order the results come in."""

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_atomic import RecordsError, ResponseError, Salesforce
from prefect_atomic.integrations.salesforce import rows
from prefect_atomic.integrations.salesforce.rows import Rows, UnsendableError, cells_of
from prefect_atomic.sandbox import Sandbox

JOBS = "/services/data/{version}/jobs/ingest"
JOB, UPLOAD, RESULTS = f"{JOBS}/{{id}}", f"{JOBS}/{{id}}/batches", f"{JOBS}/{{id}}/{{results}}"
KEY = "External_Id__c"


@pytest.fixture
def small_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of a hundred rows."""
    monkeypatch.setattr(rows, "MOST_ROWS", 100)


def people(count: int, *, failing: int = 0) -> Iterator[dict[str, Any]]:
    for number in range(count):
        name = "FAIL" if failing and number % failing == 1 else "Name"
        yield {KEY: f"x{number}", "LastName": f"{name} {number}"}


def test_every_outcome_is_at_its_position(crm: Salesforce, sandbox: Sandbox, small_jobs: None) -> None:
    """Over several jobs, whose results come in an order of their own."""
    outcomes = crm.upsert("Contact", people(950, failing=10), external_id=KEY, bulk_from=100, on_error="return")
    assert len(outcomes) == 950
    assert [outcome.position for outcome in outcomes.failures()] == list(range(1, 950, 10))
    assert {outcome.code for outcome in outcomes.failures()} == {"FIELD_CUSTOM_VALIDATION_EXCEPTION"}
    assert {outcome.fields for outcome in outcomes.failures()} == {("LastName",)}
    ids = {row[KEY]: row["Id"] for row in crm.query(f"SELECT Id, {KEY} FROM Contact")}
    assert all(outcome.id == ids[f"x{outcome.position}"] for outcome in outcomes if outcome.success)
    assert sandbox.calls()[f"POST {JOBS}"] == 10
    again = crm.upsert("Contact", people(950), external_id=KEY, bulk_from=100)
    assert [outcome.created for outcome in again] == [outcome.position % 10 == 1 for outcome in outcomes]


def test_creations_updates_and_deletions_too(crm: Salesforce, small_jobs: None) -> None:
    """New records have no key that would tell their results apart: their content does."""
    made = crm.create("Contact", [{"LastName": "Same"}] * 50 + list(people(150)), bulk_from=10)
    assert made.succeeded == 200
    assert len({outcome.id for outcome in made}) == 200
    changes = [{"Id": outcome.id, "FirstName": f"F{outcome.position}"} for outcome in made]
    assert crm.update("Contact", changes, bulk_from=10).succeeded == 200
    names = {row["Id"]: row["FirstName"] for row in crm.query("SELECT Id, FirstName FROM Contact")}
    assert all(names[change["Id"]] == change["FirstName"] for change in changes)
    assert crm.delete_records("Contact", (outcome.id or "" for outcome in made), bulk_from=10).succeeded == 200
    assert list(crm.query("SELECT Id FROM Contact")) == []


def test_values_mean_the_same_as_in_a_single_request(crm: Salesforce) -> None:
    """None and an empty text empty a field, what is missing stays, and dates, numbers and commas arrive."""
    before = {"FirstName": "F", "Email": "a@example.com", "Score__c": 1.0, "Active__c": True, "Birthdate": "2000-01-02"}
    records = [{KEY: f"{way}{number}", "LastName": "L", **before} for way in "ab" for number in range(3)]
    crm.upsert("Contact", records, external_id=KEY)
    change = [
        {"FirstName": None, "Email": "", "LastName": 'Comma, "quote"\nand é'},
        {"Score__c": Decimal("2.5"), "Active__c": False},
        {"Birthdate": date(2001, 2, 3), "FirstName": "G"},
    ]
    for way, bulk_from in (("a", 1000), ("b", 2)):
        changes = [{KEY: f"{way}{number}", **fields} for number, fields in enumerate(change)]
        assert crm.upsert("Contact", changes, external_id=KEY, bulk_from=bulk_from).succeeded == 3
    names = "FirstName, LastName, Email, Score__c, Active__c, Birthdate"
    read = [list(crm.query(f"SELECT {names} FROM Contact WHERE {KEY} LIKE '{way}%' ORDER BY {KEY}")) for way in "ab"]
    assert read[0] == read[1]
    assert read[0][0]["FirstName"] is None
    assert read[0][0]["Email"] is None
    assert read[0][1]["FirstName"] == "F"


def test_what_cannot_be_a_row_is_refused_and_the_rest_goes_through(crm: Salesforce) -> None:
    """A NUL, a field over the limit, no record, no key."""
    records: list[Any] = [
        {KEY: "1", "LastName": "good"},
        {KEY: "2", "LastName": "a\0b"},
        {KEY: "3", "LastName": "x" * 32_001},
        {"LastName": "no key"},
        "no record",
        {KEY: "6", "LastName": "\ud800"},
        {KEY: "7", "LastName": "good too"},
    ]
    outcomes = crm.upsert("Contact", records, external_id=KEY, bulk_from=2, on_error="return")
    assert [outcome.state for outcome in outcomes] == ["succeeded", *["not sent"] * 5, "succeeded"]
    assert "NUL" in str(outcomes[1].message)
    assert "32,000" in str(outcomes[2].message)
    assert KEY in str(outcomes[3].message)


def test_fields_that_come_late_get_their_column(crm: Salesforce, sandbox: Sandbox) -> None:
    """A job has one header; nothing of a record is left out because the first had less."""
    records = ({KEY: f"x{n}", "LastName": "L", **({"FirstName": f"F{n}"} if n > 1500 else {})} for n in range(2000))
    assert crm.upsert("Contact", records, external_id=KEY, bulk_from=2).succeeded == 2000
    assert sandbox.calls()[f"POST {JOBS}"] == 2
    (row,) = crm.query(f"SELECT FirstName FROM Contact WHERE {KEY} = 'x1999'")
    assert row == {"FirstName": "F1999"}


def test_records_are_read_as_they_are_needed(
    crm: Salesforce, small_jobs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than a look ahead is in memory."""
    from prefect_atomic.integrations.salesforce import bulk

    monkeypatch.setattr(bulk, "_LOOK_AHEAD", 10)
    read = itertools.count()
    seen: list[int] = []

    def records() -> Iterator[dict[str, Any]]:
        for record in people(1000):
            next(read)
            yield record

    original = bulk.Ingest._submitted

    def spy(self: Any, submitted: Rows) -> Any:
        seen.append(next(read))
        return original(self, submitted)

    monkeypatch.setattr(bulk.Ingest, "_submitted", spy)
    crm.upsert("Contact", records(), external_id=KEY, bulk_from=20)
    assert seen[0] <= 130


@pytest.mark.parametrize("path", [JOBS, UPLOAD, JOB])
@pytest.mark.parametrize("after", [False, True])
def test_an_upload_that_was_cut_is_done_again_and_nothing_twice(
    crm: Salesforce, sandbox: Sandbox, path: str, after: bool
) -> None:
    """A job is processed only once it is closed, so another can take its place before."""
    crm.check()
    sandbox.misbehave(path, times=1, cut=True, after=after)
    outcomes = crm.create("Contact", people(50), bulk_from=10)
    assert outcomes.succeeded == 50
    assert len(list(crm.query("SELECT Id FROM Contact"))) == 50


def test_a_job_that_may_be_closed_is_not_made_again(crm: Salesforce, sandbox: Sandbox) -> None:
    """It was, and its records are written; nobody could say so. They are unknown, and written once."""
    crm.check()
    sandbox.misbehave(JOB, method="PATCH", cut=True, after=True)
    sandbox.misbehave(JOB, method="GET", cut=True)
    with pytest.raises(RecordsError, match="whether it is closed") as raised:
        crm.create("Contact", people(50), bulk_from=10)
    assert raised.value.outcomes.unknown == 50
    assert sandbox.calls()[f"POST {JOBS}"] == 1


def test_a_job_that_fails_says_so_for_each_record(crm: Salesforce, sandbox: Sandbox) -> None:
    """An object that there is not is refused when the job is made."""
    with pytest.raises(ResponseError):
        crm.create("Nothing__c", people(50), bulk_from=10)
    with pytest.raises((RecordsError, ResponseError)) as raised:
        crm.create("Contact", ({"LastName": "x", "Nothing__c": n} for n in range(50)), bulk_from=10)
    if isinstance(raised.value, RecordsError):
        assert {outcome.state for outcome in raised.value.outcomes} <= {"failed"}
        assert len(raised.value.outcomes) == 50


def test_results_that_cannot_be_had_leave_what_was_sent_unknown(crm: Salesforce, sandbox: Sandbox) -> None:
    """Nothing is sent once more: the job was processed."""
    crm.check()
    sandbox.misbehave(RESULTS, status=500)
    with pytest.raises(RecordsError, match="500") as raised:
        crm.create("Contact", people(50), bulk_from=10)
    assert raised.value.outcomes.unknown == 50
    assert len(list(crm.query("SELECT Id FROM Contact"))) == 50


def test_a_job_that_does_not_end_is_left_to_itself(crm: Salesforce, sandbox: Sandbox) -> None:
    """Its records are unknown, and the message says where their results will be."""
    sandbox.set_salesforce(bulk_polls=1000)
    with pytest.raises(RecordsError, match="bulk_wait") as raised:
        crm.create("Contact", people(50), bulk_from=10, bulk_wait=30)
    assert raised.value.outcomes.unknown == 50


def test_a_session_that_ends_at_every_step_is_renewed(
    make: Callable[..., Salesforce], sandbox: Sandbox, small_jobs: None
) -> None:
    """While jobs are made, uploaded, closed, followed and read."""
    crm = make()
    sandbox.set_salesforce(session_calls=2, bulk_polls=3)
    outcomes = crm.upsert("Contact", people(500), external_id=KEY, bulk_from=10)
    assert outcomes.succeeded == 500
    assert sandbox.calls()["POST /services/oauth2/token"] > 10


def test_an_iterator_that_fails_leaves_no_open_job_and_tells_what_was_sent(
    crm: Salesforce, sandbox: Sandbox, small_jobs: None
) -> None:
    """What was closed already is processed."""

    def records() -> Iterator[dict[str, Any]]:
        yield from people(2500)
        raise RuntimeError("the source is gone")

    with pytest.raises(RecordsError, match="beyond position 2499, for a RuntimeError") as raised:
        crm.upsert("Contact", records(), external_id=KEY, bulk_from=10, on_error="return")
    assert raised.value.outcomes.succeeded == 2500
    assert isinstance(raised.value.__cause__, RuntimeError)
    assert {job["state"] for job in sandbox.salesforce()["jobs"]} == {"JobComplete"}


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@given(st.lists(st.dictionaries(st.sampled_from("ABC"), CELL | st.none() | st.booleans() | st.integers()), max_size=30))
def test_rows_are_found_again_in_any_order(records: list[dict[str, Any]]) -> None:
    """What the results repeat leads to the position of the same content, each once."""
    records = [record for record in records if "#N/A" not in record.values()]
    sent = Rows("ABC")
    given_rows = []
    for position, record in enumerate(records, 5):
        cells = cells_of(record)
        sent.add(position, cells)
        given_rows.append((position, {column: cells.get(column, "") for column in "ABC"}))
    places = sent.places()
    taken = {}
    for _, row in reversed(given_rows):
        position = places.take({**row, "sf__Id": "003"})
        assert position is not None
        taken[position] = row
    assert taken.keys() == {position for position, _ in given_rows}
    assert all(taken[position] == row for position, row in given_rows)
    assert list(places.rest()) == []
    sent.close()


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, "#N/A"),
        ("", "#N/A"),
        (True, "true"),
        (1.5, "1.5"),
        (Decimal("0.10"), "0.10"),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05.000+00:00"),
    ],
)
def test_values_are_written_as_salesforce_reads_them(value: object, cell: str) -> None:
    """Each in one form."""
    assert cells_of({"F": value}) == {"F": cell}


def test_a_related_record_is_named_by_its_external_id() -> None:
    """As the REST API takes it, nested."""
    record = {"Account": {"External_Id__c": "a", "attributes": {"type": "Account"}}, "attributes": {"type": "Contact"}}
    assert cells_of(record) == {"Account.External_Id__c": "a"}


@pytest.mark.parametrize("value", ["#N/A", float("nan"), float("inf"), ["a"], b"a", datetime(2026, 1, 1)])  # noqa: DTZ001
def test_values_that_no_cell_can_hold_are_refused(value: object) -> None:
    """`#N/A` would empty the field."""
    with pytest.raises(UnsendableError, match="F:"):
        cells_of({"F": value})
