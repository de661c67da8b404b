"""Signed requests as they arrive: recomputed from the bytes of the wire, and judged by Swift and moto."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, unquote_to_bytes

import anyio
import awscrt.auth
import awscrt.http
import httpx
import pytest
import time_machine
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from prefect_atomic import AWSSignedRequest, ResponseError, send_request
from prefect_atomic.transport.retry import instant_retries
from tests.e2e.servers.faulty import Answer, CapturedRequest, FaultServer

if TYPE_CHECKING:
    from tests.e2e.servers.moto import MotoServer
    from tests.e2e.servers.swift import SwiftServer

pytestmark = pytest.mark.e2e

KEY, SECRET, SESSION = "AKIDRECORDED", "a/secret+key", "a/session+token=="
REGION = "eu-central-1"


@pytest.fixture(scope="module")
def recorder() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def signing(service: str, *, session: bool = False, sign_query: bool = False) -> AWSSignedRequest:
    return AWSSignedRequest(
        access_key_id=KEY,
        secret_access_key=SECRET,
        session_token=SESSION if session else None,
        service=service,
        region=REGION,
        sign_query=sign_query,
    )


# -- what was signed is what arrived ------------------------------------------------------------------------------


@dataclass
class Proof:
    """The signature of a captured request, and what is needed to compute it again."""

    signature: str
    moment: datetime
    target: str
    """Without the parameters of the signature."""
    signed_target: str
    """Without the signature itself: what was signed, if it was signed in the query."""
    headers: list[tuple[str, str]]
    payload_hash: str
    in_query: bool


def proof_of(captured: CapturedRequest, service: str) -> Proof:
    """Reads the proof as a server does: from nothing but the bytes."""
    fields = parse_qs(captured.query, keep_blank_values=True)
    in_query = "X-Amz-Signature" in fields
    if in_query:
        signature, signed, date = (fields[f"X-Amz-{name}"][0] for name in ("Signature", "SignedHeaders", "Date"))
        whole = re.sub(r"&X-Amz-Signature=\w+", "", captured.target)
    else:
        found = re.search(r"SignedHeaders=(\S+), Signature=(\w+)$", captured.header("authorization") or "")
        assert found is not None
        (signed, signature), date = found.groups(), captured.header("x-amz-date") or ""
        whole = captured.target
    names = signed.split(";")
    hashed = hashlib.sha256(captured.body).hexdigest()
    if service == "s3":
        assert captured.header("x-amz-content-sha256") == (None if in_query else hashed)
    return Proof(
        signature=signature,
        moment=datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC),
        target=re.sub(r"(?<=[?&])X-Amz-\w[^&]*(&|$)", "", whole).rstrip("?&") if in_query else whole,
        signed_target=whole,
        headers=[(name, value) for name, value in captured.headers if name.lower() in names],
        payload_hash="UNSIGNED-PAYLOAD" if service == "s3" and in_query else hashed,
        in_query=in_query,
    )


def signature_by_awscrt(captured: CapturedRequest, proof: Proof, service: str, session: str | None) -> str:
    made_by_the_signer = ("authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256")
    headers = [(name, value) for name, value in proof.headers if name.lower() not in made_by_the_signer]
    request = awscrt.http.HttpRequest(captured.method, proof.target, awscrt.http.HttpHeaders(headers))
    kinds, hashes = awscrt.auth.AwsSignatureType, awscrt.auth.AwsSignedBodyHeaderType
    config = awscrt.auth.AwsSigningConfig(
        algorithm=awscrt.auth.AwsSigningAlgorithm.V4,
        signature_type=kinds.HTTP_REQUEST_QUERY_PARAMS if proof.in_query else kinds.HTTP_REQUEST_HEADERS,
        credentials_provider=awscrt.auth.AwsCredentialsProvider.new_static(KEY, SECRET, session),
        region=REGION,
        service=service,
        date=proof.moment,
        use_double_uri_encode=service != "s3",
        should_normalize_uri_path=service != "s3",
        signed_body_value=proof.payload_hash,
        signed_body_header_type=hashes.X_AMZ_CONTENT_SHA_256
        if any(name.lower() == "x-amz-content-sha256" for name, _ in proof.headers)
        else hashes.NONE,
        expiration_in_seconds=3600 if proof.in_query else None,
    )
    signed = awscrt.auth.aws_sign_request(request, config).result()
    where = signed.path if proof.in_query else dict(signed.headers)["Authorization"]
    return re.search(r"Signature=(\w+)", where)[1]


def signature_by_botocore(captured: CapturedRequest, proof: Proof, service: str) -> str:
    auth = (S3SigV4Auth if service == "s3" else SigV4Auth)(Credentials(KEY, SECRET), service, REGION)
    url = f"http://{captured.header('host')}{proof.signed_target}"
    request = AWSRequest(method=captured.method, url=url, data=captured.body)
    for name, value in proof.headers:
        request.headers[name] = value
    request.context["timestamp"] = proof.moment.strftime("%Y%m%dT%H%M%SZ")
    auth.payload = lambda request: proof.payload_hash
    return auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)


def assert_signed(captured: CapturedRequest, service: str, session: str | None = None) -> None:
    proof = proof_of(captured, service)
    assert proof.signature == signature_by_awscrt(captured, proof, service, session)
    assert proof.signature == signature_by_botocore(captured, proof, service)


text = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=6)
names = st.one_of(
    st.sampled_from([".", "..", "", "%2E%2e", "%2F", "100%", "a+b", "a b", "%41", "é", "日本", "~!$&'()*,;=:@", "%e9"]),
    text.map(lambda name: re.sub(r"[/?#]", "_", name)),
)
paths = st.lists(names, max_size=6).map(lambda parts: "/bucket/" + "/".join(parts))
pairs = st.lists(
    st.tuples(
        st.sampled_from(["a", "A", "b", "a b", "a+b", "é", "acl", "X-Note", "%7E", "~"]),
        st.sampled_from(
            ["", "=", "=1", "=0", "=a+b", "=a%20b", "=%C3%A9", "=ü", "=/?:@!$'()*,;", "=%", "=a=b", "=~%7e"]
        ),
    ),
    max_size=5,
).map(lambda pairs: "&".join(name + value for name, value in pairs))
params = st.lists(st.tuples(st.sampled_from(["a", "p q", "é"]), text), max_size=2)
methods = st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD", "PATCH"])
bodies = st.one_of(st.just(b""), st.binary(max_size=40))
notes = st.sampled_from(["", "a", "a   b", "a, b;c"])


@settings(max_examples=500)
@given(
    methods, paths, pairs, params, bodies, notes, st.sampled_from(["s3", "execute-api"]), st.booleans(), st.booleans()
)
def test_the_signature_is_over_the_bytes_that_are_sent(
    recorder: FaultServer,
    method: str,
    path: str,
    query: str,
    params: list[tuple[str, str]],
    body: bytes,
    note: str,
    service: str,
    session: bool,
    sign_query: bool,
) -> None:
    recorder.reset()
    url = f"http://127.0.0.1:{recorder.port}{path}" + (f"?{query}" if query else "")
    assume(url == url.strip())  # a URL that ends with a space is refused

    send_request.fn(
        method,
        url,
        credential=signing(service, session=session, sign_query=sign_query),
        params=params,
        headers={"X-Note": note},
        content=body,
    )

    assert_signed(recorder.requests[0], service, SESSION if session else None)


@pytest.mark.parametrize("sign_query", [False, True], ids=["header", "query"])
@pytest.mark.parametrize("service", ["s3", "execute-api"])
@pytest.mark.parametrize("target", ["/", "/a%20b/%2e%2e/c//d?x=1&x=0&flag", "/é+ü?q=a b+c&k=%41"])
class TestInAClientOfTheUsersOwn:
    """httpx changes a URL before it is sent; the signature is over what it makes of it."""

    def test_of_the_synchronous_kind(self, recorder: FaultServer, target: str, service: str, sign_query: bool) -> None:
        recorder.reset()
        credential = signing(service, session=True, sign_query=sign_query)

        with httpx.Client(auth=credential.auth()) as client:
            client.post(f"http://127.0.0.1:{recorder.port}{target}", json={"a": 1})

        assert_signed(recorder.requests[0], service, SESSION)

    def test_of_the_asynchronous_kind(self, recorder: FaultServer, target: str, service: str, sign_query: bool) -> None:
        recorder.reset()
        credential = signing(service, session=True, sign_query=sign_query)

        async def post() -> None:
            async with httpx.AsyncClient(auth=credential.auth()) as client:
                await client.post(f"http://127.0.0.1:{recorder.port}{target}", json={"a": 1})

        anyio.run(post)

        assert_signed(recorder.requests[0], service, SESSION)


def test_a_body_that_is_streamed_to_s3_is_not_read_before_it_is_sent(recorder: FaultServer) -> None:
    recorder.reset()

    send_request.fn(
        "PUT", f"http://127.0.0.1:{recorder.port}/bucket/key", credential=signing("s3"), content=iter([b"a", b"b"])
    )

    sent = recorder.requests[0]
    assert sent.body == b"ab"
    assert sent.header("transfer-encoding") == "chunked"
    assert sent.header("x-amz-content-sha256") == "UNSIGNED-PAYLOAD"


@pytest.mark.parametrize("sign_query", [False, True], ids=["header", "query"])
def test_a_body_that_is_streamed_elsewhere_is_read_first_since_it_is_signed(
    recorder: FaultServer, sign_query: bool
) -> None:
    recorder.reset()
    url, credential = f"http://127.0.0.1:{recorder.port}/", signing("execute-api", sign_query=sign_query)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    async def post() -> None:
        async with httpx.AsyncClient(auth=credential.auth()) as client:
            await client.post(url, content=chunks())

    send_request.fn("POST", url, credential=credential, content=iter([b"a", b"b"]))
    anyio.run(post)

    for request in recorder.requests:
        assert request.body == b"ab"
        assert_signed(request, "execute-api")


def test_a_payload_hash_that_the_caller_gives_is_signed_and_sent(recorder: FaultServer) -> None:
    """As OpenSearch Serverless and VPC Lattice want it."""
    recorder.reset()

    send_request.fn(
        "POST",
        f"http://127.0.0.1:{recorder.port}/",
        credential=signing("aoss"),
        headers={"X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"},
        content=b"a",
    )

    assert recorder.requests[0].header("x-amz-content-sha256") == "UNSIGNED-PAYLOAD"
    assert "x-amz-content-sha256" in (recorder.requests[0].header("authorization") or "")


def test_a_retry_and_a_redirect_are_signed_again(recorder: FaultServer) -> None:
    recorder.reset()
    recorder.script([Answer(503), Answer(307, [("Location", "/elsewhere?b=2")])])

    with instant_retries():
        send_request.fn(
            "PUT",
            f"http://127.0.0.1:{recorder.port}/here?a=1",
            credential=signing("s3", session=True, sign_query=True),
            content=b"body",
            follow_redirects=True,
        )

    assert [request.target.partition("&")[0] for request in recorder.requests] == [
        "/here?a=1",
        "/here?a=1",
        "/elsewhere?b=2",
    ]
    for request in recorder.requests:
        assert_signed(request, "s3", SESSION)


@pytest.mark.parametrize("sign_query", [False, True], ids=["header", "query"])
def test_a_signature_that_is_echoed_is_masked(recorder: FaultServer, sign_query: bool) -> None:
    """It is good for minutes, for whoever reads the answer."""
    recorder.reset()
    recorder.handler = lambda sent: Answer(body=sent.raw)

    answer = send_request.fn(
        "GET", f"http://127.0.0.1:{recorder.port}/", credential=signing("sts", session=True, sign_query=sign_query)
    )

    signature = proof_of(recorder.requests[0], "sts").signature
    assert len(signature) == 64
    assert signature not in answer.text
    assert SESSION not in answer.text


# -- Swift --------------------------------------------------------------------------------------------------------


def for_swift(server: SwiftServer, **fields: object) -> AWSSignedRequest:
    given = {"access_key_id": server.access_key, "secret_access_key": server.secret, "region": server.region}
    return AWSSignedRequest(**{"service": "s3", **given, **fields})


# Swift keeps one value of a name, knows ASCII names only, and sorts them decoded; AWS does none of this.
swift_pairs = st.lists(
    st.tuples(
        st.sampled_from(["acl", "b", "versionId", "prefix", "x-y", "d.e"]),
        st.one_of(st.sampled_from(["", "=", "=a+b", "=a%2Bb", "=%2F/", "=é", "=a=b"]), text.map(lambda t: f"={t}")),
    ),
    max_size=4,
    unique_by=lambda pair: pair[0],
).map(lambda pairs: "&".join(name + re.sub("[#&]", "", value) for name, value in pairs))


@settings(max_examples=500)
@given(methods, paths, swift_pairs, bodies, st.booleans())
def test_swift_accepts(
    swift_server: SwiftServer, method: str, path: str, query: str, body: bytes, sign_query: bool
) -> None:
    url = swift_server.url + path + (f"?{query}" if query else "")
    assume(url == url.strip())  # a URL that ends with a space is refused
    assume(b"\0" not in unquote_to_bytes(path) and "\ufffd" not in unquote(path))

    answer = send_request.fn(
        method,
        url,
        credential=for_swift(swift_server, sign_query=sign_query),
        content=body,
        raise_for_status=False,
    )

    assert answer.status_code == 200, answer.text


def test_swift_refuses_a_body_that_was_changed_on_the_way(swift_server: SwiftServer) -> None:
    def change(request: httpx.Request) -> None:
        request.stream = httpx.ByteStream(b"a baby")

    with httpx.Client(auth=for_swift(swift_server).auth(), event_hooks={"request": [change]}) as client:
        answer = client.put(f"{swift_server.url}/bucket/key", content=b"a body")

    assert answer.status_code == 403
    assert "SHA256Mismatch" in answer.json()["reason"]


@pytest.mark.parametrize(("hours", "refused"), [(0, False), (2, True)])
def test_swift_refuses_a_url_that_has_expired(swift_server: SwiftServer, hours: int, refused: bool) -> None:
    credential = for_swift(swift_server, sign_query=True, expires_in=3600)
    then = datetime.now(UTC) - timedelta(hours=hours)

    with (
        time_machine.travel(then, tick=False),
        pytest.raises(ResponseError, match=r"(?i)expired") if refused else nullcontext(),
    ):
        send_request.fn("GET", f"{swift_server.url}/bucket/key", credential=credential)


@pytest.mark.parametrize("sign_query", [False, True], ids=["header", "query"])
def test_swift_refuses_a_wrong_secret(swift_server: SwiftServer, sign_query: bool) -> None:
    credential = for_swift(swift_server, secret_access_key="not-the-secret", sign_query=sign_query)

    with pytest.raises(ResponseError, match="SignatureDoesNotMatch"):
        send_request.fn("GET", f"{swift_server.url}/bucket/key", credential=credential)


# -- moto ---------------------------------------------------------------------------------------------------------

CALLS = [
    ("sts", {"Action": "GetCallerIdentity", "Version": "2011-06-15"}),
    ("iam", {"Action": "ListUsers", "Version": "2010-05-08", "PathPrefix": "/a b+c/é"}),
]


def for_moto(server: MotoServer, service: str, holder: str, **fields: object) -> AWSSignedRequest:
    keys = vars(getattr(server, holder))
    return AWSSignedRequest(**{**keys, "service": service, "region": server.region, **fields})


@pytest.mark.parametrize("holder", ["user", "role"])
@pytest.mark.parametrize(("service", "form"), CALLS)
def test_moto_accepts_static_and_session_keys(
    moto_server: MotoServer, service: str, form: dict[str, str], holder: str
) -> None:
    answer = send_request.fn("POST", moto_server.url, credential=for_moto(moto_server, service, holder), data=form)

    assert answer.status_code == 200
    assert f"<{form['Action']}Response" in answer.text


@pytest.mark.parametrize("holder", ["user", "role"])
@pytest.mark.parametrize(("service", "form"), CALLS)
def test_moto_refuses_a_wrong_secret(moto_server: MotoServer, service: str, form: dict[str, str], holder: str) -> None:
    credential = for_moto(moto_server, service, holder, secret_access_key="not-the-secret")

    with pytest.raises(ResponseError, match="SignatureDoesNotMatch"):
        send_request.fn("POST", moto_server.url, credential=credential, data=form)


def test_moto_refuses_a_wrong_session_token(moto_server: MotoServer) -> None:
    service, form = CALLS[0]
    credential = for_moto(moto_server, service, "role", session_token="not-the-token")

    with pytest.raises(ResponseError, match="answered 403"):
        send_request.fn("POST", moto_server.url, credential=credential, data=form)


def test_moto_accepts_a_get_whose_payload_hash_the_caller_wants_signed(moto_server: MotoServer) -> None:
    service, form = CALLS[0]

    answer = send_request.fn(
        "GET",
        moto_server.url,
        credential=for_moto(moto_server, service, "role"),
        params=form,
        headers={"X-Amz-Content-Sha256": hashlib.sha256(b"").hexdigest()},
    )

    assert answer.status_code == 200
