"""Atomic's CSV: what a row starts, and what is wrong with it."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_atomic import RequestError
from prefect_atomic.integrations.atomic.bulk_csv import BulkCsv, Row

ID = "target.attributes.atomic___id"


def read(text: str | bytes) -> list[Row]:
    return list(BulkCsv(io.BytesIO(text.encode() if isinstance(text, str) else text)).rows())


def only(text: str) -> Any:
    (row,) = read(text)
    assert row.fault is None, row.fault
    return row.invocation


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@given(st.lists(st.tuples(cells.filter(bool), cells, cells), min_size=1), st.sampled_from(["\n", "\r\n"]))
def test_whatever_stands_in_the_cells_arrives_as_it_is(rows: list[tuple[str, str, str]], end: str) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow([ID, "payload.variables.name", "payload.metadata.note"])
    writer.writerows(rows)

    found = read(text.getvalue())

    assert [row.cells for row in found] == rows
    for row, (user, name, note) in zip(found, rows, strict=True):
        assert row.invocation is not None
        assert row.invocation["target"] == {"usersById": [user]}
        payload = row.invocation.get("payload", {})
        assert payload.get("variables", {}).get("name", "") == name
        assert payload.get("metadata", {}).get("note", "") == note


@given(st.binary(max_size=300))
def test_any_bytes_are_rows_with_or_without_a_fault_or_a_file_that_cannot_be_used(content: bytes) -> None:
    try:
        found = read(f"{ID},payload.variables.a\n".encode() + content)
    except RequestError:
        return
    assert all((row.invocation is None) == bool(row.fault) for row in found)


@given(st.binary(max_size=100))
def test_any_file_at_all_is_read_or_refused_with_a_reason(content: bytes) -> None:
    try:
        read(content)
    except RequestError as error:
        assert str(error)  # noqa: PT017 - either is right


def test_lines_are_counted_where_rows_begin() -> None:
    found = read(f'{ID},payload.variables.a\n1,"x\ny"\n\n2,z\n')
    assert [row.line for row in found] == [2, 5]


def test_attributes_must_all_match_so_none_may_be_empty() -> None:
    header = "target.attributes.city,target.attributes.vip\n"
    assert only(f"{header}Berlin,yes\n")["target"] == {"attributes": {"city": "Berlin", "vip": "yes"}}
    assert "target.attributes.vip: is empty" in str(read(f"{header}Berlin,\n")[0].fault)
    assert "no target" in str(read(f"{header},\n")[0].fault)


def test_users_by_id_are_one_or_a_list() -> None:
    header = "payload.target.usersById\n"
    assert only(f"{header}7\n")["target"] == {"usersById": ["7"]}
    assert only(f'{header}"[""7"",""8""]"\n')["target"] == {"usersById": ["7", "8"]}
    assert "usersById: is neither" in str(read(f"{header}[7]\n")[0].fault)


def test_two_kinds_of_target_are_refused() -> None:
    assert "more than one kind" in str(read(f"{ID},target.usersById\n1,2\n")[0].fault)
    assert only(f"{ID},target.usersById\n1,\n")["target"] == {"usersById": ["1"]}


def test_card_options_have_their_types() -> None:
    text = f"{ID},payload.cardOptions.priority,payload.cardOptions.targetStreamIds,payload.cardOptions.expires\n"
    options = only(f'{text}1,3,"[""a"",""b""]",2026-12-01T00:00:00Z\n')["payload"]["cardOptions"]
    assert options == {"priority": 3, "targetStreamIds": ["a", "b"], "expires": "2026-12-01T00:00:00Z"}
    assert "begins like JSON" in str(read(f"{text}1,3,[a,x\n")[0].fault)


def test_an_invocation_id_is_kept_and_may_not_be_there_twice() -> None:
    first, second, third = read(f"{ID},flowInvocationId\n1,one\n2,\n3,one\n")
    assert first.invocation is not None
    assert first.invocation["flowInvocationId"] == "one"
    assert second.invocation == {"target": {"usersById": ["2"]}}
    assert third.fault == "flowInvocationId: is that of line 2"


@pytest.mark.parametrize("text", [f"{ID}\n", f"{ID}\n\n\n"])
def test_a_file_without_rows_starts_nothing(text: str) -> None:
    assert read(text) == []
