"""AWS Signature Version 4: AWS's own signing suite, and the one encoding that signatures are computed over."""

import hashlib
import json
import os
import re
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_atomic.credentials.sigv4 import Keys, Scope, Signed, sign, strict
from tests.e2e.servers import missing

_SHARED = Path(os.environ.get("PREFECT_ATOMIC_SHARED") or Path(__file__).parents[2].parent / "shared")
SUITE = _SHARED / "vectors" / "sigv4"
CASES = sorted(folder.name for folder in SUITE.iterdir()) if SUITE.is_dir() else []


class Case(NamedTuple):
    """One case of the suite: a request, and how it is to be signed."""

    method: str
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    context: dict[str, object]

    def signed(self, *, expires_in: int | None) -> Signed:
        given = self.context["credentials"]
        assert isinstance(given, dict)
        return sign(
            self.method,
            self.target,
            self.headers,
            hashlib.sha256(self.body).hexdigest(),
            keys=Keys(given["access_key_id"], given["secret_access_key"], given.get("token")),
            scope=Scope(
                service=str(self.context["service"]),
                region=str(self.context["region"]),
                expires_in=expires_in,
                normalizes=bool(self.context["normalize"]),
                sends_payload_hash=bool(self.context["sign_body"]) and expires_in is None,
                omits_session_token=bool(self.context.get("omit_session_token")),
            ),
            moment=datetime.fromisoformat(str(self.context["timestamp"])).timestamp(),
        )


def read(name: str) -> Case:
    """A case as AWS wrote it: targets with spaces and raw UTF-8, folded headers, and no blank line after a GET's."""
    head, _, body = (SUITE / name / "request.txt").read_bytes().partition(b"\n\n")
    request_line, *lines = re.sub(rb"\n[ \t]+", b" ", head.rstrip(b"\n")).split(b"\n")
    method, _, rest = request_line.partition(b" ")
    headers = [line.partition(b":") for line in lines]
    return Case(
        method=method.decode(),
        target=rest.removesuffix(b" HTTP/1.1"),
        headers=[(name, value.strip()) for name, _, value in headers],
        body=body,
        context=json.loads((SUITE / name / "context.json").read_text()),
    )


def expected(name: str, kind: str) -> str:
    return (SUITE / name / f"{kind}-signature.txt").read_text().strip()


def test_the_suite_is_here_and_whole() -> None:
    if not CASES:
        missing(
            f"AWS's signing suite is not at {SUITE} (PREFECT_ATOMIC_SHARED names its folder), so nothing was proved"
        )
    assert len(CASES) == 38


@pytest.mark.parametrize("name", CASES)
def test_a_header_is_signed_as_aws_signs_it(name: str) -> None:
    signed = read(name).signed(expires_in=None)

    assert signed.signature == expected(name, "header")
    assert dict(signed.headers)["Authorization"].endswith(f"Signature={expected(name, 'header')}")


@pytest.mark.parametrize("name", CASES)
def test_a_query_is_signed_as_aws_signs_it(name: str) -> None:
    case = read(name)
    seconds = case.context["expiration_in_seconds"]
    assert isinstance(seconds, int)

    signed = case.signed(expires_in=seconds)

    assert signed.signature == expected(name, "query")
    assert signed.target.endswith(b"X-Amz-Signature=" + expected(name, "query").encode())


targets = st.from_regex(rb"/([A-Za-z0-9\-_.~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2}){0,30}", fullmatch=True)
queries = st.from_regex(rb"([A-Za-z0-9\-_.~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2}){0,30}", fullmatch=True)
services = st.sampled_from(["s3", "execute-api"])


@given(targets, queries, services)
def test_the_strict_encoding_of_a_target_is_its_own(path: bytes, query: bytes, service: str) -> None:
    once = strict(path + b"?" + query, service=service)

    assert strict(once, service=service) == once


@given(targets, queries, services)
def test_the_strict_encoding_names_the_same_resource(path: bytes, query: bytes, service: str) -> None:
    there, _, asked = strict(path + b"?" + query, service=service).partition(b"?")

    def pairs(query: bytes) -> list[tuple[bytes, ...]]:
        parted = [pair.replace(b"+", b" ").partition(b"=") for pair in query.split(b"&")]
        return [tuple(unquote_to_bytes(part) for part in pair) for pair in parted]

    assert unquote_to_bytes(there) == unquote_to_bytes(path)
    assert pairs(asked) == pairs(query)


@given(targets)
def test_an_escaped_slash_stays_part_of_a_name_except_in_s3(path: bytes) -> None:
    assert strict(path, service="execute-api").count(b"/") == path.count(b"/")
    assert b"%2F" not in strict(path, service="s3")


@given(targets, queries)
def test_only_unreserved_characters_stand_bare(path: bytes, query: bytes) -> None:
    there, _, asked = strict(path + b"?" + query, service="execute-api").partition(b"?")

    assert re.fullmatch(rb"([A-Za-z0-9\-_.~/]|%[0-9A-F]{2})*", there)
    assert re.fullmatch(rb"([A-Za-z0-9\-_.~=&]|%[0-9A-F]{2})*", asked)
    assert not any(re.fullmatch(rb"[A-Za-z0-9\-_.~]", unquote_to_bytes(b)) for b in re.findall(rb"%..", there + asked))
