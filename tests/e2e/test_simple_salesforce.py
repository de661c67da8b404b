"""simple-salesforce, as it is, against the sandbox's Salesforce: what it takes for Salesforce, other clients do."""

from __future__ import annotations

import csv
import io

import pytest
import requests

from prefect_atomic.sandbox import Sandbox
from tests.e2e.servers.tls_front import TlsFront

simple_salesforce = pytest.importorskip("simple_salesforce")
from simple_salesforce import Salesforce  # noqa: E402
from simple_salesforce.exceptions import (  # noqa: E402
    SalesforceAuthenticationFailed,
    SalesforceExpiredSession,
    SalesforceMalformedRequest,
    SalesforceRefusedRequest,
    SalesforceResourceNotFound,
)

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def running():
    with Sandbox.start() as sandbox, TlsFront(sandbox.url) as front:
        yield sandbox, front


@pytest.fixture
def sandbox(running):
    running[0].reset()
    return running[0]


@pytest.fixture
def front(running):
    return running[1]


@pytest.fixture
def session(front):
    with requests.Session() as session:
        session.trust_env = False  # REQUESTS_CA_BUNDLE would win over verify
        session.verify = front.ca_file
        session.proxies = front.proxies
        yield session


@pytest.fixture
def sign_in(sandbox, session):
    """A client that signed in, with client credentials unless told otherwise."""
    account = sandbox.accounts.salesforce
    client = {"domain": "co.my", "consumer_key": account.client_id, "consumer_secret": account.client_secret}

    def sign_in(**other):
        return Salesforce(session=session, **(other or client))

    return sign_in


@pytest.fixture
def sf(sign_in):
    return sign_in()


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_every_sign_in_leads_to_the_org(sign_in, sandbox, front):
    account = sandbox.accounts.salesforce
    user = {"username": account.username}
    client = {"consumer_key": account.client_id}
    ways = [
        {},
        {**user, **client, "privatekey": account.private_key},
        {**user, **client, "privatekey": account.private_key, "instance_url": "co.my"},
        {**user, "password": account.password, "security_token": account.security_token},
        {
            **user,
            **client,
            "consumer_secret": account.client_secret,
            "password": account.password + account.security_token,
        },
    ]
    for way in ways:
        assert {each["name"] for each in sign_in(**way).describe()["sobjects"]} == {"Account", "Contact"}
    assert {"co.my.salesforce.com:443", "login.salesforce.com:443"} <= set(front.hosts)
    assert sandbox.calls()["POST /services/oauth2/token"] == 4


def test_a_proxy_is_enough_without_a_session(sandbox, front, monkeypatch):
    account = sandbox.accounts.data_360
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", front.ca_file)

    sf = Salesforce(
        domain="co.my",
        consumer_key=account.client_id,
        consumer_secret=account.client_secret,
        proxies=front.proxies,
    )

    assert sf.query("SELECT COUNT() FROM Contact")["totalSize"] == 0
    sf.session.close()


def test_a_sign_in_that_is_refused_says_why(sign_in, sandbox):
    account = sandbox.accounts.salesforce
    user = {"username": account.username, "password": "wrong", "security_token": "wrong"}
    with pytest.raises(SalesforceAuthenticationFailed, match="INVALID_LOGIN"):
        sign_in(**user)
    sandbox.set_salesforce(client_credentials_refused=True)
    with pytest.raises(SalesforceAuthenticationFailed, match="request not supported on this domain"):
        sign_in()


def test_records_one_by_one(sf, sandbox):
    made = sf.Contact.create({"LastName": "Lovelace", "Email": "ada@example.com", "Score__c": 1.5})
    assert made["success"] is True

    sf.Contact.update(made["id"], {"FirstName": "Ada"})
    found = sf.Contact.get(made["id"])
    assert (found["FirstName"], found["Score__c"], found["Active__c"]) == ("Ada", 1.5, False)

    assert sf.Contact.upsert("External_Id__c/a%2Fb", {"LastName": "Hopper"}) == 201
    assert sf.Contact.upsert("External_Id__c/a%2Fb", {"FirstName": "Grace"}) == 200
    assert sf.Contact.get_by_custom_id("External_Id__c", "a/b")["FirstName"] == "Grace"

    assert sf.Contact.delete(made["id"]) == 204
    with pytest.raises(SalesforceResourceNotFound):
        sf.Contact.get(made["id"])
    with pytest.raises(SalesforceMalformedRequest, match="REQUIRED_FIELD_MISSING"):
        sf.Contact.create({"FirstName": "Nobody"})
    assert {each["name"] for each in sf.Contact.describe()["fields"]} >= {"Id", "Score__c", "AccountId"}
    assert sandbox.salesforce()["objects"]["Contact"] == 1


def test_a_query_over_pages(sf, sandbox):
    sandbox.set_salesforce(generate={"Contact": 4500})

    found = sf.query_all("SELECT Id, LastName FROM Contact ORDER BY LastName DESC")

    assert found["totalSize"] == len({each["Id"] for each in found["records"]}) == 4500
    assert found["records"][0]["LastName"] == "Contact 0004500"
    assert sandbox.salesforce()["calls"]["GET query"] == 3


def test_the_use_of_the_api(sf, sandbox):
    sandbox.set_salesforce(api_limit=100, api_used=98)
    sf.limits()
    assert (sf.api_usage["api-usage"].used, sf.api_usage["api-usage"].total) == (99, 100)
    sf.limits()
    with pytest.raises(SalesforceRefusedRequest, match="REQUEST_LIMIT_EXCEEDED"):
        sf.limits()


def test_a_session_that_expired_is_fetched_anew_unless_it_was_given(sf, session, sandbox):
    given = Salesforce(session_id=sf.session_id, instance_url=f"https://{sf.sf_instance}", session=session)
    sandbox.revoke()

    assert sf.query("SELECT COUNT() FROM Contact")["totalSize"] == 0
    with pytest.raises((SalesforceExpiredSession, RuntimeError)):
        given.query("SELECT COUNT() FROM Contact")


def test_bulk_2_writes_and_tells_what_failed(sf, sandbox):
    given = [{"LastName": f"{'FAIL' if n % 10 == 3 else 'Row'} {n}", "External_Id__c": f"x{n}"} for n in range(50)]

    [outcome] = sf.bulk2.Contact.insert(records=given, wait=0.01)

    assert (outcome["numberRecordsFailed"], outcome["numberRecordsProcessed"]) == (5, 50)
    failed = rows(sf.bulk2.Contact.get_failed_records(outcome["job_id"]))
    assert {row["External_Id__c"] for row in failed} == {"x3", "x13", "x23", "x33", "x43"}
    assert failed[0]["sf__Error"] == ("FIELD_CUSTOM_VALIDATION_EXCEPTION:LastName may not start with FAIL:LastName --")
    succeeded = rows(sf.bulk2.Contact.get_successful_records(outcome["job_id"]))
    assert len(succeeded) == 45
    assert [row["External_Id__c"] for row in succeeded] != sorted(
        (row["External_Id__c"] for row in succeeded), key=lambda name: int(name[1:])
    )
    assert rows(sf.bulk2.Contact.get_unprocessed_records(outcome["job_id"])) == []

    again = [{"LastName": "New", "External_Id__c": name} for name in ("x1", "x3")]
    [outcome] = sf.bulk2.Contact.upsert(records=again, external_id_field="External_Id__c", wait=0.01)
    results = rows(sf.bulk2.Contact.get_successful_records(outcome["job_id"]))
    assert {row["External_Id__c"]: row["sf__Created"] for row in results} == {"x1": "false", "x3": "true"}

    ids = [{"Id": row["sf__Id"]} for row in results]
    assert sf.bulk2.Contact.delete(records=ids, wait=0.01)[0]["numberRecordsFailed"] == 0
    assert sandbox.salesforce()["objects"]["Contact"] == 44
    assert len(sf.bulk2.Contact.get_all_ingest_records(outcome["job_id"])["successfulRecords"]) == 2


def test_bulk_2_reads_page_by_page(sf, sandbox, tmp_path):
    sandbox.set_salesforce(generate={"Contact": 2500}, bulk_query_page=1000)

    pages = list(sf.bulk2.Contact.query("SELECT Id, LastName FROM Contact", wait=0.01))

    assert [len(rows(page)) for page in pages] == [1000, 1000, 500]
    files = sf.bulk2.Contact.download("SELECT Id FROM Contact LIMIT 10", path=str(tmp_path), wait=0.01)
    assert [file["number_of_records"] for file in files] == [10]


def test_bulk_1(sf, sandbox):
    outcomes = sf.bulk.Contact.insert([{"LastName": "Ada"}, {"LastName": "FAIL"}], batch_size=10)

    assert [each["success"] for each in outcomes] == [True, False]
    assert outcomes[1]["errors"][0]["statusCode"] == "FIELD_CUSTOM_VALIDATION_EXCEPTION"
    sandbox.revoke()
    with pytest.raises(SalesforceMalformedRequest, match="InvalidSessionId"):
        sf.bulk.Contact.insert([{"LastName": "Ada"}])
