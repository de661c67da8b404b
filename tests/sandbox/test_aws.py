"""Signature Version 4, with requests that botocore and awscrt signed."""

import io
import time
from urllib.parse import urlsplit

import pytest
import time_machine
from awscrt import auth as crt_auth
from awscrt import http as crt_http
from awscrt import io as crt_io
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

TARGETS = [
    "/verify/aws",
    "/verify/aws/bucket/key",
    "/verify/aws/a%20b/%2F/%C3%A9?a=1",
    "/verify/aws/a/./b/../c//d/",
    "/verify/aws/x?b=2&a=1&b=1&empty=&bare",
]


def botocore_signed(signer, account, url, *, service="execute-api", method="GET", body=b"", headers=None, **options):
    """The target and the headers of a request that botocore signed."""
    request = AWSRequest(method=method, url=url, data=body, headers=headers or {})
    keys = Credentials(account.access_key_id, account.secret_access_key, account.session_token)
    signer(keys, service, account.region, **options).add_auth(request)
    return request.url.removeprefix(url[: url.index("/verify")]), dict(request.headers.items())


def awscrt_signed(account, url, *, service, query, body=b""):
    """The target and the headers of a request that awscrt signed."""
    parts = urlsplit(url)
    target = url[url.index("/verify") :]
    headers = crt_http.HttpHeaders([("Host", parts.netloc)])
    stream = crt_io.InputStream(io.BytesIO(body))
    request = crt_http.HttpRequest("POST", target, headers, stream)
    types = crt_auth.AwsSignatureType
    config = crt_auth.AwsSigningConfig(
        algorithm=crt_auth.AwsSigningAlgorithm.V4,
        signature_type=types.HTTP_REQUEST_QUERY_PARAMS if query else types.HTTP_REQUEST_HEADERS,
        credentials_provider=crt_auth.AwsCredentialsProvider.new_static(
            account.access_key_id, account.secret_access_key, account.session_token
        ),
        region=account.region,
        service=service,
        use_double_uri_encode=service != "s3",
        should_normalize_uri_path=service != "s3",
        signed_body_value="UNSIGNED-PAYLOAD" if service == "s3" and query else None,
        signed_body_header_type=(
            crt_auth.AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256
            if service == "s3" and not query
            else crt_auth.AwsSignedBodyHeaderType.NONE
        ),
        expiration_in_seconds=600 if query else None,
    )
    signed = crt_auth.aws_sign_request(request, config).result(10)
    return signed.path, dict(signed.headers)


@pytest.fixture
def account(sandbox):
    return sandbox.accounts.aws


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("signer", "service"),
    [
        (auth.SigV4Auth, "execute-api"),
        (auth.S3SigV4Auth, "s3"),
        (auth.SigV4QueryAuth, "sns"),
        (auth.S3SigV4QueryAuth, "s3"),
    ],
)
@pytest.mark.parametrize("which", ["aws", "aws_session"])
def test_what_botocore_signs_is_verified(which, signer, service, target, send, sandbox):
    account = getattr(sandbox.accounts, which)
    body = b"" if "Query" in signer.__name__ else b"the body"
    signed, headers = botocore_signed(signer, account, sandbox.url + target, service=service, body=body)

    reply = send("GET", signed, headers=headers, body=body)

    assert reply.json()["verified"] is True, reply.json()
    assert reply.json()["by"].startswith("botocore ")


@pytest.mark.parametrize("target", [*TARGETS, "/verify/aws/a=b:c?q=a/b:c&plus=a+b&&x=~*'"])
@pytest.mark.parametrize("service", ["execute-api", "s3"])
@pytest.mark.parametrize("query", [False, True])
@pytest.mark.parametrize("which", ["aws", "aws_session"])
def test_what_awscrt_signs_is_verified(which, query, service, target, send, sandbox):
    account = getattr(sandbox.accounts, which)
    signed, headers = awscrt_signed(account, sandbox.url + target, service=service, query=query, body=b"the body")

    reply = send("POST", signed, headers=headers, body=b"the body")

    assert reply.json()["verified"] is True, reply.json()


def test_repeated_and_untrimmed_headers_are_signed_as_they_came(account, send, sandbox):
    repeated = [("My-Header", "  b   c "), ("My-Header", "a")]
    request = AWSRequest(method="GET", url=f"{sandbox.url}/verify/aws")
    for name, value in repeated:
        request.headers[name] = value
    auth.SigV4Auth(Credentials(account.access_key_id, account.secret_access_key), "x", "y").add_auth(request)

    assert send("GET", "/verify/aws", headers=list(request.headers.items())).json()["verified"] is True


def test_a_date_header_stands_in_for_the_amazon_one(account, send, sandbox):
    headers = {"Date": "Thu, 01 Jan 1970 00:00:00 GMT"}  # botocore replaces it with the current time
    target, signed = botocore_signed(auth.SigV4Auth, account, f"{sandbox.url}/verify/aws", headers=headers)

    assert "X-Amz-Date" not in signed
    assert send("GET", target, headers=signed).json()["verified"] is True


def refused(send, method, target, headers, body=b""):
    reply = send(method, target, headers=headers, body=body)
    assert reply.status == 403
    assert reply.json()["verified"] is False
    return reply.json()


def test_a_wrong_secret_is_refused_and_the_answer_shows_what_to_compare(sandbox, send):
    account = sandbox.accounts.aws_session
    wrong = type(account)(account.access_key_id, "wrong", account.session_token, account.region)
    url = f"{sandbox.url}/verify/aws/x?a=1"

    content = refused(send, "GET", *botocore_signed(auth.SigV4Auth, wrong, url))

    assert "another secret access key" in content["reason"]
    shown = content["expected_canonical_request"]
    assert shown.startswith("GET\n/verify/aws/x\na=1\nhost:")
    assert "x-amz-security-token:***" in shown
    assert account.session_token not in str(content)
    assert account.secret_access_key not in str(content)
    assert content["expected_string_to_sign"].startswith("AWS4-HMAC-SHA256\n")


@pytest.mark.parametrize(("signer", "service"), [(auth.SigV4Auth, "execute-api"), (auth.S3SigV4Auth, "s3")])
def test_a_body_that_changed_is_refused(signer, service, account, send, sandbox):
    url = f"{sandbox.url}/verify/aws"
    target, headers = botocore_signed(signer, account, url, service=service, method="POST", body=b"one")
    headers.pop("Content-Length", None)

    content = refused(send, "POST", target, headers, b"two")

    assert "body" in content["reason"]


@pytest.mark.parametrize(
    "change",
    [
        lambda target: target.replace("/key", "/another"),
        lambda target: target.replace("a=1", "a=2"),
        lambda target: target + "&b=3",
    ],
)
@pytest.mark.parametrize("signer", [auth.SigV4Auth, auth.SigV4QueryAuth])
def test_a_target_that_changed_is_refused(signer, change, account, send, sandbox):
    target, headers = botocore_signed(signer, account, f"{sandbox.url}/verify/aws/key?a=1")

    assert refused(send, "GET", change(target), headers)


def test_a_presigned_url_is_for_one_method(account, send, sandbox):
    target, headers = botocore_signed(auth.S3SigV4QueryAuth, account, f"{sandbox.url}/verify/aws/key", service="s3")

    assert send("GET", target, headers=headers).status == 200
    assert refused(send, "PUT", target, headers)


@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_clock_that_is_off_is_named(minutes, account, send, sandbox):
    with time_machine.travel(time.time() + 60 * minutes):
        target, headers = botocore_signed(auth.SigV4Auth, account, f"{sandbox.url}/verify/aws")

    assert "more than 15 minutes off" in refused(send, "GET", target, headers)["reason"]


def test_a_presigned_url_expires(account, send, sandbox):
    url = f"{sandbox.url}/verify/aws"
    with time_machine.travel(time.time() + 60 * -30):
        ended, headers = botocore_signed(auth.SigV4QueryAuth, account, url, expires=1799)
        live, _ = botocore_signed(auth.SigV4QueryAuth, account, url, expires=3600)

    assert "the presigned URL expired at" in refused(send, "GET", ended, headers)["reason"]
    assert send("GET", live, headers=headers).status == 200


def test_a_presigned_url_lives_a_week_at_most(account, send, sandbox):
    url = f"{sandbox.url}/verify/aws"
    target, headers = botocore_signed(auth.SigV4QueryAuth, account, url, expires=604801)

    assert "X-Amz-Expires should be from 1 to 604800" in refused(send, "GET", target, headers)["reason"]


def test_a_temporary_key_needs_its_session_token_and_a_permanent_one_has_none(sandbox, send):
    permanent, temporary = sandbox.accounts.aws, sandbox.accounts.aws_session
    url = f"{sandbox.url}/verify/aws"
    cases = {
        "X-Amz-Security-Token is missing": (temporary, None),
        "is not the one that belongs to": (temporary, "another"),
        "leave X-Amz-Security-Token out": (permanent, "another"),
    }
    for reason, (account, token) in cases.items():
        wrong = type(account)(account.access_key_id, account.secret_access_key, token, account.region)
        for signer in (auth.SigV4Auth, auth.SigV4QueryAuth):
            assert reason in refused(send, "GET", *botocore_signed(signer, wrong, url))["reason"]


def test_amazon_headers_and_the_host_must_be_signed(account, send, sandbox):
    target, headers = botocore_signed(auth.SigV4Auth, account, f"{sandbox.url}/verify/aws")

    content = refused(send, "GET", target, {**headers, "X-Amz-Meta-Owner": "me"})

    assert content["reason"] == "these headers must be signed and are not: x-amz-meta-owner"


@pytest.mark.parametrize(
    ("signer", "service", "reason"),
    [
        (auth.S3SigV4Auth, "execute-api", "signed as it is sent; execute-api signs it normalised and encoded twice"),
        (auth.SigV4Auth, "s3", "S3 requires the header x-amz-content-sha256"),
    ],
)
def test_a_signer_for_another_service_is_told_so(signer, service, reason, account, send, sandbox):
    target, headers = botocore_signed(signer, account, f"{sandbox.url}/verify/aws/a%20b", service=service)

    assert reason in refused(send, "GET", target, headers)["reason"]


def test_a_body_that_came_without_being_signed_is_named(account, send, sandbox):
    target, headers = botocore_signed(auth.SigV4Auth, account, f"{sandbox.url}/verify/aws", method="POST")
    headers.pop("Content-Length", None)

    content = refused(send, "POST", target, headers, b"four")

    assert content["reason"] == "an empty body was signed; 4 bytes arrived"


def test_only_s3_takes_an_unsigned_body(account, send, sandbox):
    url = f"{sandbox.url}/verify/aws"
    unsigned = {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}
    target, headers = botocore_signed(auth.SigV4Auth, account, url, headers=unsigned)
    assert "only S3 takes UNSIGNED-PAYLOAD" in refused(send, "GET", target, headers)["reason"]

    target, headers = botocore_signed(auth.SigV4Auth, account, url, headers=unsigned, service="s3")
    assert send("GET", target, headers=headers).status == 200


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        ("Bearer x", "should start with AWS4-HMAC-SHA256"),
        ("AWS4-HMAC-SHA256 Credential=a/b", "lacks SignedHeaders, Signature"),
        ("AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c", "the credential scope should be"),
        (
            "AWS4-HMAC-SHA256 Credential=a/20150830/r/s/aws4_request, SignedHeaders=host, Signature=c",
            "nobody knows this access key id",
        ),
    ],
)
def test_a_malformed_signature_is_explained(authorization, reason, send):
    headers = {"Authorization": authorization, "X-Amz-Date": "20150830T123600Z"}

    assert reason in refused(send, "GET", "/verify/aws", headers)["reason"]


def test_no_signature_and_two_signatures_are_refused(account, send, sandbox):
    url = f"{sandbox.url}/verify/aws"
    target, _ = botocore_signed(auth.SigV4QueryAuth, account, url)
    _, headers = botocore_signed(auth.SigV4Auth, account, url)

    assert "not signed" in refused(send, "GET", "/verify/aws", {})["reason"]
    assert "signed twice" in refused(send, "GET", target, headers)["reason"]
