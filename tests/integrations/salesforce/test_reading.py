"""Queries: lazy, of any size, and the same rows whichever API they come by."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_atomic import QuotaError, RequestError, ResponseError, Salesforce
from prefect_atomic.integrations.salesforce.soql import read_soql
from prefect_atomic.sandbox import Sandbox

QUERY, MORE = "GET /services/data/{version}/query", "GET /services/data/{version}/query/{cursor}"
JOBS, JOB = "/services/data/{version}/jobs/query", "/services/data/{version}/jobs/query/{id}"
FIELDS = "Id, LastName, FirstName, Account.Name, Score__c, Active__c, Birthdate, CreatedDate"


@pytest.fixture
def filled(crm: Salesforce, sandbox: Sandbox) -> Salesforce:
    """An org with contacts of every kind, a quarter of them of an account."""
    account = crm.create("Account", {"Name": 'Ä, "B"\nC'}).id
    crm.create(
        "Contact",
        [
            {
                "LastName": f'N{number}, "x"\n',
                "FirstName": "F" if number % 2 else None,
                "AccountId": account if number % 4 == 0 else None,
                "Score__c": number / 4 if number % 3 else None,
                "Active__c": bool(number % 2),
                "Birthdate": "2000-01-02" if number % 5 else None,
            }
            for number in range(60)
        ],
    )
    sandbox.set_salesforce(query_page=10, bulk_query_page=25)
    return crm


def test_pages_are_read_as_they_are_needed(filled: Salesforce, sandbox: Sandbox) -> None:
    """Nothing is asked for before the first row, and one page for the first ten."""
    rows = filled.query("SELECT Id FROM Contact")
    assert QUERY not in sandbox.calls()
    for _ in range(10):
        next(rows)
    assert (sandbox.calls()[QUERY], sandbox.calls().get(MORE, 0)) == (1, 0)
    assert len(list(rows)) == 50
    assert sandbox.calls()[MORE] == 5


def test_rows_are_the_same_by_pages_and_in_bulk(filled: Salesforce, sandbox: Sandbox) -> None:
    """Types, empty fields, related records and moments."""
    soql = f"SELECT {FIELDS} FROM Contact ORDER BY Id"
    by_pages = list(filled.query(soql))
    assert f"POST {JOBS}" not in sandbox.calls()
    in_bulk = list(filled.query(soql, bulk_from=20))
    assert sandbox.calls()[f"POST {JOBS}"] == 1
    assert in_bulk == by_pages
    assert len(by_pages) == 60
    first = by_pages[0]
    assert first["Account.Name"] == 'Ä, "B"\nC'
    assert by_pages[1]["Account.Name"] is None
    assert list(first) == FIELDS.split(", ")


def test_a_bulk_query_that_nobody_reads_to_its_end_is_removed(filled: Salesforce, sandbox: Sandbox) -> None:
    """It would count against the org's jobs."""
    rows = filled.query("SELECT Id FROM Contact", bulk_from=20)
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    assert sandbox.calls()[f"DELETE {JOB}"] == 1


def test_what_bulk_does_not_take_is_read_by_pages(filled: Salesforce, sandbox: Sandbox) -> None:
    """Also where Salesforce refuses the job: not every object can be read so."""
    sandbox.misbehave(JOBS, times=1, status=400, body=[{"errorCode": "INVALIDENTITY", "message": "no bulk"}])
    assert len(list(filled.query("SELECT Id FROM Contact", bulk_from=20))) == 60


def test_a_session_that_ends_between_pages_is_renewed(filled: Salesforce, sandbox: Sandbox) -> None:
    """Both ways; each row comes once."""
    sandbox.set_salesforce(session_calls=2)
    for bulk_from in (1000, 20):
        ids = [row["Id"] for row in filled.query("SELECT Id FROM Contact", bulk_from=bulk_from)]
        assert len(ids) == len(set(ids)) == 60


def test_a_page_that_is_cut_is_asked_for_again(filled: Salesforce, sandbox: Sandbox) -> None:
    """Reading twice harms nobody."""
    sandbox.misbehave("/services/data/{version}/query/{cursor}", times=1, cut=True)
    assert len(list(filled.query("SELECT Id FROM Contact"))) == 60


@pytest.mark.parametrize(
    ("soql", "told"),
    [
        ("SELECT Nothing__c FROM Contact", "INVALID_FIELD"),
        ("SELECT Id FROM Nothing__c", "INVALID_TYPE"),
        ("SELECT FROM", "MALFORMED_QUERY"),
    ],
)
def test_what_is_wrong_with_a_query_is_told_by_salesforce(crm: Salesforce, soql: str, told: str) -> None:
    """Its code and message; the query is not in the text."""
    with pytest.raises(ResponseError, match=told) as raised:
        next(crm.query(soql), None)
    assert raised.value.response.status_code == 400


def test_no_query_is_refused(crm: Salesforce) -> None:
    """Before anything is sent."""
    with pytest.raises(RequestError, match="soql"):
        next(crm.query(" "), None)


def test_records_come_in_the_order_of_their_ids(filled: Salesforce) -> None:
    """More than fit into a request; None for those that are not there; ids of 15 characters are the same."""
    ids = [row["Id"] for row in filled.query("SELECT Id FROM Contact")]
    asked = [ids[5][:15], "003000000000ZZZ", *reversed(ids)] * 4
    found = filled.get("Contact", asked, fields=["LastName", "Account.Name"])
    assert len(found) == len(asked)
    assert found[1] is None
    assert found[0] == found[2 + ids[::-1].index(ids[5])]
    assert list(found[0] or {}) == ["LastName", "Account.Name"]
    assert "LastName" in (filled.get("Contact", ids[:2])[0] or {})


@pytest.mark.parametrize("bad", [[""], [None], "", " ", [1]])
def test_an_id_that_is_none_is_refused(crm: Salesforce, bad: object) -> None:
    """An empty one would ask for the object itself."""
    with pytest.raises(RequestError, match="id"):
        crm.get("Contact", bad, fields=["Id"])  # type: ignore[call-overload]


def test_a_value_with_a_quote_stays_one_value(crm: Salesforce) -> None:
    """Ids go into SOQL, where a quote would end them."""
    crm.create("Contact", {"LastName": "L", "External_Id__c": "it's"})
    found = crm.get("Contact", ["it's", "x') OR (Id != '"], fields=["LastName"], external_id="External_Id__c")
    assert found == [{"LastName": "L"}, None]
    with pytest.raises(RequestError, match="fields"):
        crm.get("Contact", ["a"], fields=["Id FROM Account --"])


def test_deleted_records_are_read_where_asked_for(crm: Salesforce) -> None:
    """From the recycle bin."""
    made = crm.create("Contact", {"LastName": "gone"})
    crm.delete_records("Contact", made.id or "")
    assert list(crm.query("SELECT Id FROM Contact")) == []
    assert [row["Id"] for row in crm.query("SELECT Id FROM Contact", include_deleted=True)] == [made.id]


def test_a_usage_floor_stops_a_query_between_pages(
    make: Callable[..., Salesforce], filled: Salesforce, sandbox: Sandbox
) -> None:
    """What was read before was handed out."""
    sandbox.set_salesforce(api_limit=1000, api_used=798)
    rows = make(stop_at_usage=0.8).query("SELECT Id FROM Contact")
    with pytest.raises(QuotaError, match="stop_at_usage"):
        for _ in rows:
            pass


@given(st.text(), st.text())
def test_any_text_is_read_as_far_as_it_goes(before: str, after: str) -> None:
    """A query that Salesforce would refuse is left for it to refuse."""
    read_soql(before)
    assert read_soql(f"SELECT Id FROM Contact WHERE Name = 'FROM X GROUP BY {after}".replace("\\", "") + "'").sobject


@pytest.mark.parametrize(
    ("soql", "is_for_bulk"),
    [
        ("SELECT Id, Account.Name FROM Contact WHERE Name = 'a GROUP BY b'", True),
        ("select id from contact", True),
        ("SELECT Id\nFROM Contact\nWHERE (Score__c = 1 OR Score__c = 2)", True),
        ("SELECT Id FROM Contact WHERE AccountId IN (SELECT Id FROM Account) AND Name LIKE '%(x%'", True),
        ("SELECT toLabel(Status) FROM Contact", False),
        ("SELECT COUNT() FROM Contact", False),
        ("SELECT Id, (SELECT Id FROM Contacts) FROM Account", False),
        ("SELECT Name, COUNT(Id) FROM Contact GROUP BY Name", False),
        ("SELECT Name FROM Contact GROUP BY Name", False),
        ("SELECT Id FROM Contact LIMIT 10 OFFSET 5", False),
        ("SELECT FIELDS(ALL) FROM Contact LIMIT 200", False),
    ],
)
def test_only_plain_queries_are_for_bulk(soql: str, is_for_bulk: bool) -> None:
    """As Bulk API 2.0 documents."""
    assert read_soql(soql).is_for_bulk is is_for_bulk
