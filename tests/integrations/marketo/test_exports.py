"""Bulk exports: every row once, whatever was killed or cut, and no job that is started twice."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import tempfile
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_atomic import (
    AtomicError,
    Marketo,
    MarketoError,
    MarketoInputError,
    MarketoQuotaError,
    RequestError,
    ResponseError,
    S3Bucket,
    TransportError,
)
from prefect_atomic.integrations.marketo import api as api_module
from prefect_atomic.integrations.marketo import patience
from prefect_atomic.integrations.marketo.api import Api
from prefect_atomic.integrations.marketo.export_rows import UnreadableError, rows
from prefect_atomic.integrations.marketo.export_spans import spans
from prefect_atomic.integrations.marketo.exports import export_activities, export_leads
from prefect_atomic.integrations.marketo.job_notes import FileNotes, Notes
from prefect_atomic.sandbox import Sandbox
from tests.e2e.servers.faulty import Answer, CapturedRequest
from tests.integrations.marketo.conftest import Instance, says_yes
from tests.integrations.marketo.killing import Death, KilledError, Store
from tests.integrations.marketo.killing import death as death
from tests.integrations.s3.conftest import _no_aws_account as _no_aws_account
from tests.integrations.s3.conftest import files as files
from tests.integrations.s3.conftest import make as make
from tests.integrations.s3.conftest import moto as moto
from tests.integrations.s3.conftest import name as name
from tests.integrations.s3.conftest import running_moto as running_moto
from tests.mounts import mounted

AUGUST = "2026-08-01T00:00:00Z"
SEPTEMBER = "2026-09-01T00:00:00Z"
OCTOBER = "2026-10-01T00:00:00Z"
NOVEMBER = "2026-11-01T00:00:00Z"
FIELDS = ["id", "email", "createdAt"]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def exports(sandbox: Sandbox) -> list[dict[str, Any]]:
    return list(sandbox.marketo()["exports"])


def once(found: list[dict[str, str]], count: int) -> bool:
    return len(found) == len({row["id"] for row in found}) == count


@pytest.fixture
def filled(sandbox: Sandbox) -> Sandbox:
    """180 leads of the 90 days from the first of August on, two at each midnight."""
    sandbox.set_marketo(generate_leads=180)
    return sandbox


# Spans


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2024, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - given one
    st.timedeltas(timedelta(seconds=1), timedelta(days=400)),
    st.tuples(st.timezones(), st.timezones()),
)
def test_spans_have_each_second_once_and_at_most_31_days(
    since: datetime, length: timedelta, zones: tuple[tzinfo, tzinfo]
) -> None:
    """In order, whichever time zones the two moments are given in."""
    given = since.astimezone(zones[0]), (since + length).astimezone(zones[1])
    cut = [(datetime.fromisoformat(span.start_at), datetime.fromisoformat(span.end_at)) for span in spans(*given)]
    first, last = since.replace(microsecond=0), (since + length).replace(microsecond=0)
    assert cut[0][0] == first
    assert cut[-1][1] == last - timedelta(seconds=1)
    assert all(timedelta(0) <= end - start < timedelta(days=31) for start, end in cut)
    assert all(following - end == timedelta(seconds=1) for (_, end), (following, _) in pairwise(cut))


def test_spans_are_written_in_utc_to_the_second() -> None:
    (span,) = spans("2026-08-01T02:00:00.5+02:00", "2026-08-01T00:00:10Z")
    assert span == ("2026-08-01T00:00:00Z", "2026-08-01T00:00:09Z")


@pytest.mark.parametrize("until", [AUGUST, "2026-07-31T00:00:00Z", "2026-08-02T00:00:00", "tomorrow", None])
def test_what_is_no_span_is_refused(until: Any) -> None:
    with pytest.raises(RequestError, match="until: "):
        spans(AUGUST, until)


def test_a_span_that_has_not_ended_is_refused_as_more_may_come() -> None:
    with pytest.raises(RequestError, match=r"created\[1\]: has not come yet"):
        spans(AUGUST, datetime.now(UTC) + timedelta(hours=1), names=("created[0]", "created[1]"))
    with pytest.raises(RequestError, match="until: has not come yet"):
        spans(AUGUST, "9999-12-31T00:00:00Z")


# What is exported


def test_leads_of_any_time_are_one_file_with_one_header(marketo: Marketo, filled: Sandbox, tmp_path: Path) -> None:
    target = tmp_path / "exports" / "leads.csv"
    target.parent.mkdir()
    result = export_leads(marketo._api(), target, fields=FIELDS, created=(AUGUST, NOVEMBER))

    assert once(read(target), 180)
    assert target.read_bytes().startswith(b"id,email,createdAt\r\n")
    assert target.read_bytes().count(b"createdAt") == 1
    assert (result.target, result.rows, result.bytes) == (str(target), 180, target.stat().st_size)
    assert [job.id for job in result.jobs] == [job["id"] for job in exports(filled)]
    assert [(job.start_at, job.end_at, job.rows) for job in result.jobs] == [
        ("2026-08-01T00:00:00Z", "2026-08-31T23:59:59Z", 62),
        ("2026-09-01T00:00:00Z", "2026-10-01T23:59:59Z", 62),
        ("2026-10-02T00:00:00Z", "2026-10-31T23:59:59Z", 56),
    ]
    assert all(job.checksum.startswith("sha256:") for job in result.jobs)
    assert list(target.parent.iterdir()) == [target]


def test_exports_that_follow_each_other_have_each_lead_once(marketo: Marketo, filled: Sandbox, tmp_path: Path) -> None:
    api, target = marketo._api(), tmp_path / "leads.csv"
    found = []
    for since, until in ((AUGUST, SEPTEMBER), (SEPTEMBER, OCTOBER), (OCTOBER, NOVEMBER)):
        export_leads(api, target, fields=FIELDS, created=(since, until))
        found += read(target)
    assert once(found, 180)


def test_activities_of_some_types_are_exported(marketo: Marketo, sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.set_marketo(generate_leads=10, generate_activities=400)
    target = tmp_path / "activities.csv"
    result = export_activities(marketo._api(), target, since=AUGUST, until=NOVEMBER, activity_types=[1, 13])

    found = read(target)
    assert (len(found), result.rows) == (200, 200)
    assert len({row["marketoGUID"] for row in found}) == 200
    assert {row["activityTypeId"] for row in found} == {"1", "13"}
    assert all(json.loads(row["attributes"]) for row in found)


@pytest.mark.parametrize("static_list", [1001, "1001", "Newsletter"])
def test_a_list_is_one_job(marketo: Marketo, filled: Sandbox, tmp_path: Path, static_list: Any) -> None:
    target, api = tmp_path / "leads.csv", marketo._api()
    ids = [lead["id"] for lead in filled.marketo()["lead_list"]][:5]
    api.call("POST", "lists", 1001, "leads", json={"input": [{"id": each} for each in ids]})
    (job,) = export_leads(api, target, fields=FIELDS, static_list=static_list).jobs

    assert {int(row["id"]) for row in read(target)} == set(ids)
    assert (job.start_at, job.end_at) == (None, None)


def test_columns_are_called_as_asked(marketo: Marketo, filled: Sandbox, tmp_path: Path) -> None:
    target = tmp_path / "leads.csv"
    export_leads(
        marketo._api(),
        target,
        fields=["id", "email"],
        updated=(AUGUST, NOVEMBER),
        header_names={"email": "E-mail, first"},
    )
    assert list(read(target)[0]) == ["id", "E-mail, first"]


def test_nothing_found_is_a_file_with_a_header(marketo: Marketo, filled: Sandbox, tmp_path: Path) -> None:
    target = tmp_path / "leads.csv"
    times = ("2020-01-01T00:00:00Z", "2020-03-01T00:00:00Z")
    assert export_leads(marketo._api(), target, fields=FIELDS, created=times).rows == 0
    assert target.read_bytes() == b"id,email,createdAt\r\n"


def test_an_open_file_gets_the_rows(marketo: Marketo, filled: Sandbox) -> None:
    file = io.BytesIO()
    result = export_leads(marketo._api(), file, fields=FIELDS, created=(AUGUST, NOVEMBER))
    assert result.target is None
    assert once(list(csv.DictReader(io.StringIO(file.getvalue().decode(), newline=""))), 180)


@pytest.mark.parametrize(("until", "jobs"), [(NOVEMBER, 3), ("2026-08-20T00:00:00Z", 1)])
def test_an_object_gets_the_rows_and_nothing_is_left_beside_it(
    marketo: Marketo, filled: Sandbox, files: S3Bucket, until: str, jobs: int
) -> None:
    result = export_leads(marketo._api(), "leads.csv", fields=FIELDS, created=(AUGUST, until), bucket=files)
    content = files.read_path("leads.csv")
    assert len(result.jobs) == jobs
    assert once(list(csv.DictReader(io.StringIO(content.decode(), newline=""))), result.rows)
    assert result.bytes == len(content)
    assert [found.key for found in files.list_objects()] == ["leads.csv"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give one of them"),
        ({"created": (AUGUST, OCTOBER), "static_list": 1001}, "give one of them"),
        ({"created": AUGUST}, "created: "),
        ({"updated": (OCTOBER, AUGUST)}, "updated[1]: "),
        ({"static_list": 0}, "static_list: "),
        ({"static_list": 1001, "fields": []}, "fields: "),
        ({"static_list": 1001, "fields": "email"}, "fields: "),
        ({"static_list": 1001, "header_names": {"lastName": "x"}}, "header_names: "),
        ({"static_list": 1001, "wait": -1}, "wait: "),
        ({"static_list": 1001, "state": 5}, "state: "),
        ({"static_list": 1001, "target": "/no/such/folder/leads.csv"}, "target: "),
        ({"static_list": 1001, "target": io.StringIO()}, "target: "),
        ({"static_list": 1001, "bucket": "slug"}, "bucket: "),
    ],
)
def test_arguments_that_make_no_export_are_refused(
    marketo: Marketo, sandbox: Sandbox, tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestError, match=re.escape(message)):
        export_leads(marketo._api(), **{"target": tmp_path / "leads.csv", "fields": FIELDS, **given})
    assert not exports(sandbox)


def test_a_field_that_marketo_does_not_know_is_its_error(marketo: Marketo, sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(MarketoInputError, match="shoeSize"):
        export_leads(marketo._api(), tmp_path / "leads.csv", fields=["shoeSize"], created=(AUGUST, OCTOBER))


def test_a_filter_that_is_not_enabled_is_told(marketo: Marketo, sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(MarketoInputError, match="not enabled for the instance"):
        export_leads(marketo._api(), tmp_path / "leads.csv", fields=FIELDS, smart_list="Everybody")


# Jobs


@pytest.mark.parametrize("word", ["Complete", "Completed"])
def test_both_words_for_the_end_are_known(marketo: Marketo, filled: Sandbox, tmp_path: Path, word: str) -> None:
    filled.set_marketo(completed_word=word)
    assert export_leads(marketo._api(), tmp_path / "a.csv", fields=FIELDS, created=(AUGUST, OCTOBER)).rows == 122


def test_no_more_than_two_jobs_are_queued(
    marketo: Marketo, filled: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, download = Api.call, Api.download
    queued: set[str] = set()
    most = 0

    def counted(self: Api, method: str, *path: Any, **more: Any) -> Any:
        nonlocal most
        if path[-1] == "enqueue":
            queued.add(path[-2])
            most = max(most, len(queued))
        return call(self, method, *path, **more)

    def ended(self: Api, *path: Any, **more: Any) -> Any:
        queued.discard(path[-2])
        return download(self, *path, **more)

    monkeypatch.setattr(Api, "call", counted)
    monkeypatch.setattr(Api, "download", ended)
    export_leads(marketo._api(), tmp_path / "a.csv", fields=FIELDS, created=("2026-01-01T00:00:00Z", NOVEMBER))
    assert len(exports(filled)) == 10
    assert most == 2


@pytest.mark.parametrize("word", ["Canceled", "Cancelled"])
def test_a_canceled_job_is_named_and_made_anew_by_the_next_call(
    marketo: Marketo, filled: Sandbox, tmp_path: Path, death: Death, word: str
) -> None:
    filled.set_marketo(canceled_word=word)
    api, store, target = marketo._api(), Store(), tmp_path / "a.csv"

    def export() -> int:
        return export_leads(api, target, fields=FIELDS, created=(AUGUST, SEPTEMBER), state=store).rows

    death.comes_at(9)  # the job is in the queue
    with pytest.raises(KilledError):
        export()
    death.comes_at(0)
    (job,) = exports(filled)
    assert job["enqueued"] == 1
    api.call("POST", "leads", "export", job["id"], "cancel", base="bulk")
    assert export() == 62
    assert [each["status"] for each in exports(filled)] == [word, "Completed"]


@pytest.mark.parametrize("status", ["Canceled", "Cancelled", "Failed"])
def test_a_job_that_ends_otherwise_is_an_error_that_names_it(instance: Instance, tmp_path: Path, status: str) -> None:
    instance.answer = lambda request: says_yes({"exportId": "e-1", "status": status, "errorMsg": "out of luck"})
    with pytest.raises(MarketoError, match=f"export e-1 is {status}: out of luck") as raised:
        export_leads(instance.block()._api(), tmp_path / "a.csv", fields=FIELDS, static_list=1)
    assert raised.value.code == status
    assert not (tmp_path / "a.csv").exists()


def test_a_job_that_is_not_over_in_time_is_told_and_gone_on_with(
    marketo: Marketo, filled: Sandbox, tmp_path: Path
) -> None:
    filled.set_marketo(export_polls=1000)
    api, store, target = marketo._api(), Store(), tmp_path / "a.csv"
    with pytest.raises(TransportError, match="after 120 seconds") as raised:
        export_leads(api, target, fields=FIELDS, created=(AUGUST, SEPTEMBER), state=store, wait=120)
    assert exports(filled)[0]["id"] in str(raised.value)
    filled.set_marketo(export_polls=0)
    assert export_leads(api, target, fields=FIELDS, created=(AUGUST, SEPTEMBER), state=store, wait=120).rows == 62
    assert len(exports(filled)) == 1


def test_looks_at_a_job_end_with_the_wait_though_each_fails(
    instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    for module in (api_module, patience):
        monkeypatch.setattr(module, "sleep", waited.append)
    looks = 0

    def respond(request: CapturedRequest) -> Answer | str:
        nonlocal looks
        if request.path.endswith("/status.json"):
            looks += 1
            return "close"
        return says_yes({"exportId": "e-1", "status": "Queued"})

    instance.answer = respond
    with pytest.raises(TransportError, match="export e-1 is not known after 600 seconds"):
        export_leads(instance.block()._api(), tmp_path / "a.csv", fields=["id"], static_list=1, wait=600)
    assert looks < 50
    assert sum(waited) < 1.2 * 600


def test_a_full_queue_is_waited_for(marketo: Marketo, filled: Sandbox, tmp_path: Path) -> None:
    api = marketo._api()
    filled.set_marketo(export_polls=4)
    for _ in range(12):
        body = {"fields": ["id"], "filter": {"staticListId": 1001}}
        made = api.call("POST", "leads", "export", "create", base="bulk", json=body).result[0]
        api.call("POST", "leads", "export", made["exportId"], "enqueue", base="bulk")
    assert export_leads(api, tmp_path / "a.csv", fields=FIELDS, created=(AUGUST, NOVEMBER)).rows == 180
    assert filled.marketo()["calls"]["refused"]["1029"] > 0


def test_a_used_up_quota_stops_at_once_and_the_next_day_goes_on(
    marketo: Marketo, filled: Sandbox, tmp_path: Path
) -> None:
    filled.set_marketo(export_bytes_per_day=1000)
    api, store, target = marketo._api(), Store(), tmp_path / "a.csv"
    with pytest.raises(MarketoQuotaError, match="Export daily quota"):
        export_leads(api, target, fields=FIELDS, created=(AUGUST, NOVEMBER), state=store)
    before = exports(filled)
    assert not target.exists()
    assert sum(job["status"] == "Completed" for job in before) in (1, 2)
    filled.set_marketo(export_bytes_per_day=500_000_000)
    assert export_leads(api, target, fields=FIELDS, created=(AUGUST, NOVEMBER), state=store).rows == 180
    assert once(read(target), 180)
    after = exports(filled)
    assert len(after) == 3
    assert [job["downloads"] for job in after] == [1, 1, 1]


# Files


def test_a_file_that_is_not_what_its_checksum_says_is_fetched_again(
    marketo: Marketo, filled: Sandbox, tmp_path: Path
) -> None:
    filled.set_marketo(wrong_checksums=2)
    target = tmp_path / "a.csv"
    export_leads(marketo._api(), target, fields=FIELDS, created=(AUGUST, SEPTEMBER))
    assert once(read(target), 62)
    assert exports(filled)[0]["downloads"] == 3


def test_a_file_that_stays_wrong_never_reaches_the_target(marketo: Marketo, filled: Sandbox, tmp_path: Path) -> None:
    filled.set_marketo(wrong_checksums=100)
    file = io.BytesIO()
    with pytest.raises(MarketoError, match=r"another SHA-256 .* 3 times") as raised:
        export_leads(marketo._api(), file, fields=FIELDS, created=(AUGUST, SEPTEMBER))
    assert exports(filled)[0]["id"] in str(raised.value)
    assert not file.getvalue()


@pytest.mark.parametrize("range_ignored", [False, True])
def test_files_that_are_cut_arrive_all_the_same(
    marketo: Marketo, filled: Sandbox, tmp_path: Path, *, range_ignored: bool
) -> None:
    filled.set_marketo(cut_files=10, range_ignored=range_ignored)
    target = tmp_path / "a.csv"
    export_leads(marketo._api(), target, fields=FIELDS, created=(AUGUST, SEPTEMBER))
    assert once(read(target), 62)


def exporting(
    instance: Instance, content: bytes, send: Callable[[CapturedRequest], Answer | str], **about: Any
) -> None:
    """An instance with a job whose file comes as a test says."""
    checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
    status = {"exportId": "e-1", "status": "Completed", "fileSize": len(content), "fileChecksum": checksum, **about}
    instance.answer = lambda request: send(request) if request.path.endswith("/file.json") else says_yes(status)


def test_what_is_missing_is_asked_for_by_range(
    marketo: Marketo, filled: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download, begins = Api.download, list[int]()

    def watched(self: Api, *path: Any, first: int = 0, **more: Any) -> Any:
        begins.append(first)
        return download(self, *path, first=first, **more)

    monkeypatch.setattr(Api, "download", watched)
    filled.set_marketo(cut_files=2)
    target = tmp_path / "a.csv"
    (job,) = export_leads(marketo._api(), target, fields=FIELDS, created=(AUGUST, SEPTEMBER)).jobs
    assert once(read(target), 62)
    half = job.bytes // 2  # where each is cut
    assert begins == [0, half, half + (job.bytes - half) // 2]


@pytest.mark.parametrize("status", [502, 503])
def test_a_file_that_cannot_be_had_for_a_moment_is_asked_for_again_from_where_it_was(
    instance: Instance, tmp_path: Path, status: int
) -> None:
    content, kind = b"id\r\n" + b"".join(b"%d\r\n" % number for number in range(100)), ("Content-Type", "text/csv")
    half = len(content) // 2
    # What follows the chunk is none, so that it is over there.
    cut = Answer(200, [kind, ("Transfer-Encoding", "chunked")], b"%x\r\n%s\r\nnone\r\n" % (half, content[:half]))
    away = Answer(status, [("Content-Type", "text/html")], b"<html>try again</html>")
    answers = iter([away, cut, away, Answer(206, [kind], content[half:])])
    exporting(instance, content, lambda request: next(answers), numberOfRecords=100)
    export_leads(instance.block()._api(), tmp_path / "a.csv", fields=["id"], static_list=1)

    assert (tmp_path / "a.csv").read_bytes() == content
    ranges = [request.header("Range") for request in instance.asked() if request.path.endswith("/file.json")]
    assert ranges == [None, None, f"bytes={half}-", f"bytes={half}-"]


def test_a_refusal_in_place_of_a_file_is_told(instance: Instance, tmp_path: Path) -> None:
    refusal = {"requestId": "1", "success": False, "errors": [{"code": "1003", "message": "no such luck"}]}
    answer = Answer(200, [("Content-Type", "application/json")], json.dumps(refusal).encode())
    exporting(instance, b"id\n1\n", lambda request: answer)
    with pytest.raises(MarketoInputError, match="no such luck"):
        export_leads(instance.block()._api(), tmp_path / "a.csv", fields=["id"], static_list=1)


def test_a_row_too_few_is_an_error(instance: Instance, tmp_path: Path) -> None:
    content = b"id\n1\n2\n"
    answer = Answer(200, [("Content-Type", "text/csv")], content)
    exporting(instance, content, lambda request: answer, numberOfRecords=3)
    with pytest.raises(MarketoError, match="export e-1 has 2 rows, where Marketo says 3"):
        export_leads(instance.block()._api(), tmp_path / "a.csv", fields=["id"], static_list=1)


def test_nuls_are_removed_and_crs_split_no_row(marketo: Marketo, filled: Sandbox, tmp_path: Path) -> None:
    filled.set_marketo(nul_in_rows=True, cr_in_rows=True)
    target = tmp_path / "a.csv"
    export_leads(marketo._api(), target, fields=["id", "firstName", "email"], created=(AUGUST, NOVEMBER))
    found = read(target)
    assert once(found, 180)
    assert b"\0" not in target.read_bytes()
    assert {row["firstName"] for row in found} == {"User", "Us\rer"}
    assert all(row["email"].endswith("@example.com") for row in found)


def normalised(content: bytes) -> list[list[str]]:
    text = b"".join(rows(io.BytesIO(content))).decode()
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def test_rows_are_read_as_they_were_meant() -> None:
    content = b'\xef\xbb\xbfa,b\n1,"x\r\ny"\r\n2,x\ry\n\n3,"x ""y"",\rz"\n4,\0\n5,"\0\n"\n6,last'
    assert normalised(content) == [
        ["a", "b"],
        ["1", "x\r\ny"],
        ["2", "x\ry"],
        ["3", 'x "y",\rz'],
        ["4", ""],
        ["5", "\n"],
        ["6", "last"],
    ]


def test_a_blank_value_alone_is_a_row() -> None:
    assert normalised(b"a\n1\n\n2\n") == [["a"], ["1"], [""], ["2"]]


@given(st.lists(st.lists(st.text('ab,\r\n" ü;', max_size=5), min_size=2, max_size=2), min_size=1, max_size=5))
def test_whatever_a_value_holds_it_stays_one(table: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([["a", "b"], *table])
    assert normalised(text.getvalue().encode()) == [["a", "b"], *table]


def test_a_quote_that_is_not_closed_is_told_and_not_kept_in_memory() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b'a,b\n1,"')
        for _ in range(300):
            file.write(b"x" * 99_999 + b"\n")
        file.seek(0)
        with pytest.raises(UnreadableError, match="not closed"):
            list(rows(cast("BinaryIO", file)))


def test_rows_take_little_memory() -> None:
    with tempfile.TemporaryFile() as file:
        for number in range(200_000):
            file.write(b"%d,somebody@example.com,a name of this length\n" % number)
        file.seek(0)
        tracemalloc.start()
        count = sum(1 for _ in rows(cast("BinaryIO", file)))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert count == 200_000
    assert most < 1_000_000


# Killed, and taken up


def killed_at(number: int, death: Death, export: Callable[[], Any]) -> bool:
    death.comes_at(number)
    try:
        export()
    except KilledError:
        return True
    finally:
        death.comes_at(0)
    return False


def started_once(sandbox: Sandbox, jobs: int) -> bool:
    """Each job is made, and one more at most that was not noted and never started."""
    made = exports(sandbox)
    started = [job for job in made if job["status"] != "Created"]
    return len(started) == jobs and len(made) <= jobs + 1


def test_a_killed_export_into_a_file_goes_on_wherever_it_was(
    marketo: Marketo, filled: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, death: Death
) -> None:
    death.makes_deadly(monkeypatch, Path, "replace")
    api, number, was_killed = marketo._api(), 0, True
    while was_killed:
        number += 1
        store, target = Store(), tmp_path / f"{number}.csv"
        filled.reset()
        filled.set_marketo(enforce=False, generate_leads=180)
        target.write_text("what was here before\r\n")

        def export(store: Store = store, target: Path = target) -> Any:
            return export_leads(api, target, fields=FIELDS, created=(AUGUST, NOVEMBER), state=store)

        was_killed = killed_at(number, death, export)
        result = export()
        assert once(read(target), 180), f"killed at {number}"
        assert started_once(filled, 3), f"killed at {number}"
        assert (result.rows, result.bytes) == (180, target.stat().st_size)
    assert number > 40


def test_a_killed_export_into_a_bucket_goes_on_wherever_it_was(
    marketo: Marketo, filled: Sandbox, files: S3Bucket, monkeypatch: pytest.MonkeyPatch, death: Death
) -> None:
    death.makes_deadly(monkeypatch, S3Bucket, "upload_from_file_object", "write_stream", "delete_object")
    api, number, was_killed = marketo._api(), 0, True
    while was_killed:
        number += 1
        store, key = Store(), f"{number}.csv"
        filled.reset()
        filled.set_marketo(enforce=False, generate_leads=180, export_polls=0)

        def export(store: Store = store, key: str = key) -> Any:
            return export_leads(api, key, fields=FIELDS, created=(AUGUST, OCTOBER), state=store, bucket=files)

        was_killed = killed_at(number, death, export)
        result = export()
        content = files.read_path(key)
        assert once(list(csv.DictReader(io.StringIO(content.decode(), newline=""))), 122), f"killed at {number}"
        assert started_once(filled, 2), f"killed at {number}"
        assert (result.rows, result.bytes) == (122, len(content))
        assert not list(files.list_objects(f"{key}.parts/"))
    assert number > 30


def test_a_killed_export_into_an_open_file_begins_anew_with_the_same_jobs(
    marketo: Marketo, filled: Sandbox, death: Death
) -> None:
    api, store = marketo._api(), Store()
    assert killed_at(
        30, death, lambda: export_leads(api, io.BytesIO(), fields=FIELDS, created=(AUGUST, NOVEMBER), state=store)
    )
    file = io.BytesIO()
    export_leads(api, file, fields=FIELDS, created=(AUGUST, NOVEMBER), state=store)
    assert once(list(csv.DictReader(io.StringIO(file.getvalue().decode(), newline=""))), 180)
    assert started_once(filled, 3)


def test_a_finished_export_is_not_made_again(marketo: Marketo, filled: Sandbox, tmp_path: Path) -> None:
    api, target, state = marketo._api(), tmp_path / "a.csv", tmp_path / "notes.json"
    first = export_leads(api, target, fields=FIELDS, created=(AUGUST, NOVEMBER), state=state)
    calls = filled.marketo()["calls"]["total"]
    assert export_leads(api, target, fields=FIELDS, created=(AUGUST, NOVEMBER), state=state) == first
    assert filled.marketo()["calls"]["total"] == calls


def test_a_target_that_is_gone_is_written_again_from_the_same_jobs(
    marketo: Marketo, filled: Sandbox, tmp_path: Path
) -> None:
    api, target, store = marketo._api(), tmp_path / "a.csv", Store()
    export_leads(api, target, fields=FIELDS, created=(AUGUST, NOVEMBER), state=store)
    target.unlink()
    export_leads(api, target, fields=FIELDS, created=(AUGUST, NOVEMBER), state=store)
    assert once(read(target), 180)
    assert started_once(filled, 3)


def test_jobs_that_marketo_has_forgotten_are_made_anew(
    marketo: Marketo, filled: Sandbox, tmp_path: Path, death: Death
) -> None:
    api, target, store = marketo._api(), tmp_path / "a.csv", Store()

    def export() -> int:
        return export_leads(api, target, fields=FIELDS, created=(AUGUST, NOVEMBER), state=store).rows

    assert killed_at(30, death, export)
    filled.reset()
    filled.set_marketo(enforce=False, generate_leads=180)
    assert export() == 180
    assert once(read(target), 180)


def test_a_file_that_was_dropped_is_made_anew(instance: Instance, tmp_path: Path) -> None:
    made: list[str] = []

    def respond(request: CapturedRequest) -> Answer:
        if request.path.endswith("/create.json"):
            made.append(f"e-{len(made) + 1}")
            return says_yes({"exportId": made[-1], "status": "Created"})
        if request.path.endswith("/file.json"):
            if "/e-1/" in request.path:
                return Answer(404, [("Content-Type", "text/plain")], b"HTTP 404 Not Found")
            return Answer(200, [("Content-Type", "text/csv")], b"id\n1\n")
        return says_yes({"exportId": made[-1], "status": "Completed", "numberOfRecords": 1})

    instance.answer = respond
    api, store, target = instance.block()._api(), Store(), tmp_path / "a.csv"
    with pytest.raises(ResponseError, match="404"):
        export_leads(api, target, fields=["id"], static_list=1, state=store)
    assert made == ["e-1"]
    assert export_leads(api, target, fields=["id"], static_list=1, state=store).rows == 1
    assert made == ["e-1", "e-2"]


def test_notes_are_short_enough_for_a_prefect_variable(marketo: Marketo, filled: Sandbox, tmp_path: Path) -> None:
    store, since = Store(), "2025-11-01T00:00:00Z"
    export_leads(marketo._api(), tmp_path / "a.csv", fields=FIELDS, created=(since, NOVEMBER), state=store)
    assert len(exports(filled)) == 12
    assert len(store.text) < 4000


def test_notes_of_another_export_are_refused(marketo: Marketo, filled: Sandbox, tmp_path: Path) -> None:
    store = Store()
    export_leads(marketo._api(), tmp_path / "a.csv", fields=FIELDS, created=(AUGUST, SEPTEMBER), state=store)
    with pytest.raises(RequestError, match="state: "):
        export_leads(marketo._api(), tmp_path / "b.csv", fields=FIELDS, created=(AUGUST, SEPTEMBER), state=store)


def test_notes_of_another_instance_are_refused(
    marketo: Marketo, filled: Sandbox, instance: Instance, tmp_path: Path
) -> None:
    """The jobs of one are nobody's, or somebody else's, at another."""
    store = Store()
    export_leads(marketo._api(), tmp_path / "a.csv", fields=FIELDS, created=(AUGUST, SEPTEMBER), state=store)
    other = instance.block()._api()
    with pytest.raises(RequestError, match="state: "):
        export_leads(other, tmp_path / "a.csv", fields=FIELDS, created=(AUGUST, SEPTEMBER), state=store)


# Several exports to one place


@pytest.mark.parametrize("into", ["file", "bucket"])
def test_an_export_goes_on_with_nothing_that_another_one_left(
    marketo: Marketo, filled: Sandbox, files: S3Bucket, tmp_path: Path, death: Death, into: str
) -> None:
    """One with other columns was killed in between: what is at the target then has the columns of the last one only."""
    where: dict[str, Any] = {"bucket": files} if into == "bucket" else {}
    target = "shared.csv" if where else str(tmp_path / "shared.csv")
    api, one, other = marketo._api(), Store(), Store()

    def export(store: Store, fields: list[str]) -> Any:
        return export_leads(api, target, fields=fields, created=(AUGUST, NOVEMBER), state=store, **where)

    def kept(store: Store) -> bool:
        return bool(json.loads(store.text).get("written"))

    at = 20
    while not kept(one):
        at += 1
        assert killed_at(at, death, lambda: export(one, FIELDS))
    while not kept(other):
        assert killed_at(at, death, lambda: export(other, ["email", "id", "updatedAt"]))
        at += 1
    result = export(one, FIELDS)
    content = files.read_path(target) if where else Path(target).read_bytes()
    assert content.splitlines()[0] == b"id,email,createdAt"
    assert once(list(csv.DictReader(io.StringIO(content.decode(), newline=""))), 180)
    assert (result.rows, result.bytes) == (180, len(content))


def test_two_exports_at_once_into_one_file_make_one_of_the_two(
    marketo: Marketo, filled: Sandbox, tmp_path: Path
) -> None:
    api, target = marketo._api(), tmp_path / "shared.csv"

    def export(fields: list[str]) -> Any:
        return export_leads(api, target, fields=fields, created=(AUGUST, NOVEMBER))

    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(export, (FIELDS, ["id", "email"])))
    assert [result.rows for result in results] == [180, 180]
    assert once(read(target), 180)
    assert target.stat().st_size in [result.bytes for result in results]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["shared.csv"]


def test_notes_that_two_calls_write_at_once_are_whole(tmp_path: Path) -> None:
    state = tmp_path / "notes.json"
    notes = Notes(state, {})
    notes.noted["jobs"] = {str(number): {"id": "e" * 40} for number in range(50)}
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: notes.save(), range(200)))
    assert FileNotes(state).load() == notes.noted
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["notes.json"]


def test_an_export_that_fails_leaves_nothing_where_nobody_can_go_on_with_it(
    marketo: Marketo, filled: Sandbox, files: S3Bucket, tmp_path: Path
) -> None:
    filled.set_marketo(export_bytes_per_day=1000)
    for target, bucket in (("a.csv", files), (tmp_path / "a.csv", None)):
        with pytest.raises(MarketoQuotaError):
            export_leads(marketo._api(), target, fields=FIELDS, created=(AUGUST, NOVEMBER), bucket=bucket)
    assert not list(files.list_objects())
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_killed_when_it_was_in_its_place_it_leaves_nothing_beside_it(
    marketo: Marketo, filled: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, death: Death
) -> None:
    store, target, replace = Store(), tmp_path / "a.csv", Path.replace

    def replaced(path: Path, place: Path) -> None:
        replace(path, place)
        raise KilledError

    monkeypatch.setattr(Path, "replace", replaced)
    with pytest.raises(KilledError):
        export_leads(marketo._api(), target, fields=FIELDS, created=(AUGUST, NOVEMBER), state=store)
    monkeypatch.undo()
    calls = filled.marketo()["calls"]["total"]
    assert export_leads(marketo._api(), target, fields=FIELDS, created=(AUGUST, NOVEMBER), state=store).rows == 180
    assert filled.marketo()["calls"]["total"] == calls
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.csv"]


@pytest.mark.parametrize("name", ["target", "state"])
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("~nobody-of-this-name/a.csv", "in the home of a user who is not there"),
        ("a\0.csv", "has a NUL"),
        ("/no/such/folder/a.csv", "is a folder, or in none"),
        ("/proc", "is a folder, or in none"),
    ],
)
def test_a_path_that_cannot_be_is_refused_before_anything_is_asked(
    instance: Instance, tmp_path: Path, name: str, path: str, said: str
) -> None:
    paths: dict[str, Any] = {"target": str(tmp_path / "a.csv"), name: path}
    with pytest.raises(RequestError, match=f"{name}: .*{said}"):
        export_leads(instance.block()._api(), fields=FIELDS, static_list=1, **paths)
    assert not instance.server.requests


@pytest.mark.parametrize("what", ["target", "state"])
def test_a_disk_that_is_full_is_named_and_gone_on_with_when_it_is_not(
    marketo: Marketo, filled: Sandbox, tmp_path: Path, what: str
) -> None:
    small, usual = tmp_path / "small", tmp_path / "usual"
    usual.mkdir()
    store, folders = Store(), {"target": usual, "state": usual, what: small}
    state = store if what == "target" else folders["state"] / "notes.json"

    def export() -> Any:
        target = folders["target"] / "a.csv"
        return export_leads(marketo._api(), target, fields=FIELDS, created=(AUGUST, NOVEMBER), state=state)

    with mounted(small, "size=64k"):
        (small / "ballast").write_bytes(b"x" * 64 * 1024)
        with pytest.raises(AtomicError, match=f"{small}.*could not be written: No space left on device"):
            export()
        (small / "ballast").unlink()
        result = export()
        assert once(read(folders["target"] / "a.csv"), 180)
        assert result.rows == 180
        assert started_once(filled, 3)
