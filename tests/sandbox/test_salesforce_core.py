"""Salesforce's core: who signs in, one record at a time, SOQL, and what becomes of sessions and limits."""

import json
import time
from urllib.parse import urlencode
from xml.sax.saxutils import escape

import jwt
import pytest

from prefect_atomic.sandbox import SandboxError

BASE = "/services/data/v59.0"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SOAP = {"Content-Type": "text/xml", "SOAPAction": "login"}
ENVELOPE = (
    '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>'
    '<n:login xmlns:n="urn:partner.soap.sforce.com">{}</n:login></e:Body></e:Envelope>'
)


@pytest.fixture
def account(sandbox):
    return sandbox.accounts.salesforce


@pytest.fixture
def ask_token(account, send):
    """Asks for a token with these parameters in place of the client credentials."""

    def ask_token(**change):
        client = {"client_id": account.client_id, "client_secret": account.client_secret}
        return send("POST", "/services/oauth2/token", form={"grant_type": "client_credentials", **client, **change})

    return ask_token


@pytest.fixture
def call(ask_token, send):
    """Calls core in one session."""
    session = ask_token().json()["access_token"]

    def call(method, path, content=None, *, headers=(), **parameters):
        target = path if path.startswith("/") else f"{BASE}/{path}"
        target += f"?{urlencode(parameters)}" if parameters else ""
        body = b"" if content is None else json.dumps(content).encode()
        return send(method, target, headers={"Authorization": f"Bearer {session}", **dict(headers)}, body=body)

    return call


@pytest.fixture
def soql(call):
    def soql(query, **options):
        return call("GET", "query", q=query, **options)

    return soql


def names(reply):
    return [record["LastName"] for record in reply.json()["records"]]


def refusal(reply):
    [error] = reply.json()
    return reply.status, error["errorCode"]


def login(send, username, password, head=""):
    texts = f"<n:username>{escape(username)}</n:username><n:password>{escape(password)}</n:password>"
    return send("POST", "/services/Soap/u/59.0", headers=SOAP, body=(head + ENVELOPE.format(texts)).encode())


@pytest.mark.parametrize("name", ["salesforce", "data_360"])
def test_both_clients_lead_to_the_same_org(name, sandbox, ask_token, send):
    client = getattr(sandbox.accounts, name)
    content = ask_token(client_id=client.client_id, client_secret=client.client_secret).json()

    assert "expires_in" not in content
    assert content["instance_url"] == sandbox.url
    reply = send("GET", f"{BASE}/limits", headers={"Authorization": f"Bearer {content['access_token']}"})
    assert reply.json()["DailyApiRequests"] == {"Max": 100_000, "Remaining": 99_999}


def test_a_session_states_a_lifetime_when_told_to(ask_token, sandbox):
    sandbox.tokens_live(20)

    assert ask_token().json()["expires_in"] == 20


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"client_id": "other"}, "invalid_client_id"),
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"grant_type": "authorization_code"}, "unsupported_grant_type"),
        ({"grant_type": "password", "username": "a", "password": "b"}, "invalid_grant"),
        ({"grant_type": JWT_BEARER, "assertion": "a.b.c"}, "invalid_grant"),
    ],
)
def test_a_wrong_sign_in_is_refused(change, error, ask_token):
    reply = ask_token(**change)

    assert (reply.status, reply.json()["error"]) == (400, error)


def test_the_login_host_takes_no_client_credentials(ask_token, account, sandbox):
    sandbox.set_salesforce(client_credentials_refused=True)

    assert ask_token().json() == {
        "error": "invalid_grant",
        "error_description": "request not supported on this domain",
    }
    right = {"username": account.username, "password": account.password + account.security_token}
    assert ask_token(grant_type="password", **right).status == 200


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({}, None),
        ({"aud": "https://login.salesforce.com"}, None),
        ({"aud": "https://test.salesforce.com", "exp": "180"}, None),
        ({"aud": "https://example.com"}, "invalid_grant"),
        ({"iss": "other"}, "invalid_client_id"),
        ({"sub": "other"}, "invalid_grant"),
        ({"exp": -120}, "invalid_grant"),
        ({"exp": 3600}, "invalid_grant"),
    ],
)
def test_an_assertion_signs_in_for_a_user(change, refused, account, send):
    claims = {"iss": account.client_id, "sub": account.username, "aud": account.login_url, "exp": time.time() + 180}
    if "exp" in change:  # seconds from now, as a number or a text
        change = change | {"exp": type(change["exp"])(int(time.time()) + int(change["exp"]))}
    assertion = jwt.encode(claims | change, account.private_key, algorithm="RS256")

    reply = send("POST", "/services/oauth2/token", form={"grant_type": JWT_BEARER, "assertion": assertion})

    assert reply.json().get("error") == refused


def test_soap_login_answers_a_session(account, send, sandbox):
    text = login(send, account.username, account.password + account.security_token).body.decode()

    session = text.partition("<sessionId>")[2].partition("</sessionId>")[0]
    assert f"<serverUrl>{sandbox.url}/services/Soap/u/59.0/" in text
    assert send("GET", f"{BASE}/limits", headers={"Authorization": f"OAuth {session}"}).status == 200


def test_soap_login_faults(account, send):
    wrong = login(send, account.username, "wrong")
    without_token = login(send, account.username, account.password)
    entities = login(send, "&x;", "x", head='<!DOCTYPE x [<!ENTITY x "y">]>')

    assert wrong.status == without_token.status == entities.status == 500
    assert b"<sf:exceptionCode>INVALID_LOGIN</sf:exceptionCode>" in wrong.body
    assert b"LOGIN_MUST_USE_SECURITY_TOKEN" in without_token.body
    assert b"no document type" in entities.body


def test_the_versions_need_no_session_and_all_else_does(send, call, sandbox):
    assert {"label": "59.0", "url": BASE, "version": "59.0"} in send("GET", "/services/data/").json()
    assert refusal(send("GET", f"{BASE}/limits")) == (401, "INVALID_SESSION_ID")
    assert refusal(call("GET", "/services/data/v99.0/limits")) == (404, "NOT_FOUND")
    sandbox.revoke()
    assert refusal(call("GET", "limits")) == (401, "INVALID_SESSION_ID")
    sandbox.set_salesforce(session_error="INVALID_AUTH_HEADER")
    assert refusal(call("GET", "limits")) == (401, "INVALID_AUTH_HEADER")


def test_a_session_is_good_for_so_many_calls(call, ask_token, send, sandbox):
    sandbox.set_salesforce(session_calls=2)

    assert [call("GET", "limits").status for _ in range(4)] == [200, 200, 401, 401]
    other = {"Authorization": f"Bearer {ask_token().json()['access_token']}"}
    assert [send("GET", f"{BASE}/limits", headers=other).status for _ in range(3)] == [200, 200, 401]
    sandbox.set_salesforce(session_calls=None)
    other = {"Authorization": f"Bearer {ask_token().json()['access_token']}"}
    assert [send("GET", f"{BASE}/limits", headers=other).status for _ in range(3)] == [200, 200, 200]


def test_the_org_says_how_much_it_was_asked_and_when_that_is_too_much(call, sandbox):
    sandbox.set_salesforce(api_limit=10, api_used=8)

    replies = [call("GET", "sobjects") for _ in range(3)]

    used = [reply.headers["Sforce-Limit-Info"] for reply in replies]
    assert used == ["api-usage=9/10", "api-usage=10/10", "api-usage=10/10"]
    assert refusal(replies[2]) == (403, "REQUEST_LIMIT_EXCEEDED")
    assert sandbox.salesforce()["api_used"] == 10


def test_a_record_is_made_read_changed_and_deleted(call):
    made = call("POST", "sobjects/Contact", {"LastName": "Lovelace", "Birthdate": "1815-12-10", "Score__c": 7})
    record_id = made.json()["id"]
    path = f"sobjects/Contact/{record_id}"

    assert (made.status, made.json()) == (201, {"id": record_id, "success": True, "errors": []})
    assert call("PATCH", path, {"FirstName": "Ada", "Score__c": None}).status == 204
    assert call("GET", path, fields="FirstName,Score__c,Birthdate").json() == {
        "attributes": {"type": "Contact", "url": f"{BASE}/{path}"},
        "FirstName": "Ada",
        "Score__c": None,
        "Birthdate": "1815-12-10",
    }
    assert call("GET", f"sobjects/contact/{record_id[:15]}").status == 200
    assert call("DELETE", path).status == 204
    assert refusal(call("DELETE", path)) == (404, "ENTITY_IS_DELETED")
    assert refusal(call("GET", path)) == (404, "NOT_FOUND")


def test_an_external_id_makes_or_changes(call):
    path = "sobjects/Contact/External_Id__c/a%2Fb"

    created = call("PATCH", path, {"LastName": "Hopper"})
    changed = call("PATCH", path, {"FirstName": "Grace"})

    assert (created.status, created.json()["created"]) == (201, True)
    assert (changed.status, changed.json()) == (200, created.json() | {"created": False})
    assert call("GET", path).json()["External_Id__c"] == "a/b"
    assert refusal(call("PATCH", path, {"External_Id__c": "a/b"})) == (400, "INVALID_FIELD")
    assert call("DELETE", path).status == 204
    assert refusal(call("GET", path)) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("record", "error"),
    [
        ({"FirstName": "Ada"}, "REQUIRED_FIELD_MISSING"),
        ({"LastName": "FAIL here"}, "FIELD_CUSTOM_VALIDATION_EXCEPTION"),
        ({"LastName": "x", "Email": "nobody"}, "INVALID_EMAIL_ADDRESS"),
        ({"LastName": "x", "Score__c": "many"}, "JSON_PARSER_ERROR"),
        ({"LastName": "x", "Birthdate": "10.12.1815"}, "JSON_PARSER_ERROR"),
        ({"LastName": "x", "Nothing__c": 1}, "INVALID_FIELD"),
        ({"LastName": "x", "CreatedDate": "2026-01-01T00:00:00Z"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ({"LastName": "x", "AccountId": "none"}, "MALFORMED_ID"),
        ({"LastName": "x", "AccountId": "001000000000001"}, "INVALID_CROSS_REFERENCE_KEY"),
        ({"LastName": "x" * 81}, "STRING_TOO_LONG"),
        ({"LastName": "x", "External_Id__c": "TAKEN"}, "DUPLICATE_VALUE"),
    ],
)
def test_a_record_that_is_refused_is_refused_with_its_code(record, error, call, sandbox):
    sandbox.set_salesforce(records={"Contact": [{"LastName": "First", "External_Id__c": "taken"}]})

    assert refusal(call("POST", "sobjects/Contact", record)) == (400, error)
    assert sandbox.salesforce()["objects"]["Contact"] == 1


def test_a_record_is_refused_where_it_is_not(call):
    assert refusal(call("POST", "sobjects/Nothing", {})) == (404, "NOT_FOUND")
    assert refusal(call("GET", "sobjects/Contact/nothing")) == (404, "NOT_FOUND")
    assert refusal(call("PATCH", "sobjects/Contact/LastName/x", {})) == (404, "NOT_FOUND")
    assert refusal(call("GET", "sobjects/Contact/001000000000001AAA")) == (400, "MALFORMED_ID")
    assert refusal(call("PUT", "sobjects/Contact", {})) == (405, "METHOD_NOT_ALLOWED")


def test_a_describe_names_the_fields(call):
    fields = {field["name"]: field for field in call("GET", "sobjects/Contact/describe").json()["fields"]}

    assert fields["AccountId"]["referenceTo"] == ["Account"]
    assert fields["AccountId"]["relationshipName"] == "Account"
    assert (fields["LastName"]["nillable"], fields["Id"]["createable"]) == (False, False)
    assert (fields["External_Id__c"]["externalId"], fields["Score__c"]["type"]) == (True, "double")


def test_pages_of_a_query(call, soql, sandbox):
    sandbox.set_salesforce(generate={"Contact": 5}, query_page=2)

    first = soql("SELECT LastName FROM Contact").json()
    second = call("GET", first["nextRecordsUrl"]).json()
    third = call("GET", second["nextRecordsUrl"]).json()

    assert [page["done"] for page in (first, second, third)] == [False, False, True]
    assert [len(page["records"]) for page in (first, second, third)] == [2, 2, 1]
    assert third["totalSize"] == 5
    assert "nextRecordsUrl" not in third
    assert refusal(call("GET", "query/01gNothing-2")) == (400, "INVALID_QUERY_LOCATOR")


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("LastName = 'ADA'", ["Ada"]),
        ("LastName != 'Ada'", ["Bob", "O'Neil"]),
        ("LastName LIKE '%b'", ["Bob"]),
        (r"LastName = 'O\'Neil'", ["O'Neil"]),
        ("Score__c >= 2", ["Bob", "O'Neil"]),
        ("Score__c = null", []),
        ("Active__c = true", ["Bob"]),
        ("Birthdate < 2000-01-01", ["Ada"]),
        ("CreatedDate > 2020-01-01T00:00:00Z AND Score__c IN (1, 3)", ["Ada", "O'Neil"]),
        ("Account.Name = 'acme' OR LastName = 'Bob'", ["Ada", "Bob"]),
        ("LastName NOT IN ('Ada') AND (Score__c = 1 OR Score__c = 3)", ["O'Neil"]),
    ],
)
def test_conditions(condition, found, soql, sandbox):
    sandbox.set_salesforce(records={"Account": [{"Name": "Acme", "External_Id__c": "acme"}]})
    ada = {"LastName": "Ada", "Score__c": 1, "Birthdate": "1990-01-01", "Account": {"External_Id__c": "acme"}}
    others = [{"LastName": "Bob", "Score__c": 2, "Active__c": True}, {"LastName": "O'Neil", "Score__c": 3}]
    sandbox.set_salesforce(records={"Contact": [ada, *others]})

    assert names(soql(" ".join(("SELECT LastName FROM Contact WHERE", condition, "ORDER BY LastName")))) == found


def test_a_parent_an_order_a_limit_and_a_count(soql, sandbox):
    sandbox.set_salesforce(records={"Account": [{"Name": "Acme", "External_Id__c": "a"}]})
    people = [{"LastName": "Ada", "Account": {"External_Id__c": "a"}}, {"LastName": "Bob", "Score__c": 1}]
    sandbox.set_salesforce(records={"Contact": people})

    ordered = soql("SELECT LastName, Account.Name FROM Contact ORDER BY Score__c DESC NULLS LAST")
    limited = soql("select lastname from contact order by LastName desc limit 1")

    assert names(ordered) == ["Bob", "Ada"]
    assert [record["Account"] and record["Account"]["Name"] for record in ordered.json()["records"]] == [None, "Acme"]
    assert names(limited) == ["Bob"]
    assert soql("SELECT COUNT() FROM Contact").json() == {"totalSize": 2, "done": True, "records": []}


def test_deleted_records_are_there_for_query_all_only(call, sandbox):
    sandbox.set_salesforce(records={"Contact": [{"LastName": "Ada", "External_Id__c": "a"}]})
    call("DELETE", "sobjects/Contact/External_Id__c/a")

    asked = "SELECT LastName, IsDeleted FROM Contact"

    assert call("GET", "query", q=asked).json()["records"] == []
    assert call("GET", "queryAll", q=asked).json()["records"][0]["IsDeleted"] is True


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("SELECT FROM Contact", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact GROUP BY Id", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE LastName = 'open", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE LastName = 'a' OR Score__c = 1 AND Score__c = 2", "MALFORMED_QUERY"),
        ("SELECT Id, (SELECT Id FROM Contacts) FROM Account", "MALFORMED_QUERY"),
        ("SELECT Nothing__c FROM Contact", "INVALID_FIELD"),
        ("SELECT Owner.Name FROM Contact", "INVALID_FIELD"),
        ("SELECT Id FROM Contact WHERE Score__c = '1'", "INVALID_FIELD"),
        ("SELECT Id FROM Contact WHERE LastName = 1", "INVALID_FIELD"),
        ("SELECT Id FROM Nothing", "INVALID_TYPE"),
        ("SELECT Id FROM Contact WHERE Id = 'none'", "INVALID_QUERY_FILTER_OPERATOR"),
    ],
)
def test_a_query_that_is_refused(query, error, soql):
    assert refusal(soql(query)) == (400, error)


@pytest.mark.parametrize(
    "settings",
    [
        {"query_page": 0},
        {"session_calls": 0},
        {"records": {"Contact": [{"LastName": "Ada"}, {"FirstName": "nobody"}]}},
        {"records": {"Nothing": []}},
        {"generate": {"Contact": -1}},
    ],
)
def test_what_cannot_be_set_is_not_set(settings, sandbox):
    with pytest.raises(SandboxError):
        sandbox.set_salesforce(**settings)

    assert sandbox.salesforce()["objects"] == {"Account": 0, "Contact": 0}
