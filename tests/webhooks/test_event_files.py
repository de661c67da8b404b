"""Files of events: each line makes something or says why not, and rejects are as they were."""

import gzip
import json
from pathlib import Path

import pytest

from prefect_atomic import RequestError
from prefect_atomic.webhooks.event_files import EventFile, object_template

MAPPING = {"Id": "event.id", "Text": "{{ event.type }}/{{ event.id }}", "Nothing": "event.nothing"}
LINES = (
    b'\xef\xbb\xbf{"id": 1, "type": "a", "nothing": null}\n\n[]\n{"id": "\xc3\xbc", "type": "b", "nothing": 2}\nno json'
)


def file_of(folder: Path, content: bytes) -> EventFile:
    (folder / "events").write_bytes(content)
    return EventFile(folder / "events")


@pytest.mark.parametrize("content", [LINES, gzip.compress(LINES)], ids=["as it is", "gzipped"])
def test_each_line_makes_an_object_or_says_why_not(tmp_path: Path, content: bytes) -> None:
    events = file_of(tmp_path, content)
    made = list(events.mapped(object_template(MAPPING)))
    assert [each.line for each in made] == [1, 3, 4, 5]
    assert made[0].made == {"Id": 1, "Text": "a/1", "Nothing": None}
    assert made[2].made == {"Id": "ü", "Text": "b/ü", "Nothing": 2}
    assert [each.fault for each in made if each.made is None] == ["is no JSON object", "is no JSON in UTF-8"]
    assert events.fault is None


def test_reading_goes_on_behind_a_line(tmp_path: Path) -> None:
    events = file_of(tmp_path, LINES)
    assert [each.line for each in events.mapped(object_template(MAPPING), after=3)] == [4, 5]


def test_a_field_that_is_missing_is_named_and_nothing_of_the_event_is_quoted(tmp_path: Path) -> None:
    [made] = file_of(tmp_path, b'{"id": "s3cret"}').mapped(object_template({"Type": "event.type"}))
    assert made.made is None
    assert "'type'" in made.fault
    assert "s3cret" not in made.fault


def test_rejects_have_their_line_the_reason_and_the_event(tmp_path: Path) -> None:
    rejects = [json.loads(line) for line in file_of(tmp_path, LINES).rejects({4: "too late", 5: "is no JSON"})]
    assert rejects == [
        {"line": 4, "reason": "too late", "event": {"id": "ü", "type": "b", "nothing": 2}},
        {"line": 5, "reason": "is no JSON", "event": "no json"},
    ]


def test_a_file_that_is_cut_gives_what_it_has_and_says_so(tmp_path: Path) -> None:
    lines = b"".join(b'{"id": %d}\n' % number for number in range(100_000))
    events = file_of(tmp_path, gzip.compress(lines)[:-100])
    assert 0 < sum(1 for _ in events.mapped(object_template({"Id": "event.id"}))) < 100_000
    assert events.fault
    assert events.fault.startswith("cannot be unpacked")


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        ({"Id": "{{ event.id"}, "mapping: Id: does not parse"),
        ({"Id": "id"}, "mapping: Id: id: is not known"),
        ({'I"d': "event.id"}, "is no name of a field"),
    ],
    ids=["no template", "unknown", "no name"],
)
def test_a_mapping_that_can_never_make_anything_is_refused(mapping: dict[str, str], text: str) -> None:
    with pytest.raises(RequestError, match=text):
        object_template(mapping)
