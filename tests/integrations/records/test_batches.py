"""Records cut into requests: never too many, never too large, none lost, in their order."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_atomic import Outcomes, RequestError
from prefect_atomic.integrations.records import json_batches

RECORD = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.text(max_size=40) | st.integers() | st.none())


@given(st.lists(RECORD, max_size=60), st.integers(1, 7), st.integers(30, 300))
def test_every_record_is_in_one_batch_or_has_an_outcome(
    records: list[dict[str, Any]], most: int, most_bytes: int
) -> None:
    """No body is over a limit, and what is too large alone is told by its position."""
    outcomes = Outcomes()
    batches = list(json_batches(records, outcomes, most=most, most_bytes=most_bytes, wrap=(b'{"data":[', b"]}")))
    for batch in batches:
        assert len(batch.body) <= most_bytes
        assert len(batch.positions) <= most
        assert json.loads(batch.body)["data"] == [records[position] for position in batch.positions]
    sent = [position for batch in batches for position in batch.positions]
    refused = [outcome.position for outcome in outcomes]
    assert sent == sorted(sent)
    assert sorted(sent + refused) == list(range(len(records)))


@given(st.lists(RECORD, min_size=1, max_size=40))
def test_batches_are_as_full_as_the_limits_allow(records: list[dict[str, Any]]) -> None:
    """No two that follow each other would have fitted into one."""
    batches = list(json_batches(records, Outcomes(), most=1000, most_bytes=200))
    for first, second in pairwise(batches):
        next_one = json.dumps(json.loads(second.body)[0], ensure_ascii=False, separators=(",", ":")).encode()
        assert len(first.body) + 1 + len(next_one) > 200


def test_records_are_read_only_as_they_are_needed() -> None:
    """A generator of any length fits into the memory of a batch."""
    read = []

    def records() -> Any:
        for number in range(1000):
            read.append(number)
            yield {"number": number}

    batches = json_batches(records(), Outcomes(), most=10, most_bytes=1000)
    next(batches)
    assert len(read) == 11


def test_dates_and_decimals_are_written_as_iso_8601_and_numbers() -> None:
    """What a database hands out goes in as it is."""
    record = {"at": datetime(2026, 1, 2, 3, 4, 5, 678900, UTC), "on": date(2026, 1, 2), "sum": Decimal("1.10")}
    (batch,) = json_batches([record], Outcomes(), most=1, most_bytes=1000)
    assert json.loads(batch.body) == [{"at": "2026-01-02T03:04:05.678+00:00", "on": "2026-01-02", "sum": 1.1}]


def test_a_decimal_that_no_float_holds_is_text() -> None:
    """It is not rounded in silence."""
    (batch,) = json_batches([{"sum": Decimal("12345678901234567.89")}], Outcomes(), most=1, most_bytes=1000)
    assert json.loads(batch.body) == [{"sum": "12345678901234567.89"}]


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (["a"], "is a list"),
        ({"a": {1, 2}}, "a set"),
        ({"a": float("nan")}, "no JSON"),
        ({"a": "\ud800"}, "no JSON"),
        ({"a": datetime(2026, 1, 1)}, "time zone"),  # noqa: DTZ001 - that is the fault
        ({"a": b"bytes"}, "a bytes"),
        ({"a": "x" * 500}, "a request may have 198 for its records"),
    ],
)
def test_what_cannot_be_sent_is_told_and_the_rest_goes_on(record: Any, told: str) -> None:
    """The reason names no content."""
    outcomes = Outcomes()
    batches = list(json_batches([{"a": 1}, record, {"a": 2}], outcomes, most=10, most_bytes=200))
    assert [batch.positions for batch in batches] == [(0, 2)]
    (outcome,) = outcomes
    assert (outcome.position, outcome.state) == (1, "not sent")
    assert told in str(outcome.message)
    assert "xxx" not in str(outcome)


IN_ITSELF: list[Any] = []
IN_ITSELF.append(IN_ITSELF)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (float("nan"), "bad: holds something that is no JSON (NaN)"),
        (float("-inf"), "bad: holds something that is no JSON (an infinite number)"),
        (datetime(2026, 1, 1), "bad: holds something that is no JSON (a datetime without a time zone)"),  # noqa: DTZ001
        (frozenset([1]), "bad: holds something that is no JSON (a frozenset)"),
        ("secret \ud800", "bad: holds something that is no JSON (a text with half of a character, a lone surrogate)"),
        ({"of": [1, {"it": {1}}]}, "bad.of[1].it: holds something that is no JSON (a set)"),
        ({"\ud800": 1}, "bad: holds something that is no JSON (a name with half of a character, a lone surrogate)"),
        ({"\ud800": {1}}, "bad.?: holds something that is no JSON (a set)"),
        ({(1, 2): 3}, "bad: holds something that is no JSON (keys must be "),
        pytest.param(10**5000, "bad: holds something that is no JSON (Exceeds the limit ", id="many digits"),
        (IN_ITSELF, "bad[0][0]"),
    ],
)
def test_the_first_field_that_is_no_json_is_named(value: Any, told: str) -> None:
    """Also where it stands elsewhere in what is sent."""
    record = {"good": 1, "bad": value, "later": {1}}
    for shape in (None, lambda record: {"rows": [dict(record)]}):
        outcomes = Outcomes()
        assert list(json_batches([record], outcomes, most=10, most_bytes=200, shape=shape)) == []
        assert str(outcomes[0].message).startswith(told)
        assert "secret" not in str(outcomes[0].message)
        str(outcomes[0].message).encode()


def test_a_shape_that_is_no_json_is_told_too() -> None:
    """Though the record is."""
    outcomes = Outcomes()
    assert list(json_batches([{"a": 1}], outcomes, most=1, most_bytes=99, shape=lambda record: {1})) == []
    assert outcomes[0].message == "holds something that is no JSON (a set)"


@pytest.mark.parametrize("records", ["text", b"bytes", {"a": 1}])
def test_a_single_thing_is_no_list_of_records(records: Any) -> None:
    """A mapping would otherwise be read as a list of its keys."""
    with pytest.raises(RequestError, match="records"):
        list(json_batches(records, Outcomes(), most=1, most_bytes=100))
