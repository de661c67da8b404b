"""New objects: each once, none missed, whatever the order, the clock and the number in which they arrive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cache
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from prefect_atomic import RequestError, S3Bucket, S3Object
from prefect_atomic.integrations.s3.arrivals import new_objects

DAY = 24 * 3600
EPOCH = 1_790_000_000


class Model:
    """S3, as far as a look at it goes: seconds are whole, an upload in parts is dated when it begins."""

    def __init__(self) -> None:
        self.clock = float(EPOCH)
        self.objects: dict[str, tuple[float, str]] = {}
        self.uploads: list[tuple[str, float, str]] = []
        self.late: list[tuple[float, str, float, str]] = []
        self.ends_within_a_look: tuple[str, float, str] | None = None

    prefix = ""
    bucket = "model"

    @property
    def client(self) -> Model:
        return self

    def told(self, what: str) -> nullcontext[None]:
        return nullcontext()

    def get_paginator(self, name: str) -> Model:
        assert name == "list_multipart_uploads"
        return self

    def paginate(self, **_: Any) -> Iterator[dict[str, Any]]:
        for key, began, _etag in self.uploads:
            yield {"Uploads": [{"Key": key, "Initiated": _moment(began)}]}

    def pages(self, start: str) -> Iterator[tuple[list[S3Object], dict[str, Any]]]:
        if ended := self.ends_within_a_look:  # after the uploads were listed
            self.ends_within_a_look = None
            if ended in self.uploads:
                self.uploads.remove(ended)
                self.objects[ended[0]] = ended[1:]
        headers = {"date": format_datetime(_moment(self.clock), usegmt=True)}
        keys = sorted(self.objects)
        for at in range(0, len(keys) or 1, 1000):
            yield (
                [
                    S3Object(
                        key=key,
                        full_key=key,
                        size=1,
                        last_modified=_moment(self.objects[key][0]),
                        etag=self.objects[key][1],
                    )
                    for key in keys[at : at + 1000]
                ],
                headers,
            )


@cache  # objects by the thousand have few of them
def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(int(at), UTC)


class Arrivals(RuleBasedStateMachine):
    """No content of an object is reported twice; and after some more looks, none that is there is left."""

    @initialize()
    def begin(self) -> None:
        self.model = Model()
        self.cursor: str | None = None
        self.found = Counter[tuple[str, str]]()
        self.number = 0

    def _etag(self) -> str:
        self.number += 1
        return f"etag-{self.number}"

    def _appears(self, key: str, at: float, etag: str) -> None:
        """The newest wins, as in S3."""
        if key in self.model.objects and self.model.objects[key][0] > at:
            return
        self.model.objects[key] = (at, etag)

    @rule(key=st.sampled_from("abcdef"))
    def put(self, key: str) -> None:
        self._appears(key, self.model.clock, self._etag())

    @rule(number=st.integers(1, 5), late=st.integers(1, 58))
    def put_that_shows_later(self, number: int, late: int) -> None:
        """Dated when it began."""
        key = f"late-{self.number}-{number}"
        self.model.late.append((self.model.clock + late, key, self.model.clock, self._etag()))

    @rule(number=st.integers(300, 1500))
    def burst(self, number: int) -> None:
        """All within a second."""
        for each in range(number):
            self._appears(f"burst-{self.number}-{each}", self.model.clock, f"burst-{each}")
        self._etag()

    @precondition(lambda self: len(self.model.uploads) < 90)
    @rule(number=st.integers(1, 3))
    def begin_upload(self, number: int) -> None:
        for _ in range(number):
            etag = self._etag()
            self.model.uploads.append((f"upload-{etag}", self.model.clock, etag))

    @precondition(lambda self: self.model.uploads)
    @rule(data=st.data())
    def end_upload(self, data: st.DataObject) -> None:
        key, began, etag = self.model.uploads.pop(data.draw(st.integers(0, len(self.model.uploads) - 1)))
        self._appears(key, began, etag)

    @precondition(lambda self: self.model.uploads)
    @rule(data=st.data())
    def end_an_upload_within_the_next_look(self, data: st.DataObject) -> None:
        self.model.ends_within_a_look = data.draw(st.sampled_from(self.model.uploads))

    @precondition(lambda self: self.model.objects)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        del self.model.objects[data.draw(st.sampled_from(sorted(self.model.objects)[:20]))]

    @rule(seconds=st.sampled_from([0, 1, 1, 30, 59, 60, 61, 600, 3599, 3600, 3601, DAY]))
    def time_passes(self, seconds: int) -> None:
        self._pass(seconds)

    def _pass(self, seconds: float) -> None:
        self.model.clock += seconds
        for _, key, at, etag in [each for each in self.model.late if each[0] <= self.model.clock]:
            self._appears(key, at, etag)
        self.model.late = [each for each in self.model.late if each[0] > self.model.clock]
        # Who takes longer than a week gave up.
        self.model.uploads = [each for each in self.model.uploads if each[1] > self.model.clock - 5 * DAY]

    @rule()
    def look(self) -> None:
        found, self.cursor = new_objects(self.model, self.cursor, "")  # type: ignore[arg-type]
        there = {(key, etag) for key, (_, etag) in self.model.objects.items()}
        assert len(self.cursor) < 5000
        assert found == sorted(found, key=lambda each: each.last_modified)
        reported = [(each.full_key, each.etag) for each in found]
        assert set(reported) <= there
        self.found.update(reported)

    @rule()
    def look_of_somebody_who_lost_the_answer(self) -> None:
        """Who gives the old cursor again gets the same again."""
        self.model.ends_within_a_look = None
        first = new_objects(self.model, self.cursor, "")  # type: ignore[arg-type]
        assert first == new_objects(self.model, self.cursor, "")  # type: ignore[arg-type]

    @invariant()
    def nothing_twice(self) -> None:
        assert [each for each, times in self.found.items() if times > 1] == []

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        for seconds in (61, 61, 3700):
            self._pass(seconds)
            self.look()
        self.nothing_twice()
        still = {(key, etag) for key, (_, etag) in self.model.objects.items()}
        assert still - set(self.found) == set(), "nothing is missed"


TestArrivals = Arrivals.TestCase
TestArrivals.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_an_upload_that_takes_five_days_is_found_once() -> None:
    """It is dated when it began."""
    model = Model()
    cursor, found = None, []
    model.uploads.append(("large", model.clock, "etag"))
    for hour in range(5 * 24 + 8):
        model.clock += 3600
        if hour == 5 * 24:
            (upload,) = model.uploads
            model.uploads = []
            model.objects[upload[0]] = upload[1:]
        objects, cursor = new_objects(model, cursor, "")  # type: ignore[arg-type]
        found += [each.key for each in objects]
    assert found == ["large"]


def keys(files: S3Bucket, cursor: str | None, **options: Any) -> tuple[list[str], str]:
    found = files.new_objects(cursor, **options)
    assert len(found.cursor) < 5000
    return [each.key for each in found.objects], found.cursor


def test_new_and_overwritten_objects_are_found_in_a_bucket(files: S3Bucket) -> None:
    for key in "ba":
        files.write_path(key, b"content")
    found, cursor = keys(files, None)
    assert sorted(found) == ["a", "b"]
    assert keys(files, cursor)[0] == []
    files.write_path("c", b"content")
    files.write_path("a", b"other content")
    files.delete_object("b")
    found, cursor = keys(files, cursor)
    assert sorted(found) == ["a", "c"]
    files.write_stream("large", [bytes(9 * 1024 * 1024)])
    assert keys(files, cursor)[0] == ["large"]


def test_a_prefix_has_a_cursor_of_its_own(files: S3Bucket) -> None:
    files.write_path("a/1", b"")
    files.write_path("b/1", b"")
    found, cursor = keys(files, None, prefix="a/")
    assert found == ["a/1"]
    files.write_path("b/2", b"")
    files.write_path("a/2", b"")
    assert keys(files, cursor, prefix="a/")[0] == ["a/2"]


def test_a_bucket_with_many_objects_has_a_short_cursor(make: Any) -> None:
    found, cursor = keys(make(bucket="made-up-5000"), None)
    assert len(found) == 5000
    assert keys(make(bucket="made-up-5000"), cursor)[0] == []


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "{}",
        "5",
        "null",
        "[]",
        '{"v":2,"t":0,"s":"","u":""}',
        '{"v":1,"t":"x","s":"","u":""}',
        '{"v":1,"t":0,"s":"abc","u":""}',
        '{"v":1,"t":0,"s":5,"u":""}',
        '{"v":1,"t":0,"s":""}',
    ],
)
def test_a_cursor_that_is_none_is_refused(files: S3Bucket, cursor: str) -> None:
    """Never taken for the beginning: everything would be dealt with once more."""
    with pytest.raises(RequestError, match="cursor: is not one that new_objects returned"):
        files.new_objects(cursor)
