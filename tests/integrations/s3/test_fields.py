"""What is entered: mistakes are named by their field, and never quoted: they are often secrets in the wrong place."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from prefect_atomic import RequestError, S3Bucket
from prefect_atomic.integrations.s3 import resolve

SECRET = "secretACCESSkeyTHATnobodyMAYread+/99"
TOKEN = "sessionTOKENthatNOBODYmayREAD+/=77"
ARN = "arn:aws:iam::123456789012:role/exporter"
PAIR = {"access_key_id": "AKIAEXAMPLE", "secret_access_key": SECRET}

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "keys and a role": ({**PAIR, "role_arn": ARN}, "access_key_id, role_arn: give one of them"),
    "an id without a secret": ({"access_key_id": "AKIAEXAMPLE"}, "access_key_id, secret_access_key: give both"),
    "a secret without an id": ({"secret_access_key": SECRET}, "access_key_id, secret_access_key: give both"),
    "a token without a key": ({"session_token": TOKEN}, "session_token: belongs to an access key"),
    "an external id without a role": ({"external_id": "partner"}, "external_id: belongs to a role"),
    "a KMS key without KMS": ({"kms_key_id": "alias/a"}, "kms_key_id: is for a server_side_encryption of aws:kms"),
    "a KMS key with AES256": ({"kms_key_id": "alias/a", "server_side_encryption": "AES256"}, "kms_key_id: is for"),
    "s3://": ({"bucket": "s3://exports"}, "without s3://"),
    "a path in the bucket": ({"bucket": "exports/daily"}, "belongs into `folder`"),
    "a space in the bucket": ({"bucket": "exports "}, "may not contain a space"),
    "a bucket that is not ASCII": ({"bucket": "exporté"}, "only ASCII"),
    "no bucket": ({"bucket": ""}, "at least 1 character"),
    "a folder that climbs": ({"folder": "a/../b"}, r"has a `\.\.` in it"),
    "a folder that is too long": ({"folder": "é" * 600}, "has 1200 bytes"),
    "a folder of half characters": ({"folder": "\ud800"}, "half of a character"),
    "an endpoint with a query": ({"endpoint_url": f"https://s3.example.com/?key={SECRET}"}, "has a query"),
    "an endpoint with a password": ({"endpoint_url": f"https://user:{SECRET}@s3.example.com"}, "endpoint_url"),
    "an endpoint without a scheme": ({"endpoint_url": "s3.example.com"}, "endpoint_url"),
    "an endpoint that is no URL": ({"endpoint_url": "nowhere at all"}, "endpoint_url"),
    "an id with a space": ({**PAIR, "access_key_id": "AKIAEXAMPLE "}, r"access_key_id\n.*was it pasted"),
    "a secret with a line break": ({**PAIR, "secret_access_key": SECRET + "\n"}, r"secret_access_key\n.*was it pasted"),
    "a token with a space": ({**PAIR, "session_token": " " + TOKEN}, r"session_token\n.*was it pasted"),
    "an id that is no word": ({**PAIR, "access_key_id": "AKIA\u00e9"}, r"access_key_id\n.*only ASCII"),
    "a region with a space": ({"region": "eu west 1"}, "may not contain a space"),
    "a role that is none": ({"role_arn": "exporter"}, "is no role's ARN"),
    "a user instead of a role": ({"role_arn": "arn:aws:iam::123456789012:user/me"}, "is no role's ARN"),
    "an unknown encryption": ({"server_side_encryption": "rot13"}, "server_side_encryption"),
    "a misspelt field": ({"sesion_token": TOKEN}, "sesion_token: no such field"),
    "a secret that was masked": ({**PAIR, "secret_access_key": "********"}, "asterisks"),
}


@pytest.mark.parametrize(("fields", "says"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_named_and_what_was_entered_is_not_quoted(fields: dict[str, Any], says: str) -> None:
    """Not even in a pickle of the error: Prefect keeps those as results of runs."""
    with pytest.raises(ValidationError, match=says) as refused:
        S3Bucket(**({"bucket": "exports"} | fields))
    text = str(refused.value)
    if len(fields) == 1:
        assert next(iter(fields)) in text, "the message names the field"
    kept = f"{text} {refused.value!r} {refused.value.errors()!r}".encode() + pickle.dumps(refused.value.errors())
    for given in fields.values():
        if given and len(given) > 12:
            assert given.strip().encode("utf-8", "surrogatepass") not in kept
    assert SECRET.encode() not in kept
    assert TOKEN.encode() not in kept


@pytest.mark.parametrize(
    "fields",
    [
        {},
        PAIR,
        {**PAIR, "session_token": TOKEN},
        {"role_arn": ARN, "external_id": "partner-7"},
        {"role_arn": "arn:aws-cn:iam::123456789012:role/path/exporter"},
        {"server_side_encryption": "aws:kms", "kms_key_id": "alias/a"},
        {"bucket": "arn:aws:s3:eu-west-1:123456789012:accesspoint/exports"},
        {"endpoint_url": "http://127.0.0.1:9000/"},
        {"endpoint_url": "https://storage.example.com/s3"},
        {"access_key_id": "", "secret_access_key": "", "role_arn": "", "folder": "", "region": ""},
    ],
    ids=lambda fields: ",".join(fields) or "none",
)
def test_what_is_right_is_taken(fields: dict[str, Any]) -> None:
    """Empty fields of a form are as good as none."""
    bucket = S3Bucket(**({"bucket": "exports"} | fields))
    assert bucket.region is None
    assert bucket.folder == ""


def test_secrets_are_masked_wherever_a_block_is_shown() -> None:
    bucket = S3Bucket(bucket="exports", **PAIR, session_token=TOKEN)
    for shown in (repr(bucket), str(bucket), bucket.model_dump_json(), str(bucket.model_dump())):
        assert SECRET not in shown
        assert TOKEN not in shown
        assert "AKIAEXAMPLE" in shown
    assert S3Bucket(**bucket.model_dump(context={"include_secrets": True}, include=set(PAIR) | {"bucket"}))
    copy = pickle.loads(pickle.dumps(bucket))  # noqa: S301
    assert copy == bucket


def test_a_text_that_is_no_slug_is_refused_without_being_quoted() -> None:
    """It may be the secret itself."""
    with pytest.raises(RequestError, match="not the slug of a saved block") as refused:
        resolve(SECRET)
    assert SECRET not in str(refused.value)
    with pytest.raises(RequestError, match="is a int, which is no S3Bucket"):
        resolve(5)  # type: ignore[arg-type]


def _public_methods() -> list[str]:
    own = {name for name, found in vars(S3Bucket).items() if inspect.isfunction(found) and not name.startswith("_")}
    return sorted(
        own - {name for name in own if name[:1] == "a" and name[1:] in own} - {"get_client", "model_post_init"}
    )


@pytest.mark.parametrize("name", _public_methods())
def test_every_method_has_a_twin_for_event_loops_with_the_same_arguments(name: str) -> None:
    method, twin = getattr(S3Bucket, name), getattr(S3Bucket, f"a{name}")
    assert inspect.iscoroutinefunction(twin) or inspect.isasyncgenfunction(twin) or name == "read_stream"
    ours = [each for each in inspect.signature(method).parameters.values() if each.name != "_sync"]
    twins = list(inspect.signature(twin).parameters.values())
    assert [(each.name, each.kind, each.default) for each in ours] == [
        (each.name, each.kind, each.default) for each in twins
    ]
    assert twin.__doc__
    assert f"`{name}`" in twin.__doc__


def test_the_twins_are_all_there() -> None:
    """So that the test above has something to compare."""
    assert len(_public_methods()) == 20
