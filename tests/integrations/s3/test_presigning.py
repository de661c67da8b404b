"""URLs and forms for those without an access key: they do what was signed, and nothing else."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from prefect_atomic import RequestError, S3Bucket
from tests.integrations.s3.conftest import Make

WEEK = 7 * 24 * 3600


@pytest.mark.parametrize("key", ["a.csv", "a b/ä+€%20?&=#.csv", "deep/er/a"])
def test_a_url_reads_and_writes(files: S3Bucket, key: str) -> None:
    """By any HTTP client, for keys of any characters."""
    put = httpx.put(files.presigned_url(key, method="PUT", content_type="text/x-ours"), content=b"content",
                    headers={"Content-Type": "text/x-ours"})  # fmt: skip
    assert put.status_code == 200, put.text
    assert files.read_path(key) == b"content"
    got = httpx.get(files.presigned_url(key))
    assert (got.status_code, got.content) == (200, b"content")
    assert got.headers["content-type"] == "text/x-ours"
    (listed,) = files.list_objects()
    assert httpx.get(files.presigned_url(listed)).content == b"content"


def test_a_url_says_how_long_it_is_good_for(files: S3Bucket) -> None:
    for seconds in (1, 900, WEEK):
        query = parse_qs(urlsplit(files.presigned_url("a", expires_in=seconds)).query)
        assert query["X-Amz-Expires"] == [str(seconds)]
        assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert "X-Amz-Expires=900&" in files.presigned_url("a")


@pytest.mark.parametrize("seconds", [0, -1, WEEK + 1])
def test_a_time_that_s3_does_not_take_is_refused(files: S3Bucket, seconds: int) -> None:
    for act in (files.presigned_url, files.presigned_post):
        with pytest.raises(RequestError, match="expires_in: is a number of seconds from 1 to 604800"):
            act("a", expires_in=seconds)


@pytest.mark.parametrize("key", ["a/./b", "a/../b", "./a", "a/.", "a/.."])
def test_a_key_that_clients_would_change_is_refused(files: S3Bucket, key: str) -> None:
    for method in ("GET", "PUT"):
        with pytest.raises(RequestError, match=r"key: has a `\.` or `\.\.` in it|leads out"):
            files.presigned_url(key, method=method)  # type: ignore[arg-type]


def test_only_reading_and_writing_can_be_signed(files: S3Bucket) -> None:
    with pytest.raises(RequestError, match="method: is GET to read the object, or PUT"):
        files.presigned_url("a", method="DELETE")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="content_type: is for PUT"):
        files.presigned_url("a", content_type="text/plain")


def test_a_url_to_write_carries_what_the_block_stores_with(make: Make) -> None:
    url = make(server_side_encryption="AES256", storage_class="STANDARD_IA").presigned_url("a", method="PUT")
    signed = parse_qs(urlsplit(url).query)["X-Amz-SignedHeaders"][0].split(";")
    assert {"x-amz-server-side-encryption", "x-amz-storage-class"} <= set(signed)


def policy(fields: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.b64decode(fields["policy"]))
    return found


def test_a_form_takes_an_image_of_at_most_128_mib(files: S3Bucket, name: str) -> None:
    """As a file destination in Atomic does."""
    form = files.presigned_post("a.png")
    conditions = policy(form.fields)["conditions"]
    assert ["content-length-range", 1, 128 * 1024 * 1024] in conditions
    assert ["starts-with", "$Content-Type", "image/"] in conditions
    assert {"key": "exports/a.png"} in conditions
    assert {"bucket": name} in conditions
    assert form.fields["key"] == "exports/a.png"
    assert "Content-Type" not in form.fields
    assert form.fields["x-amz-signature"] not in repr(form)


def test_a_form_for_a_folder_keeps_the_name_of_the_file(files: S3Bucket) -> None:
    form = files.presigned_post("images/")
    assert form.fields["key"] == "exports/images/${filename}"
    assert ["starts-with", "$key", "exports/images/"] in policy(form.fields)["conditions"]


def test_a_form_has_a_field_for_each_of_its_conditions(make: Make) -> None:
    """S3 refuses a form with a condition that no field meets, and one with a field that no condition names."""
    files = make(
        server_side_encryption="aws:kms",
        kms_key_id="alias/ours",
        storage_class="STANDARD_IA",
        acl="bucket-owner-full-control",
        session_token="tokenOFtheSESSION",
    )
    form = files.presigned_post("a.png", content_type="image/png", min_bytes=0, max_bytes=5)
    conditions = policy(form.fields)["conditions"]
    assert ["content-length-range", 0, 5] in conditions
    for field, value in {
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "alias/ours",
        "x-amz-storage-class": "STANDARD_IA",
        "acl": "bucket-owner-full-control",
        "Content-Type": "image/png",
        "key": "a.png",
        "x-amz-security-token": "tokenOFtheSESSION",
    }.items():
        assert form.fields[field] == value
        assert {field: value} in conditions
    named = {name for each in conditions if isinstance(each, dict) for name in each}
    assert set(form.fields) - named == {"policy", "x-amz-signature"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"min_bytes": -1}, "min_bytes, max_bytes"),
        ({"min_bytes": 2, "max_bytes": 1}, "min_bytes, max_bytes"),
        ({"content_type": "*"}, "content_type: is a media type"),
        ({"content_type": ""}, "content_type: is a media type"),
        ({"content_type": "image/*png"}, "content_type: is a media type"),
    ],
)
def test_a_form_that_makes_no_sense_is_refused(files: S3Bucket, options: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        files.presigned_post("a.png", **options)


def test_a_form_uploads(files: S3Bucket) -> None:
    form = files.presigned_post("a.png")
    sent = httpx.post(
        form.url, data={**form.fields, "Content-Type": "image/png"}, files={"file": ("b.png", b"picture", "image/png")}
    )
    assert sent.status_code in (200, 201, 204), sent.text
    assert files.read_path("a.png") == b"picture"
