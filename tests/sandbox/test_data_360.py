"""Data 360: what it takes in, what it refuses, and what a query finds of it."""

import http.client
import json
from urllib.parse import quote

import pytest

from prefect_atomic.sandbox import SandboxError

CONTACTS = "/api/v1/ingest/sources/prefect_connector/contacts_734a9fa2"
ORDERS = "/api/v1/ingest/sources/prefect_connector/orders_1c2d3e4f"
SOURCE = "/api/v1/ingest/sources/{connector}/{object}"
JOBS = "/api/v1/ingest/jobs"
JOB = {"object": "orders_1c2d3e4f", "sourceName": "prefect_connector", "operation": "upsert"}
CSV = "order_id,amount,placed_at\r\n1,2.50,2026-01-31T09:00:00.000Z\r\n2,,\r\n"
EXCHANGE = {
    "grant_type": "urn:salesforce:grant-type:external:cdp",
    "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
}


def contact(key="1", **change):
    usual = {"email": "a@example.com", "score": 1.5, "active": True, "birthdate": "2000-01-31"}
    return {"id": key, **usual, "modified": "2026-01-31T09:00:00Z", **change}


@pytest.fixture
def token(sandbox, send):
    """A new token of the tenant."""

    def token():
        account = sandbox.accounts.data_360
        client = {"client_id": account.client_id, "client_secret": account.client_secret}
        core = send("POST", "/services/oauth2/token", form={"grant_type": "client_credentials", **client}).json()
        given = {**EXCHANGE, "subject_token": core["access_token"]}
        return send("POST", "/services/a360/token", form=given).json()["access_token"]

    return token


@pytest.fixture
def call(token, send):
    """Calls the tenant, with one token for all calls."""
    bearer = token()

    def call(method, target, content=None, *, csv=None, **headers):
        kind = "text/csv" if csv is not None else "application/json"
        body = csv if csv is not None else b"" if content is None else json.dumps(content).encode()
        body = body.encode() if isinstance(body, str) else body
        given = {"Authorization": f"Bearer {bearer}", "Content-Type": kind}
        return send(method, target, headers=given | headers, body=body)

    return call


def refused(reply, status, reason):
    assert (reply.status, reply.headers.get_content_type()) == (status, "application/json")
    content = reply.json()
    assert content.keys() >= {"timestamp", "error", "message", "path", "tenantId", "internalErrorCode"}
    assert reason in content["message"]
    return True


class TestGate:
    def test_only_a_token_of_the_tenant_is_good(self, send, sandbox, call):
        assert refused(send("GET", JOBS), 401, "there is no token")
        assert refused(send("GET", JOBS, headers={"Authorization": "Basic x"}), 401, "should start with Bearer")
        assert call("GET", JOBS).status == 200
        sandbox.revoke()
        reply = call("GET", JOBS)
        assert refused(reply, 401, "revoked")
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")

    def test_a_token_ends_after_so_many_calls_and_another_one_goes_on(self, sandbox, call, send, token):
        sandbox.set_data_360(session_calls=2)

        assert [call("GET", JOBS).status for _ in range(3)] == [200, 200, 401]
        assert send("GET", JOBS, headers={"Authorization": f"Bearer {token()}"}).status == 200

    def test_every_so_manieth_call_is_told_to_slow_down_and_does_nothing(self, sandbox, call):
        sandbox.set_data_360(throttle_every=2)

        replies = [call("POST", CONTACTS, {"data": [contact(str(n))]}) for n in range(4)]

        assert [reply.status for reply in replies] == [202, 429, 202, 429]
        assert replies[1].headers["Retry-After"] == "1"
        assert list(sandbox.data_360()["objects"]["contacts_734a9fa2"]) == ["0", "2"]


class TestStreaming:
    def test_records_are_replaced_whole_by_their_key(self, call, sandbox):
        reply = call("POST", CONTACTS, {"data": [contact("1"), contact("2"), contact("1", email="", score=None)]})

        assert (reply.status, reply.json()) == (202, {"accepted": True})
        shown = sandbox.data_360()
        assert shown["objects"]["contacts_734a9fa2"] == {
            "1": contact("1", email="", score=None),
            "2": contact("2"),
        }
        assert shown["counts"] == {"contacts_734a9fa2": 2, "orders_1c2d3e4f": 0}
        assert shown["requests"]["upserts"] == 1
        assert shown["requests"]["largest_records"] == 3

    @pytest.mark.parametrize(
        ("record", "field", "reason"),
        [
            ({name: value for name, value in contact().items() if name != "score"}, "score", "missing"),
            (contact(nickname="x"), "nickname", "no such field"),
            (contact(""), "id", "blank"),
            (contact(7), "id", "not a text"),
            (contact(score="1"), "score", "not a number"),
            (contact(score=True), "score", "not a number"),
            (contact(active="true"), "active", "neither true nor false"),
            (contact(birthdate="2026-02-30"), "birthdate", "not a date"),
            (contact(birthdate="31.1.2026"), "birthdate", "not a date"),
            (contact(modified="2026-01-31T09:00:00+00:00"), "modified", "not a date and time"),
            (contact(modified="2026-01-31T09:00:00.123456Z"), "modified", "not a date and time"),
            ("text", "", "JSON object"),
        ],
    )
    def test_a_record_that_does_not_fit_is_refused_and_a_test_says_which(self, record, field, reason, call, sandbox):
        content = {"data": [contact("1"), record]}

        assert refused(call("POST", CONTACTS, content), 400, reason)
        reply = call("POST", f"{CONTACTS}/actions/test", content)

        assert refused(reply, 400, f"record 1, field {field}")
        (fault,) = reply.json()["validationErrors"]
        assert (fault["record"], fault["field"]) == (1, field)
        assert sandbox.data_360()["objects"]["contacts_734a9fa2"] == {}

    def test_a_test_keeps_nothing(self, call, sandbox):
        assert call("POST", f"{CONTACTS}/actions/test", {"data": [contact()]}).status == 200
        assert sandbox.data_360()["counts"]["contacts_734a9fa2"] == 0

    def test_what_there_is_not_is_404(self, call):
        assert refused(call("POST", CONTACTS + "x", {"data": [contact()]}), 404, "no object contacts_734a9fa2x")
        assert refused(call("POST", CONTACTS.replace("prefect", "x"), {"data": []}), 404, "no connector x_connector")

    def test_a_body_of_200_000_bytes_is_too_large_and_one_less_is_not(self, call):
        def body(size):
            content = {"data": [contact(email="")]}
            content["data"][0]["email"] = "x" * (size - len(json.dumps(content)))
            return content

        assert call("POST", CONTACTS, body(199_999)).status == 202
        assert refused(call("POST", CONTACTS, body(200_000)), 413, "fewer than 200000")

    def test_how_many_records_a_request_has_is_limited(self, call, sandbox):
        assert call("POST", CONTACTS, {"data": [contact(str(n)) for n in range(200)]}).status == 202
        assert refused(call("POST", CONTACTS, {"data": [contact(str(n)) for n in range(201)]}), 400, "at most 200")
        sandbox.set_data_360(max_records=1)
        assert refused(call("POST", CONTACTS, {"data": [contact("a"), contact("b")]}), 400, "at most 1")

    def test_what_is_not_json_is_refused(self, call):
        assert refused(call("POST", CONTACTS, csv="{}"), 415, "application/json")
        assert refused(call("POST", CONTACTS, {"data": [contact(score=float("nan"))]}), 400, "NaN is not a value")
        assert refused(call("POST", CONTACTS, {"records": []}), 400, "records")
        assert refused(call("POST", CONTACTS, {"data": []}), 400, "at least one record")

    def test_records_are_deleted_by_their_keys(self, call, sandbox):
        keys = ["a", "b+c", "d", "e", "later"]
        call("POST", CONTACTS, {"data": [contact(key) for key in keys[:-1]]})
        call("POST", CONTACTS, {"data": [contact("later", modified="2999-01-31T09:00:00Z")]})

        assert call("DELETE", f"{CONTACTS}?ids=A,{quote('b+c')},unknown,later").status == 202
        assert call("DELETE", CONTACTS, {"ids": ["d"]}).json() == {"accepted": True}

        assert list(sandbox.data_360()["objects"]["contacts_734a9fa2"]) == ["a", "e", "later"]

    def test_a_delete_has_at_most_200_ids(self, call):
        assert call("DELETE", CONTACTS, {"ids": ["x"] * 200}).status == 202
        assert refused(call("DELETE", CONTACTS, {"ids": ["x"] * 201}), 400, "at most 200")
        assert refused(call("DELETE", f"{CONTACTS}?ids=" + ",".join(["x"] * 201)), 400, "at most 200")
        assert refused(call("DELETE", CONTACTS), 400, "either in the query or in the body")

    def test_a_request_may_be_processed_and_not_answered(self, call, sandbox):
        sandbox.misbehave(SOURCE, method="POST", times=1, cut=True, after=True)
        sandbox.misbehave(SOURCE, method="DELETE", times=1, status=503, after=True)

        with pytest.raises(http.client.RemoteDisconnected):
            call("POST", CONTACTS, {"data": [contact("1"), contact("2")]})
        assert sandbox.data_360()["counts"]["contacts_734a9fa2"] == 2
        assert call("DELETE", f"{CONTACTS}?ids=1").status == 503
        assert sandbox.data_360()["counts"]["contacts_734a9fa2"] == 1
        assert sandbox.calls()[f"POST {SOURCE}"] == 1


class TestJobs:
    @pytest.fixture
    def job(self, call):
        return f"{JOBS}/" + call("POST", JOBS, JOB).json()["id"]

    def test_a_job_goes_from_open_to_complete(self, call, sandbox):
        created = call("POST", JOBS, JOB)
        about = created.json()
        assert (created.status, about["state"], about["contentType"]) == (201, "Open", "CSV")
        assert about["contentUrl"] == f"api/v1/ingest/jobs/{about['id']}/batches"
        job = f"{JOBS}/{about['id']}"

        assert call("PUT", f"/{about['contentUrl']}", csv=CSV).status == 202
        assert call("PATCH", job, {"state": "UploadComplete"}).json()["state"] == "UploadComplete"
        assert [call("GET", job).json()["state"] for _ in range(3)] == ["InProgress", "JobComplete", "JobComplete"]

        assert sandbox.data_360()["objects"]["orders_1c2d3e4f"] == {
            "1": {"order_id": "1", "amount": 2.5, "placed_at": "2026-01-31T09:00:00.000Z"},
            "2": {"order_id": "2", "amount": "", "placed_at": ""},
        }
        assert call("GET", JOBS).json()["data"] == [call("GET", job).json()]
        assert call("DELETE", job).status == 204
        assert call("GET", job).status == 404

    def test_how_long_it_takes_is_set(self, call, job, sandbox):
        sandbox.set_data_360(job_polls=0)
        call("PUT", f"{job}/batches", csv=CSV)
        call("PATCH", job, {"state": "UploadComplete"})

        assert sandbox.data_360()["counts"]["orders_1c2d3e4f"] == 0
        assert call("GET", job).json()["state"] == "JobComplete"
        assert sandbox.data_360()["counts"]["orders_1c2d3e4f"] == 2

    def test_the_next_job_can_be_made_to_fail(self, call, job, sandbox):
        sandbox.set_data_360(job_polls=0, fail_next_job="out of space")
        call("PUT", f"{job}/batches", csv=CSV)
        call("PATCH", job, {"state": "UploadComplete"})

        content = call("GET", job).json()

        assert (content["state"], content["errorMessage"]) == ("Failed", "out of space")
        assert sandbox.data_360()["counts"]["orders_1c2d3e4f"] == 0

    def test_a_wrong_value_fails_the_job(self, call, job, sandbox):
        sandbox.set_data_360(job_polls=0)
        call("PUT", f"{job}/batches", csv="order_id,amount,placed_at\n1,many,\n")
        call("PATCH", job, {"state": "UploadComplete"})

        assert call("GET", job).json()["errorMessage"] == "record 0, field amount: this is not a number"

    def test_a_job_deletes(self, call, sandbox):
        sandbox.set_data_360(job_polls=0)
        call("POST", ORDERS, {"data": [{"order_id": key, "amount": 1, "placed_at": ""} for key in "abc"]})
        job = f"{JOBS}/" + call("POST", JOBS, JOB | {"operation": "delete"}).json()["id"]
        call("PUT", f"{job}/batches", csv="order_id\na\nc\n")
        call("PATCH", job, {"state": "UploadComplete"})
        call("GET", job)

        assert list(sandbox.data_360()["objects"]["orders_1c2d3e4f"]) == ["b"]

    @pytest.mark.parametrize(
        ("csv", "reason"),
        [
            ("order_id,amount\n1,2\n", "the header should have order_id, amount, placed_at"),
            ("order_id,amount,placed_at,more\n1,2,,\n", "the header should have"),
            ("", "the header should have"),
            ("\ufefforder_id,amount,placed_at\n1,2,\n", "the header should have"),
            ("order_id,amount,placed_at\n1,2\n", "more or fewer values"),
            ("order_id,amount,placed_at\n1\0,2,\n", "NUL"),
            ('order_id,amount,placed_at\n"1"x,2,\n', "not CSV"),
            ("order_id,amount,placed_at\nä,2,\n".encode("latin-1"), "not UTF-8"),
        ],
    )
    def test_a_file_that_cannot_be_read_is_refused(self, csv, reason, call, job):
        assert refused(call("PUT", f"{job}/batches", csv=csv), 400, reason)

    def test_a_file_may_be_too_large_or_one_too_many(self, call, job, sandbox):
        sandbox.set_data_360(max_csv_bytes=len(CSV))
        assert refused(call("PUT", f"{job}/batches", csv=CSV + "3,,\n"), 413, "more than")
        for _ in range(100):
            assert call("PUT", f"{job}/batches", csv=CSV).status == 202
        assert refused(call("PUT", f"{job}/batches", csv=CSV), 400, "100 files")
        (shown,) = sandbox.data_360()["jobs"]
        assert (shown["state"], shown["files"], shown["rows"]) == ("Open", 100, 200)

    def test_a_state_that_cannot_follow_is_refused(self, call, job):
        assert refused(call("PATCH", job, {"state": "UploadComplete"}), 400, "no files")
        assert refused(call("PATCH", job, {"state": "JobComplete"}), 400, "UploadComplete or Aborted")
        assert refused(call("DELETE", job), 400, "is Open")
        assert call("PATCH", job, {"state": "Aborted"}).json()["state"] == "Aborted"
        assert refused(call("PATCH", job, {"state": "UploadComplete"}), 400, "is Aborted")
        assert refused(call("PUT", f"{job}/batches", csv=CSV), 400, "is Aborted")

    def test_a_second_open_job_may_be_one_too_many(self, call, job, sandbox):
        assert call("POST", JOBS, JOB).status == 201
        sandbox.set_data_360(one_job_per_object=True)
        assert refused(call("POST", JOBS, JOB), 409, "open job for orders_1c2d3e4f")

    @pytest.mark.parametrize(
        ("change", "status"), [({"object": "x"}, 404), ({"sourceName": "x"}, 404), ({"operation": "insert"}, 400)]
    )
    def test_a_job_that_cannot_be_is_refused(self, change, status, call):
        assert call("POST", JOBS, JOB | change).status == status

    def test_an_upload_alone_misbehaves(self, call, job, sandbox):
        sandbox.misbehave("/api/v1/ingest/jobs/{id}/batches", times=1, status=503, after=True)

        assert call("PUT", f"{job}/batches", csv=CSV).status == 503
        assert sandbox.data_360()["jobs"][0]["files"] == 1


class TestQueryVersion2:
    @pytest.fixture
    def query(self, call):
        return lambda sql: call("POST", "/api/v2/query", {"sql": sql})

    def test_a_result_comes_in_batches_each_of_them_once(self, call, query, sandbox):
        sandbox.set_data_360(v2_batch=2)
        first = query("SELECT n, half, moment FROM numbers(5)").json()

        assert first["data"] == [[0, 0.0, "2026-01-01T00:00:00.000Z"], [1, 0.5, "2026-01-01T00:00:01.000Z"]]
        assert first["metadata"]["half"] == {"type": "DECIMAL", "placeInOrder": 1, "typeCode": 3}
        assert (first["rowCount"], first["done"]) == (2, False)
        second = call("GET", f"/api/v2/query/{first['nextBatchId']}")
        assert refused(call("GET", f"/api/v2/query/{first['nextBatchId']}"), 400, "fetched before")
        last = call("GET", f"/api/v2/query/{second.json()['nextBatchId']}").json()
        assert ([row[0] for row in last["data"]], last["done"]) == ([4], True)
        assert "nextBatchId" not in last
        assert last["queryId"] == first["queryId"]

    def test_a_batch_that_was_lost_is_spent(self, call, query, sandbox):
        sandbox.set_data_360(v2_batch=2)
        batch = query("SELECT * FROM numbers(3)").json()["nextBatchId"]
        sandbox.misbehave("/api/v2/query/{nextBatchId}", times=1, cut=True, after=True)

        with pytest.raises(http.client.RemoteDisconnected):
            call("GET", f"/api/v2/query/{batch}")
        assert call("GET", f"/api/v2/query/{batch}").status == 400

    def test_what_was_ingested_is_found(self, call, query):
        call("POST", CONTACTS, {"data": [contact("1", score=3), contact("2", score=""), contact("3", score=1)]})

        content = query('SELECT * FROM "contacts_734a9fa2__dlm" ORDER BY score DESC LIMIT 2;').json()

        assert list(content["metadata"]) == ["id", "email", "score", "active", "birthdate", "modified"]
        assert [row[0] for row in content["data"]] == ["2", "1"]  # as in PostgreSQL, nothing is more than all
        assert content["data"][0][2] is None

    @pytest.mark.parametrize(
        ("condition", "found"),
        [
            ("n = 3", [3]),
            ("n >= 3 AND odd = true", [3]),
            ("text = 'row 2'", [2]),
            ("half < 1.0", [0, 1]),
            ("day > DATE '2026-01-04'", [4]),
            ("text IS NULL", []),
            ("n <> 0 ORDER BY odd, n DESC", [4, 2, 3, 1]),
            ("n > 0 LIMIT 2 OFFSET 1", [2, 3]),
        ],
    )
    def test_conditions_order_and_limit(self, condition, found, query):
        assert [
            row[0] for row in query(" ".join(["select N from numbers(5) where", condition])).json()["data"]
        ] == found

    def test_rows_are_counted(self, query):
        assert query("SELECT COUNT(*) FROM numbers(7) WHERE odd = true").json()["data"] == [[3]]

    @pytest.mark.parametrize(
        ("sql", "reason"),
        [
            ("SELECT", "at the end"),
            ("SELECT * FROM numbers(3) WHERE", "at the end"),
            ("DELETE FROM numbers(3)", "near delete"),
            ("SELECT * FROM numbers(3) GROUP BY n", "near group"),
            ("SELECT * FROM elsewhere", "table elsewhere does not exist"),
            ("SELECT m FROM numbers(3)", "column m does not exist"),
            ('SELECT "N" FROM numbers(3)', "column N does not exist"),
            ("SELECT * FROM numbers(3) WHERE n = 'a'", "cannot compare"),
            ("SELECT * FROM numbers(3) WHERE n = ?", "no parameters"),
            ("SELECT * FROM numbers(3) WHERE text = 'a", "near '"),
        ],
    )
    def test_sql_that_is_wrong_is_refused(self, sql, reason, query):
        assert refused(query(sql), 400, reason)


class TestQueryVersion3:
    @pytest.fixture
    def query(self, call):
        def query(sql, **more):
            reply = call("POST", "/api/v3/query", {"sql": sql, **more})
            assert reply.status == 200, reply.body
            return reply, "/api/v3/query/" + json.loads(reply.headers["x-hyperdb-status"])["queryId"]

        return query

    def test_a_query_that_is_done_at_once_answers_its_first_chunk(self, query, sandbox, call):
        sandbox.set_data_360(chunk_rows=2)
        reply, path = query("SELECT n FROM numbers(5)")

        assert reply.json() == {
            "metadata": {"columns": [{"name": "n", "type": "INTEGER", "nullable": True}]},
            "data": [[0], [1]],
            "returnedRows": 2,
        }
        status = call("GET", path).json()
        assert (status["completionStatus"], status["rowCount"], status["chunkCount"]) == ("FINISHED", 5, 3)
        assert [call("GET", f"{path}/chunks/{n}").json()["data"] for n in range(3)] == [[[0], [1]], [[2], [3]], [[4]]]
        assert refused(call("GET", f"{path}/chunks/3"), 404, "no chunk 3")
        assert call("GET", f"{path}/metadata").json() == {"metadata": reply.json()["metadata"]}

    def test_a_query_runs_for_a_while(self, query, sandbox, call):
        sandbox.set_data_360(query_polls=2)
        reply, path = query("SELECT n FROM numbers(5)")

        assert reply.json() == {}
        assert json.loads(reply.headers["x-hyperdb-status"])["completionStatus"] == "RUNNING_OR_UNSPECIFIED"
        assert refused(call("GET", f"{path}/rows?offset=0"), 400, "still running")
        states = [call("GET", f"{path}?waitTimeMs=10000").json()["completionStatus"] for _ in range(4)]
        assert states == ["RUNNING_OR_UNSPECIFIED"] * 2 + ["RESULTS_PRODUCED", "FINISHED"]
        assert call("GET", f"{path}/rows?offset=0").json()["returnedRows"] == 5

    def test_rows_are_fetched_as_often_as_one_likes_and_never_more_than_a_chunk(self, query, sandbox, call):
        sandbox.set_data_360(chunk_rows=3)
        _, path = query("SELECT n FROM numbers(5)", transferMode="ASYNC")

        def rows(more):
            return [row[0] for row in call("GET", f"{path}/rows?{more}").json()["data"]]

        assert rows("offset=0") == rows("offset=0&limit=1000") == [0, 1, 2]
        assert rows("offset=3&limit=1") == [3]
        assert rows("offset=0&byteLimit=8") == [0]
        assert rows("offset=5") == []
        assert "metadata" not in call("GET", f"{path}/rows?offset=1&omitSchema=true").json()
        assert refused(call("GET", f"{path}/rows"), 400, "offset is missing")
        assert refused(call("GET", f"{path}/rows?offset=6"), 400, "behind the last")
        assert refused(call("GET", f"{path}/rows?offset=0&byteLimit=20000001"), 400, "byteLimit")

    def test_a_query_is_cancelled(self, query, call):
        _, path = query("SELECT n FROM numbers(5)")

        assert call("DELETE", path).status == 204
        assert call("GET", path).status == call("DELETE", path).status == 404

    @pytest.mark.parametrize(
        ("style", "condition", "names"),
        [
            ("QUESTION_MARK", "n > ? AND odd = ?", (None, None)),
            ("DOLLARED", "odd = $2 AND n > $1", (None, None)),
            ("NAMED", "odd = :odd AND n > :n", ("n", "odd")),
        ],
    )
    def test_parameters_in_each_style(self, style, condition, names, query):
        parameters = [{"type": "Integer", "value": "1"}, {"type": "Boolean", "value": "true"}]
        for name, parameter in zip(names, parameters, strict=True):
            parameter |= {"name": name} if name else {}

        sql = " ".join(["SELECT n FROM numbers(6) WHERE", condition])
        reply, _ = query(sql, paramStyle=style, parameters=parameters)

        assert reply.json()["data"] == [[3], [5]]

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"parameters": []}, "no parameter for ?"),
            ({"parameters": [{"type": "Integer", "value": 1}]}, "consist of texts"),
            ({"parameters": [{"type": "Integer", "value": "x"}]}, "none of that type"),
            ({"paramStyle": "NAMED"}, "paramStyle is NAMED"),
            ({"paramStyle": "COLON"}, "paramStyle should be one of"),
            ({"transferMode": "SYNC"}, "transferMode"),
            ({"settings": {"zone": "UTC"}}, "settings"),
            ({"transferMode": "ASYNC", "resultRange": {}}, "resultRange"),
            ({"sqls": ""}, "unrecognized property sqls"),
        ],
    )
    def test_what_is_wrong_is_refused(self, change, reason, call):
        assert refused(
            call("POST", "/api/v3/query", {"sql": "SELECT n FROM numbers(6) WHERE n > ?"} | change), 400, reason
        )

    def test_a_tenant_may_be_without_it(self, call, sandbox):
        sandbox.set_data_360(v3=False)

        assert call("POST", "/api/v3/query", {"sql": "SELECT n FROM numbers(6)"}).status == 404
        assert call("POST", "/api/v2/query", {"sql": "SELECT n FROM numbers(6)"}).status == 200

    def test_many_rows_are_made_when_they_are_asked_for(self, query, call):
        reply, path = query("SELECT * FROM numbers(3000000)")

        assert json.loads(reply.headers["x-hyperdb-status"])["rowCount"] == 3_000_000
        last = call("GET", f"{path}/rows?offset=2999999").json()["data"]
        assert last[0][:4] == [2_999_999, "row 2999999", 1499999.5, True]


class TestControl:
    @pytest.mark.parametrize(
        ("settings", "reason"),
        [
            ({"max_records": -1}, "max_records is a whole number from 0"),
            ({"v3": 1}, "v3 is true or false"),
            ({"fail_next_job": True}, "fail_next_job is a text"),
            ({"chunk_rows": 0}, "chunk_rows is a whole number from 1"),
        ],
    )
    def test_what_cannot_be_set_is_refused(self, settings, reason, sandbox):
        with pytest.raises(SandboxError, match=reason):
            sandbox.set_data_360(**settings)

    def test_a_setting_with_a_typo_is_refused(self, send):
        reply = send("PUT", "/_sandbox/data-360", body=b'{"max_record": 1}')

        assert (reply.status, reply.json()) == (400, {"error": "Data 360 has no max_record to set"})

    def test_a_reset_forgets_everything(self, call, sandbox):
        call("POST", CONTACTS, {"data": [contact()]})
        call("POST", JOBS, JOB)
        sandbox.set_data_360(v3=False)

        sandbox.reset()

        empty = {"contacts_734a9fa2": 0, "orders_1c2d3e4f": 0}
        objects = {name: {} for name in empty}
        assert sandbox.data_360() == {"objects": objects, "counts": empty, "jobs": [], "requests": {}}
