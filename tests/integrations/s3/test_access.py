"""Whose connections and credentials are used: shared by who has the same access, renewed in time, never a parent's."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import time_machine

from prefect_atomic import CredentialError, S3Bucket
from prefect_atomic.credentials.base import now
from prefect_atomic.integrations.s3 import access
from tests.e2e.servers.moto import MotoServer
from tests.integrations.s3.conftest import ANYBODY, Make

MIB = 1024 * 1024


def test_blocks_that_are_loaded_anew_share_a_client(make: Make) -> None:
    """Blocks are loaded for every task run, and a client takes a second to make."""
    assert make().get_client() is make(folder="exports", acl="private").get_client()


def test_tenants_never_share_a_client(make: Make) -> None:
    one = make()
    others = [
        make(secret_access_key="another"),
        make(access_key_id="another"),
        make(session_token="another"),
        make(region="eu-west-1"),
        make(endpoint_url="http://127.0.0.1:9"),
        make(access_key_id=None, secret_access_key=None, role_arn="arn:aws:iam::123456789012:role/a"),
        make(access_key_id=None, secret_access_key=None, role_arn="arn:aws:iam::123456789012:role/b"),
        make(access_key_id=None, secret_access_key=None, role_arn="arn:aws:iam::123456789012:role/b", external_id="ab"),
    ]
    clients = [bucket.get_client() for bucket in (one, *others)]
    assert len({id(client) for client in clients}) == len(clients)
    assert clients[0]._request_signer._credentials.secret_key == ANYBODY.secret_access_key


def test_only_so_many_clients_are_kept(make: Make) -> None:
    first = make(region="region-0")
    client = first.get_client()
    for number in range(access._KEPT + 5):
        make(region=f"region-{number + 1}").get_client()
        assert first.get_client() is client, "what is in use is kept"
    assert len(access._clients) == access._KEPT


def test_a_forked_child_has_connections_of_its_own(files: S3Bucket) -> None:
    """Two processes that write to one connection read each other's answers."""
    files.write_path("a", b"content")
    client = files.get_client()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = files.read_path("a") + (b" own" if files.get_client() is not client else b" shared")
            os.write(write, answer)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"content own"
    os.close(read)
    os.close(write)
    assert files.get_client() is client


def test_a_child_that_is_forked_while_a_client_is_made_does_not_wait_for_ever(files: S3Bucket) -> None:
    access._one_at_a_time.acquire()
    try:
        child = os.fork()
        if child == 0:
            files.get_client()
            os._exit(7)
    finally:
        access._one_at_a_time.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


# -- roles ---------------------------------------------------------------------------------------------------------


class MovedOn:
    """Moves the clock on by an hour when a quarter of a transfer is done: the last parts are not asked for yet."""

    def __init__(self, traveller: Any, total: int) -> None:
        self._traveller = traveller
        self._left = total // 4
        self.moved = 0

    def __call__(self, further: int) -> None:
        self._left -= further
        if self._left <= 0 and not self.moved:
            self.moved += 1
            self._traveller.shift(3600 + 30)


@pytest.fixture
def with_role(moto: MotoServer, make: Make, chain: Callable[..., None]) -> S3Bucket:
    chain(ANYBODY, AWS_ENDPOINT_URL_STS=moto.url)
    arn = "arn:aws:iam::123456789012:role/exporter"
    return make(access_key_id=None, secret_access_key=None, role_arn=arn, folder="exports", external_id="partner-7")


def signers(moto: MotoServer, path: str) -> set[str]:
    return {each["signer"] for each in moto.requests(path) if each["signer"] != ANYBODY.access_key_id}


CONTENT = os.urandom(MIB) * 80


def test_an_upload_goes_on_when_the_credentials_of_the_role_expire(
    with_role: S3Bucket, moto: MotoServer, tmp_path: Path
) -> None:
    """The role is assumed again; what was sent is not sent again."""
    (tmp_path / "a").write_bytes(CONTENT)
    with time_machine.travel(now(), tick=True) as traveller:
        progress = MovedOn(traveller, len(CONTENT))
        with_role.upload_from_path(tmp_path / "a", progress=progress)
        assert progress.moved
        assert len(signers(moto, "/exports/a")) == 2
        assert len(moto.requests("partNumber", "PUT")) == 10
        assert with_role.read_path("a") == CONTENT
        found = with_role.check()
    assert found.expires_at


def test_a_download_goes_on_when_the_credentials_of_the_role_expire(
    with_role: S3Bucket, moto: MotoServer, tmp_path: Path
) -> None:
    with_role.write_path("a", CONTENT)
    moto.forget()
    with time_machine.travel(now(), tick=True) as traveller:
        progress = MovedOn(traveller, 1)  # with the first bytes: most of the ranges are not asked for yet
        with_role.download_object_to_path("a", tmp_path / "a", progress=progress)
        assert progress.moved
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert len(signers(moto, "/exports/a")) == 2


def test_the_same_credentials_as_a_session_token_end_in_the_middle(
    moto: MotoServer, make: Make, tmp_path: Path
) -> None:
    """The control: without a role to assume again, the transfer fails, and says why."""
    keys = moto.assume_role("not-renewed")
    files = make(
        access_key_id=keys.access_key_id, secret_access_key=keys.secret_access_key, session_token=keys.session_token
    )
    (tmp_path / "a").write_bytes(CONTENT)
    with time_machine.travel(now(), tick=True) as traveller:
        progress = MovedOn(traveller, len(CONTENT))
        with pytest.raises(CredentialError, match=r"session_token: has expired.*\(ExpiredToken\)"):
            files.upload_from_path(tmp_path / "a", progress=progress)
    assert progress.moved


# -- many ----------------------------------------------------------------------------------------------------------


def test_a_hundred_thousand_objects_are_listed_page_by_page(moto: MotoServer, make: Make) -> None:
    """The first comes after one request, and a page is forgotten when the next one comes."""
    files = make(bucket="made-up-100000", folder="many")
    files.exists("x")  # a client is made once
    moto.forget()
    listing = files.list_objects()
    assert next(listing).key == "000000000"
    assert len(moto.requests("list-type")) == 1
    tracemalloc.start()  # which makes it slow, so only for some pages
    try:
        assert sum(1 for _ in islice(listing, 4_999)) == 4_999
        _, few = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        assert sum(1 for _ in islice(listing, 5_000)) == 5_000
        _, many = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert many < 20 * MIB
    assert many < few + MIB, "no matter how many there are"
    assert sum(1 for _ in listing) == 90_000
    assert len(moto.requests("list-type")) == 100
