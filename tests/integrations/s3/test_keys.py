"""Where objects lie: always in the folder, whatever the key, and under the key that is listed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from prefect_atomic import RequestError, S3Bucket, S3Object
from prefect_atomic.integrations.s3.keys import full_key, prefix_of
from tests.integrations.s3.conftest import Make

SEGMENT = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
NAMES = st.lists(SEGMENT.filter(lambda segment: segment not in (".", "..")), min_size=1, max_size=4)


@given(st.lists(SEGMENT, max_size=4), st.data())
def test_however_a_folder_is_spelled_its_keys_begin_alike(names: list[str], data: st.DataObject) -> None:
    """Slashes in front, behind and between, and `.` for the folder itself, say nothing."""
    assume(not {".", ".."} & set(names))
    noise = st.sampled_from(["/", "//", "/./", "/././/"])
    spelled = data.draw(st.sampled_from(["", "/", "./", "//", "."])) if names else ""
    spelled = spelled if spelled.endswith("/") or not spelled else f"{spelled}/"
    for name in names:
        spelled += name + data.draw(noise)
    assert prefix_of(spelled) == prefix_of("/".join(names)) == "".join(f"{name}/" for name in names)


@given(st.text(), st.lists(SEGMENT, max_size=3))
@example("../b", ["a"])
@example("/../b", ["a"])
@example("a/../../b", ["a"])
def test_a_key_is_refused_or_in_the_folder(key: str, names: list[str]) -> None:
    """Also where somebody reads it as a path."""
    assume(not {".", ".."} & set(names))
    prefix = prefix_of("/".join(names))
    try:
        full = full_key(prefix, key)
    except RequestError:
        return
    assert full.startswith(prefix)
    assert full != prefix
    assert full.removeprefix(prefix) == key.lstrip("/")
    depth = 0
    for segment in full.removeprefix(prefix).split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(segment, 1)
        assert depth >= 0


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("", "key: is empty"),
        ("///", "key: is empty"),
        ("..", "leads out of the folder"),
        ("../exports2/a.csv", "leads out of the folder"),
        ("/../a.csv", "leads out of the folder"),
        ("a/../../a.csv", "leads out of the folder"),
        ("./../a.csv", "leads out of the folder"),
        ("a" * 1100, "has 1108 bytes with its folder, and S3 takes 1024"),
        ("\udc80", "half of a character"),
    ],
)
def test_a_key_that_is_none_of_the_folder_is_refused(files: S3Bucket, moto: Any, key: str, says: str) -> None:
    """By every method, before anything is sent."""
    for act in (
        lambda: files.write_path(key, b""),
        lambda: files.read_path(key),
        lambda: files.head(key),
        lambda: files.exists(key),
        lambda: files.delete_object(key),
        lambda: files.copy_object(key, "b"),
        lambda: files.presigned_url(key),
        lambda: files.write_stream(key, [b"a"]),
        lambda: list(files.read_stream(key)),
    ):
        with pytest.raises(RequestError, match=says):
            act()
    with pytest.raises(RequestError, match="to_path: "):
        files.copy_object("a", key)
    assert moto.requests("exports", "") == []


@settings(max_examples=30)
@given(st.lists(NAMES.map("/".join), min_size=1, max_size=4, unique=True), st.binary(max_size=40))
@example(["a b", "a+b", "a%20b", "a%2Bb"], b"different")
@example(["ä/ö €", "\U0001f98a", "e\u0301", "\u00e9"], b"unicode, neither composed nor decomposed")
@example(["a?b=c", "a#b", "a&b;c", "a=b"], b"of a URL")
def test_what_is_written_is_listed_and_read_under_the_same_key(make: Make, keys: list[str], content: bytes) -> None:
    """Of any characters that moto takes."""
    files = make(folder="exports")
    assume(all(len(f"exports/{key}".encode()) <= 1024 and not key.startswith("/") for key in keys))
    for number, key in enumerate(keys):
        assert files.write_path(key, content + bytes([number])) == key
    listed = {each.key: each for each in files.list_objects()}
    try:
        assert sorted(listed) == sorted(keys)
        for number, key in enumerate(keys):
            assert files.read_path(key) == files.read_path(listed[key]) == content + bytes([number])
            assert files.head(key).etag == listed[key].etag
            assert files.exists(key)
    finally:
        for each in listed.values():
            files.delete_object(each)
    assert list(files.list_objects()) == []


def test_a_folder_beside_it_is_never_touched(make: Make, raw: Any, name: str) -> None:
    """`exports2` begins like `exports`."""
    for key in ("exports2/a.csv", "exports", "export/a.csv", "a.csv", "Exports/a.csv"):
        raw.put_object(Bucket=name, Key=key, Body=b"not ours")
    files = make(folder="exports")
    files.write_path("a.csv", b"ours")
    assert [each.key for each in files.list_objects()] == ["a.csv"]
    assert [each.full_key for each in files.new_objects().objects] == ["exports/a.csv"]
    files.delete_object("a.csv")
    assert list(files.list_objects()) == []
    assert not files.exists("2/a.csv")
    for key in ("exports2/a.csv", "exports", "export/a.csv", "a.csv", "Exports/a.csv"):
        assert raw.get_object(Bucket=name, Key=key)["Body"].read() == b"not ours"


def test_an_object_of_another_folder_is_refused(make: Make) -> None:
    """Also of one whose name only begins alike; one of a folder within is taken."""
    other, files, within = make(folder="exports2"), make(folder="exports"), make(folder="exports/daily")
    other.write_path("a.csv", b"not ours")
    within.write_path("a.csv", b"ours")
    (foreign,), (inner,) = list(other.list_objects()), list(within.list_objects())
    for act in (files.read_path, files.head, files.exists, files.delete_object, files.presigned_url):
        with pytest.raises(RequestError, match=r"'exports2/a\.csv' is an object of another folder"):
            act(foreign)
    assert files.read_path(inner) == b"ours"
    assert other.exists("a.csv")


def test_a_prefix_is_within_the_folder(files: S3Bucket) -> None:
    for key in ("a/1", "a/2", "ab", "b"):
        files.write_path(key, b"")
    for prefix, found in (("a", ["a/1", "a/2", "ab"]), ("a/", ["a/1", "a/2"]), ("/a/", ["a/1", "a/2"]), ("x", [])):
        assert [each.key for each in files.list_objects(prefix)] == found
    with pytest.raises(RequestError, match="prefix: has"):
        list(files.list_objects("a" * 1100))


def test_the_sign_for_a_folder_is_no_object_of_it(files: S3Bucket, raw: Any, name: str) -> None:
    """The AWS console stores an empty object named like the folder."""
    raw.put_object(Bucket=name, Key="exports/", Body=b"")
    assert list(files.list_objects()) == []
    assert files.new_objects().objects == []


def test_the_whole_bucket_is_a_folder_too(make: Make) -> None:
    bucket = make()
    bucket.write_path("/a/b.csv", b"content")
    assert [(each.key, each.full_key) for each in bucket.list_objects()] == [("a/b.csv", "a/b.csv")]


def test_an_object_says_what_s3_knows(files: S3Bucket) -> None:
    """The SHA-256 with a look at it, not in a listing."""
    files.write_path("a.csv", b"content")
    (listed,) = files.list_objects()
    found = files.head("a.csv")
    assert found == S3Object(**(listed.model_dump() | {"sha256": "7XACtDnprIRfIjV9giusFERzD722AW0+yUMil7nsn3M="}))
    assert (found.size, found.key, found.full_key) == (7, "a.csv", "exports/a.csv")
    assert S3Object.model_validate_json(found.model_dump_json()) == found
