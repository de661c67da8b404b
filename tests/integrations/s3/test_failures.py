"""Each failure is of the class that says who can do something about it, names the field, and holds no secret."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prefect_atomic import AtomicError, CredentialError, RequestError, S3Bucket, StorageError, TransportError
from tests.e2e.servers.faulty import Answer, FaultServer
from tests.e2e.servers.moto import AwsKeys, MotoServer, allow
from tests.integrations.s3.conftest import Make, made_anew

pytestmark = [pytest.mark.usefixtures("few_attempts"), pytest.mark.timeout(60)]

SECRET = "secretACCESSkeyTHATnobodyMAYread99"
TOKEN = "sessionTOKENthatNOBODYmayREAD77"
SIGNATURE = re.compile("[0-9a-f]{64}")


def fails(act: Callable[[], Any], kind: type[AtomicError], says: str, *secrets: str) -> Any:
    """The error, which can be pickled, and has no secret in it nor behind it."""
    with pytest.raises(AtomicError) as failed:
        act()
    error = failed.value
    assert type(error) is kind, error
    assert re.search(says, str(error)), str(error)
    assert str(error).startswith("S3Bucket: cannot ")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(copy), str(copy), vars(copy)) == (kind, str(error), vars(error))
    for text in (str(error), repr(error), repr(vars(error)), str(pickle.dumps(error))):
        assert not SIGNATURE.search(text)
        for secret in (SECRET, TOKEN, *secrets):
            assert secret not in text
    return error


def everything(files: S3Bucket, folder: Path) -> dict[str, Callable[[], Any]]:
    return {
        "check": files.check,
        "list": lambda: list(files.list_objects()),
        "exists": lambda: files.exists("a"),
        "new": files.new_objects,
        "head": lambda: files.head("a"),
        "read": lambda: files.read_path("a"),
        "download": lambda: files.download_object_to_path("a", folder / "a"),
        "write": lambda: files.write_path("a", b"content"),
        "write in parts": lambda: files.write_path("a", bytes(9 * 1024 * 1024)),
        "stream": lambda: files.write_stream("a", [b"content"]),
        "copy": lambda: files.copy_object("a", "b"),
        "delete": lambda: files.delete_object("a"),
    }


EVERYTHING = tuple(everything(S3Bucket(bucket="none"), Path()))
WITHOUT_A_BODY = ("head", "download", "copy")
"""They begin with a HEAD, whose answer says no more than its status."""


@pytest.mark.parametrize("what", EVERYTHING)
def test_a_bucket_that_is_not_there(make: Make, tmp_path: Path, what: str) -> None:
    """Never an empty listing, and never a False."""
    files = make(bucket="no-such-bucket-at-all")
    says = "no such object, or no such bucket" if what in WITHOUT_A_BODY else r"bucket: there is none of this name"
    error = fails(everything(files, tmp_path)[what], StorageError, says)
    assert not error.transient


@pytest.fixture
def mine(checked_moto: MotoServer) -> Callable[..., S3Bucket]:
    """Makes a block of a new bucket for a user who may do only so much."""
    name = made_anew(checked_moto, checked_moto.user)
    client = checked_moto.client("s3", checked_moto.user)
    client.put_object(Bucket=name, Key="a", Body=b"content")
    client.close()

    def made(**fields: Any) -> S3Bucket:
        keys: AwsKeys = fields.pop("keys", None) or checked_moto.user
        given = {
            "bucket": name,
            "region": checked_moto.region,
            "endpoint_url": checked_moto.url,
            "access_key_id": keys.access_key_id,
            "secret_access_key": keys.secret_access_key,
            "session_token": keys.session_token,
        }
        return S3Bucket(**(given | fields))

    return made


NEEDS = {
    "check": "s3:ListBucket",
    "list": "s3:ListBucket",
    "exists": "s3:ListBucket",
    "new": "s3:ListBucket",
    "head": "s3:GetObject",
    "read": "s3:GetObject",
    "download": "s3:GetObject",
    "write": "s3:PutObject",
    "write in parts": "s3:PutObject",
    "stream": "s3:PutObject",
    "copy": "s3:GetObject",
    "delete": "s3:DeleteObject",
}


@pytest.mark.parametrize("what", EVERYTHING)
def test_what_is_not_allowed_names_the_action_that_is_missing(
    mine: Callable[..., S3Bucket], checked_moto: MotoServer, tmp_path: Path, what: str
) -> None:
    keys = checked_moto.create_user(f"poor-{what.replace(' ', '-')}", allow("sqs:ListQueues"))
    files = mine(keys=keys)
    error = fails(everything(files, tmp_path)[what], StorageError, f"not allowed; it needs {NEEDS[what]}")
    assert error.code in ("AccessDenied", "403")
    assert not error.transient


def test_uploads_that_may_not_be_listed_are_a_warning(
    mine: Callable[..., S3Bucket], checked_moto: MotoServer, caplog: pytest.LogCaptureFixture
) -> None:
    """New objects are found all the same."""
    keys = checked_moto.create_user("lister", allow("s3:ListBucket"))
    assert [each.key for each in mine(keys=keys).new_objects().objects] == ["a"]
    (warning,) = [record for record in caplog.records if record.name.endswith("atomic.s3")]
    assert "s3:ListBucketMultipartUploads" in warning.getMessage()


def test_keys_that_are_wrong(mine: Callable[..., S3Bucket], checked_moto: MotoServer) -> None:
    """Each names its field."""
    user = checked_moto.user
    for fields, says in (
        ({"access_key_id": "AKIANOBODYKNOWSTHIS0"}, "access_key_id: the server does not know this access key"),
        ({"secret_access_key": SECRET}, "secret_access_key: is not the one that belongs to the access key"),
    ):
        for act in (mine(**fields).check, lambda fields=fields: mine(**fields).write_path("b", b"content")):
            fails(act, CredentialError, says, user.secret_access_key)
    role = checked_moto.role
    wrong = mine(keys=AwsKeys(role.access_key_id, role.secret_access_key, TOKEN))
    fails(wrong.check, CredentialError, "session_token|access_key_id", role.secret_access_key)


def test_a_token_that_has_expired(make: Make, moto: MotoServer) -> None:
    import time_machine

    from prefect_atomic.credentials.base import now

    keys = moto.assume_role("expiring")
    files = make(
        access_key_id=keys.access_key_id, secret_access_key=keys.secret_access_key, session_token=keys.session_token
    )
    files.write_path("a", b"content")
    with time_machine.travel(now() + 3700):
        error = fails(files.check, CredentialError, r"session_token: has expired.*role_arn", keys.secret_access_key)
    assert not error.transient


def test_no_credentials_anywhere(make: Make, chain: Callable[..., None], tmp_path: Path) -> None:
    """Also for a role, and for URLs: one without a signature would be of no use to anybody."""
    chain(None)
    for fields in ({}, {"role_arn": "arn:aws:iam::123456789012:role/any"}):
        files = make(access_key_id=None, secret_access_key=None, **fields)
        acts = [*everything(files, tmp_path).values(), lambda: files.presigned_url("a")]  # noqa: B023
        for act in [*acts, lambda: files.presigned_post("a")]:  # noqa: B023
            fails(act, CredentialError, "access_key_id, role_arn: neither is given, and AWS's standard chain")


def test_a_profile_that_is_not_there(make: Make, chain: Callable[..., None], tmp_path: Path) -> None:
    chain(None, AWS_PROFILE="no-such-profile")
    files = make(access_key_id=None, secret_access_key=None)
    fails(files.check, CredentialError, "standard chain has no credentials: .*no-such-profile")


def test_a_host_name_that_is_none(make: Make) -> None:
    """As containers often have."""
    fails(make(endpoint_url="http://my_storage:9000").check, RequestError, "endpoint_url: its host has a name")


def test_a_role_that_may_not_be_assumed(
    mine: Callable[..., S3Bucket], checked_moto: MotoServer, chain: Callable[..., None], tmp_path: Path
) -> None:
    poor = checked_moto.create_user("no-roles", allow("s3:*"))
    chain(poor, AWS_ENDPOINT_URL_STS=checked_moto.url)
    arn = checked_moto.create_role("not-for-you")
    files = mine(access_key_id=None, secret_access_key=None, session_token=None, role_arn=arn)
    for act in everything(files, tmp_path).values():
        fails(act, CredentialError, r"role_arn, external_id: the role may not be assumed \(AccessDenied")


def test_a_role_that_may(
    mine: Callable[..., S3Bucket], checked_moto: MotoServer, chain: Callable[..., None], tmp_path: Path
) -> None:
    """And what it may not do then."""
    chain(checked_moto.user, AWS_ENDPOINT_URL_STS=checked_moto.url)
    arn = checked_moto.create_role("for-you", allow("s3:GetObject", "s3:ListBucket"))
    files = mine(access_key_id=None, secret_access_key=None, role_arn=arn, external_id="partner-7")
    assert files.read_path("a") == b"content"
    found = files.check()
    assert found.expires_at
    assert found.expires_at.tzinfo
    fails(lambda: files.write_path("b", b""), StorageError, "not allowed; it needs s3:PutObject")


# -- servers that are none of S3 -----------------------------------------------------------------------------------

HTML = b"<!doctype html><html><head><title>Welcome</title><body><p>It works!<br></body></html>"
XHTML = b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body><p>It works!</p></body></html>'


def redirect(code: str, region: str, status: int) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>Elsewhere</Message><Region>{region}</Region></Error>"
    return Answer(status, [("Content-Type", "application/xml")], body.encode())


ODD = {
    "HTML": (Answer(200, [("Content-Type", "text/html")], HTML), "endpoint_url: what answers there does not speak S3"),
    "XHTML": (Answer(200, [("Content-Type", "text/html")], XHTML), "endpoint_url: what answers there does not speak"),
    "HTML 404": (Answer(404, [("Content-Type", "text/html")], HTML), "endpoint_url: what answers there does not speak"),
    "HTML 403": (Answer(403, [("Content-Type", "text/html")], HTML), "not allowed|endpoint_url"),
    "JSON": (Answer(200, [("Content-Type", "application/json")], b'{"ok": true}'), "endpoint_url: what answers there"),
    "JSON 404": (Answer(404, [("Content-Type", "application/json")], b'{"a": 1}'), "endpoint_url: what answers there"),
    "empty": (Answer(200, [], b""), "endpoint_url: what answers there does not speak S3"),
    "another region": (redirect("PermanentRedirect", "eu-west-3", 301), "region: the bucket is in eu-west-3"),
    "signed for another": (
        redirect("AuthorizationHeaderMalformed", "eu-west-3", 400),
        "region: the bucket is in eu-west-3",
    ),
}


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.mark.parametrize("what", ["check", "list", "exists", "new"])
@pytest.mark.parametrize(("answer", "says"), ODD.values(), ids=ODD)
def test_a_server_that_is_another_one(
    make: Make, server: FaultServer, tmp_path: Path, answer: Answer, says: str, what: str
) -> None:
    """It is never taken for an empty bucket."""
    server.handler = lambda request: answer
    files = make(endpoint_url=server.url)
    fails(everything(files, tmp_path)[what], StorageError, says)


@pytest.mark.parametrize("what", EVERYTHING)
def test_a_server_that_is_not_there(make: Make, tmp_path: Path, what: str) -> None:
    files = make(endpoint_url="http://127.0.0.1:9", session_token=TOKEN, secret_access_key=SECRET)
    error = fails(everything(files, tmp_path)[what], TransportError, "Could not connect|Connect")
    assert error.transient


@pytest.mark.parametrize("what", ["check", "list", "exists", "head", "read", "write", "download", "stream"])
def test_a_server_that_breaks_off_in_its_headers(make: Make, server: FaultServer, tmp_path: Path, what: str) -> None:
    """Python reads that as the end of the headers: never as an empty object, nor as one that was stored."""
    server.mode = "cut-headers"
    fails(everything(make(endpoint_url=server.url), tmp_path)[what], StorageError, "endpoint_url: what answers there")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["close", "reset", "garbage"])
@pytest.mark.parametrize("what", ["check", "read", "write", "download", "stream"])
def test_a_server_that_breaks_off(make: Make, server: FaultServer, tmp_path: Path, mode: str, what: str) -> None:
    server.mode = mode
    error = fails(everything(make(endpoint_url=server.url), tmp_path)[what], TransportError, "")
    assert error.transient


def test_a_server_that_nobody_trusts(make: Make) -> None:
    with FaultServer(tls=True) as server:
        error = fails(make(endpoint_url=server.url).check, TransportError, "TLS failed")
    assert not error.transient
    assert error.reason == "TLS failed"


def test_a_server_that_repeats_what_it_was_sent(make: Make, server: FaultServer) -> None:
    """Some put the headers of the request into their error."""

    def echo(request: Any) -> Answer:
        text = " ".join(f"{name}={value}" for name, value in request.headers)
        body = f"<Error><Code>Odd</Code><Message>{SECRET} {text}</Message></Error>"
        return Answer(400, [("Content-Type", "application/xml")], body.encode())

    server.handler = echo
    files = make(endpoint_url=server.url, secret_access_key=SECRET, session_token=TOKEN)
    with pytest.raises(StorageError) as failed:
        files.check()
    assert SECRET not in str(failed.value)
    assert TOKEN not in str(failed.value)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_that_is_busy_may_be_asked_again(make: Make, server: FaultServer, status: int) -> None:
    server.handler = lambda request: Answer(status, [("Content-Type", "text/html")], HTML)
    with pytest.raises(AtomicError) as failed:
        make(endpoint_url=server.url).check()
    assert failed.value.transient


@pytest.mark.parametrize(
    ("code", "status", "says", "transient"),
    [
        ("SlowDown", 503, "Please reduce", True),
        ("KMS.DisabledException", 400, "kms_key_id: the key cannot be used", False),
        ("InvalidStorageClass", 400, "storage_class: is not one that this server has", False),
        ("AccessControlListNotSupported", 400, "acl: the bucket takes none", False),
        ("RequestTimeTooSkewed", 403, "clock of this host", False),
    ],
)
def test_what_s3_says_is_told_by_the_field(
    make: Make, server: FaultServer, code: str, status: int, says: str, transient: bool
) -> None:
    body = f"<Error><Code>{code}</Code><Message>Please reduce</Message></Error>".encode()
    server.handler = lambda request: Answer(status, [("Content-Type", "application/xml")], body)
    with pytest.raises(AtomicError, match=says) as failed:
        make(endpoint_url=server.url).write_path("a", b"content")
    assert failed.value.transient is transient


def test_arguments_that_boto_refuses_are_ours_to_name(make: Make) -> None:
    with pytest.raises(RequestError, match="cannot look at the bucket"):
        make(bucket="a bucket".replace(" ", "*")).check()
