"""What is an event and what is not: refused before anything is stored or sent, with the field named."""

import asyncio
import json
from collections import UserDict
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_atomic import RequestError
from prefect_atomic.webhooks.entry import Entry
from prefect_atomic.webhooks.event import MAX_EVENT_BYTES, complete, encoded
from tests.webhooks.conftest import CONTENT, EVENTS, TEXT, event


def nested(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


ITSELF: dict = {"type": "t"}
ITSELF["data"] = [ITSELF]

BAD = {
    "a datetime": (event(data={"at": datetime(2026, 1, 1, tzinfo=UTC)}), r"event\.data\.at: is a datetime.*isoformat"),
    "NaN": (event(data=[float("nan")]), r"event\.data\[0\]: is nan"),
    "infinity": (event(data={"a": {"b": float("-inf")}}), r"event\.data\.a\.b: is -inf"),
    "bytes": (event(data=CONTENT.encode()), r"event\.data: is a bytes"),
    "a set": (event(data={CONTENT}), r"event\.data: is a set"),
    "a decimal": (event(data=Decimal("1.1")), r"event\.data: is a Decimal"),
    "a name that is a number": (event(data={1: CONTENT}), r"event\.data: has a name that is no text but a int"),
    "a lone surrogate": (event(data=f"{CONTENT}\ud800"), r"event\.data: holds a half of a character"),
    "a lone surrogate in a name": (event(data={"\udfff": 1}), r"event\.data, a name in it: holds a half"),
    "a huge number": (event(data=10**5000), r"event\.data: is a number of more than 4000 digits"),
    "no type": ({"data": CONTENT}, "event: has no `type`"),
    "an empty type": (event(type=" "), "event: has no `type`"),
    "a type that is no text": (event(type=[CONTENT]), "event: has no `type`"),
    "an id that is a number": (event(id=4711), "event: `id` is text, and this is a int"),
    "an id with a line break": (event(id=f"{CONTENT}\nX-Evil: 1"), "event: `id` is sent as a header"),
    "an id that is not ASCII": (event(id="é"), "event: `id` is sent as a header"),
    "an id with a space around it": (event(id="1 "), "event: `id` is sent as a header"),
    "an id that is too long": (event(id="x" * 257), "event: `id` is sent as a header"),
    "holding itself": (ITSELF, "nested more than 100 levels deep, or holds itself"),
    "nested too deeply": (event(data=nested(5000)), "nested more than 100 levels deep"),
    "more than 1 MiB": (event(data=CONTENT * 40_000), r"event: has \d+ bytes as JSON, and 1048576 are the most"),
    "text": (CONTENT, "event: is a mapping with a `type`, and this is a str"),
    "a list": ([event()], "event: is a mapping with a `type`, and this is a list"),
    "nothing": (None, "event: is a mapping"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_event_is_refused_and_not_quoted(bad):
    given_, why = BAD[bad]

    with pytest.raises(RequestError, match=why) as refusal:
        complete(given_, fallback_id="evt_0")

    assert CONTENT not in str(refusal.value)


def test_nothing_is_stored_or_sent_for_what_is_no_event(tell, subscribe, server, outbox_path):
    with pytest.raises(RequestError, match=r"event\.data\.at"):
        tell(event(data={"at": datetime(2026, 1, 1, tzinfo=UTC)}), subscribe())

    assert not server.requests
    assert not outbox_path.exists()


@pytest.mark.parametrize("max_wait", [-1, 3601, float("nan"), "5", True, None])
def test_max_wait_is_a_number_of_seconds(tell, subscribe, server, max_wait):
    with pytest.raises(RequestError, match="max_wait: is a number of seconds, from 0 to 3600"):
        tell(event(), subscribe(), max_wait=max_wait)

    assert not server.requests


@pytest.mark.parametrize("nothing", [{}, {"id": None, "timestamp": None}, {"id": "", "timestamp": ""}])
def test_an_id_and_a_timestamp_are_added_where_there_is_none(clock, nothing):
    completed = complete({"type": "t", **nothing}, fallback_id="evt_0")

    assert completed == {"type": "t", "id": "evt_0", "timestamp": "2026-01-02T03:04:05.000+00:00"}


def test_an_id_and_a_timestamp_that_are_there_are_kept():
    given_ = {"type": "t", "id": "mine", "timestamp": "yesterday", "data": None}

    assert complete(given_, fallback_id="evt_0") == given_


def test_ids_that_are_made_up_differ(tell, subscribe):
    assert tell({"type": "t"}, subscribe()).event_id != tell({"type": "t"}, subscribe()).event_id


@pytest.mark.parametrize("kind", [MappingProxyType, UserDict])
def test_any_mapping_will_do(kind):
    given_ = kind({"type": "t", "data": kind({"a": (1, 2)})})

    completed = complete(given_, fallback_id="evt_0")

    assert json.loads(encoded(completed))["data"] == {"a": [1, 2]}


def test_what_the_caller_changes_later_is_not_sent():
    given_ = event()
    completed = complete(given_, fallback_id="evt_0")
    given_["data"]["note"] = "changed"

    assert completed["data"]["note"] == CONTENT


def test_an_event_of_one_mebibyte_is_taken():
    space = MAX_EVENT_BYTES - len(encoded(complete(event(timestamp="now", data=""), fallback_id="")))
    taken = complete(event(timestamp="now", data="x" * space), fallback_id="")

    assert len(encoded(taken)) == MAX_EVENT_BYTES


@given(given_=EVENTS, more=st.dictionaries(TEXT.filter(lambda name: name not in ("id", "type", "timestamp")), TEXT))
def test_what_is_sent_is_the_event(given_, more):
    completed = complete({**more, **given_}, fallback_id="evt_0")

    assert json.loads(encoded(completed)) == completed
    assert {**completed, **more, **given_} == completed


@given(given_=EVENTS, levels=st.integers(0, 95))
def test_what_comes_out_of_the_outbox_is_byte_for_byte_what_went_in(given_, levels):
    completed = complete({**given_, "deep": nested(levels)}, fallback_id="evt_0")
    entry = Entry(event=completed, stored_at=1.5, due=2.5)

    assert encoded(Entry.from_json(entry.to_json()).event) == encoded(completed)


def test_a_task_that_is_run_again_keeps_the_id(monkeypatch, subscribe, server):
    """What Prefect runs again, perhaps after a crash, is the same event to the receiver."""
    monkeypatch.setenv("PREFECT__RUNTIME__TASK_RUN__ID", "0190-of-the-task-run")
    from prefect_atomic import awebhook, webhook

    first = webhook.fn({"type": "t"}, subscribe())
    again = asyncio.run(awebhook.fn({"type": "t"}, subscribe()))

    assert first.event_id == again.event_id
