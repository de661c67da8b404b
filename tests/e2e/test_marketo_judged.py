"""What we send to Marketo is what Adobe describes: judged by Prism, with Adobe's description.

First the judges themselves, with calls that httpx makes: they take what is right and find what is wrong. Then the
block, in front of the sandbox, whose answers are judged too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from prefect_atomic import AtomicError, Marketo, instant_retries
from prefect_atomic.integrations.marketo import limits
from prefect_atomic.sandbox import Sandbox
from tests.e2e.judged import Description
from tests.e2e.servers.faulty import Answer, FaultServer
from tests.e2e.servers.judged_marketo import TOKEN, JudgedMarketo

if TYPE_CHECKING:
    from tests.e2e.servers.prism import PrismServer

pytestmark = pytest.mark.e2e

JSON = [("Content-Type", "application/json;charset=utf-8")]
LEADS = "/rest/v1/leads.json"
BY_EMAIL = f"{LEADS}?filterType=email&filterValues=a%40example.com"
EXPORT = "/bulk/v1/leads/export/create.json"
AUGUST = {"createdAt": {"startAt": "2026-08-01T00:00:00Z", "endAt": "2026-08-31T23:59:59Z"}}
ACTIVITY = {
    "leadId": 1,
    "activityDate": "2026-08-01T00:00:00Z",
    "activityTypeId": 100001,
    "primaryAttributeValue": "card-1",
    "attributes": [{"apiName": "score", "value": 3}],
}


@pytest.fixture(scope="module")
def description() -> Description:
    return Description.load()


@pytest.fixture(scope="module")
def prism(description: Description) -> Iterator[PrismServer]:
    from tests.e2e.servers.prism import PrismServer, need_prism

    need_prism()
    with PrismServer(description.document) as server:
        yield server


@pytest.fixture
def judges(description: Description, prism: PrismServer) -> Iterator[JudgedMarketo]:
    """The judges alone."""
    with JudgedMarketo(description, prism) as judges:
        yield judges


@pytest.fixture
def judged_instance(description: Description, prism: PrismServer, fault_server: FaultServer) -> Iterator[JudgedMarketo]:
    """The judges in front of an instance whose answers a test says (with `fault_server`)."""
    with JudgedMarketo(description, prism, upstream=f"{fault_server.url}/marketo") as judges:
        yield judges


def call(judges: JudgedMarketo, method: str, target: str, **sent: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {TOKEN}", **sent.pop("headers", {})}
    with httpx.Client(trust_env=False, timeout=30) as client:
        return client.request(method, judges.url + target, headers=headers, **sent)


# -- the judges ---------------------------------------------------------------------------------------------------


def test_the_judges_give_a_token(judges: JudgedMarketo) -> None:
    answer = httpx.post(f"{judges.identity_endpoint}/oauth/token", trust_env=False).json()
    assert (answer["access_token"], answer["token_type"], answer["expires_in"]) == (TOKEN, "bearer", 3600)
    assert (judges.calls, judges.violations) == ([], [])


@pytest.mark.parametrize(
    ("method", "target", "sent", "template"),
    [
        ("GET", BY_EMAIL, {}, LEADS),
        ("GET", f"{LEADS}?filterType=id&filterValues=1,2&fields=id,email&batchSize=300", {}, LEADS),
        (
            "POST",
            LEADS,
            {"json": {"action": "updateOnly", "lookupField": "id", "input": [{"id": 1, "a": None}]}},
            LEADS,
        ),
        ("GET", "/rest/v1/lead/7.json", {}, "/rest/v1/lead/{leadId}.json"),
        (
            "DELETE",
            "/rest/v1/lists/7/leads.json?id=1&id=2",
            {"json": {"input": [{"id": 1}, {"id": 2}]}},
            "/rest/v1/lists/{listId}/leads.json",
        ),
        (
            "GET",
            "/rest/v1/activities.json?nextPageToken=A%3D&activityTypeIds=1&activityTypeIds=6",
            {},
            "/rest/v1/activities.json",
        ),
        (
            "POST",
            "/rest/v1/activities/external.json",
            {"json": {"input": [ACTIVITY]}},
            "/rest/v1/activities/external.json",
        ),
        (
            "POST",
            "/rest/v1/customobjects/car_c.json",
            {"json": {"dedupeBy": "dedupeFields", "input": [{"vin": "1"}]}},
            "/rest/v1/customobjects/{customObjectName}.json",
        ),
        ("POST", EXPORT, {"json": {"fields": ["id"], "filter": AUGUST, "columnHeaderNames": {"id": "Lead"}}}, EXPORT),
        ("POST", "/bulk/v1/leads.json?format=csv", {"files": {"file": ("a.csv", b"email\n")}}, "/bulk/v1/leads.json"),
        (
            "GET",
            "/bulk/v1/leads/export/a-1/file.json",
            {"headers": {"Range": "bytes=10-"}},
            "/bulk/v1/leads/export/{exportId}/file.json",
        ),
    ],
)
def test_the_judges_take_what_is_described(
    judges: JudgedMarketo, method: str, target: str, sent: dict[str, Any], template: str
) -> None:
    response = call(judges, method, target, **sent)
    assert (response.status_code, judges.violations) == (200, [])
    assert judges.calls == [(method, template)]


@pytest.mark.parametrize(
    ("method", "target", "sent", "where"),
    [
        ("GET", f"{BY_EMAIL}&batchSize=all", {}, "request.query.batchsize"),
        ("GET", f"{LEADS}?filterType=email", {}, "request.query"),
        ("GET", f"{BY_EMAIL}&batchsize=300", {}, "request.query.batchsize"),
        ("GET", f"{BY_EMAIL}&access_token=a", {}, "request.query.access_token"),
        ("GET", BY_EMAIL, {"headers": {"Authorization": ""}}, "request.headers.authorization"),
        ("GET", "/rest/v1//leads.json?filterType=id&filterValues=1", {}, "request"),
        ("PUT", LEADS, {"json": {"input": []}}, "request"),
        ("POST", LEADS, {"json": {"inputs": []}}, "request.body"),
        ("POST", LEADS, {"json": {"input": [], "lookupfield": "email"}}, "request.body"),
        ("POST", LEADS, {"json": {"input": [], "action": "upsert"}}, "request.body.action"),
        ("POST", LEADS, {"content": b"{", "headers": {"Content-Type": "application/json"}}, "request.body"),
        ("POST", "/rest/v1/lists/news/leads.json", {"json": {"input": [{"id": 1}]}}, "request.path.listid"),
        ("DELETE", "/rest/v1/lists/7/leads.json", {"json": {"input": [{"id": 1}]}}, "request.query"),
        ("DELETE", "/rest/v1/lists/7/leads.json?id=1", {}, "request"),
        ("GET", "/rest/v1/activities.json?nextPageToken=A&activityTypeIds=1,6", {}, "request.query.activitytypeids.0"),
        (
            "POST",
            "/rest/v1/activities/external.json",
            {"json": {"input": [{name: ACTIVITY[name] for name in ACTIVITY if name != "activityDate"}]}},
            "request.body.input.0",
        ),
        ("POST", EXPORT, {"json": {"fields": ["id"], "filter": {}}}, "request.body.filter"),
        ("POST", EXPORT, {"json": {"fields": ["id"], "filter": {**AUGUST, "staticListId": 1}}}, "request.body.filter"),
        ("POST", "/bulk/v1/leads.json", {"files": {"file": ("a.csv", b"email\n")}}, "request.query"),
        ("POST", "/bulk/v1/leads.json?format=csv", {"files": {"data": ("a.csv", b"email\n")}}, "request.body"),
        (
            "POST",
            "/bulk/v1/leads.json?format=csv",
            {"content": b"email\n", "headers": {"Content-Type": "text/csv"}},
            "request",
        ),
    ],
)
def test_the_judges_find_what_is_not_described(
    judges: JudgedMarketo, method: str, target: str, sent: dict[str, Any], where: str
) -> None:
    response = call(judges, method, target, **sent)
    assert response.status_code == 422
    assert where in {each.where for each in judges.violations}


def test_a_get_that_is_sent_as_a_post_is_judged_as_a_get(judges: JudgedMarketo) -> None:
    values = ",".join(f"lead+{number}@example.com" for number in range(300))
    form = {"filterType": "email", "filterValues": values}
    assert call(judges, "POST", f"{LEADS}?_method=GET", data=form).status_code == 200
    assert (judges.calls, judges.violations) == ([("GET", LEADS)], [])
    assert call(judges, "POST", f"{LEADS}?_method=GET", data={**form, "batchSize": "all"}).status_code == 422
    assert [each.where for each in judges.violations] == ["request.query.batchsize"]


def test_a_look_up_by_several_fields_is_judged_as_a_get(judges: JudgedMarketo) -> None:
    target = "/rest/v1/customobjects/car_c.json?_method=GET"
    asked = {"filterType": "dedupeFields", "fields": ["vin"], "input": [{"vin": "1", "leadId": 2}]}
    assert call(judges, "POST", target, json=asked).status_code == 200
    assert judges.calls == [("GET", "/rest/v1/customobjects/{customObjectName}.json")]
    assert call(judges, "POST", target, json={**asked, "input": []}).status_code == 200
    assert judges.violations == []
    assert call(judges, "POST", target, json={**asked, "filterValues": ["1"]}).status_code == 422
    assert [each.where for each in judges.violations] == ["request.body"]


def test_what_is_described_gets_through_byte_for_byte(
    judged_instance: JudgedMarketo, fault_server: FaultServer
) -> None:
    file = b"email\r\n\x00\xff@example.com\r\n"
    fault_server.script([Answer(206, [("Content-Type", "text/csv"), ("Content-Range", "bytes 1-2/3")], file)])
    target = "/bulk/v1/leads/export/a%2F1/file.json"
    response = call(judged_instance, "GET", target, headers={"Range": "bytes=1-"})
    assert (response.status_code, response.headers["Content-Range"], response.content) == (206, "bytes 1-2/3", file)
    assert fault_server.requests[0].target == f"/marketo{target}"
    assert fault_server.requests[0].header("Range") == "bytes=1-"
    assert fault_server.requests[0].header("Authorization") == f"Bearer {TOKEN}"

    fault_server.script([Answer(headers=JSON, body=b'{ "requestId": "1", "success": true, "result": [] }')])
    form = {"filterType": "email", "filterValues": "a@example.com"}
    response = call(judged_instance, "POST", f"{LEADS}?_method=GET", data=form)
    assert response.content == b'{ "requestId": "1", "success": true, "result": [] }'
    assert fault_server.requests[1].request_line == f"POST /marketo{LEADS}?_method=GET HTTP/1.1"
    assert fault_server.requests[1].body == b"filterType=email&filterValues=a%40example.com"
    assert judged_instance.violations == []


def test_what_is_not_described_does_not_get_through(judged_instance: JudgedMarketo, fault_server: FaultServer) -> None:
    assert call(judged_instance, "GET", f"{LEADS}?filterType=email").status_code == 422
    assert fault_server.requests == []


def test_tokens_come_from_the_instance(judged_instance: JudgedMarketo, fault_server: FaultServer) -> None:
    fault_server.script([Answer(401, JSON, b'{"error": "invalid_client"}')])
    response = httpx.post(f"{judged_instance.identity_endpoint}/oauth/token", trust_env=False)
    assert (response.status_code, response.json()) == (401, {"error": "invalid_client"})
    assert fault_server.requests[0].target == "/marketo/identity/oauth/token"


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ({"requestId": "1", "success": True, "result": [{"id": "7"}]}, "result.0.id: '7' is not of type 'integer'"),
        ({"success": True, "result": []}, "the answer: 'requestId' is a required property"),
        ({"requestId": "1", "success": False}, "success: is False, and errors are None"),
        (
            {"requestId": "1", "success": False, "errors": [{"code": 610, "message": "No"}]},
            "errors.0.code: 610 is not of type 'string'",
        ),
        (
            {"requestId": "1", "success": True, "result": [{"status": "skipped", "reasons": [{"code": "1"}]}]},
            "result.0.reasons.0: 'message' is a required property",
        ),
    ],
)
def test_answers_that_are_not_described_are_found(
    judged_instance: JudgedMarketo, fault_server: FaultServer, answer: dict[str, Any], fault: str
) -> None:
    fault_server.script([Answer(headers=JSON, body=json.dumps(answer).encode())])
    assert call(judged_instance, "GET", BY_EMAIL).json() == answer
    assert [(each.where, each.message) for each in judged_instance.violations] == [("response", fault)]


def test_an_answer_says_what_is_wrong_with_it(description: Description) -> None:
    refusal = {"requestId": "1", "success": False, "errors": [{"code": "610", "message": "No"}]}
    description.assert_valid("GET", LEADS, refusal)
    description.assert_valid("GET", "/bulk/v1/leads/export/{exportId}/file.json", refusal)
    with pytest.raises(AssertionError, match=r"GET /rest/v1/leads\.json .*\nthe answer: 'success' is a required"):
        description.assert_valid("GET", LEADS, {"requestId": "1"})
    with pytest.raises(AssertionError, match="the answer is JSON, and a file is described"):
        description.assert_valid("GET", "/bulk/v1/leads/export/{exportId}/file.json", {**refusal, "success": True})


@pytest.mark.parametrize(
    ("method", "path", "template"),
    [
        ("GET", "/rest/v1/customobjects/schema.json", "/rest/v1/customobjects/schema.json"),
        ("GET", "/rest/v1/customobjects/car_c.json", "/rest/v1/customobjects/{customObjectName}.json"),
        (
            "GET",
            "/rest/v1/customobjects/a%2Fb/describe.json",
            "/rest/v1/customobjects/{customObjectName}/describe.json",
        ),
        ("POST", "/rest/v1/leads/7/merge.json", "/rest/v1/leads/{leadId}/merge.json"),
    ],
)
def test_a_path_is_known_by_how_it_is_described(
    description: Description, method: str, path: str, template: str
) -> None:
    assert description.template_of(method, path) == template


@pytest.mark.parametrize(("method", "path"), [("PUT", LEADS), ("GET", "/rest/v1/lead/1/2.json"), ("GET", f"{LEADS}/")])
def test_a_path_that_is_not_described_is_not_known(description: Description, method: str, path: str) -> None:
    with pytest.raises(LookupError, match="is not described"):
        description.template_of(method, path)


# -- the block ----------------------------------------------------------------------------------------------------

USED = {
    ("GET", "/rest/v1/leads.json"),
    ("POST", "/rest/v1/leads.json"),
    ("GET", "/rest/v1/leads/describe2.json"),
    ("POST", "/rest/v1/leads/delete.json"),
    ("POST", "/rest/v1/leads/{leadId}/merge.json"),
    ("POST", "/rest/v1/leads/{leadId}/associate.json"),
    ("GET", "/rest/v1/lists/{listId}/leads.json"),
    ("POST", "/rest/v1/lists/{listId}/leads.json"),
    ("DELETE", "/rest/v1/lists/{listId}/leads.json"),
    ("GET", "/rest/v1/programs/{programId}/members.json"),
    ("POST", "/rest/v1/programs/{programId}/members.json"),
    ("POST", "/rest/v1/programs/{programId}/members/status.json"),
    ("POST", "/rest/v1/programs/{programId}/members/delete.json"),
    ("POST", "/rest/v1/campaigns/{campaignId}/trigger.json"),
    ("POST", "/rest/v1/campaigns/{campaignId}/schedule.json"),
    ("GET", "/rest/v1/customobjects/{customObjectName}.json"),
    ("POST", "/rest/v1/customobjects/{customObjectName}.json"),
    ("POST", "/rest/v1/customobjects/{customObjectName}/delete.json"),
    ("GET", "/rest/v1/customobjects/{customObjectName}/describe.json"),
    ("GET", "/rest/v1/activities.json"),
    ("GET", "/rest/v1/activities/pagingtoken.json"),
    ("GET", "/rest/v1/activities/types.json"),
    ("GET", "/rest/v1/activities/leadchanges.json"),
    ("GET", "/rest/v1/activities/deletedleads.json"),
    ("POST", "/rest/v1/activities/external.json"),
    ("GET", "/rest/v1/stats/usage.json"),
    ("POST", "/bulk/v1/leads.json"),
    ("GET", "/bulk/v1/leads/batch/{batchId}.json"),
    ("GET", "/bulk/v1/leads/batch/{batchId}/failures.json"),
    ("GET", "/bulk/v1/leads/batch/{batchId}/warnings.json"),
    ("POST", "/bulk/v1/customobjects/{apiName}/import.json"),
    ("GET", "/bulk/v1/customobjects/{apiName}/import/{batchId}/status.json"),
    ("GET", "/bulk/v1/customobjects/{apiName}/import/{batchId}/failures.json"),
    ("GET", "/bulk/v1/customobjects/{apiName}/import/{batchId}/warnings.json"),
    ("POST", "/bulk/v1/program/{programId}/members/import.json"),
    ("GET", "/bulk/v1/program/members/import/{batchId}/status.json"),
    ("GET", "/bulk/v1/program/members/import/{batchId}/failures.json"),
    ("GET", "/bulk/v1/program/members/import/{batchId}/warnings.json"),
    ("POST", "/bulk/v1/leads/export/create.json"),
    ("POST", "/bulk/v1/leads/export/{exportId}/enqueue.json"),
    ("GET", "/bulk/v1/leads/export/{exportId}/status.json"),
    ("GET", "/bulk/v1/leads/export/{exportId}/file.json"),
    ("POST", "/bulk/v1/activities/export/create.json"),
    ("POST", "/bulk/v1/activities/export/{exportId}/enqueue.json"),
    ("GET", "/bulk/v1/activities/export/{exportId}/status.json"),
    ("GET", "/bulk/v1/activities/export/{exportId}/file.json"),
}
"""All that the block calls."""


@pytest.fixture
def judged_sandbox(
    description: Description, prism: PrismServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[tuple[Sandbox, JudgedMarketo]]:
    """The judges in front of the sandbox."""
    monkeypatch.setenv("PREFECT_ATOMIC_LIMITS_PATH", str(tmp_path / "limits"))
    limits.forget()
    with (
        Sandbox.start() as sandbox,
        JudgedMarketo(description, prism, upstream=f"{sandbox.url}/marketo") as judges,
        instant_retries(),
    ):
        sandbox.set_marketo(enforce=False, fail_row_every=3, warn_row_every=4)
        yield sandbox, judges


def block_for(sandbox: Sandbox, judges: JudgedMarketo) -> Marketo:
    account = sandbox.accounts.marketo
    return Marketo(
        rest_endpoint=judges.rest_endpoint,
        identity_endpoint=judges.identity_endpoint,
        client_id=account.client_id,
        client_secret=account.client_secret,
    )


def test_all_that_the_block_calls_is_described_and_so_is_what_the_sandbox_answers(
    judged_sandbox: tuple[Sandbox, JudgedMarketo], tmp_path: Path
) -> None:
    sandbox, judges = judged_sandbox
    marketo = block_for(sandbox, judges)
    _leads(marketo)
    _lists_and_programs(marketo)
    _campaigns(marketo)
    _custom_objects(marketo)
    _activities(marketo)
    _imports(marketo)
    _exports(marketo, tmp_path)
    assert judges.violations == []
    assert set(judges.calls) == USED


def test_refusals_are_described_too(judged_sandbox: tuple[Sandbox, JudgedMarketo]) -> None:
    sandbox, judges = judged_sandbox
    marketo = block_for(sandbox, judges)
    emails = [{"email": f"user{number}@example.com"} for number in range(3)]
    for code, message in (
        ("602", "Access token expired"),
        ("606", "Max rate limit"),
        ("615", "Concurrent access limit"),
    ):
        sandbox.set_marketo(error_every=2, error_code=code, error_message=message)
        assert marketo.sync_leads(emails).succeeded == 3
    sandbox.set_marketo(error_every=0)
    marketo.sync_leads([*emails, {"email": "x@example.com", "shoeSize": 42}], on_error="return")
    marketo.add_activities([_activity(999_999)], on_error="return")
    marketo.delete_leads([999_999], on_error="return")
    for refused in (
        lambda: marketo.sync_leads(emails, partition="Nowhere"),
        lambda: marketo.request_campaign(3002, [1, 2, 3, 4]),
        lambda: marketo.add_to_list(9999, [1, 2, 3, 4]),
        lambda: list(marketo.leads("shoeSize", ["42"])),
        lambda: marketo.import_leads([{"email": "a@example.com", "shoeSize": 42}]),
    ):
        with pytest.raises(AtomicError):
            refused()
    assert judges.violations == []


def _leads(marketo: Marketo) -> None:
    leads: list[dict[str, Any]] = [{"email": f"user{number}@example.com", "leadScore": number} for number in range(310)]
    ids = [int(outcome.id or 0) for outcome in marketo.sync_leads(leads, partition="Europe")]
    marketo.sync_leads(leads[:2], action="updateOnly")
    marketo.sync_leads(leads[:1], action="createOnly", on_error="return")
    marketo.sync_leads(leads[:1], action="createDuplicate")
    marketo.sync_leads([{"id": ids[5], "lastName": None}], action="updateOnly", lookup_field="id")
    assert len(list(marketo.leads("id", ids, fields=["id", "email"]))) == 310
    assert len(list(marketo.leads("email", [each["email"] * 1 for each in leads]))) == 311  # too long for a URL
    marketo.describe()
    marketo.merge_leads(ids[0], ids[1:3], in_crm=False)
    marketo.associate_lead(ids[0], "id:123-ABC-456&token:_mch-example.com-1594662481190-60776")
    marketo.delete_leads(ids[300:])
    marketo.usage()


def _first(marketo: Marketo) -> list[int]:
    return [each["id"] for each in marketo.leads("email", [f"user{number}@example.com" for number in range(3, 9)])]


def _lists_and_programs(marketo: Marketo) -> None:
    ids = _first(marketo)
    marketo.add_to_list(1001, ids)
    assert len(list(marketo.list_members(1001, fields=["id"]))) == len(ids)
    marketo.remove_from_list(1001, ids[:2])
    marketo.set_program_status(2001, "Registered", ids)
    marketo.sync_program_members(2001, [{"leadId": ids[0], "registrationCode": "A1"}], on_error="return")
    assert list(marketo.program_members(2001, "leadId", ids, fields=["leadId", "statusName"]))
    marketo.remove_from_program(2001, ids[:1])


def _campaigns(marketo: Marketo) -> None:
    marketo.request_campaign(3001, _first(marketo), tokens={"my.offer": "20 %"})
    marketo.request_campaign(3001, _first(marketo))
    marketo.schedule_campaign(3002, run_at=datetime.now(UTC) + timedelta(days=1), tokens={"my.offer": "20 %"})
    marketo.schedule_campaign(3002, clone_to_program="Webinar of May")


def _custom_objects(marketo: Marketo) -> None:
    cars = [{"vin": f"VIN{number}", "model": "T", "year": 1908} for number in range(5)]
    outcomes = marketo.sync_custom_objects("car_c", cars)
    by_guid = [{"marketoGUID": outcomes[0].id, "year": 1909}]
    marketo.sync_custom_objects("car_c", by_guid, action="updateOnly", dedupe_by="idField")
    assert list(marketo.custom_objects("car_c", "vin", ["VIN1"], fields=["vin"]))
    assert list(marketo.custom_objects("car_c", "dedupeFields", [{"vin": "VIN1"}], fields=["vin"]))
    marketo.delete_custom_objects("car_c", cars[:2])
    marketo.delete_custom_objects("car_c", [{"marketoGUID": outcomes[2].id}], delete_by="idField")


def _activity(lead_id: int) -> dict[str, Any]:
    return {
        "leadId": lead_id,
        "activityTypeId": 100001,
        "activityDate": datetime(2026, 8, 1, tzinfo=UTC),
        "primaryAttributeValue": "card-1",
        "attributes": {"event": "card.completed", "score": 5},
    }


def _activities(marketo: Marketo) -> None:
    ids, since = _first(marketo), datetime(2026, 7, 1, tzinfo=UTC)
    marketo.add_activities(map(_activity, ids))
    assert len(list(marketo.activities(since, types=["Atomic Card", 1], leads=ids))) == len(ids)
    list(marketo.activities(since, types=[1, 13], list_id=1001))
    assert list(marketo.lead_changes(since, fields=["leadScore"]))
    assert list(marketo.deleted_leads(since))


def _imports(marketo: Marketo) -> None:
    leads = [{"email": f"new{number}@example.com", "leadScore": number} for number in range(12)]
    outcomes = marketo.import_leads(leads, lookup_field="email", list_id=1001, partition="Europe", on_error="return")
    assert 0 < outcomes.failed < 12
    cars = [{"vin": f"NEW{number}", "model": "T"} for number in range(12)]
    assert marketo.import_custom_objects("car_c", cars, on_error="return").failed
    members = [{"email": f"new{number}@example.com"} for number in range(12)]
    assert marketo.import_program_members(2001, "Registered", members, on_error="return").failed


def _exports(marketo: Marketo, folder: Path) -> None:
    since, until = datetime(2026, 7, 1, tzinfo=UTC), datetime.now(UTC)
    names = {"email": "E-mail"}
    exported = marketo.export_leads(
        folder / "created", fields=["id", "email"], created=(since, until), header_names=names
    )
    assert len(exported.jobs) > 1
    marketo.export_leads(folder / "updated", fields=["id"], updated=(until - timedelta(days=9), until))
    marketo.export_leads(folder / "listed", fields=["id"], static_list=1001)
    marketo.export_leads(folder / "named", fields=["id"], static_list="Newsletter")
    marketo.export_activities(folder / "all", since=since, until=since + timedelta(days=40))
    marketo.export_activities(
        folder / "some", since=since, until=until, types=[100001, 1], fields=["leadId", "attributes"]
    )
