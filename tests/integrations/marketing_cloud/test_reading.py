"""Rows out of a data extension: all pages, and never a listing without an end."""

from itertools import islice

import pytest

from prefect_atomic import RequestError, ResponseError
from prefect_atomic.integrations.marketing_cloud.tasks import marketing_cloud_read_rows
from tests.e2e.servers.faulty import Answer
from tests.integrations.marketing_cloud.conftest import READ, as_json, row


@pytest.fixture
def many(marketing_cloud):
    """A tenant with 130 rows."""
    marketing_cloud.upsert_rows("Events", map(row, range(130)), keys=["EventId"])
    return marketing_cloud


@pytest.mark.parametrize("page_size", [1, 50, 65, 130, 2500])
def test_every_row_of_every_page_comes_once(many, call, page_size):
    rows = call(many.read_rows, "Events", page_size=page_size)

    assert sorted(each["eventid"] for each in rows) == sorted(f"e-{number}" for number in range(130))
    assert rows[0].keys() == {"eventid", "userid", "type", "occurredat", "payload"}


def test_pages_are_asked_for_as_they_are_needed(many, sandbox):
    assert sandbox.calls().get(f"GET {READ}") is None
    rows = many.read_rows("Events", page_size=10)
    list(islice(rows, 15))

    assert sandbox.calls()[f"GET {READ}"] == 2


def test_rows_are_filtered_and_ordered(many, call):
    rows = call(many.read_rows, "Events", filter="UserId eq 'user-7'")
    assert [each["eventid"] for each in rows] == ["e-7"]
    rows = call(many.read_rows, "Events", order_by="EventId desc", page_size=50)
    assert [each["eventid"] for each in rows] == sorted((f"e-{number}" for number in range(130)), reverse=True)


def test_a_data_extension_without_rows_has_none(marketing_cloud, call):
    assert call(marketing_cloud.read_rows, "Events") == []


def test_a_key_or_a_column_that_is_not_there_is_an_error(marketing_cloud, call):
    with pytest.raises(ResponseError, match=r"404.*external key"):
        call(marketing_cloud.read_rows, "Evnts")
    with pytest.raises(ResponseError, match="Nope is not a column"):
        call(marketing_cloud.read_rows, "Events", filter="Nope eq 1")


def test_lost_answers_and_throttling_are_asked_for_again(many, sandbox, call):
    sandbox.misbehave(READ, times=2, cut=True)
    sandbox.set_marketing_cloud(throttle_every=3, throttle_code=50200)

    assert len(call(many.read_rows, "Events", page_size=10)) == 130


def item(number):
    return {"keys": {"eventid": str(number)}, "values": {}}


def pages(*contents):
    waiting = list(contents)
    return lambda request: as_json(**waiting.pop(0))


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ([{"count": 4, "items": [item(1)]}, {"count": 4, "items": [item(1)]}], "would never end"),
        ([{"count": 4, "page": 1, "items": [item(1)]}, {"count": 4, "page": 1, "items": [item(2)]}], "would never end"),
        ([{"count": 4, "items": [item(1)]}, {"count": 4, "items": []}], "although 4 are there"),
        ([{"rows": []}], "was expected"),
        ([{"count": 1, "items": ["x"]}], "a row of keys and values"),
        ([{"count": 1, "items": [{"eventid": "1"}]}], "a row of keys and values"),
    ],
)
def test_a_listing_that_is_not_whole_is_an_error_and_no_shorter_listing(tenant, contents, said):
    tenant.answer = pages(*contents)
    with pytest.raises(ResponseError, match=said):
        list(tenant.block().read_rows("Events"))


@pytest.mark.parametrize(
    "contents",
    [
        [{"count": 2, "items": [item(1)]}, {"count": 2, "items": [item(2)]}],
        [{"items": [item(1)], "links": {"next": "/v1/x"}}, {"items": [item(2)], "links": {}}],
        [{"count": 3, "items": [item(1)]}, {"count": 2, "items": [item(2)]}],  # one was deleted meanwhile
        [{"count": 1, "items": [item(1)], "links": {"next": "/v1/x"}}, {"count": 1, "items": [item(2)]}],  # of the page
    ],
)
def test_the_end_is_known_by_the_count_or_by_the_links(tenant, contents):
    tenant.answer = pages(*contents)

    assert list(tenant.block().read_rows("Events")) == [{"eventid": "1"}, {"eventid": "2"}]


def test_pages_of_equal_rows_are_no_fault(tenant):
    tenant.answer = pages(*({"count": 3, "page": number, "items": [item(1)]} for number in (1, 2, 3)))

    assert len(list(tenant.block().read_rows("Events", page_size=1))) == 3


def test_a_key_that_is_no_text_is_named(tenant):
    with pytest.raises(RequestError, match=r"^data_extension_key: "):
        list(tenant.block().read_rows("\ud800"))


def test_a_page_that_is_no_json_is_an_error(tenant):
    tenant.answer = lambda request: Answer(200, [("Content-Type", "text/html")], b"<html>")
    with pytest.raises(ResponseError, match="text/html where a JSON object was expected"):
        list(tenant.block().read_rows("Events"))


def test_the_task_refuses_more_rows_than_its_limit(many):
    assert len(marketing_cloud_read_rows.fn(many, "Events", limit=130)) == 130
    with pytest.raises(RequestError, match="more than 129 rows"):
        marketing_cloud_read_rows.fn(many, "Events", limit=129)
    with pytest.raises(RequestError, match="limit"):
        marketing_cloud_read_rows.fn(many, "Events", limit=0)
    for limit in ("3", 3.5, None, True):
        with pytest.raises(RequestError, match=r"^limit: is a whole number"):
            marketing_cloud_read_rows.fn(many, "Events", limit=limit)
