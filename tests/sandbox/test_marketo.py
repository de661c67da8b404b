"""Marketo: its tokens, its limits, and its REST API of leads and what belongs to them."""

import dataclasses
import http.client
import json
import threading
import time
from urllib.parse import urlencode

import pytest
import time_machine

from prefect_atomic.sandbox import SandboxError
from prefect_atomic.sandbox.accounts import Accounts
from prefect_atomic.sandbox.marketo_meter import Meter
from prefect_atomic.sandbox.marketo_settings import MarketoSettings
from prefect_atomic.sandbox.marketo_token import Identity
from prefect_atomic.sandbox.tokens import Tokens
from prefect_atomic.sandbox.wire import Received
from tests.e2e.judged import Description

REST = "/marketo/rest/v1"
IDENTITY = "/marketo/identity/oauth/token"
AUGUST = "2026-08-01T00:00:00Z"
CARD = {
    "leadId": 1,
    "activityTypeId": 100001,
    "activityDate": "2026-08-02T10:00:00+02:00",
    "primaryAttributeValue": "card-1",
    "attributes": [{"name": "event", "value": "card.completed"}, {"name": "score", "value": 5}],
}


@pytest.fixture
def account(sandbox):
    return sandbox.accounts.marketo


@pytest.fixture
def ask(account, send):
    """Asks for a token, with the parameters in the query."""

    def ask(method="GET", **change):
        given = {"grant_type": "client_credentials", "client_id": account.client_id}
        return send(method, f"{IDENTITY}?{urlencode(given | {'client_secret': account.client_secret} | change)}")

    return ask


@pytest.fixture
def call(ask, send):
    """Calls an operation, with one token for all calls."""
    bearer = ask().json()["access_token"]

    def call(method, path, content=None, *, body=b"", form=None, kind="application/json", token=bearer, **query):
        body = body if content is None else json.dumps(content).encode()
        target = f"{REST}/{path}.json" + (f"?{urlencode(query, doseq=True)}" if query else "")
        headers = {"Authorization": f"Bearer {token}"}
        if body:
            headers["Content-Type"] = kind
        return send(method, target, headers=headers, body=body, form=form)

    return call


@pytest.fixture
def told(call):
    """What an operation tells that says yes, as Adobe describes it."""

    def told(method, path, content=None, **more):
        reply = call(method, path, content, **more)
        answer = reply.json()
        assert (reply.status, answer["success"]) == (200, True), answer
        judge(method, f"/rest/v1/{path}.json", answer)
        return answer

    return told


@pytest.fixture
def leads(told):
    """Writes leads, and gives what became of them."""

    def leads(*records, **more):
        return told("POST", "leads", {"input": list(records), **more})["result"]

    return leads


def judge(method, path, answer):
    description = Description.load()
    description.assert_valid(method, description.template_of(method, path), answer)


def refused(reply, code, words=""):
    answer = reply.json()
    assert (reply.status, answer["success"], "result" in answer) == (200, False, False)
    (error,) = answer["errors"]
    assert error["code"] == str(code)
    assert words in error["message"]
    return True


def skipped(result, code, words=""):
    (reason,) = result["reasons"]
    return (result["status"], reason["code"]) == ("skipped", str(code)) and words in reason["message"]


class TestTokens:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_client_gets_a_token(self, ask, method):
        reply = ask(method)

        content = reply.json()
        content.pop("access_token")
        assert content == {"token_type": "bearer", "expires_in": 3600, "scope": "api.user@sandbox.example"}
        assert reply.headers["Cache-Control"] == "no-store"

    def test_a_form_will_do(self, account, send):
        given = {"client_id": account.client_id, "client_secret": account.client_secret}
        assert send("POST", IDENTITY, form={"grant_type": "client_credentials", **given}).status == 200

    @pytest.mark.parametrize(
        ("change", "status", "error"),
        [
            ({"client_secret": "wrong"}, 401, "invalid_client"),
            ({"client_id": "nobody"}, 401, "unauthorized"),
            ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ],
    )
    def test_what_is_wrong_is_refused(self, ask, account, change, status, error):
        reply = ask(**change)

        assert (reply.status, reply.json()["error"]) == (status, error)
        assert account.client_secret not in reply.body.decode()

    def test_asking_again_brings_the_same_token_with_what_is_left_of_its_life(self):
        account = Accounts.generate("http://127.0.0.1:1").marketo
        identity, settings = Identity(account, Tokens()), MarketoSettings(token_seconds=10)
        query = urlencode(
            {
                "grant_type": "client_credentials",
                "client_id": account.client_id,
                "client_secret": account.client_secret,
            }
        )
        request = Received("GET", IDENTITY, query, (), b"")
        with time_machine.travel(1_800_000_000, tick=False) as clock:
            told = []
            for seconds in (0, 3.5, 6.2, 1):
                clock.shift(seconds)
                told.append(json.loads(identity.issue(settings, request).body))
        assert [each["expires_in"] for each in told] == [10, 6, 0, 10]
        assert len({each["access_token"] for each in told[:3]}) == 1
        assert told[3]["access_token"] != told[0]["access_token"]

    @pytest.mark.parametrize("header", [{}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer unknown"}])
    def test_a_call_without_a_good_token_gets_601_in_a_200(self, send, header):
        assert refused(send("GET", f"{REST}/lists.json", headers=header), 601, "Access token invalid")

    def test_a_token_in_the_query_is_none(self, ask, send):
        token = ask().json()["access_token"]
        assert refused(send("GET", f"{REST}/lists.json?access_token={token}"), 601)

    def test_a_token_of_somebody_else_is_none(self, call, sandbox, send):
        other = sandbox.accounts.oauth
        form = {"grant_type": "client_credentials", "client_id": other.client_id, "client_secret": other.client_secret}
        token = send("POST", "/oauth/token", form=form).json()["access_token"]
        assert refused(call("GET", "lists", token=token), 601)

    def test_a_token_is_over_after_so_many_calls_and_then_there_is_another(self, ask, call, sandbox):
        sandbox.set_marketo(session_calls=2)
        assert [call("GET", "lists").json()["success"] for _ in range(2)] == [True, True]
        assert refused(call("GET", "lists"), 602, "Access token expired")
        assert call("GET", "lists", token=ask().json()["access_token"]).json()["success"]
        assert sandbox.marketo()["tokens_issued"] == 2

    def test_a_revoked_token_is_none_and_then_there_is_another(self, ask, call, sandbox):
        sandbox.revoke()
        assert refused(call("GET", "lists"), 601)
        assert call("GET", "lists", token=ask().json()["access_token"]).json()["success"]

    def test_its_verifier_takes_it(self, ask, send):
        token = ask().json()["access_token"]
        assert send("GET", "/verify/marketo", headers={"Authorization": f"Bearer {token}"}).json()["verified"]


class TestDoor:
    def test_a_window_takes_so_many_calls(self, call, sandbox):
        sandbox.set_marketo(calls_per_window=2)
        assert [call("GET", "lists").json()["success"] for _ in range(2)] == [True, True]
        assert refused(call("GET", "lists"), 606, "Max rate limit '2' exceeded with in '20' secs")
        calls = sandbox.marketo()["calls"]
        assert (calls["total"], calls["most_in_window"], calls["refused"]) == (3, 3, {"606": 1})

    def test_a_window_slides(self, monkeypatch):
        meter, now = Meter(), [0.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        counts = []
        for now[0] in (0.0, 1.0, 19.9, 20.0, 20.5, 21.0):
            meter.arrive("GET /x", 20.0)
            counts.append(meter.count(20.0))
        assert counts == [1, 2, 3, 3, 4, 4]
        assert meter.most_in_window == 4

    def test_so_many_calls_are_served_at_the_same_time(self, call, sandbox):
        sandbox.set_marketo(concurrent_calls=2, latency_milliseconds=1500)
        replies = []
        threads = [threading.Thread(target=lambda: replies.append(call("GET", "lists"))) for _ in range(2)]
        for thread in threads:
            thread.start()
        while sandbox.marketo()["calls"]["total"] < 2:  # asking the sandbox itself is no call
            pass
        assert refused(call("GET", "lists"), 615)
        for thread in threads:
            thread.join()
        assert [reply.json()["success"] for reply in replies] == [True, True]
        assert sandbox.marketo()["calls"]["most_at_once"] == 2

    def test_whoever_leaves_makes_room(self, ask, call, sandbox):
        """A caller that gives up does not hold its place for ever."""
        sandbox.set_marketo(concurrent_calls=1)
        sandbox.misbehave("/marketo/rest/v1/lists.json", times=1, hang=True)
        connection = http.client.HTTPConnection(sandbox.url.removeprefix("http://"), timeout=10)
        token = ask().json()["access_token"]
        connection.request("GET", f"{REST}/lists.json", headers={"Authorization": f"Bearer {token}"})
        while sandbox.marketo()["calls"]["most_at_once"] < 1:
            pass
        connection.close()
        while not call("GET", "campaigns").json()["success"]:
            pass

    def test_a_day_takes_so_many_calls(self, call, sandbox):
        sandbox.set_marketo(calls_per_day=1)
        call("GET", "lists")
        assert refused(call("GET", "lists"), 607, "Daily quota reached")

    def test_limits_that_are_not_enforced_are_counted_all_the_same(self, call, sandbox):
        sandbox.set_marketo(enforce=False, calls_per_window=1, calls_per_day=1)
        assert [call("GET", "lists").json()["success"] for _ in range(3)] == [True] * 3
        assert sandbox.marketo()["calls"]["most_in_window"] == 3
        sandbox.set_marketo(quota_after=3)
        assert refused(call("GET", "lists"), 607)

    def test_calls_without_a_good_token_count_for_no_limit(self, call, sandbox):
        sandbox.set_marketo(calls_per_window=1)
        call("GET", "lists", token="x")
        assert call("GET", "lists").json()["success"]

    def test_each_so_manieth_call_of_a_path_is_refused_as_told(self, call, sandbox):
        sandbox.set_marketo(error_every=2, error_path="campaigns", error_code="713", error_message="Transient Error")
        assert call("GET", "campaigns").json()["success"]
        assert call("GET", "lists").json()["success"]
        assert refused(call("GET", "campaigns"), 713, "Transient Error")

    def test_a_fault_after_the_call_loses_only_its_answer(self, call, sandbox):
        sandbox.misbehave("/marketo/rest/v1/leads.json", times=1, after=True, status=502)
        assert call("POST", "leads", {"input": [{"email": "a@example.com"}]}).status == 502
        assert sandbox.marketo()["leads"] == 1

    def test_what_there_is_not_is_refused(self, call, send):
        assert refused(call("GET", "nothing"), 610)
        assert refused(call("GET", "/lists"), 610)
        assert refused(call("PUT", "leads"), 605)

    def test_a_body_or_a_uri_that_is_too_large_is_refused_before(self, call):
        assert call("POST", "leads", body=b" " * 1_000_001).status == 413
        assert call("GET", "leads", filterType="email", filterValues="a" * 8200).status == 414

    @pytest.mark.parametrize(
        ("body", "kind", "code"),
        [
            (b"{}", "text/plain", 612),
            (b"{", "application/json", 609),
            (b"[]", "application/json", 609),
            (b'{"input": [{"email": NaN}]}', "application/json", 609),
            (b"{}", "application/json", 1002),
            (b'{"input": {}}', "application/json", 1001),
            (b'{"input": []}', "application/json", 1003),
            (b'{"input": [{}], "more": 1}', "application/json", 1003),
        ],
    )
    def test_a_body_that_is_not_right_is_refused(self, call, body, kind, code):
        assert refused(call("POST", "leads", body=body, kind=kind), code)

    def test_parameters_that_are_not_known_or_are_repeated_are_refused(self, call):
        assert refused(call("GET", "lists", page=1), 1003, "page")
        assert refused(call("GET", "lists", batchSize=[1, 2]), 1003, "batchSize")
        assert refused(call("GET", "lists", batchSize=301), 1003)

    def test_usage_and_errors_are_told(self, call, told):
        call("GET", "nothing")
        for path, days in (("usage", 1), ("usage/last7days", 7), ("errors", 1), ("errors/last7days", 7)):
            result = told("GET", f"stats/{path}")["result"]
            assert len(result) == days
            assert result[0]["total"] >= 1
            assert {day["total"] for day in result[1:]} <= {0}
        assert told("GET", "stats/errors")["result"][0]["errors"] == [{"errorCode": "610", "count": 1}]

    @pytest.mark.parametrize(
        "settings",
        [
            {"token_seconds": 0},
            {"fail_field_under": "faults"},
            {"canceled_word": "Over"},
            {"generate_leads": -1},
            {"enforce": 1},
        ],
    )
    def test_what_cannot_be_is_not_set(self, sandbox, settings):
        with pytest.raises(SandboxError):
            sandbox.set_marketo(**settings)
        assert sandbox.marketo()["leads"] == 0

    def test_every_setting_can_be_set(self, sandbox):
        usual = dataclasses.asdict(MarketoSettings())
        sandbox.set_marketo(**usual)


class TestWritingLeads:
    def test_leads_are_created_and_then_updated_by_their_email_in_any_case(self, leads, sandbox):
        assert leads({"email": "ada@example.com", "leadScore": "7"}) == [{"id": 1, "status": "created"}]
        assert leads({"email": "ADA@example.com", "firstName": "Ada"}) == [{"id": 1, "status": "updated"}]
        (lead,) = sandbox.marketo()["lead_list"]
        assert (lead["firstName"], lead["leadScore"], lead["email"]) == ("Ada", 7, "ADA@example.com")

    def test_each_lead_has_its_own_outcome_in_the_order_of_the_input(self, leads):
        results = leads(
            {"email": "a@example.com"},
            {"email": "b@example.com", "shoeSize": 43},
            {"firstName": "nobody"},
            {"email": "c@example.com", "leadScore": "many"},
            {"email": "nobody"},
            {"email": "d@exämple.com"},
            {"email": "e@example.com", "createdAt": AUGUST},
            {"email": "f@example.com", "birthday": "2026-02-30"},
            {"email": "a@example.com", "unsubscribed": True},
        )
        codes = [result.get("reasons", [{"code": None}])[0]["code"] for result in results]
        assert codes == [None, "1006", "1002", "1001", "1003", "1003", "1003", "1001", None]
        assert results[0]["id"] == results[-1]["id"]
        assert skipped(results[1], 1006, "Field 'shoeSize' not found")

    def test_actions_do_what_they_say(self, leads):
        assert skipped(leads({"email": "a@example.com"}, action="updateOnly")[0], 1004, "not found")
        assert leads({"email": "a@example.com"}, action="createOnly")[0]["status"] == "created"
        assert skipped(leads({"email": "a@example.com"}, action="createOnly")[0], 1005, "Lead already exists")
        assert leads({"email": "a@example.com"}, action="createDuplicate") == [{"id": 2, "status": "created"}]
        assert skipped(leads({"email": "a@example.com"})[0], 1007)

    def test_another_field_may_tell_leads(self, leads):
        leads({"externalId": "x-1", "email": "a@example.com"}, lookupField="externalId")
        assert leads({"externalId": "x-1", "title": "Dr."}, lookupField="externalId")[0]["status"] == "updated"
        assert leads({"id": 1, "title": None}, lookupField="id", action="updateOnly")[0]["status"] == "updated"
        assert skipped(leads({"id": 2}, lookupField="id", action="updateOnly")[0], 1004)
        assert skipped(leads({"id": 1, "email": "a@example.com"})[0], 1003)

    @pytest.mark.parametrize(
        ("more", "code"),
        [
            ({"action": "upsert"}, 1003),
            ({"lookupField": "id"}, 1003),
            ({"lookupField": "title"}, 1011),
            ({"lookupField": "shoeSize"}, 1006),
            ({"partitionName": "Asia"}, 1003),
            ({"asyncProcessing": "yes"}, 1001),
            ({"input": [{"email": f"{number}@example.com"} for number in range(301)]}, 1003),
        ],
    )
    def test_a_call_that_is_not_right_writes_nothing(self, call, sandbox, more, code):
        assert refused(call("POST", "leads", {"input": [{"email": "a@example.com"}], **more}), code)
        assert sandbox.marketo()["leads"] == 0

    def test_partitions_keep_their_leads(self, leads, told):
        assert [each["name"] for each in told("GET", "leads/partitions")["result"]] == ["Default", "Europe"]
        leads({"email": "a@example.com"}, partitionName="Europe")
        assert skipped(leads({"email": "a@example.com"}, partitionName="Default")[0], 1010)
        assert leads({"email": "a@example.com", "title": "Dr."})[0]["status"] == "updated"
        assert skipped(leads({"email": "b@example.com"}, partitionName="Secret")[0], 1008)

    def test_some_are_skipped_as_told_and_reasons_may_be_called_errors(self, leads, sandbox):
        sandbox.set_marketo(skip_email="bad", fail_field_under="errors")
        good, bad = leads({"email": "good@example.com"}, {"email": "bad@example.com"})
        assert good["status"] == "created"
        assert bad["errors"][0]["code"] == "1003"

    def test_a_pushed_lead_is_in_the_program_and_one_that_is_not_taken_has_no_status(self, told, sandbox):
        content = {"programName": "Webinar", "programStatus": "Registered"}
        done, failed = told("POST", "leads/push", {**content, "input": [{"email": "a@example.com"}, {"email": "b"}]})[
            "result"
        ]
        assert done == {"id": 1, "status": "created"}
        assert failed.keys() == {"reasons"}
        assert sandbox.marketo()["members"]["2001"] == {"1": "Registered"}

    @pytest.mark.parametrize(
        ("more", "code"), [({"programName": "x"}, 1013), ({"programStatus": "x"}, 1003), ({"programName": ""}, 1002)]
    )
    def test_a_push_into_nowhere_is_refused(self, call, more, code):
        content = {"programName": "Webinar", "input": [{"email": "a@example.com"}], **more}
        assert refused(call("POST", "leads/push", content), code)


class TestReadingLeads:
    def test_leads_are_found_by_values_repeated_or_with_commas(self, leads, told):
        leads({"email": "a@example.com"}, {"email": "b@example.com"}, {"email": "c@example.com"})
        for values in ("A@example.com,c@example.com", ["a@example.com", "c@example.com"]):
            result = told("GET", "leads", filterType="email", filterValues=values)["result"]
            assert [lead["id"] for lead in result] == [1, 3]
            assert result[0].keys() == {"id", "email", "firstName", "lastName", "createdAt", "updatedAt"}

    def test_a_long_query_may_be_in_the_body_of_a_post(self, call, leads):
        leads({"email": "a@example.com", "leadScore": 3})
        form = {"filterType": "email", "filterValues": "a@example.com", "fields": "leadScore"}
        reply = call("POST", "leads", form=form, _method="GET")
        assert reply.json()["result"] == [{"id": 1, "leadScore": 3}]

    def test_pages_lead_from_one_to_the_next(self, told, sandbox, call):
        sandbox.set_marketo(generate_leads=1000)
        ids, query = [], {"filterType": "leadPartitionId", "filterValues": "1", "fields": "email"}
        answer = told("GET", "leads", **query)
        while token := answer.get("nextPageToken"):
            ids += [lead["id"] for lead in answer["result"]]
            answer = told("GET", "leads", **query, nextPageToken=token)
            assert refused(call("GET", "leads", filterType="id", filterValues="1", nextPageToken=token), 1003)
        ids += [lead["id"] for lead in answer["result"]]
        assert ids == list(range(1, 1001))
        assert refused(call("GET", "leads", **query, nextPageToken="x"), 1003)

    def test_too_many_are_refused(self, call, sandbox):
        sandbox.set_marketo(generate_leads=1001)
        reply = call("GET", "leads", filterType="leadPartitionId", filterValues="1")
        assert refused(reply, 1003, "Too many results match the filter")

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ({"filterValues": "1"}, 1002),
            ({"filterType": "id"}, 1002),
            ({"filterType": "title", "filterValues": "1"}, 1011),
            ({"filterType": "shoeSize", "filterValues": "1"}, 1006),
            ({"filterType": "id", "filterValues": "x"}, 1001),
            ({"filterType": "id", "filterValues": "1", "fields": "shoeSize"}, 1006),
            ({"filterType": "id", "filterValues": ",".join(map(str, range(301)))}, 1003),
        ],
    )
    def test_what_cannot_be_asked_is_refused(self, call, query, code):
        assert refused(call("GET", "leads", **query), code)

    def test_one_lead_is_read_by_its_id(self, call, leads, told):
        leads({"email": "a@example.com"})
        assert told("GET", "lead/1", fields="email")["result"] == [{"id": 1, "email": "a@example.com"}]
        assert refused(call("GET", "lead/2"), 1004)
        assert refused(call("GET", "lead/x"), 1001)

    def test_fields_are_described(self, told):
        (described,) = told("GET", "leads/describe2")["result"]
        assert ["externalId"] in described["searchableFields"]
        names = {field["name"] for field in described["fields"]}
        assert {each["rest"]["name"] for each in told("GET", "leads/describe")["result"]} == names


class TestOtherCallsOfLeads:
    def test_deleted_leads_are_gone_from_everywhere(self, leads, told, sandbox):
        leads({"email": "a@example.com"})
        told("POST", "lists/1001/leads", id=1)
        told("POST", "programs/2001/members/status", {"statusName": "Invited", "input": [{"leadId": 1}]})
        deleted, unknown = told("POST", "leads/delete", {"input": [{"id": 1}, {"id": 7}]})["result"]
        assert deleted == {"id": 1, "status": "deleted"}
        assert skipped(unknown, 1004)
        shown = sandbox.marketo()
        assert (shown["leads"], shown["lists"]["1001"], shown["members"]["2001"]) == (0, [], {})
        assert leads({"email": "a@example.com"})[0]["status"] == "created"

    def test_the_winner_of_a_merge_has_what_it_had_not(self, leads, told, sandbox):
        leads({"email": "a@example.com", "title": "Dr."}, {"email": "b@example.com", "title": "Mr.", "phone": "1"})
        told("POST", "lists/1001/leads", id=2)
        told("POST", "leads/1/merge", leadIds=2)
        shown = sandbox.marketo()
        (lead,) = shown["lead_list"]
        assert (lead["id"], lead["title"], lead["phone"]) == (1, "Dr.", "1")
        assert shown["lists"]["1001"] == [1]
        assert shown["merges"] == [{"winner": 1, "losers": [2]}]

    @pytest.mark.parametrize(
        ("losers", "code"), [("", 1002), ("1", 1003), ("9", 1004), (",".join(map(str, range(2, 28))), 1080)]
    )
    def test_a_merge_that_cannot_be_is_refused(self, call, leads, sandbox, losers, code):
        leads({"email": "a@example.com"})
        assert refused(call("POST", "leads/1/merge", leadIds=losers), code)
        assert sandbox.marketo()["leads"] == 1

    def test_a_lead_is_associated_with_a_cookie(self, call, leads, told):
        leads({"email": "a@example.com"})
        told("POST", "leads/1/associate", cookie="id:1&token:x")
        (lead,) = told("GET", "leads", filterType="cookies", filterValues="id:1&token:x")["result"]
        assert lead["id"] == 1
        assert refused(call("POST", "leads/2/associate", cookie="x"), 1004)
        assert refused(call("POST", "leads/1/associate"), 1002)


class TestLists:
    def test_leads_go_on_a_list_and_off_it(self, leads, told):
        leads({"email": "a@example.com"}, {"email": "b@example.com"})
        both = {"input": [{"id": 1}, {"id": 9}]}
        added, unknown = told("POST", "lists/1001/leads", both)["result"]
        assert added == {"id": 1, "status": "added"}
        assert skipped(unknown, 1004)
        assert [lead["id"] for lead in told("GET", "lists/1001/leads")["result"]] == [1]
        result = told("GET", "lists/1001/leads/ismember", id=[1, 2])["result"]
        assert [each["status"] for each in result] == ["memberof", "notmemberof"]
        removed, not_there = told("DELETE", "lists/1001/leads", {"input": [{"id": 1}, {"id": 2}]}, id="1,2")["result"]
        assert removed == {"id": 1, "status": "removed"}
        assert skipped(not_there, 1015)

    def test_a_list_is_read_in_pages(self, told, sandbox):
        sandbox.set_marketo(generate_leads=301)
        for start in (1, 301):
            told("POST", "lists/1002/leads", {"input": [{"id": id_} for id_ in range(start, min(start + 300, 302))]})
        first = told("GET", "lists/1002/leads")
        second = told("GET", "lists/1002/leads", nextPageToken=first["nextPageToken"])
        assert (len(first["result"]), len(second["result"]), second.get("nextPageToken")) == (300, 1, None)

    def test_lists_are_listed(self, call, told):
        assert [each["id"] for each in told("GET", "lists")["result"]] == [1001, 1002]
        assert [each["id"] for each in told("GET", "lists", name="Trial")["result"]] == [1002]
        assert told("GET", "lists/1001")["result"][0]["name"] == "Newsletter"
        assert refused(call("GET", "lists/7"), 1013)

    @pytest.mark.parametrize(
        ("content", "query", "code"),
        [
            (None, {}, 1002),
            (None, {"id": "x"}, 1001),
            ({"input": [{"id": 1}]}, {"id": 2}, 1003),
            ({"input": [{"id": number} for number in range(301)]}, {}, 1003),
        ],
    )
    def test_what_cannot_be_put_on_a_list_is_refused(self, call, content, query, code):
        assert refused(call("POST", "lists/1001/leads", content, **query), code)


class TestCampaigns:
    def test_a_trigger_campaign_is_requested(self, leads, told, sandbox):
        leads({"email": "a@example.com"})
        tokens = [{"name": "{{my.offer}}", "value": "10 %"}]
        told("POST", "campaigns/3001/trigger", {"input": {"leads": [{"id": 1}], "tokens": tokens}})
        assert sandbox.marketo()["campaigns"] == [{"id": 3001, "leads": [1], "tokens": tokens}]

    @pytest.mark.parametrize(
        ("campaign", "content", "code"),
        [
            (3002, {"leads": [{"id": 1}]}, 1003),
            (3001, {"leads": [{"id": 1}, {"id": 9}]}, 1004),
            (3001, {"leads": [{"id": number} for number in range(101)]}, 1003),
            (3001, {"leads": [{"id": 1}], "tokens": [{"name": "my.offer", "value": "x"}]}, 1003),
            (3001, {}, 1002),
            (7, {"leads": [{"id": 1}]}, 1013),
        ],
    )
    def test_a_request_that_cannot_be_is_refused_for_all(self, call, leads, sandbox, campaign, content, code):
        leads({"email": "a@example.com"})
        assert refused(call("POST", f"campaigns/{campaign}/trigger", {"input": content}), code)
        assert sandbox.marketo()["campaigns"] == []

    def test_a_batch_campaign_is_scheduled(self, told, sandbox):
        told("POST", "campaigns/3002/schedule")
        told("POST", "campaigns/3002/schedule", {"input": {"runAt": AUGUST, "cloneToProgramName": "May"}})
        assert [each["runAt"] for each in sandbox.marketo()["schedules"]] == [None, AUGUST]

    @pytest.mark.parametrize(
        ("campaign", "content", "code"),
        [(3001, {}, 1003), (3002, {"runAt": "2999-01-01T00:00:00Z"}, 1042), (3002, {"runAt": "soon"}, 1001)],
    )
    def test_a_schedule_that_cannot_be_is_refused(self, call, campaign, content, code):
        assert refused(call("POST", f"campaigns/{campaign}/schedule", {"input": content}), code)

    def test_campaigns_are_listed(self, told):
        assert [each["type"] for each in told("GET", "campaigns")["result"]] == ["trigger", "batch"]
        assert [each["id"] for each in told("GET", "campaigns", isTriggerable="true")["result"]] == [3001]
        assert told("GET", "campaigns/3002")["result"][0]["name"] == "Digest"


class TestPrograms:
    def test_members_come_move_on_and_go(self, leads, told, sandbox):
        leads({"email": "a@example.com"}, {"email": "b@example.com"})
        content = {"statusName": "Attended", "input": [{"leadId": 1}, {"leadId": 9}]}
        done, unknown = told("POST", "programs/2001/members/status", content)["result"]
        assert done == {"seq": 0, "leadId": 1, "status": "updated"}
        assert skipped(unknown, 1004)
        change = {"input": [{"leadId": 1, "registrationCode": "x"}, {"leadId": 2, "registrationCode": "x"}]}
        assert [each["status"] for each in told("POST", "programs/2001/members", change)["result"]] == [
            "updated",
            "skipped",
        ]
        query = {"filterType": "statusName", "filterValues": "Attended", "fields": "registrationCode,email"}
        (member,) = told("GET", "programs/2001/members", **query)["result"]
        assert (member["leadId"], member["reachedSuccess"]) == (1, True)
        assert (member["registrationCode"], member["email"]) == ("x", "a@example.com")
        (lead,) = told("GET", "leads/programs/2001")["result"]
        assert lead["membership"]["progressionStatus"] == "Attended"
        gone, never = told("POST", "programs/2001/members/delete", {"input": [{"leadId": 1}, {"leadId": 2}]})["result"]
        assert gone["status"] == "deleted"
        assert skipped(never, 1004)
        assert sandbox.marketo()["members"]["2001"] == {}

    def test_a_status_that_the_program_has_not_is_skipped(self, leads, told):
        leads({"email": "a@example.com"})
        content = {"statusName": "Visited Booth", "input": [{"leadId": 1}]}
        assert skipped(told("POST", "programs/2001/members/status", content)["result"][0], 1025)

    def test_what_cannot_be_asked_is_refused(self, call):
        query = {"filterType": "statusName", "filterValues": "Invited"}
        assert refused(call("GET", "programs/7/members", **query), 1013)
        assert refused(call("GET", "programs/2001/members", filterType="x", filterValues="y"), 1003)
        assert refused(call("GET", "programs/2001/members", **query, fields="shoeSize"), 1006)

    def test_members_are_described(self, told):
        (described,) = told("GET", "programs/members/describe")["result"]
        assert ["statusName"] in described["searchableFields"]


class TestCustomObjects:
    def test_records_are_written_read_and_deleted(self, told, sandbox):
        cars = {"input": [{"vin": "A", "year": "2020", "leadId": 1}, {"vin": "a"}, {"vin": "B"}, {"model": "x"}]}
        first, again, second, without = told("POST", "customobjects/car_c", cars)["result"]
        assert (first["status"], first["seq"], second["status"]) == ("created", 0, "created")
        assert skipped(again, 1036)
        assert skipped(without, 1002)
        (car,) = told("GET", "customobjects/car_c", filterType="vin", filterValues="A,C", fields="vin,year")["result"]
        assert car == {"seq": 0, "marketoGUID": first["marketoGUID"], "vin": "A", "year": 2020}
        by_id = {"input": [{"marketoGUID": first["marketoGUID"], "model": "T"}], "action": "updateOnly"}
        assert told("POST", "customobjects/car_c", {**by_id, "dedupeBy": "idField"})["result"][0]["status"] == "updated"
        assert sandbox.marketo()["custom_objects"]["car_c"][0]["model"] == "T"
        gone, unknown = told("POST", "customobjects/car_c/delete", {"input": [{"vin": "A"}, {"vin": "C"}]})["result"]
        assert gone["status"] == "deleted"
        assert skipped(unknown, 1013)

    def test_records_are_read_by_several_fields_with_a_body(self, call, told):
        told("POST", "customobjects/car_c", {"input": [{"vin": vin} for vin in "ABC"]})
        asked = {"filterType": "dedupeFields", "input": [{"vin": "A"}, {"vin": "C"}], "batchSize": 1, "fields": ["vin"]}
        first = call("POST", "customobjects/car_c", asked, _method="GET").json()
        asked["nextPageToken"] = first["nextPageToken"]
        second = call("POST", "customobjects/car_c", asked, _method="GET").json()
        assert [each["vin"] for each in first["result"] + second["result"]] == ["A", "C"]
        assert "nextPageToken" not in second

    def test_actions_do_what_they_say(self, told):
        one = {"input": [{"vin": "A"}]}
        assert skipped(told("POST", "customobjects/car_c", {**one, "action": "updateOnly"})["result"][0], 1013)
        told("POST", "customobjects/car_c", {**one, "action": "createOnly"})
        assert skipped(told("POST", "customobjects/car_c", {**one, "action": "createOnly"})["result"][0], 1005)
        unknown = {"input": [{"vin": "B", "wheels": 4}, {"vin": "C", "year": "old"}]}
        codes = [each["reasons"][0]["code"] for each in told("POST", "customobjects/car_c", unknown)["result"]]
        assert codes == ["1006", "1001"]

    def test_what_cannot_be_asked_is_refused(self, call):
        assert refused(call("POST", "customobjects/boat_c", {"input": [{"vin": "A"}]}), 1013)
        assert refused(call("POST", "customobjects/car_c", {"input": [{"vin": "A"}], "dedupeBy": "idField"}), 1003)
        assert refused(call("GET", "customobjects/car_c", filterType="model", filterValues="x"), 1003)

    def test_types_are_listed_and_described(self, told):
        assert [each["name"] for each in told("GET", "customobjects")["result"]] == ["car_c"]
        (car,) = told("GET", "customobjects/car_c/describe")["result"]
        assert (car["idField"], car["dedupeFields"]) == ("marketoGUID", ["vin"])


class TestActivities:
    @pytest.fixture
    def read(self, told):
        """Reads to the end; gives the pages."""

        def read(path="activities", since=AUGUST, **query):
            token, pages, more = told("GET", "activities/pagingtoken", sinceDatetime=since)["nextPageToken"], [], True
            while more:
                answer = told("GET", path, nextPageToken=token, **query)
                token, more = answer["nextPageToken"], answer["moreResult"]
                pages.append(answer["result"])
            return pages

        return read

    def test_a_page_may_be_empty_while_there_are_more(self, read, sandbox):
        sandbox.set_marketo(generate_leads=10, generate_activities=4000)
        pages = read(activityTypeIds="1,6")
        assert [len(page) for page in pages] == [300, 300, 0, 300, 300, 0, 300, 300, 0, 200]
        activities = [activity for page in pages for activity in page]
        assert len({activity["marketoGUID"] for activity in activities}) == 2000
        assert {activity["activityTypeId"] for activity in activities} == {1, 6}
        assert activities == sorted(activities, key=lambda activity: activity["activityDate"])

    def test_only_later_ones_of_some_leads_are_read(self, read, sandbox, told):
        sandbox.set_marketo(generate_leads=10, generate_activities=900)
        told("POST", "lists/1001/leads", id=[3, 4])
        (page,) = read(since="2026-10-01T00:00:00Z", activityTypeIds=[1, 6, 13, 100001], leadIds="3,5", listId=1001)
        assert {activity["leadId"] for activity in page} == {3}
        assert min(activity["activityDate"] for activity in page) == "2026-10-01T00:00:00Z"

    def test_changes_of_leads_are_read_and_so_are_deleted_ones(self, leads, read, told):
        leads({"email": "a@example.com", "firstName": "Ada"})
        leads({"email": "a@example.com", "firstName": "Eve", "title": "Dr."})
        told("POST", "leads/delete", id=1)
        (page,) = read("activities/leadchanges", fields="firstName")
        created, changed = page
        assert (created["activityTypeId"], changed["activityTypeId"]) == (12, 13)
        assert changed["fields"] == [{"id": 3, "name": "firstName", "newValue": "Eve", "oldValue": "Ada"}]
        ((deleted,),) = read("activities/deletedleads")
        assert (deleted["leadId"], deleted["activityTypeId"]) == (1, 37)

    def test_a_reading_goes_on_where_the_last_one_ended(self, leads, told):
        token = told("GET", "activities/pagingtoken", sinceDatetime=AUGUST)["nextPageToken"]
        for number in range(2):
            leads({"email": f"{number}@example.com"})
            answer = told("GET", "activities", nextPageToken=token, activityTypeIds=12)
            assert [activity["leadId"] for activity in answer["result"]] == [number + 1]
            assert not answer["moreResult"]
            token = answer["nextPageToken"]

    def test_custom_activities_are_added_and_what_was_not_has_errors(self, leads, read, told, sandbox):
        leads({"email": "a@example.com"})
        faults = [
            ({"leadId": 9}, "1004"),
            ({"activityTypeId": 1}, "1003"),
            ({"primaryAttributeValue": ""}, "1002"),
            ({"activityDate": "today"}, "1001"),
            ({"activityDate": "2999-01-01T00:00:00Z"}, "1003"),
            ({"attributes": [{"name": "colour", "value": "red"}]}, "1006"),
            ({"attributes": [{"name": "score", "value": "many"}]}, "1001"),
            ({"attributes": [{"name": "event", "value": "x" * 65_536}]}, "1049"),
        ]
        sent = [CARD, *({**CARD, **change} for change, _ in faults)]
        added, *others = told("POST", "activities/external", {"input": sent})["result"]
        assert added["status"] == "added"
        assert [(each["status"], each["errors"][0]["code"]) for each in others] == [
            ("skipped", code) for _, code in faults
        ]
        ((activity,),) = read(activityTypeIds=100001)
        assert activity["activityDate"] == "2026-08-02T08:00:00Z"
        assert activity["attributes"] == CARD["attributes"]
        assert sandbox.marketo()["custom_activities"] == [activity]

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ({"activityTypeIds": ""}, 1002),
            ({"activityTypeIds": "2"}, 1003),
            ({"activityTypeIds": "1", "nextPageToken": "x"}, 1003),
            ({"activityTypeIds": "1", "leadIds": ",".join(map(str, range(31)))}, 1003),
            ({"activityTypeIds": ",".join(map(str, range(1, 12)))}, 1003),
            ({"activityTypeIds": "1", "listId": "7"}, 1013),
        ],
    )
    def test_what_cannot_be_asked_is_refused(self, call, told, query, code):
        token = told("GET", "activities/pagingtoken", sinceDatetime=AUGUST)["nextPageToken"]
        assert refused(call("GET", "activities", **{"nextPageToken": token, **query}), code)

    def test_a_moment_without_a_time_zone_is_none(self, call):
        assert refused(call("GET", "activities/pagingtoken", sinceDatetime="2026-08-01T00:00:00"), 1001)

    def test_types_are_described(self, told):
        by_name = {each["name"]: each for each in told("GET", "activities/types")["result"]}
        assert by_name["Atomic Card"]["apiName"] == "atomicCard_c"
        assert by_name["Atomic Card"]["primaryAttribute"]["name"] == "cardId"


def test_a_hundred_thousand_leads_are_no_trouble(told, sandbox):
    sandbox.set_marketo(generate_leads=100_000)
    shown = sandbox.marketo()
    assert shown["leads"] == 100_000
    assert "lead_list" not in shown
    emails = ",".join(f"user{number}@example.com" for number in (0, 99_999))
    assert len(told("GET", "leads", filterType="email", filterValues=emails)["result"]) == 2
