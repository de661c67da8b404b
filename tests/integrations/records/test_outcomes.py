"""What became of each record: in order, in bounded memory, and with all of it in the error."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_atomic import Outcome, Outcomes, RecordsError, RequestError
from prefect_atomic.integrations.records.outcomes import check_on_error, settled

ANY = st.builds(
    Outcome,
    position=st.integers(0, 10_000),
    state=st.sampled_from(["succeeded", "failed", "unknown", "not sent"]),
    id=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    created=st.none() | st.booleans(),
    code=st.none() | st.just("INVALID_FIELD"),
    message=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=100).filter(bool),
    fields=st.lists(st.text("ABCabc_.", min_size=1)).map(tuple),
)


@given(st.lists(ANY, unique_by=lambda outcome: outcome.position))
def test_all_of_them_come_back_in_the_order_of_the_records(given_: list[Outcome]) -> None:
    """However they came in, and after a pickle too."""
    outcomes = Outcomes()
    outcomes.add(given_)
    expected = sorted(given_, key=lambda outcome: outcome.position)
    assert list(outcomes) == expected
    assert list(outcomes) == expected, "a second time"
    assert list(pickle.loads(pickle.dumps(outcomes))) == expected  # noqa: S301 - our own
    assert len(outcomes) == len(expected)
    assert [outcomes[outcome.position] for outcome in expected] == expected
    assert list(outcomes.failures()) == [outcome for outcome in expected if not outcome.success]
    assert outcomes.succeeded == sum(outcome.success for outcome in expected)
    assert outcomes.failed + outcomes.unknown + outcomes.not_sent == len(expected) - outcomes.succeeded


def test_more_than_a_piece_is_iterated_whole() -> None:
    """It is read in pieces of a thousand."""
    outcomes = Outcomes()
    outcomes.add(Outcome(position, "succeeded" if position % 3 else "failed") for position in range(3500))
    assert [outcome.position for outcome in outcomes] == list(range(3500))
    assert [outcome.position for outcome in outcomes.failures()] == list(range(0, 3500, 3))


def test_what_is_known_later_replaces_what_was_known_before() -> None:
    """A record has one outcome."""
    outcomes = Outcomes()
    outcomes.add([Outcome(0, "unknown"), Outcome(1, "succeeded")])
    outcomes.add([Outcome(0, "succeeded", id="003")])
    assert list(outcomes) == [Outcome(0, "succeeded", id="003"), Outcome(1, "succeeded")]


def test_what_can_be_read_while_others_add_is_left_as_it_was() -> None:
    """An iteration that goes on while more come in sees what was there, and what came behind it."""
    outcomes = Outcomes()
    outcomes.add([Outcome(0, "succeeded"), Outcome(1, "failed")])
    reading = iter(outcomes)
    assert next(reading).position == 0
    outcomes.add([Outcome(2, "failed")])
    assert [outcome.position for outcome in reading][:1] == [1]


def test_a_position_without_a_record_is_an_index_error() -> None:
    """As with a list."""
    with pytest.raises(IndexError, match="position 3"):
        Outcomes()[3]


def test_a_failure_raises_with_all_outcomes() -> None:
    """Its text counts them and has the first; pickling loses none."""
    outcomes = Outcomes()
    outcomes.add(
        [
            Outcome(0, "succeeded", id="003"),
            Outcome(1, "failed", code="INVALID_EMAIL_ADDRESS", message="not an e-mail", fields=("Email",)),
            Outcome(2, "unknown", message="the connection was lost"),
        ]
    )
    with pytest.raises(RecordsError) as raised:
        settled(outcomes, what="Contact records upserted", on_error="raise")
    error = pickle.loads(pickle.dumps(raised.value))  # noqa: S301 - our own
    assert "2 of 3 Contact records" in str(error)
    assert "1 failed, 1 unknown" in str(error)
    assert "records[1], failed: INVALID_EMAIL_ADDRESS: not an e-mail (fields Email)" in str(error)
    assert list(error.outcomes) == list(outcomes)
    assert not error.transient
    assert settled(outcomes, what="Contact records", on_error="return") is outcomes


def test_without_a_failure_nothing_is_raised() -> None:
    """Also where there is no record at all."""
    assert len(settled(Outcomes(), what="records", on_error="raise")) == 0


def test_another_word_for_on_error_is_refused() -> None:
    """A misspelt one must not count as one of them."""
    with pytest.raises(RequestError, match="on_error"):
        check_on_error("ignore")
