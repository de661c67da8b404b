"""What boto3 and the libraries below it log at DEBUG: no secret key, no session token, no signature of a URL."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from botocore import auth

from prefect_atomic import S3Bucket
from prefect_atomic.integrations.s3 import access
from tests.e2e.hunting import Hunter
from tests.e2e.left_behind import Everything, everything_logged
from tests.e2e.servers.moto import AwsKeys, MotoServer
from tests.integrations.s3.conftest import ANYBODY, Make

SOURCE = AwsKeys("AKIASOURCE", "secretKEYofTHEsourceXX1", "sessionTOKENofTHEsourceXX2")
OWN = AwsKeys("AKIAOWN", "secretKEYofTHEblockXX3", "sessionTOKENofTHEblockXX4")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Everything]:
    """With botocore's own signers, as users have them: where awscrt is installed, as for these tests, they give way."""
    for kind, signer in {
        "v4": auth.SigV4Auth,
        "v4-query": auth.SigV4QueryAuth,
        "s3v4": auth.S3SigV4Auth,
        "s3v4-query": auth.S3SigV4QueryAuth,
    }.items():
        monkeypatch.setitem(auth.AUTH_TYPE_MAPS, kind, signer)
    access.forget_clients()
    with everything_logged() as log:
        yield log
    access.forget_clients()


def works(files: S3Bucket, folder: Path) -> dict[str, str]:
    """Uses all of it; the signatures that were made."""
    (folder / "a").write_bytes(bytes(9 * 1024 * 1024))
    files.upload_from_path(folder / "a")
    files.write_path("b", b"content")
    files.download_object_to_path("a", folder / "back")
    assert files.read_path("b") == b"content"
    files.check()
    files.new_objects()
    files.copy_object("b", "c")
    url, put, form = files.presigned_url("b"), files.presigned_url("d", method="PUT"), files.presigned_post("e/")
    httpx.get(url)
    return {
        "URL": url.partition("X-Amz-Signature=")[2].partition("&")[0],
        "URL to write": put.partition("X-Amz-Signature=")[2].partition("&")[0],
        "form": form.fields["x-amz-signature"],
    }


def found_in(log: Everything, secrets: dict[str, str]) -> list[str]:
    hunter = Hunter({**secrets, "canary": "canaryOFtheLOGxx5"})
    logging.getLogger("botocore.endpoint").debug("It is here: %s", "canaryOFtheLOGxx5")
    found = [finding for line in log.seen for finding in hunter.search("log", line)]
    assert any(finding.secret == "canary" for finding in found), "the hunt finds what is there"
    assert any(line.startswith("botocore.auth") for line in log.seen), "and all was logged"
    return sorted({str(finding) for finding in found if finding.secret != "canary"})


def test_the_keys_of_a_block(log: Everything, make: Make, tmp_path: Path) -> None:
    files = make(
        access_key_id=OWN.access_key_id, secret_access_key=OWN.secret_access_key, session_token=OWN.session_token
    )
    signatures = works(files, tmp_path)
    assert found_in(log, {"secret": OWN.secret_access_key, "token": str(OWN.session_token), **signatures}) == []


def test_the_keys_that_the_standard_chain_finds(
    log: Everything, make: Make, chain: Callable[..., None], tmp_path: Path
) -> None:
    """As on an instance with a role: its session token is sent with every request."""
    chain(SOURCE)
    signatures = works(make(access_key_id=None, secret_access_key=None), tmp_path)
    assert found_in(log, {"secret": SOURCE.secret_access_key, "token": str(SOURCE.session_token), **signatures}) == []


def test_the_keys_of_a_role(
    log: Everything, moto: MotoServer, make: Make, chain: Callable[..., None], tmp_path: Path
) -> None:
    """Nor those that it is assumed with."""
    chain(SOURCE, AWS_ENDPOINT_URL_STS=moto.url)
    arn = "arn:aws:iam::123456789012:role/hunted"
    files = make(access_key_id=None, secret_access_key=None, role_arn=arn)
    signatures = works(files, tmp_path)
    assumed = access.credentials_of(files.get_client())
    assert assumed.access_key not in (ANYBODY.access_key_id, SOURCE.access_key_id)
    secrets = {
        "secret of the source": SOURCE.secret_access_key,
        "token of the source": str(SOURCE.session_token),
        "secret of the role": assumed.secret_key,
        "token of the role": assumed.token,
    }
    assert found_in(log, secrets | signatures) == []
