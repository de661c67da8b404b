"""Analytics: every hour once, its events whole, and its URLs seen by nobody."""

import asyncio
import copy
import io
import json
import logging
import pickle
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from urllib.parse import parse_qs

import cloudpickle
import pytest

from prefect_atomic import AtomicError, RequestError, ResponseError
from prefect_atomic.integrations.atomic import analytics_hour
from tests.e2e.servers.faulty import Answer
from tests.integrations.atomic.conftest import of_json

NINE, NOON = datetime(2026, 1, 31, 9, tzinfo=UTC), datetime(2026, 1, 31, 12, tzinfo=UTC)
SIGNATURE = "s1gnature-of-the-url"


@pytest.fixture
def filled(sandbox):
    sandbox.set_atomic(
        hours={
            "2026-01-31T10": [[{"id": "a"}, {"id": "b"}], [{"id": "c"}]],
            "2026-01-31T11": [],
        }
    )
    return sandbox


def hour_of(atomic, hour=10, **options):
    ended = datetime(2026, 1, 31, hour, tzinfo=UTC)
    (found,) = atomic.analytics(ended - timedelta(hours=1), ended, **options)
    return found


def download(call, hour, **options):
    to = io.BytesIO()
    written = call(hour.download, to, **options)
    assert written == len(to.getvalue())
    return to.getvalue()


class TestHours:
    def test_each_hour_comes_in_order(self, filled, atomic, call):
        hours = call(atomic.analytics, NINE, NOON)

        assert [hour.hour for hour in hours] == [NINE + timedelta(hours=number) for number in (1, 2, 3)]
        assert [hour.is_processed for hour in hours] == [True, True, False]
        assert [hour.is_empty for hour in hours] == [False, True, False]
        assert [hour.files for hour in hours] == [2, 0, 0]

    def test_the_moments_are_rounded_to_the_hour_outwards(self, filled, atomic, call):
        east = timezone(timedelta(hours=5, minutes=30))
        from_, to = NINE + timedelta(minutes=59), NOON - timedelta(minutes=59, seconds=59)

        hours = call(atomic.analytics, from_.astimezone(east), to.astimezone(east))

        assert [hour.hour.hour for hour in hours] == [10, 11, 12]
        assert all(hour.hour.tzinfo is UTC for hour in hours)

    def test_a_long_span_is_asked_for_in_parts(self, filled, atomic, call):
        hours = call(atomic.analytics, NINE - timedelta(days=40), NINE + timedelta(days=25))

        assert len(hours) == 65 * 24
        assert {after.hour - before.hour for before, after in pairwise(hours)} == {timedelta(hours=1)}
        assert [hour.hour for hour in hours if hour.is_processed] == [NINE + timedelta(hours=n) for n in (1, 2)]
        assert filled.calls()[f"GET /atomic/v1/{atomic.environment_id}/analytics/batched"] == 3

    def test_what_is_asked_for_is_utc(self, raw, call):
        raw.answers = [of_json({"data": {}})]

        call(raw.block().analytics, NINE, NOON, format="csv")

        asked = parse_qs(raw.asked[0].query)
        assert asked == {"from": ["2026-01-31T09:00:00Z"], "to": ["2026-01-31T12:00:00Z"], "format": ["csv"]}

    @pytest.mark.parametrize(
        ("arguments", "options", "told"),
        [
            ((NINE.replace(tzinfo=None), NOON), {}, r"^from_: is a datetime with a time zone"),
            ((NINE, NOON.replace(tzinfo=None)), {}, r"^to: is a datetime with a time zone"),
            (("2026-01-31", NOON), {}, r"^from_: is a datetime"),
            ((NINE.date(), NOON), {}, r"^from_: is a datetime"),
            ((NOON, NINE), {}, r"^from_, to: the first is before"),
            ((NINE, NINE), {}, r"^from_, to: the first is before"),
            ((NINE, NOON), {"format": "xml"}, r"^format: is one of ndjson, csv, parquet"),
        ],
    )
    @pytest.mark.parametrize("method", ["analytics", "aanalytics"])
    def test_what_makes_no_span_is_refused_at_once(self, atomic, method, arguments, options, told):
        with pytest.raises(RequestError, match=told):
            getattr(atomic, method)(*arguments, **options)

    @pytest.mark.parametrize(
        "answer", [{"data": []}, {"data": {"2026-01-31T10": SIGNATURE}}, {"data": {"x": [7, SIGNATURE]}}, SIGNATURE]
    )
    def test_an_answer_that_cannot_be_read_is_told_without_it(self, raw, call, answer):
        raw.answers = [of_json(answer)]

        with pytest.raises(ResponseError, match="not the expected") as error:
            call(raw.block().analytics, NINE, NOON)

        assert SIGNATURE not in str(error.value)
        assert SIGNATURE.encode() not in pickle.dumps(error.value)


class TestDownload:
    def test_all_files_come_one_after_another(self, filled, atomic, call):
        assert [json.loads(line) for line in download(call, hour_of(atomic)).splitlines()] == [
            {"id": "a"},
            {"id": "b"},
            {"id": "c"},
        ]

    def test_one_file_can_be_had_alone(self, filled, atomic, call):
        assert json.loads(download(call, hour_of(atomic), file=1)) == {"id": "c"}
        with pytest.raises(RequestError, match="no such file"):
            download(call, hour_of(atomic), file=2)

    def test_it_is_written_from_where_the_file_stands(self, filled, atomic, call):
        to = io.BytesIO(b"before, and what is after")
        to.seek(6)

        written = call(hour_of(atomic).download, to)

        assert to.getvalue()[:6] == b"before"
        assert len(to.getvalue()) == 6 + written

    def test_events_are_parsed(self, filled, atomic, call):
        assert [event["id"] for event in call(hour_of(atomic).events)] == ["a", "b", "c"]

    def test_an_empty_hour_has_no_events_and_asks_for_none(self, filled, atomic, call):
        empty = hour_of(atomic, 11)
        before = filled.calls()

        assert download(call, empty) == b""
        assert call(empty.events) == []
        assert filled.calls() == before

    def test_an_hour_that_is_not_processed_cannot_be_downloaded(self, filled, atomic, call):
        with pytest.raises(RequestError, match="not processed yet"):
            download(call, hour_of(atomic, 12))
        with pytest.raises(RequestError, match="not processed yet"):
            call(hour_of(atomic, 12).events)

    def test_csv_can_be_downloaded_and_not_be_read_as_events(self, filled, atomic, call):
        hour = hour_of(atomic, format="csv")

        assert download(call, hour).splitlines() == [b"id", b"a", b"b", b"id", b"c"]
        with pytest.raises(RequestError, match="only the format ndjson"):
            call(hour.events)

    def test_several_parquet_files_do_not_become_one(self, raw, call):
        urls = [f"{raw.server.url}/{number}?sig={SIGNATURE}" for number in range(2)]
        raw.answers = [of_json({"data": {"2026-01-31T10": urls}}), Answer(200, body=b"PAR1")]
        hour = hour_of(raw.block(), format="parquet")

        with pytest.raises(RequestError, match="give `file`"):
            download(call, hour)
        assert download(call, hour, file=0) == b"PAR1"

    @pytest.mark.parametrize(
        ("files", "joined"),
        [
            ([b"a\n", b"b\n"], b"a\nb\n"),
            ([b"a", b"b", b"c\n"], b"a\nb\nc\n"),
            ([b"a", b"", b"b"], b"a\nb"),
            ([b"", b"", b"b"], b"b"),
            ([b"a", b""], b"a"),
            ([], b""),
        ],
    )
    def test_each_file_begins_in_a_new_line(self, raw, call, files, joined):
        urls = [f"{raw.server.url}/{number}?sig={SIGNATURE}" for number in range(len(files))]
        raw.answers = [of_json({"data": {"2026-01-31T10": urls}}), *(Answer(200, body=file) for file in files)]

        assert download(call, hour_of(raw.block())) == joined

    def test_an_attempt_that_was_cut_leaves_nothing_behind(self, raw, call):
        urls = [f"{raw.server.url}/{number}?sig={SIGNATURE}" for number in range(2)]
        raw.answers = [
            of_json({"data": {"2026-01-31T10": urls}}),
            Answer(200, body=b"a"),
            "cut-body",
            Answer(503),
            Answer(200, body=b"b"),
        ]

        assert download(call, hour_of(raw.block())) == b"a\nb"

    def test_a_download_that_fails_leaves_the_file_as_it_was(self, raw, call):
        urls = [f"{raw.server.url}/{number}?sig={SIGNATURE}" for number in range(2)]
        raw.answers = [of_json({"data": {"2026-01-31T10": urls}}), Answer(200, body=b"a"), Answer(404)]
        to = io.BytesIO(b"before")
        to.seek(6)

        with pytest.raises(ResponseError, match="404"):
            call(hour_of(raw.block()).download, to)
        assert to.getvalue() == b"before"

    def test_a_file_that_cannot_be_rewound_is_refused(self, filled, atomic, call):
        class Pipe(io.BytesIO):
            def seekable(self):
                return False

        with pytest.raises(RequestError, match=r"^to: cannot be rewound"):
            call(hour_of(atomic).download, Pipe())

    def test_a_line_that_is_no_event_is_told_without_it(self, raw, call):
        urls = [f"{raw.server.url}/0?sig={SIGNATURE}"]
        raw.answers = [of_json({"data": {"2026-01-31T10": urls}}), Answer(200, body=b'{"id": 1}\n\nhunter2\n')]

        with pytest.raises(AtomicError, match=r"2026-01-31T10.*: line 3 is no JSON object") as error:
            call(hour_of(raw.block()).events)
        assert "hunter2" not in str(error.value)
        assert error.value.__context__ is None

    def test_the_credential_stays_at_home(self, raw, call):
        urls = [f"{raw.server.url}/0?sig={SIGNATURE}"]
        raw.answers = [of_json({"data": {"2026-01-31T10": urls}}), Answer(200, body=b"{}")]

        download(call, hour_of(raw.block(allowed_hosts=["127.0.0.1"])))

        assert raw.asked[0].header("authorization")
        assert raw.asked[1].header("authorization") is None
        assert raw.asked[1].query == f"sig={SIGNATURE}"


class TestExpiry:
    def test_urls_that_expired_are_asked_for_again(self, filled, atomic, call):
        filled.set_atomic(url_seconds=0)
        hour = hour_of(atomic)
        filled.set_atomic(url_seconds=900)

        assert [event["id"] for event in call(hour.events)] == ["a", "b", "c"]
        assert filled.calls()[f"GET /atomic/v1/{atomic.environment_id}/analytics/batched"] == 2

    def test_that_is_done_once(self, filled, atomic, call):
        filled.set_atomic(url_seconds=0)
        hour = hour_of(atomic)

        with pytest.raises(ResponseError, match="Request has expired"):
            download(call, hour)
        assert filled.calls()[f"GET /atomic/v1/{atomic.environment_id}/analytics/batched"] == 2

    @pytest.mark.parametrize(("minutes", "asked"), [(13, 1), (14, 2), (60, 2), (-1, 2)])
    def test_old_urls_are_not_tried(self, filled, atomic, call, monkeypatch, minutes, asked):
        hour = hour_of(atomic)
        later = analytics_hour.now() + 60 * minutes
        monkeypatch.setattr(analytics_hour, "now", lambda: later)

        assert len(call(hour.events)) == 3
        assert filled.calls()[f"GET /atomic/v1/{atomic.environment_id}/analytics/batched"] == asked
        assert filled.calls()["GET /atomic/data"] == 2

    def test_only_that_hour_is_asked_for_again(self, raw, call):
        url = f"{raw.server.url}/0?sig={SIGNATURE}"
        raw.answers = [
            of_json({"data": {"2026-01-31T10": [url], "2026-01-31T11": [url]}}),
            Answer(403, body=b"Request has expired"),
            of_json({"data": {"2026-01-31T11": [url]}}),
            Answer(200, body=b"{}"),
        ]
        _, second, _ = raw.block().analytics(NINE, NOON)

        assert download(call, second) == b"{}"
        assert parse_qs(raw.asked[2].query)["from"] == ["2026-01-31T10:00:00Z"]
        assert parse_qs(raw.asked[2].query)["to"] == ["2026-01-31T11:00:00Z"]

    def test_an_hour_that_has_other_files_by_then_is_an_error_that_passes(self, raw, call):
        url = f"{raw.server.url}/0?sig={SIGNATURE}"
        raw.answers = [
            of_json({"data": {"2026-01-31T10": [url]}}),
            Answer(403),
            of_json({"data": {"2026-01-31T10": [url, url]}}),
        ]

        with pytest.raises(AtomicError, match="has 2 files by now") as error:
            download(call, hour_of(raw.block()))
        assert error.value.transient

    @pytest.mark.parametrize(("again", "is_the_same"), [("1?sig=2", True), ("2?sig=2", False)])
    def test_urls_that_grow_old_within_a_download_are_asked_for_again(self, raw, call, monkeypatch, again, is_the_same):
        def urls(*names):
            return of_json({"data": {"2026-01-31T10": [f"{raw.server.url}/{name}" for name in names]}})

        raw.answers = [
            urls("0?sig=1", "1?sig=1"),
            Answer(200, body=b"a"),
            urls("0?sig=2", again),
            Answer(200, body=b"b"),
        ]
        hour = hour_of(raw.block())
        start = analytics_hour.now()
        monkeypatch.setattr(analytics_hour, "now", lambda: start + 900 * (len(raw.asked) > 1))

        if is_the_same:
            assert download(call, hour) == b"a\nb"
        else:
            with pytest.raises(AtomicError, match="has other files"):
                download(call, hour)

    def test_a_url_that_is_none_is_told_without_it(self, raw, call):
        raw.answers = [of_json({"data": {"2026-01-31T10": [f"ftp://example.com/?sig={SIGNATURE}"]}})]

        with pytest.raises(AtomicError, match="cannot be asked for") as error:
            download(call, hour_of(raw.block()))
        assert SIGNATURE not in str(error.value)


class TestSecrets:
    @pytest.fixture
    def hour(self, raw):
        raw.answers = [of_json({"data": {"2026-01-31T10": [f"{raw.server.url}/0?X-Amz-Signature={SIGNATURE}"]}})]
        return hour_of(raw.block())

    def test_nobody_is_shown_a_url_or_the_credential(self, hour):
        shown = [repr(hour), str(hour), pickle.dumps(hour).decode("latin-1"), cloudpickle.dumps(hour).decode("latin-1")]

        for text in shown:
            assert SIGNATURE not in text
            assert "s3cret" not in text
            assert "t0ken" not in text
        assert repr(hour) == "<AnalyticsHour 2026-01-31T10, 1 files of ndjson>"

    def test_a_copy_knows_what_it_is_and_says_why_it_cannot_be_downloaded(self, hour, call):
        for twin in (pickle.loads(pickle.dumps(hour)), copy.deepcopy(hour)):  # noqa: S301 - our own
            assert (twin.hour, twin.files, twin.is_processed) == (hour.hour, hour.files, hour.is_processed)
            with pytest.raises(RequestError, match="is a copy, which has no URLs"):
                download(call, twin)

    @pytest.mark.parametrize("failure", [Answer(404, [("X-Echo", SIGNATURE)], SIGNATURE.encode()), "reset", "garbage"])
    def test_neither_errors_nor_logs_show_a_url(self, raw, hour, call, failure, caplog):
        caplog.set_level(logging.DEBUG)
        raw.answers = [failure]

        with pytest.raises(AtomicError) as error:
            download(call, hour)

        assert "X-Amz-Signature=***" in str(error.value)
        assert SIGNATURE not in str(error.value)
        assert SIGNATURE.encode() not in pickle.dumps(error.value)
        assert SIGNATURE not in caplog.text


def test_an_event_loop_is_not_held_up(filled, atomic):
    """Another task goes on while a slow file comes."""
    filled.misbehave("/atomic/data", times=1, delay=0.3)
    hour = hour_of(atomic)

    async def both() -> int:
        turns = 0
        task = asyncio.create_task(hour.adownload(io.BytesIO()))
        while not task.done():
            await asyncio.sleep(0.01)
            turns += 1
        await task
        return turns

    assert asyncio.run(both()) > 5
