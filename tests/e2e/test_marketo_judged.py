"""What we send to Marketo is what Adobe describes: judged by Prism, with Adobe's description.

First the judges themselves, with calls that httpx makes: they take what is right and find what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest

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
