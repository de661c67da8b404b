"""Many records at once: sObject Collections, both Bulk APIs, and their outcomes."""

import csv
import io
import json

import pytest

BASE = "/services/data/v59.0"
JSON = {"Content-Type": "application/json"}
FAILED = "FIELD_CUSTOM_VALIDATION_EXCEPTION:LastName may not start with FAIL:LastName --"


@pytest.fixture
def session(sandbox, send):
    account = sandbox.accounts.salesforce
    client = {"client_id": account.client_id, "client_secret": account.client_secret}
    reply = send("POST", "/services/oauth2/token", form={"grant_type": "client_credentials", **client})
    return reply.json()["access_token"]


@pytest.fixture
def call(session, send):
    def call(method, path, content=None, *, headers=JSON):
        body = content if isinstance(content, bytes) else b"" if content is None else json.dumps(content).encode()
        sent = {"Authorization": f"Bearer {session}", **headers}
        return send(method, path if path.startswith("/") else f"{BASE}/{path}", headers=sent, body=body)

    return call


@pytest.fixture
def upload(call):
    """A job with this CSV, ready to be processed."""

    def upload(operation, text, **more):
        job = call("POST", "jobs/ingest", {"object": "Contact", "operation": operation, **more}).json()
        assert job["state"] == "Open"
        put = call("PUT", f"/{job['contentUrl']}", text.encode(), headers={"Content-Type": "text/csv; charset=UTF-8"})
        assert (put.status, put.body) == (201, b"")
        assert (
            call("PATCH", f"jobs/ingest/{job['id']}", {"state": "UploadComplete"}).json()["state"] == "UploadComplete"
        )
        return f"jobs/ingest/{job['id']}"

    return upload


@pytest.fixture
def finish(upload, call, sandbox):
    """The end of a job with this CSV."""

    def finish(operation, text, **more):
        path = upload(operation, text, **more)
        sandbox.set_salesforce(bulk_polls=0)
        return path, call("GET", path).json()

    return finish


def rows(reply):
    return list(csv.DictReader(io.StringIO(reply.body.decode(), newline="")))


def contact(**fields):
    return {"attributes": {"type": "Contact"}, **fields}


def codes(outcomes):
    return [error["statusCode"] for outcome in outcomes for error in outcome["errors"]]


def refusal(reply):
    [error] = reply.json()
    return reply.status, error["errorCode"]


def test_a_collection_tells_of_each_record_in_its_place(call):
    records = [contact(LastName="Ada"), contact(LastName="FAIL"), contact(LastName="Bob", Email="x")]

    outcomes = call("POST", "composite/sobjects", {"records": records}).json()

    assert [outcome["success"] for outcome in outcomes] == [True, False, False]
    assert codes(outcomes) == ["FIELD_CUSTOM_VALIDATION_EXCEPTION", "INVALID_EMAIL_ADDRESS"]
    assert outcomes[1]["errors"][0]["fields"] == ["LastName"]
    changes = [contact(Id=outcomes[0]["id"], FirstName="A."), contact(Id="none"), contact(FirstName="x")]
    changed = call("PATCH", "composite/sobjects", {"records": changes}).json()
    assert changed[0] == {"id": outcomes[0]["id"], "success": True, "errors": []}
    assert codes(changed) == ["MALFORMED_ID", "MISSING_ARGUMENT"]


def test_all_or_none_undoes_what_went_well(call, sandbox):
    sandbox.set_salesforce(records={"Contact": [{"LastName": "Old", "External_Id__c": "a"}]})
    records = [contact(LastName="New", External_Id__c="a"), contact(LastName="FAIL", External_Id__c="b")]

    path = "composite/sobjects/Contact/External_Id__c"
    outcomes = call("PATCH", path, {"allOrNone": True, "records": records}).json()

    assert codes(outcomes) == ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "FIELD_CUSTOM_VALIDATION_EXCEPTION"]
    assert call("GET", "sobjects/Contact/External_Id__c/a").json()["LastName"] == "Old"


def test_a_collection_is_upserted_by_an_external_id_and_deleted_by_ids(call, sandbox):
    path = "composite/sobjects/Contact/External_Id__c"
    records = [contact(LastName=f"N{key}", External_Id__c=key) for key in ("a", "b", "c", "C", "")]

    outcomes = call("PATCH", path, {"records": records}).json()

    assert [outcome.get("created") for outcome in outcomes] == [True, True, None, None, None]
    assert codes(outcomes) == ["DUPLICATE_VALUE", "DUPLICATE_VALUE", "MISSING_ARGUMENT"]
    again = call("PATCH", path, {"records": [contact(LastName="again", External_Id__c="a")]}).json()
    assert again == [{"id": outcomes[0]["id"], "success": True, "errors": [], "created": False}]
    ids = f"{outcomes[0]['id']},{outcomes[0]['id']},{outcomes[1]['id']}"
    deleted = call("DELETE", f"composite/sobjects?ids={ids}&allOrNone=false").json()
    assert codes(deleted) == ["ENTITY_IS_DELETED"]
    assert sandbox.salesforce()["objects"]["Contact"] == 0


def test_a_collection_has_limits(call):
    account, person = {"attributes": {"type": "Account"}, "Name": "x"}, contact(LastName="x")

    assert refusal(call("POST", "composite/sobjects", {"records": [person] * 201})) == (400, "EXCEEDED_ID_LIMIT")
    assert refusal(call("POST", "composite/sobjects", {"records": [account, person] * 6})) == (400, "LIMIT_EXCEEDED")
    assert call("POST", "composite/sobjects", {"records": [account, person] * 5}).status == 200


@pytest.mark.parametrize(
    ("fields", "error"), [({"Nothing__c": 1}, "INVALID_FIELD"), ({"Score__c": "x"}, "JSON_PARSER_ERROR")]
)
def test_a_collection_that_cannot_be_read_is_refused_as_a_whole(fields, error, call, sandbox):
    records = [contact(LastName="x"), contact(LastName="y", **fields)]

    assert refusal(call("POST", "composite/sobjects", {"records": records})) == (400, error)
    assert sandbox.salesforce()["objects"]["Contact"] == 0


def test_a_job_gets_on_when_it_is_asked_for(upload, call, sandbox):
    sandbox.set_salesforce(bulk_polls=2)

    path = upload("insert", "LastName\nAda\nFAIL\n")

    assert [call("GET", path).json()["state"] for _ in range(4)] == ["InProgress"] * 2 + ["JobComplete"] * 2
    info = call("GET", path).json()
    assert (info["numberRecordsProcessed"], info["numberRecordsFailed"]) == (2, 1)
    [summary] = sandbox.salesforce()["jobs"]
    assert (summary["state"], summary["succeeded"], summary["failed"]) == ("JobComplete", 1, 1)


def test_results_repeat_the_rows_in_an_order_of_their_own(finish, call):
    names = [f"{'FAIL' if number % 50 == 7 else 'Row'} {number}" for number in range(100)]

    path, _ = finish("insert", "LastName,External_Id__c\n" + "".join(f"{name},{name}\n" for name in names))

    succeeded, failed = rows(call("GET", f"{path}/successfulResults/")), rows(call("GET", f"{path}/failedResults/"))
    assert list(succeeded[0]) == ["sf__Id", "sf__Created", "LastName", "External_Id__c"]
    assert {row["sf__Created"] for row in succeeded} == {"true"}
    assert {row["LastName"] for row in failed} == {"FAIL 7", "FAIL 57"}
    assert {row["sf__Error"] for row in failed} == {FAILED}
    found = [row["LastName"] for row in succeeded]
    assert found != [name for name in names if name in found]
    assert rows(call("GET", f"{path}/unprocessedrecords/")) == []


def test_an_upsert_updates_and_empties(finish, call, sandbox):
    sandbox.set_salesforce(
        records={"Contact": [{"LastName": "A", "External_Id__c": "a", "Score__c": 1, "Email": "a@b.co"}]}
    )
    text = "External_Id__c;LastName;Score__c;Email\r\na;;#N/A;\r\nb;B;2;b@b.co\r\nc;C;many;\r\nd;D;;\r\nD;D;;\r\n"

    path, info = finish(
        "upsert", text, externalIdFieldName="External_Id__c", columnDelimiter="SEMICOLON", lineEnding="CRLF"
    )

    assert (info["numberRecordsProcessed"], info["numberRecordsFailed"]) == (5, 3)
    record = call("GET", "sobjects/Contact/External_Id__c/a").json()
    assert (record["LastName"], record["Score__c"], record["Email"]) == ("A", None, "a@b.co")
    errors = call("GET", f"{path}/failedResults").body.decode()
    assert "INVALID_TYPE_ON_FIELD_IN_RECORD:Score__c: value not of required type: many:Score__c --" in errors
    assert errors.count("DUPLICATE_VALUE:Duplicate external id specified") == 2


def test_rows_are_deleted_by_id(finish, call, sandbox):
    path, _ = finish("insert", "LastName\nAda\nBob\n")
    ids = [row["sf__Id"] for row in rows(call("GET", f"{path}/successfulResults"))]

    _, info = finish("hardDelete", f"Id\n{ids[0]}\n{ids[0]}\n003000000000999AAA\n")

    assert info["numberRecordsFailed"] == 2
    assert sandbox.salesforce()["objects"]["Contact"] == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("LastName,Nothing__c\nx,y\n", "Field name not found : Nothing__c"),
        ("LastName\r\nx\r\n", "LineEnding is invalid"),
        ("LastName,FirstName\nx\n", "another number of fields"),
        ('LastName\n"x\n', "Failed to parse CSV"),
    ],
)
def test_a_csv_that_is_wrong_fails_the_job(text, complaint, finish):
    _, info = finish("insert", text)

    assert info["state"] == "Failed"
    assert complaint in info["errorMessage"]
    assert info["numberRecordsProcessed"] == 0


def test_a_job_that_is_aborted_leaves_rows_unprocessed(upload, call):
    path = upload("insert", "LastName\nAda\nBob\n")
    assert call("GET", path).json()["state"] == "InProgress"

    assert call("PATCH", path, {"state": "Aborted"}).json()["state"] == "Aborted"

    assert {row["LastName"] for row in rows(call("GET", f"{path}/unprocessedRecords"))} == {"Ada", "Bob"}
    assert call("DELETE", path).status == 204
    assert refusal(call("GET", path)) == (404, "NOT_FOUND")


def test_a_job_takes_one_upload_of_a_certain_size(call, sandbox):
    sandbox.set_salesforce(bulk_upload_limit=20)
    job = call("POST", "jobs/ingest", {"object": "Contact", "operation": "insert"}).json()
    path, typed = f"jobs/ingest/{job['id']}", {"Content-Type": "text/csv"}

    assert refusal(call("PATCH", path, {"state": "UploadComplete"})) == (400, "INVALIDJOBSTATE")
    assert call("PUT", f"{path}/batches", b"x" * 21, headers=typed).status == 413
    assert call("PUT", f"{path}/batches", b"LastName\nAda\n").status == 415
    assert call("PUT", f"{path}/batches", b"LastName\nAda\n", headers=typed).status == 201
    assert refusal(call("PUT", f"{path}/batches", b"LastName\nAda\n", headers=typed)) == (400, "INVALIDJOBSTATE")
    assert refusal(call("GET", f"{path}/successfulResults")) == (400, "INVALIDJOBSTATE")
    assert [each["id"] for each in call("GET", "jobs/ingest").json()["records"]] == [job["id"]]


@pytest.mark.parametrize(
    ("job", "error"),
    [
        ({"object": "Nothing", "operation": "insert"}, (400, "INVALIDENTITY")),
        ({"object": "Contact", "operation": "guess"}, (400, "INVALIDOPERATION")),
        ({"object": "Contact", "operation": "upsert"}, (404, "NOT_FOUND")),
        ({"object": "Contact", "operation": "insert", "lineEnding": "CR"}, (400, "INVALIDPROPERTYVALUE")),
    ],
)
def test_a_job_that_cannot_be_is_refused(job, error, call):
    assert refusal(call("POST", "jobs/ingest", job)) == error


def test_a_query_job_is_read_page_by_page(call, sandbox):
    sandbox.set_salesforce(generate={"Contact": 5}, bulk_query_page=3)
    asked = "SELECT LastName, Active__c, CreatedDate, Account.Name FROM Contact"
    job = call("POST", "jobs/query", {"operation": "query", "query": asked}).json()
    path = f"jobs/query/{job['id']}"

    assert refusal(call("GET", f"{path}/results")) == (400, "INVALIDJOBSTATE")
    assert [call("GET", path).json()["state"] for _ in range(2)] == ["InProgress", "JobComplete"]
    first = call("GET", f"{path}/results?maxRecords=100")
    second = call("GET", f"{path}/results?locator={first.headers['Sforce-Locator']}")

    assert (first.headers["Sforce-NumberOfRecords"], second.headers["Sforce-NumberOfRecords"]) == ("3", "2")
    assert second.headers["Sforce-Locator"] == "null"
    assert list(rows(first)[0]) == ["LastName", "Active__c", "CreatedDate", "Account.Name"]
    assert rows(first)[1]["Active__c"] == "true"
    assert rows(first)[1]["CreatedDate"].endswith("Z")
    assert refusal(call("GET", f"{path}/results?locator=x")) == (400, "INVALID_QUERY_LOCATOR")
    assert call("DELETE", path).status == 204


def test_a_query_job_may_be_aborted_or_refused(call):
    job = call("POST", "jobs/query", {"operation": "query", "query": "SELECT Id FROM Contact"}).json()

    assert call("PATCH", f"jobs/query/{job['id']}", {"state": "Aborted"}).json()["state"] == "Aborted"
    assert refusal(call("PATCH", f"jobs/query/{job['id']}", {"state": "Aborted"})) == (400, "INVALIDJOBSTATE")
    refused = call("POST", "jobs/query", {"operation": "query", "query": "SELECT Nothing FROM Contact"})
    assert refusal(refused) == (400, "INVALID_FIELD")


def test_the_first_bulk_api_tells_of_an_expired_session_with_400(session, send, sandbox):
    headers = {"X-SFDC-Session": session, **JSON}
    job = {"operation": "insert", "object": "Contact", "contentType": "JSON"}

    made = send("POST", "/services/async/59.0/job", headers=headers, body=json.dumps(job).encode())
    sandbox.revoke()
    expired = send("GET", f"/services/async/59.0/job/{made.json()['id']}", headers=headers)

    assert made.status == 201
    assert made.headers["Sforce-Limit-Info"] == "api-usage=1/100000"
    assert (expired.status, expired.json()) == (
        400,
        {"exceptionCode": "InvalidSessionId", "exceptionMessage": "Invalid session id"},
    )


def test_a_session_that_ends_in_the_middle_of_a_job_leaves_the_job_as_it_is(upload, send, call, sandbox):
    path = upload("insert", "LastName\nAda\n")
    sandbox.set_salesforce(session_calls=1)

    assert call("GET", path).json()["state"] == "InProgress"
    assert refusal(call("GET", path)) == (401, "INVALID_SESSION_ID")
    assert sandbox.salesforce()["jobs"][0]["state"] == "InProgress"


def test_an_answer_may_be_lost_after_the_job_was_made(call, sandbox):
    sandbox.misbehave("/services/data/{version}/jobs/ingest", times=1, cut=True, after=True)

    with pytest.raises(OSError):  # noqa: PT011 - however the connection ends
        call("POST", "jobs/ingest", {"object": "Contact", "operation": "insert"})

    assert [job["state"] for job in sandbox.salesforce()["jobs"]] == ["Open"]
    assert sandbox.calls()["POST /services/data/{version}/jobs/ingest"] == 1
