"""Rows of CSV files: what is wrong with one is told so that it can be found."""

from __future__ import annotations

import io

import pytest

from prefect_atomic import RequestError
from prefect_atomic.integrations.records.csv_tables import LARGEST_ROW, CsvTable, Row

HEADER = b"email,lastName\n"


def rows(content: bytes) -> list[Row]:
    return list(CsvTable(io.BytesIO(HEADER + content)).rows())


def test_values_in_quotes_may_have_all_that_csv_knows() -> None:
    content = b'a@example.com,"one ""two"",\nthree"\n\nb@example.com,"""B"""'
    assert [(row.at, row.fault) for row in rows(content)] == [(2, None), (5, None)]


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
@pytest.mark.parametrize("is_ended", [True, False], ids=["ended", "not ended"])
def test_a_quote_that_is_not_closed_is_told_with_the_lines_that_it_takes_in(ends: bytes, is_ended: bool) -> None:
    lines = [b"a@example.com,A", b'b@example.com,"oops', *[b"c@example.com,C"] * 1000]
    good, bad = rows(ends.join(lines) + ends * is_ended)
    assert good.fault is None
    assert (bad.at, bad.fault) == (3, "has a quote that is not closed up to line 1003, the last one")


def test_a_quote_that_is_not_closed_is_told_before_all_that_comes_of_it() -> None:
    (bad,) = rows(b'a@example.com,"oops\nb@example.com,"x",y\n')
    assert bad.fault == "has a quote that is not closed up to line 3, the last one"


@pytest.mark.parametrize("content", [b"a,b\rc,d\n", b'"a",b\rc,"d"\n'])
def test_a_line_break_outside_of_quotes_is_none_that_a_quote_is_to_blame_for(content: bytes) -> None:
    (bad,) = rows(content)
    assert bad.fault == "has a line break outside of quotes"


def test_a_row_that_cannot_be_one_is_refused_with_its_line() -> None:
    with pytest.raises(RequestError, match=f"line 3: begins a row of more than {LARGEST_ROW:,} bytes; is a quote"):
        rows(b'a,b\n"c,d\n' + b"e,f\n" * (LARGEST_ROW // 4))
