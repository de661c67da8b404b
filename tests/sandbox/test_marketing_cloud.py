"""Marketing Cloud: its tokens, rows of data extensions, journey entries and contacts."""

import http.client
import json
from urllib.parse import quote, urlencode

import pytest

from prefect_atomic.sandbox import SandboxError

REST = "/marketing-cloud/rest"
ROWSET = "hub/v1/dataevents/key:{}/rowset"
ASYNC = "data/v1/async/dataextensions/key:{}/rows"
READ = "data/v1/customobjectdata/key/{}/rowset"
BATCH = "interaction/v1/async/events"
EVENT = {"ContactKey": "1", "EventDefinitionKey": "APIEvent-welcome", "Data": {"name": "Ada"}}


def score(key, number):
    return {"keys": {"ContactKey": key}, "values": {"Score": number}}


@pytest.fixture
def account(sandbox):
    return sandbox.accounts.marketing_cloud


@pytest.fixture
def ask(account, send):
    """Asks for a token; None leaves a property out."""

    def ask(**change):
        usual = {"grant_type": "client_credentials", "client_id": account.client_id}
        given = usual | {"client_secret": account.client_secret} | change
        body = json.dumps({name: value for name, value in given.items() if value is not None}).encode()
        return send("POST", "/marketing-cloud/v2/token", headers={"Content-Type": "application/json"}, body=body)

    return ask


@pytest.fixture
def call(ask, send):
    """Calls an operation, with one token for all calls."""
    bearer = ask().json()["access_token"]

    def call(method, path, content=None, *, body=b"", kind="application/json", **query):
        body = body if content is None else json.dumps(content).encode()
        target = f"{REST}/{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": kind}
        return send(method, target, headers=headers, body=body)

    return call


def refused(reply, status, reason, code=None):
    content = reply.json()
    assert (reply.status, content["documentation"]) == (status, "")
    assert reason in json.dumps(content)
    assert code in (None, content["errorcode"])
    return True


class TestTokens:
    def test_a_client_gets_a_token_and_is_told_where_to_use_it(self, ask, account, sandbox):
        reply = ask()

        content = reply.json()
        content.pop("access_token")
        assert content == {
            "token_type": "Bearer",
            "expires_in": 1079,
            "scope": account.scope,
            "rest_instance_url": f"{sandbox.url}/marketing-cloud/rest/",
            "soap_instance_url": f"{sandbox.url}/marketing-cloud/soap/",
        }
        assert reply.headers["Cache-Control"] == "no-store"

    def test_its_lifetime_is_the_one_that_the_sandbox_was_told(self, ask, sandbox):
        sandbox.tokens_live(20)
        assert ask().json()["expires_in"] == 20

    def test_a_scope_and_a_business_unit_may_be_asked_for(self, ask, account):
        reply = ask(scope="journeys_execute data_extensions_read", account_id=account.account_id)

        assert reply.json()["scope"] == "journeys_execute data_extensions_read"

    @pytest.mark.parametrize(
        ("change", "status", "error"),
        [
            ({"client_secret": "wrong"}, 401, "invalid_client"),
            ({"client_id": None}, 401, "invalid_client"),
            ({"grant_type": "password"}, 400, "unsupported_grant_type"),
            ({"scope": ""}, 400, "invalid_scope"),
            ({"scope": "email_send"}, 400, "invalid_scope"),
            ({"account_id": "1"}, 400, "invalid_grant"),
            ({"account": "1"}, 400, "invalid_request"),
        ],
    )
    def test_what_is_wrong_is_refused(self, change, status, error, ask, account):
        reply = ask(**change)

        assert (reply.status, reply.json()["error"]) == (status, error)
        assert reply.json().keys() == {"error", "error_description", "error_uri"}
        assert account.client_secret not in reply.body.decode()

    def test_a_form_is_no_json(self, send, account):
        form = {"grant_type": "client_credentials", "client_id": account.client_id}
        reply = send("POST", "/marketing-cloud/v2/token", form=form | {"client_secret": account.client_secret})

        assert (reply.status, reply.json()["error"]) == (400, "invalid_request")


class TestGate:
    def test_a_token_that_is_not_good_is_refused_without_a_reason(self, call, send, sandbox):
        unauthorized = {"message": "Not Authorized", "errorcode": 0, "documentation": ""}
        reply = send("GET", f"{REST}/{READ.format('Scores')}")
        assert (reply.status, reply.json()) == (401, unauthorized)

        sandbox.revoke()

        reply = call("GET", READ.format("Scores"))
        assert (reply.status, reply.json()) == (401, unauthorized)

    def test_a_token_ends_after_so_many_calls(self, call, sandbox):
        sandbox.set_marketing_cloud(session_calls=2)

        assert [call("GET", READ.format("Scores")).status for _ in range(3)] == [200, 200, 401]

    def test_every_so_manieth_call_is_told_to_slow_down_and_does_nothing(self, call, sandbox):
        sandbox.set_marketing_cloud(throttle_every=2)

        first, second = (call("POST", "interaction/v1/events", EVENT) for _ in range(2))

        assert first.status == 201
        assert refused(second, 429, "Rate limit exceeded", 50100)
        assert (second.headers["Retry-After"], second.json()["retryAfter"]) == ("5", 5)
        assert len(sandbox.marketing_cloud()["events"]) == 1

    def test_one_that_is_blocked_is_not_told_for_how_long(self, call, sandbox):
        sandbox.set_marketing_cloud(throttle_every=1, throttle_code=50200)

        reply = call("GET", READ.format("Scores"))

        assert refused(reply, 429, "blocked", 50200)
        assert reply.headers["Retry-After"] is None
        assert "retryAfter" not in reply.json()

    def test_two_slashes_are_not_one(self, call):
        assert call("GET", "/" + READ.format("Scores")).status == 404


class TestRows:
    def test_a_rowset_is_written_and_echoed(self, call, sandbox):
        rows = [score("1", 5), score("2", "6"), score("1", 7)]

        reply = call("POST", ROWSET.format("Scores"), rows)

        assert (reply.status, reply.json()) == (200, rows)
        assert sandbox.marketing_cloud()["data_extensions"]["Scores"] == [
            {"ContactKey": "1", "Score": 7},
            {"ContactKey": "2", "Score": "6"},
        ]

    def test_an_upsert_leaves_other_columns_as_they_are(self, call, sandbox):
        keys = {"EventId": "e"}
        call("POST", ROWSET.format("Events"), [{"keys": keys, "values": {"Type": "open", "userid": "u"}}])
        call("POST", ROWSET.format("Events"), [{"keys": keys, "values": {"Type": "click"}}])

        (row,) = sandbox.marketing_cloud()["data_extensions"]["Events"]
        assert (row["Type"], row["UserId"], row["Payload"]) == ("click", "u", None)

    @pytest.mark.parametrize(
        ("extension", "row", "reason"),
        [
            ("Scores", {"keys": {}, "values": {"Score": 1}}, "ContactKey is missing"),
            ("Scores", {"keys": {"ContactKey": "1"}, "values": {}}, "Score is missing"),
            ("Scores", score("1", None), "Score: a value is required"),
            ("Scores", score("1", "many"), "not a whole number"),
            ("Scores", score("1", 1.5), "not a whole number"),
            ("Scores", {"keys": {"ContactKey": "1"}, "values": {"Score": 1, "Points": 2}}, "Points is not a column"),
            ("Scores", {"ContactKey": "1", "Score": 1}, "keys and values"),
            ("Events", {"keys": {"EventId": "1"}, "values": {"Payload": "x" * 4001}}, "longer than 4000"),
            ("Events", {"keys": {"EventId": "1"}, "values": {"OccurredAt": "31.1.2026"}}, "not a date"),
            ("Events", {"keys": {"EventId": "1"}, "values": {"Payload": {"a": 1}}}, "not a text"),
        ],
    )
    def test_a_row_that_does_not_fit_is_refused_with_all_others(self, extension, row, reason, call, sandbox):
        right = score("2", 1) if extension == "Scores" else {"keys": {"EventId": "2"}, "values": {}}

        reply = call("POST", ROWSET.format(extension), [right, row])

        assert refused(reply, 400, reason, 10006)
        assert reply.json()["additionalErrors"][0]["message"].startswith("row 1: ")
        assert sandbox.marketing_cloud()["data_extensions"][extension] == []

    def test_a_rowset_has_at_most_fifty_rows(self, call):
        assert call("POST", ROWSET.format("Scores"), [score(str(n), n) for n in range(50)]).status == 200
        assert refused(call("POST", ROWSET.format("Scores"), [score(str(n), n) for n in range(51)]), 400, "at most 50")

    def test_a_data_extension_that_there_is_not_is_refused(self, call):
        assert refused(call("POST", ROWSET.format("Score"), [score("1", 1)]), 404, "Events, Scores")
        assert refused(call("POST", "hub/v1/dataevents/Scores/rowset", [score("1", 1)]), 404, "key:")

    def test_one_row_is_named_by_the_path(self, call, sandbox):
        path = "hub/v1/dataevents/key:Scores/rows/ContactKey:" + quote("a:b,c/d", safe="")

        reply = call("PUT", path, {"values": {"Score": 3}})

        assert reply.json() == score("a:b,c/d", 3)
        assert sandbox.marketing_cloud()["data_extensions"]["Scores"] == [{"ContactKey": "a:b,c/d", "Score": 3}]


class TestAsync:
    @pytest.fixture
    def accept(self, call):
        def accept(method, items, key="Scores"):
            reply = call(method, ASYNC.format(key), {"items": items})
            assert (reply.status, reply.json()["resultMessages"]) == (202, [])
            return "data/v1/async/" + reply.json()["requestId"]

        return accept

    def test_rows_are_accepted_and_one_hears_later(self, call, accept, sandbox):
        request = accept("PUT", [{"ContactKey": "1", "Score": 1}, {"contactkey": "2", "score": 2}])

        first, second = (call("GET", f"{request}/status").json()["status"] for _ in range(2))

        assert (first["requestStatus"], first["completionDateTime"], first["hasErrors"]) == ("Pending", None, False)
        assert (second["requestStatus"], second["resultStatus"], second["hasErrors"]) == ("Complete", "OK", False)
        assert request.endswith(second["requestId"])
        assert [row["Score"] for row in sandbox.marketing_cloud()["data_extensions"]["Scores"]] == [1, 2]

    def test_what_became_of_each_row_is_in_their_order(self, call, accept, sandbox):
        sandbox.set_marketing_cloud(completed_word="Completed", async_polls=0)
        rows = [{"ContactKey": "1", "Score": 1}, {"ContactKey": "2"}, {"Score": 2}, {"ContactKey": "4", "Score": 4}]
        request = accept("PUT", rows)

        status = call("GET", f"{request}/status").json()["status"]
        content = call("GET", f"{request}/results").json()

        assert (status["requestStatus"], status["resultStatus"], status["hasErrors"]) == ("Completed", "Error", True)
        assert [item["status"] for item in content["items"]] == ["OK", "Error", "Error", "OK"]
        assert content["items"][1] == {"errorCode": "InvalidRow", "message": "Score is missing", "status": "Error"}
        assert len(sandbox.marketing_cloud()["data_extensions"]["Scores"]) == 2

    def test_an_insert_of_a_row_that_is_there_is_an_error_of_that_row(self, call, accept, sandbox):
        sandbox.set_marketing_cloud(async_polls=0)
        accept("POST", [{"ContactKey": "1", "Score": 1}])
        request = accept("POST", [{"ContactKey": "1", "Score": 2}, {"ContactKey": "2", "Score": 2}])

        items = call("GET", f"{request}/results").json()["items"]

        assert "PRIMARY KEY" in items[0]["message"]
        assert items[1]["status"] == "OK"

    def test_results_come_in_pages_and_not_before_the_end(self, call, accept):
        request = accept("PUT", [{"ContactKey": str(n), "Score": n} for n in range(60)])

        assert call("GET", f"{request}/results").json()["count"] == 0
        for _ in range(2):
            call("GET", f"{request}/status")
        pages = [call("GET", f"{request}/results", **{"$page": n}).json() for n in (1, 2, 3)]
        assert [(page["page"], page["count"], len(page["items"])) for page in pages] == [
            (1, 60, 50),
            (2, 60, 10),
            (3, 60, 0),
        ]
        assert len(call("GET", f"{request}/results", **{"$pageSize": 2500}).json()["items"]) == 60

    def test_a_request_may_fail_as_a_whole(self, call, accept, sandbox):
        sandbox.set_marketing_cloud(fail_next_async="the queue is full", async_polls=0)
        request = accept("PUT", [{"ContactKey": "1", "Score": 1}])

        content = call("GET", f"{request}/status").json()

        assert (content["status"]["requestStatus"], content["status"]["hasErrors"]) == ("Error", True)
        assert content["resultMessages"][0]["message"] == "the queue is full"
        assert sandbox.marketing_cloud()["data_extensions"]["Scores"] == []
        assert sandbox.marketing_cloud()["async"][0]["failure"] == "the queue is full"

    @pytest.mark.parametrize("what", ["status", "results"])
    def test_a_request_that_nobody_knows_is_a_success_with_a_message(self, what, call):
        reply = call("GET", f"data/v1/async/unknown/{what}")

        assert reply.status == 200
        assert reply.json()["resultMessages"]
        assert not {"status", "items"} & reply.json().keys()

    def test_a_request_may_be_too_large(self, call, sandbox):
        sandbox.set_marketing_cloud(max_async_bytes=100)
        items = [{"ContactKey": str(n), "Score": n} for n in range(10)]
        assert refused(call("PUT", ASYNC.format("Scores"), {"items": items}), 413, "more than 100 bytes")
        sandbox.set_marketing_cloud(max_async_bytes=5_900_000)
        assert refused(call("PUT", ASYNC.format("Scores"), {"items": [{}] * 32_001}), 400, "from 1 to 32000")
        assert refused(call("PUT", ASYNC.format("Scores"), {"items": []}), 400, "from 1 to 32000")
        assert call("PUT", ASYNC.format("Scores"), {"items": [{}] * 32_000}).status == 202


class TestRead:
    @pytest.fixture
    def read(self, call):
        call("POST", ROWSET.format("Scores"), [score(str(n), n) for n in range(12)])
        return lambda **query: call(
            "GET", READ.format("Scores"), **{f"${name}": value for name, value in query.items()}
        )

    def test_names_are_in_lower_case_and_values_are_texts(self, call):
        call("POST", ROWSET.format("Events"), [{"keys": {"EventId": "E"}, "values": {"Type": "Open"}}])

        content = call("GET", READ.format("Events")).json()

        values = {"userid": "", "type": "Open", "occurredat": "", "payload": ""}
        assert content["items"] == [{"keys": {"eventid": "E"}, "values": values}]
        assert content["count"] == 1
        assert "next" not in content["links"]

    def test_rows_come_in_pages(self, read):
        pages = [read(page=n, pageSize=5).json() for n in (1, 2, 3)]

        keys = [item["keys"]["contactkey"] for page in pages for item in page["items"]]
        assert keys == sorted(map(str, range(12)))
        assert [page["links"].get("next", "").partition("?")[2] for page in pages] == [
            "$page=2&$pageSize=5",
            "$page=3&$pageSize=5",
            "",
        ]

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ({"filter": "Score gt 9", "orderBy": "Score"}, ["10", "11"]),
            ({"filter": "score gte '10' and ContactKey neq '11'"}, ["10"]),
            ({"filter": "ContactKey eq 'it''s'"}, []),
            ({"filter": "Score lt 3", "orderBy": "Score desc"}, ["2", "1", "0"]),
        ],
    )
    def test_filter_and_order(self, query, found, read):
        assert [item["keys"]["contactkey"] for item in read(**query).json()["items"]] == found

    @pytest.mark.parametrize(
        "query",
        [
            {"filter": ""},
            {"filter": "Score like 1"},
            {"filter": "Score eq 1 and"},
            {"filter": "Score eq 1 or Score eq 2"},
            {"filter": "Points eq 1"},
            {"orderBy": "Points"},
            {"orderBy": "Score down"},
            {"pageSize": 2501},
            {"page": 0},
            {"top": 1},
        ],
    )
    def test_what_is_not_understood_is_refused(self, query, read):
        assert read(**query).status == 400


class TestJourneys:
    def test_a_contact_enters_and_enters_again(self, call, sandbox):
        first, second = (call("POST", "interaction/v1/events", EVENT) for _ in range(2))

        assert (first.status, second.status) == (201, 201)
        assert first.json()["eventInstanceId"] != second.json()["eventInstanceId"]
        entry = {"eventDefinitionKey": "APIEvent-welcome", "contactKey": "1", "data": {"name": "Ada"}}
        assert sandbox.marketing_cloud()["events"] == [entry, entry]

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"EventDefinitionKey": "APIEvent-unknown"}, "there is no event definition"),
            ({"EventDefinitionKey": "APIEvent.welcome"}, "without a full stop"),
            ({"ContactKey": ""}, "ContactKey is missing"),
            ({"ContactKey": "inactive-1"}, "not active"),
            ({"Data": []}, "not an object"),
            ({"data": {}}, "no property data"),
        ],
    )
    def test_an_entry_that_cannot_be_is_refused(self, change, reason, call, sandbox):
        assert refused(call("POST", "interaction/v1/events", EVENT | change), 400, reason)
        assert sandbox.marketing_cloud()["events"] == []

    def test_letters_beyond_ascii_need_a_charset(self, call):
        body = json.dumps(EVENT | {"Data": {"name": "Zoë"}}, ensure_ascii=False).encode()

        assert refused(call("POST", "interaction/v1/events", body=body), 400, "charset=UTF-8")
        kind = "application/json; charset=UTF-8"
        assert call("POST", "interaction/v1/events", body=body, kind=kind).status == 201
        assert call("POST", "interaction/v1/events", EVENT, kind="text/plain").status == 415

    def test_members_of_a_batch_enter_or_say_why_not(self, call, sandbox):
        members = [{"contactKey": "a", "data": {"n": 1}}, {"contactKey": "inactive"}, {"data": {}}, {"contactKey": "a"}]

        reply = call("POST", BATCH, {"eventDefinitionKey": "APIEvent-reminder", "members": members})

        content = reply.json()
        assert (reply.status, content["count"], content["notQueuedCount"]) == (202, 4, 2)
        assert [member["contactKey"] for member in content["members"]] == ["a", "inactive", None, "a"]
        assert [("eventInstanceId" in member) for member in content["members"]] == [True, False, False, True]
        assert content["members"][1]["message"] == "the contact is not active"
        assert [event["data"] for event in sandbox.marketing_cloud()["events"]] == [{"n": 1}, {}]

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"eventDefinitionKey": "APIEvent-unknown"}, "there is no event definition"),
            ({"members": [{"contactKey": "1"}] * 101}, "1 to 100"),
            ({"members": []}, "1 to 100"),
            ({"members": [{"ContactKey": "1"}]}, "a member is an object"),
            ({"EventDefinitionKey": "APIEvent-welcome"}, "no property EventDefinitionKey"),
        ],
    )
    def test_a_batch_that_cannot_be_is_refused(self, change, reason, call, sandbox):
        content = {"eventDefinitionKey": "APIEvent-welcome", "members": [{"contactKey": "1"}]}

        assert refused(call("POST", BATCH, content | change), 400, reason)
        assert sandbox.marketing_cloud()["events"] == []

    def test_a_batch_may_be_processed_and_not_answered(self, call, sandbox):
        sandbox.misbehave(f"{REST}/{BATCH}", times=1, cut=True, after=True)

        with pytest.raises(http.client.RemoteDisconnected):
            call("POST", BATCH, {"eventDefinitionKey": "APIEvent-welcome", "members": [{"contactKey": "1"}]})

        assert len(sandbox.marketing_cloud()["events"]) == 1


class TestContacts:
    def test_a_contact_is_created_changed_and_deleted(self, call, sandbox):
        values = [{"name": "Email Address", "value": "a@example.com"}]
        contact = {"contactKey": "c", "attributeSets": [{"name": "Email Addresses", "items": [{"values": values}]}]}

        new = [call("POST", "contacts/v1/contacts", contact).json()["isNewContactKey"] for _ in range(2)]

        assert new == [True, False]
        sets = {"Email Addresses": [{"values": values}]}
        assert sandbox.marketing_cloud()["contacts"] == [{"contactKey": "c", "attributeSets": sets}]
        content = {"values": ["c", "unknown"], "deleteOperationType": "ContactAndAttributes"}
        reply = call("POST", "contacts/v1/contacts/actions/delete", content, type="keys")
        assert reply.json()["operationInitiated"] is True
        assert sandbox.marketing_cloud()["contacts"] == []

    def test_what_is_wrong_is_refused(self, call):
        sets = [{"name": "Email", "items": {"Email Address": "a"}}]
        assert refused(
            call("POST", "contacts/v1/contacts", {"contactKey": "c", "attributeSets": sets}), 400, "should be like"
        )
        path, content = (
            "contacts/v1/contacts/actions/delete",
            {"values": ["c"], "deleteOperationType": "ContactAndAttributes"},
        )
        assert refused(call("POST", path, content), 400, "type should be keys")
        assert refused(call("POST", path, content | {"values": []}, type="keys"), 400, "values")
        assert refused(
            call("POST", path, content | {"deleteOperationType": "All"}, type="keys"), 400, "ContactAndAttributes"
        )


class TestControl:
    @pytest.mark.parametrize(
        ("settings", "reason"),
        [
            ({"throttle_code": 429}, "throttle_code is 50100 or 50200"),
            ({"completed_word": "Done"}, "completed_word is Complete or Completed"),
            ({"async_polls": "1"}, "async_polls is a whole number"),
        ],
    )
    def test_what_cannot_be_set_is_refused(self, settings, reason, sandbox):
        with pytest.raises(SandboxError, match=reason):
            sandbox.set_marketing_cloud(**settings)

    def test_a_reset_forgets_everything(self, call, sandbox):
        call("POST", ROWSET.format("Scores"), [score("1", 1)])
        call("PUT", ASYNC.format("Scores"), {"items": [{"ContactKey": "1", "Score": 1}]})
        call("POST", "interaction/v1/events", EVENT)
        call("POST", "contacts/v1/contacts", {"contactKey": "c", "attributeSets": [{"name": "a", "items": []}]})
        assert all(sandbox.marketing_cloud().values())

        sandbox.reset()

        extensions = {"Events": [], "Scores": []}
        assert sandbox.marketing_cloud() == {"data_extensions": extensions, "events": [], "async": [], "contacts": []}
