"""The servers of the end-to-end tests judge rightly: they take what is right and refuse what is wrong.

The clients here are written by others too (botocore signs, httpx and http.client send), so that a mistake in our
package and a mistake in a server cannot agree with each other.
"""

from __future__ import annotations

import concurrent.futures
import gc
import hashlib
import http.client
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import httpx
import pytest
import time_machine
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.e2e.servers import missing
from tests.e2e.servers.faulty import Answer, FaultServer
from tests.e2e.servers.process import ServerError, ServerProcess, python_program

if TYPE_CHECKING:
    from tests.e2e.servers.moto import AwsKeys, MotoServer
    from tests.e2e.servers.oidc import OidcClient, OidcServer
    from tests.e2e.servers.prism import PrismServer
    from tests.e2e.servers.swift import SwiftServer

pytestmark = pytest.mark.e2e


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=10) as client:
        yield client


# -- Swift ------------------------------------------------------------------------------------------------------


class _Signer:
    """botocore's S3 signers, in headers or in the query; ``canonical`` overrides the path and query it signs."""

    def __init__(
        self,
        server: SwiftServer,
        *,
        secret: str | None = None,
        access_key: str | None = None,
        region: str | None = None,
        presign: bool = False,
        canonical: tuple[str | None, str | None] = (None, None),
    ) -> None:
        kind: Any = S3SigV4QueryAuth if presign else S3SigV4Auth
        path, query = canonical

        class Auth(kind):  # type: ignore[misc]  # botocore has no types
            def _normalize_url_path(self, given: str) -> str:
                return super()._normalize_url_path(given) if path is None else path

            def canonical_query_string(self, request: AWSRequest) -> str:
                return super().canonical_query_string(request) if query is None else query

        credentials = Credentials(access_key or server.access_key, secret or server.secret)
        self._server = server
        self._auth = Auth(credentials, server.service, region or server.region, **({"expires": 60} if presign else {}))

    def sign(
        self, target: str, *, method: str = "GET", body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[str, str, dict[str, str]]:
        """The method, the target and the headers to send."""
        request = AWSRequest(method=method, url=self._server.url + target, data=body, headers=dict(headers or {}))
        self._auth.add_auth(request)
        return method, request.url.removeprefix(self._server.url), dict(request.headers.items())


def _send(
    server: SwiftServer, signed: tuple[str, str, dict[str, str]], body: bytes | None = None
) -> tuple[int, dict[str, Any]]:
    method, target, headers = signed
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        answer = response.read()
        return response.status, json.loads(answer) if answer else {}
    finally:
        connection.close()


ACCEPTED = (200, {"accepted": True})


@pytest.mark.parametrize("presign", [False, True], ids=["header", "presigned"])
@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/bucket",
        "/bucket/",
        "/bucket/key",
        "/bucket/a%20key/%C3%A9t%C3%A9/100%25",
        "/bucket/a//b/../c/./d",
        "/bucket/a%2Bb%3Ac%40d",
        "/bucket/key?versionId=a%2Fb&x=%2B%20~",
        "/bucket?acl",
    ],
)
def test_swift_accepts(swift_server: SwiftServer, target: str, presign: bool) -> None:
    assert _send(swift_server, _Signer(swift_server, presign=presign).sign(target)) == ACCEPTED


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH", "GET"])
def test_swift_accepts_the_body_that_was_signed_and_no_other(swift_server: SwiftServer, method: str) -> None:
    signed = _Signer(swift_server).sign("/bucket/key", method=method, body=b"a body")
    assert "X-Amz-Content-SHA256" in signed[2]
    signed[2]["Content-Length"] = "6"
    assert _send(swift_server, signed, b"a body") == ACCEPTED
    status, answer = _send(swift_server, signed, b"A body")
    assert status == 403
    assert answer["accepted"] is False
    assert answer["reason"].startswith("S3InputSHA256Mismatch: ")


def test_swift_accepts_head(swift_server: SwiftServer) -> None:
    assert _send(swift_server, _Signer(swift_server).sign("/bucket/key", method="HEAD")) == (200, {})
    signed = _Signer(swift_server, secret="wrong").sign("/bucket/key", method="HEAD")
    assert _send(swift_server, signed) == (403, {})


@pytest.mark.parametrize("presign", [False, True], ids=["header", "presigned"])
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"secret": "wrong"}, "SignatureDoesNotMatch"),
        ({"access_key": "AKIDOTHER"}, "InvalidAccessKeyId"),
        ({"region": "eu-west-3"}, "Authorization"),
    ],
)
def test_swift_refuses_wrong_credentials(
    swift_server: SwiftServer, wrong: dict[str, Any], reason: str, presign: bool
) -> None:
    status, answer = _send(swift_server, _Signer(swift_server, presign=presign, **wrong).sign("/bucket/key"))
    assert status == 403
    assert answer["reason"].startswith(reason)
    assert ("canonical_request" in answer) == (reason == "SignatureDoesNotMatch")


@pytest.mark.parametrize(
    ("presign", "reason"),
    [(True, "AccessDenied: Request has expired"), (False, "RequestTimeTooSkewed: ")],
    ids=["presigned", "header"],
)
def test_swift_refuses_what_was_signed_an_hour_ago(swift_server: SwiftServer, presign: bool, reason: str) -> None:
    with time_machine.travel(datetime.now(UTC) - timedelta(hours=1)):
        signed = _Signer(swift_server, presign=presign).sign("/bucket/key")
    status, answer = _send(swift_server, signed)
    assert status == 403
    assert answer["reason"].startswith(reason)


def test_swift_refuses_a_url_that_was_changed_after_it_was_signed(swift_server: SwiftServer) -> None:
    method, target, headers = _Signer(swift_server, presign=True).sign("/bucket/key")
    status, answer = _send(swift_server, (method, target.replace("Expires=60", "Expires=600"), headers))
    assert status == 403
    assert answer["reason"].startswith("SignatureDoesNotMatch: ")


def test_swift_refuses_what_is_not_signed(swift_server: SwiftServer) -> None:
    status, answer = _send(swift_server, ("GET", "/bucket/key", {}))
    assert (status, answer["reason"].partition(":")[0]) == (403, "NotSigV4")


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/bucket/a+b", "/bucket/a%2Bb"),
        ("/bucket/a%2bb", "/bucket/a%2Bb"),
        ("/bucket/a%2Fb", "/bucket/a/b"),
        ("/bucket/%7Ea", "/bucket/~a"),
        ("/bucket/a%2525b", "/bucket/a%2525b"),
        ("/bucket/a:b@c!$&'()*,;=", "/bucket/a%3Ab%40c%21%24%26%27%28%29%2A%2C%3B%3D"),
    ],
)
def test_swifts_canonical_form_of_a_path(swift_server: SwiftServer, target: str, path: str) -> None:
    """It decodes the path once and encodes it again, all but the unreserved characters and ``/``."""
    signer = _Signer(swift_server, canonical=(path, None))
    assert _send(swift_server, signer.sign(target)) == ACCEPTED


@pytest.mark.parametrize(
    ("query", "canonical"),
    [
        ("acl", "acl="),
        ("a=b+c", "a=b%20c"),
        ("a=b%2bc", "a=b%2Bc"),
        ("a=b/c=d", "a=b%2Fc%3Dd"),
        ("a=1&&b=2", "a=1&b=2"),
        # its own: the last of several values is the only one
        ("a=1&a=2", "a=2"),
        # its own: sorted before encoding, where ":" comes after "0", not after encoding, where "%" comes before it
        ("a%3A=1&a0=2", "a0=2&a%3A=1"),
        # its own: a parameter with the name of the signature of version 2 is left out
        ("Signature=x&a=1", "a=1"),
    ],
)
def test_swifts_canonical_form_of_a_query(swift_server: SwiftServer, query: str, canonical: str) -> None:
    """It decodes the query, ``+`` to a space, and encodes it again; where that is not as AWS does it, it says so."""
    signer = _Signer(swift_server, canonical=(None, canonical))
    assert _send(swift_server, signer.sign(f"/bucket/key?{query}")) == ACCEPTED


def test_swift_keeps_connections_and_serves_many(swift_server: SwiftServer) -> None:
    connections = [http.client.HTTPConnection("127.0.0.1", swift_server.port, timeout=10) for _ in range(4)]
    try:
        for _ in range(2):
            for connection in connections:
                method, target, headers = _Signer(swift_server).sign("/bucket/key")
                connection.request(method, target, headers=headers)
            for connection in connections:
                response = connection.getresponse()
                assert (response.status, json.loads(response.read())) == ACCEPTED
                assert connection.sock is not None
    finally:
        for connection in connections:
            connection.close()


# -- moto -------------------------------------------------------------------------------------------------------


def _caller(server: MotoServer, keys: AwsKeys) -> str:
    sts = server.client("sts", keys)
    try:
        return str(sts.get_caller_identity()["Arn"])
    finally:
        sts.close()


def _changed(keys: AwsKeys, **fields: str | None) -> AwsKeys:
    return type(keys)(**{**vars(keys), **fields})


def test_moto_knows_its_user_and_its_role(moto_server: MotoServer) -> None:
    account = moto_server.account_id
    assert _caller(moto_server, moto_server.user) == f"arn:aws:iam::{account}:user/user"
    assert _caller(moto_server, moto_server.role) == f"arn:aws:sts::{account}:assumed-role/role/session"


@pytest.mark.parametrize(
    ("which", "changes", "code"),
    [
        ("user", {"secret_access_key": "wrong"}, "SignatureDoesNotMatch"),
        ("user", {"access_key_id": "AKIDOTHER"}, "InvalidClientTokenId"),
        ("role", {"secret_access_key": "wrong"}, "SignatureDoesNotMatch"),
        ("role", {"session_token": "wrong"}, "InvalidClientTokenId"),
    ],
)
def test_moto_refuses_wrong_keys(
    moto_server: MotoServer, which: str, changes: dict[str, str | None], code: str
) -> None:
    with pytest.raises(ClientError) as caught:
        _caller(moto_server, _changed(getattr(moto_server, which), **changes))
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert caught.value.response["Error"]["Code"] == code


def test_moto_refuses_session_keys_without_their_token(moto_server: MotoServer) -> None:
    with pytest.raises(ClientError):
        _caller(moto_server, _changed(moto_server.role, session_token=None))


def test_moto_refuses_a_tampered_body(moto_server: MotoServer, client: httpx.Client) -> None:
    body = b"Action=ListUsers&Version=2010-05-08"
    keys = Credentials(moto_server.user.access_key_id, moto_server.user.secret_access_key)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    request = AWSRequest(method="POST", url=f"{moto_server.url}/", data=body, headers=headers)
    SigV4Auth(keys, "iam", moto_server.region).add_auth(request)
    signed = dict(request.headers.items())
    assert client.post(request.url, content=body, headers=signed).status_code == 200
    tampered = client.post(request.url, content=body.replace(b"Users", b"Roles"), headers=signed)
    assert (tampered.status_code, "SignatureDoesNotMatch" in tampered.text) == (403, True)


def test_moto_verifies_a_request_without_a_body_if_its_hash_is_signed(
    moto_server: MotoServer, client: httpx.Client
) -> None:
    url = f"{moto_server.url}/?Action=GetCallerIdentity&Version=2011-06-15"
    for secret, status in ((moto_server.user.secret_access_key, 200), ("wrong", 403)):
        headers = {"X-Amz-Content-SHA256": hashlib.sha256(b"").hexdigest()}
        request = AWSRequest(method="GET", url=url, headers=headers)
        SigV4Auth(Credentials(moto_server.user.access_key_id, secret), "sts", moto_server.region).add_auth(request)
        assert client.get(url, headers=dict(request.headers.items())).status_code == status


def test_moto_applies_policies(moto_server: MotoServer) -> None:
    from tests.e2e.servers.moto import allow

    for keys in (
        moto_server.create_user("reader", allow("iam:ListUsers")),
        moto_server.assume_role("reading", allow("iam:ListUsers")),
    ):
        iam = moto_server.client("iam", keys)
        try:
            assert {user["UserName"] for user in iam.list_users()["Users"]} >= {"user", "reader"}
            with pytest.raises(ClientError) as caught:
                iam.list_roles()
        finally:
            iam.close()
        assert caught.value.response["Error"]["Code"] == "AccessDenied"


# -- oidc-provider ----------------------------------------------------------------------------------------------


def _token(client: httpx.Client, server: OidcServer, known: OidcClient, **extra: str) -> httpx.Response:
    form = {"grant_type": "client_credentials", "client_id": known.id, "client_secret": known.secret, **extra}
    return client.post(server.token_url, data=form)


def _basic(client: httpx.Client, server: OidcServer, name: str, secret: str) -> httpx.Response:
    return client.post(server.token_url, data={"grant_type": "client_credentials"}, auth=(name, secret))


def test_oidc_issues_counts_and_revokes(oidc_server: OidcServer, client: httpx.Client) -> None:
    before = oidc_server.token_requests()
    response = _token(client, oidc_server, oidc_server.post_client, scope="api:read")
    assert response.status_code == 200
    answer = response.json()
    assert answer["token_type"] == "Bearer"
    assert answer["expires_in"] == oidc_server.token_lifetime
    assert oidc_server.token_requests() == before + 1

    token = answer["access_token"]
    said = oidc_server.introspect(token)
    assert (said["active"], said["client_id"], said["scope"]) == (True, oidc_server.post_client.id, "api:read")
    bearer = {"Authorization": f"Bearer {token}"}
    assert client.get(oidc_server.api_url, headers=bearer).json()["client_id"] == oidc_server.post_client.id

    oidc_server.revoke(token, oidc_server.post_client)
    assert oidc_server.introspect(token) == {"active": False}
    assert client.get(oidc_server.api_url, headers=bearer).status_code == 401


def test_oidc_does_not_know_a_token_it_did_not_issue(oidc_server: OidcServer, client: httpx.Client) -> None:
    assert oidc_server.introspect("invented") == {"active": False}
    assert client.get(oidc_server.api_url, headers={"Authorization": "Bearer invented"}).status_code == 401
    assert client.get(oidc_server.api_url).status_code == 401


def test_oidc_refuses_a_bad_secret_and_a_bad_scope(oidc_server: OidcServer, client: httpx.Client) -> None:
    response = _token(client, oidc_server, oidc_server.post_client, client_secret="wrong")
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")
    response = _token(client, oidc_server, oidc_server.post_client, scope="api:admin")
    assert (response.status_code, response.json()["error"]) == (400, "invalid_scope")


def test_oidc_wants_basic_credentials_form_encoded(oidc_server: OidcServer, client: httpx.Client) -> None:
    known = oidc_server.basic_client
    for text in (known.id, known.secret):
        assert all(character in text for character in ":%+ ")
    response = _basic(client, oidc_server, quote_plus(known.id), quote_plus(known.secret))
    assert response.status_code == 200
    token = response.json()["access_token"]
    assert oidc_server.introspect(token)["client_id"] == known.id
    oidc_server.revoke(token, known)
    assert oidc_server.introspect(token) == {"active": False}

    raw = _basic(client, oidc_server, known.id, known.secret)
    assert (raw.status_code, raw.json()["error"]) == (400, "invalid_request")
    wrong = _basic(client, oidc_server, quote_plus(known.id), quote_plus(known.secret + "x"))
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")


def test_oidc_refuses_credentials_in_the_query(oidc_server: OidcServer, client: httpx.Client) -> None:
    known = oidc_server.post_client
    query = {"grant_type": "client_credentials", "client_id": known.id, "client_secret": known.secret}
    assert client.post(oidc_server.token_url, params=query).status_code == 400
    assert client.get(oidc_server.token_url, params=query).status_code == 404


# -- Prism ------------------------------------------------------------------------------------------------------

PETS = {
    "swagger": "2.0",
    "info": {"title": "Pets", "version": "1"},
    "paths": {
        "/pets/{id}": {
            "post": {
                "consumes": ["application/json"],
                "produces": ["application/json"],
                "parameters": [
                    {"name": "id", "in": "path", "required": True, "type": "integer"},
                    {"name": "shop", "in": "query", "required": True, "type": "string"},
                    {"name": "pet", "in": "body", "required": True, "schema": {"$ref": "#/definitions/Pet"}},
                ],
                "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/Pet"}}},
            }
        }
    },
    "definitions": {
        "Pet": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
    },
}
PET = b'{"name": "Rex"}'
JSON = [("Content-Type", "application/json")]


@pytest.fixture(scope="module")
def prism_server() -> Iterator[PrismServer]:
    from tests.e2e.servers.prism import PrismServer, need_prism

    need_prism()
    with PrismServer(PETS) as server:
        yield server


def test_prism_takes_a_call_that_is_described(prism_server: PrismServer) -> None:
    verdict = prism_server.judge("POST", "/pets/7?shop=a", JSON, PET)
    assert (verdict.status, verdict.violations) == (200, [])
    assert isinstance(json.loads(verdict.body)["name"], str)


@pytest.mark.parametrize(
    ("method", "target", "headers", "body", "status", "where"),
    [
        ("POST", "/pets/7?shop=a", JSON, b'{"name": 7}', 422, "request.body.name"),
        ("POST", "/pets/7?shop=a", JSON, b"{}", 422, "request.body"),
        ("POST", "/pets/7?shop=a", JSON, None, 422, "request"),
        ("POST", "/pets/7?shop=a", [("Content-Type", "text/csv")], PET, 415, "request"),
        ("POST", "/pets/7", JSON, PET, 422, "request.query"),
        ("POST", "/pets/rex?shop=a", JSON, PET, 422, "request.path.id"),
        ("POST", "/pet/7?shop=a", JSON, PET, 404, "request"),
        ("PUT", "/pets/7?shop=a", JSON, PET, 405, "request"),
    ],
)
def test_prism_refuses_a_call_that_is_not_described(
    prism_server: PrismServer,
    method: str,
    target: str,
    headers: list[tuple[str, str]],
    body: bytes | None,
    status: int,
    where: str,
) -> None:
    verdict = prism_server.judge(method, target, headers, body)
    assert verdict.status == status
    assert [(each.method, each.path, each.where) for each in verdict.violations] == [
        (method, target.partition("?")[0], where)
    ]


def test_prism_judges_answers_too_where_it_is_a_proxy(fault_server: FaultServer) -> None:
    from tests.e2e.servers.prism import PrismServer, need_prism

    need_prism()
    with PrismServer(PETS, upstream=fault_server.url) as server:
        fault_server.script([Answer(headers=JSON, body=body) for body in (PET, b'{"name": null}')])
        verdict = server.judge("POST", "/pets/7?shop=a", JSON, PET)
        assert (verdict.status, json.loads(verdict.body), verdict.violations) == (200, {"name": "Rex"}, [])
        verdict = server.judge("POST", "/pets/7?shop=a", JSON, PET)
        assert (verdict.status, [each.where for each in verdict.violations]) == (500, ["response.body.name"])
        refused = server.judge("POST", "/pets/7", JSON, PET)
        assert (refused.status, len(fault_server.requests)) == (422, 2)


# -- the fault server -------------------------------------------------------------------------------------------


def test_faulty_records_the_exact_bytes(fault_server: FaultServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", fault_server.port, timeout=10)
    connection.putrequest("POST", "/a//../%7e?b=+&b=%2b&c", skip_host=True, skip_accept_encoding=True)
    connection.putheader("hOST", "example.com")
    connection.putheader("X-Twice", "1")
    connection.putheader("X-Twice", " 2 ")
    connection.putheader("Content-Length", "3")
    connection.endheaders(b"\x00\xff\n")
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b'{"ok": true}')
    connection.close()

    (request,) = fault_server.requests
    assert request.request_line == "POST /a//../%7e?b=+&b=%2b&c HTTP/1.1"
    assert (request.method, request.target) == ("POST", "/a//../%7e?b=+&b=%2b&c")
    assert (request.path, request.query) == ("/a//../%7e", "b=+&b=%2b&c")
    assert request.headers == [("hOST", "example.com"), ("X-Twice", "1"), ("X-Twice", "2"), ("Content-Length", "3")]
    assert request.all("x-twice") == ["1", "2"]
    assert request.header("host") == "example.com"
    assert request.header("missing") is None
    assert request.body == b"\x00\xff\n"
    assert request.raw == (
        b"POST /a//../%7e?b=+&b=%2b&c HTTP/1.1\r\nhOST: example.com\r\nX-Twice: 1\r\nX-Twice:  2 \r\n"
        b"Content-Length: 3\r\n\r\n\x00\xff\n"
    )


def test_faulty_puts_a_chunked_body_together(fault_server: FaultServer, client: httpx.Client) -> None:
    assert client.post(fault_server.url, content=iter([b"one ", b"two"])).status_code == 200
    assert fault_server.requests[0].body == b"one two"
    assert fault_server.requests[0].raw.endswith(b"\r\n\r\n4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n")


def test_faulty_counts_connections(fault_server: FaultServer, client: httpx.Client) -> None:
    for _ in range(3):
        client.get(fault_server.url)
    assert [request.connection for request in fault_server.requests] == [0, 0, 0]
    assert (fault_server.connections, fault_server.open_connections) == (1, 1)
    client.close()
    fault_server.wait(lambda server: server.open_connections == 0)


def test_faulty_follows_a_script_then_a_handler_then_a_mode(fault_server: FaultServer, client: httpx.Client) -> None:
    fault_server.script([Answer(503, [("Retry-After", "7")], b"later"), "close", Answer(204)])
    fault_server.handler = lambda request: Answer(418, body=request.target.encode())
    fault_server.mode = "garbage"

    first = client.get(fault_server.url)
    assert (first.status_code, first.headers["Retry-After"], first.content) == (503, "7", b"later")
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(fault_server.url)
    assert client.get(fault_server.url).status_code == 204
    assert client.get(fault_server.url + "/cut-body").content == b"/cut-body"
    fault_server.handler = None
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(fault_server.url)
    fault_server.reset()
    assert client.get(fault_server.url).json() == {"ok": True}
    assert len(fault_server.requests) == 1


def test_faulty_holds_an_answer_back_until_it_is_told_otherwise(
    fault_server: FaultServer, client: httpx.Client
) -> None:
    fault_server.handler = lambda request: Answer(body=b"at last", hold=True)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(client.get, fault_server.url) for _ in range(3)]
        fault_server.wait(lambda server: len(server.requests) == 3)
        assert not any(answer.done() for answer in answers)
        fault_server.release()
        assert [answer.result().content for answer in answers] == [b"at last"] * 3


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        ("close", httpx.RemoteProtocolError),
        ("reset", httpx.ReadError),
        ("garbage", httpx.RemoteProtocolError),
        ("cut-headers", httpx.RemoteProtocolError),
        ("endless-headers", httpx.RemoteProtocolError),
        ("cut-body", httpx.RemoteProtocolError),
        ("cut-chunk", httpx.RemoteProtocolError),
        ("not-gzip", httpx.DecodingError),
    ],
)
def test_faulty_breaks(fault_server: FaultServer, client: httpx.Client, behaviour: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        client.get(f"{fault_server.url}/{behaviour}/anything?a=b")
    fault_server.mode = behaviour
    with pytest.raises(error):
        client.get(fault_server.url)


@pytest.mark.parametrize("mode", ["hang", "hang-accept"])
def test_faulty_hangs(fault_server: FaultServer, mode: str) -> None:
    fault_server.mode = mode
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(fault_server.url, timeout=httpx.Timeout(10, read=0.05), trust_env=False)
    assert len(fault_server.requests) == (1 if mode == "hang" else 0)


def test_faulty_drips(fault_server: FaultServer, client: httpx.Client) -> None:
    fault_server.drip_body, fault_server.drip_interval = b"slow", 0.001
    with client.stream("GET", fault_server.url + "/drip") as response:
        assert b"".join(response.iter_raw()) == b"slow"
    fault_server.drip_body, fault_server.drip_interval = b"x" * 1000, 60
    with client.stream("GET", fault_server.url + "/drip") as response:
        assert next(response.iter_raw()) == b"x"


@pytest.mark.parametrize("behaviour", ["endless", "huge"])
def test_faulty_never_ends_and_counts_what_was_taken(
    fault_server: FaultServer, client: httpx.Client, behaviour: str
) -> None:
    taken = 0
    with client.stream("GET", f"{fault_server.url}/{behaviour}") as response:
        for block in response.iter_raw():
            taken += len(block)
            if taken > 1_000_000:
                break
    fault_server.wait(lambda server: server.open_connections == 0)
    assert taken <= fault_server.bytes_sent < 50_000_000


def test_faulty_bomb_is_small_on_the_wire(fault_server: FaultServer, client: httpx.Client) -> None:
    assert len(client.get(fault_server.url + "/gzip-bomb").content) == 32 << 20
    assert fault_server.bytes_sent < 50_000


def test_faulty_speaks_tls_that_nobody_trusts(tls_fault_server: FaultServer) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(tls_fault_server.url, trust_env=False)
    assert tls_fault_server.requests == []
    with httpx.Client(verify=_trusting(tls_fault_server), trust_env=False) as client:
        assert client.get(tls_fault_server.url).json() == {"ok": True}
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(tls_fault_server.url + "/cut-body")


@pytest.mark.parametrize(
    ("certificate", "message"), [("wrong-host", "IP address mismatch"), ("expired", "certificate has expired")]
)
def test_faulty_speaks_tls_that_nobody_should_trust(certificate: Any, message: str) -> None:
    with (
        FaultServer(tls=True, certificate=certificate) as server,
        httpx.Client(verify=_trusting(server), trust_env=False) as client,
        pytest.raises(httpx.ConnectError, match=message),
    ):
        client.get(server.url)


def _trusting(server: FaultServer) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(server.ca_file))


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.filterwarnings("error::ResourceWarning")
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_faulty_stops_at_once_and_leaves_nothing(tls: bool) -> None:
    before = set(threading.enumerate())
    with FaultServer(tls=tls) as server:
        idle = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        idle.connect()  # for tls: a handshake that never begins
        busy = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        if tls:
            busy = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10, context=_trusting(server))
        busy.request("GET", "/endless")
        server.wait(lambda server: server.bytes_sent > 10_000)
    idle.close()
    busy.close()
    assert set(threading.enumerate()) == before
    gc.collect()


def test_faulty_tells_of_a_mistake_in_a_test(client: httpx.Client) -> None:
    server = FaultServer()
    with pytest.raises(ValueError, match="no behaviour 'explode'"):
        server.script(["explode"])
    server.handler = lambda request: "explode"
    server.__enter__()
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(server.url)
    with pytest.raises(ValueError, match="no behaviour 'explode'"):
        server.__exit__(None, None, None)


# -- what they stand on -----------------------------------------------------------------------------------------


def test_a_server_that_does_not_start_says_why() -> None:
    process = ServerProcess("Swift", python_program("_swift_process.py"), {"unknown": True})
    with pytest.raises(ServerError, match=r"(?s)Swift did not start.*unexpected keyword argument 'unknown'"):
        process.start()
    process.stop()


def test_missing_skips_but_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="it is not there"):
        missing("it is not there")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="it is not there"):
        missing("it is not there")
