"""Bulk jobs: cut into files, closed when all is uploaded, followed to their end; nothing is left half done."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_atomic import AtomicError, BulkIngestError, RequestError, ResponseError, SalesforceData360, TransportError
from prefect_atomic.integrations.data_360.bulk import BulkIngest, BulkLoad, Rejected
from prefect_atomic.integrations.data_360.jobs import Jobs
from prefect_atomic.integrations.records.csv_tables import CsvTable, JsonLinesTable, RecordTable
from prefect_atomic.sandbox import Sandbox
from tests.e2e.servers.faulty import Answer, CapturedRequest
from tests.integrations.data_360.conftest import ORDERS, SOURCE, Tenant, as_json, block_for, order, orders

JOBS, JOB, BATCHES = "/api/v1/ingest/jobs", "/api/v1/ingest/jobs/{id}", "/api/v1/ingest/jobs/{id}/batches"
HEADER = "order_id,amount,placed_at\r\n"


def jobs(sandbox: Sandbox) -> list[dict[str, Any]]:
    return list(sandbox.data_360()["jobs"])


def states(sandbox: Sandbox) -> list[str]:
    return [job["state"] for job in jobs(sandbox)]


def test_mappings_of_any_number_arrive(crm: SalesforceData360, sandbox: Sandbox) -> None:
    result = crm.bulk_ingest(SOURCE, ORDERS, (order(number) for number in range(3000)))

    assert (result.rows, result.rejected, result.files, result.is_complete) == (3000, 0, 1, True)
    assert len(orders(sandbox)) == 3000
    assert [(job["id"], job["state"], job["rows"]) for job in jobs(sandbox)] == [
        (result.jobs[0].id, "JobComplete", 3000)
    ]


def test_deletes_need_the_key_only(crm: SalesforceData360, sandbox: Sandbox) -> None:
    crm.bulk_ingest(SOURCE, ORDERS, [order(number) for number in range(5)])
    crm.bulk_ingest(SOURCE, ORDERS, [{"order_id": f"o-{number}"} for number in range(4)], operation="delete")

    assert set(orders(sandbox)) == {"o-4"}


@pytest.mark.parametrize("kind", ["path", "text", "open", "jsonl"])
def test_files_arrive_as_they_are(crm: SalesforceData360, sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    name = 'quote " comma , and\r\nline'
    path = tmp_path / ("orders.jsonl" if kind == "jsonl" else "orders.csv")
    if kind == "jsonl":
        path.write_text('{"order_id": "quote \\" comma , and\\r\\nline", "amount": 1, "placed_at": ""}\n\n')
    else:
        path.write_bytes(("\ufeff" + HEADER + '"quote "" comma , and\r\nline",1,\n\n').encode())
    if kind == "open":
        with path.open("rb") as file:
            crm.bulk_ingest(SOURCE, ORDERS, file)
    else:
        crm.bulk_ingest(SOURCE, ORDERS, str(path) if kind == "text" else path)
    assert orders(sandbox) == {name: {"order_id": name, "amount": 1, "placed_at": ""}}


def test_nothing_makes_no_job(crm: SalesforceData360, sandbox: Sandbox) -> None:
    result = crm.bulk_ingest(SOURCE, ORDERS, [], fields=["order_id", "amount", "placed_at"])

    assert result == BulkIngest((), 0, 0, 0, 0)
    assert not jobs(sandbox)


def test_files_and_jobs_are_cut_at_rows(crm: SalesforceData360, sandbox: Sandbox) -> None:
    told: list[str] = []
    load = BulkLoad(Jobs(crm._api()), SOURCE, ORDERS, "upsert", on_job=told.append, most_bytes=150, most_files=3)
    rows = [order(number, order_id=f"{number},\r\n") for number in range(20)]
    load.upload(RecordTable(rows))

    assert states(sandbox) == ["Open"] * 3  # all are uploaded before one is closed
    load.close()
    assert told == load.ids == [job["id"] for job in jobs(sandbox)]
    assert [job["files"] for job in jobs(sandbox)] == [3, 3, 1]
    assert sum(job["rows"] for job in jobs(sandbox)) == 20
    assert sandbox.data_360()["requests"]["largest_csv"] <= 150


def test_a_file_of_160_mb_is_cut(crm: SalesforceData360, tenant: Tenant, tmp_path: Path) -> None:
    sizes: list[int] = []

    def answer(request: CapturedRequest) -> Answer:
        if request.path.endswith("/batches"):
            assert request.body.startswith(b"order_id,")
            assert request.body.endswith(b"\n")
            sizes.append(len(request.body))
            tenant.server.requests.clear()
            return Answer(202)
        state = "UploadComplete" if request.method == "PATCH" else "JobComplete" if request.method == "GET" else "Open"
        return as_json(id="job-1", state=state)

    tenant.answer = answer
    path = tmp_path / "orders.csv"
    row = b'"' + b"x" * 15_980 + b'\nx",1,\r\n'
    with path.open("wb") as file:
        file.write(HEADER.encode())
        for _ in range(10_010):
            file.write(row)
    result = tenant.block().bulk_ingest(SOURCE, ORDERS, path)

    assert path.stat().st_size > 160_000_000
    assert result.files == len(sizes) == 2
    assert max(sizes) <= 150_000_000
    assert sum(sizes) == path.stat().st_size + len(HEADER)
    assert result.rows == 10_010


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@given(
    st.lists(st.tuples(texts, st.sampled_from(["", ",", '"', "\r", "\n", "\r\n", '","'])), max_size=12),
    st.integers(60, 120),
)
def test_any_text_survives_any_cut(cells: list[tuple[str, str]], most_bytes: int) -> None:
    """What is cut into files, read as files, and cut again, is what it was; each file is CSV of its own."""
    load = BulkLoad(Jobs(None), SOURCE, ORDERS, "upsert", most_bytes=most_bytes)  # type: ignore[arg-type]
    rows = [{"a": text, "b": mark} for text, mark in cells]
    found = []
    file, whole = io.BytesIO(), io.BytesIO()
    for _ in load._cut(RecordTable(rows, ["a", "b"]), file, None):
        content = file.getvalue()
        assert len(content) <= most_bytes
        whole.write(content if not whole.tell() else content.removeprefix(b"a,b\r\n"))
        assert [row.fault for row in CsvTable(io.BytesIO(content)).rows()] == [None] * (
            len(list(csv.reader(io.StringIO(content.decode(), newline="")))) - 1
        )
    whole.seek(0)
    if whole.getvalue():
        file = io.BytesIO()
        for _ in load._cut(CsvTable(whole), file, None):
            found += list(csv.reader(io.StringIO(file.getvalue().decode(), newline=""), strict=True))[1:]
    assert found == [[text, mark] for text, mark in cells]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1: is empty"),
        (b"order_id;amount;placed_at\n", "line 1: the columns are separated by something else"),
        ((HEADER + "1,2,\n").encode("utf-16"), "line 1: is UTF-16"),
        (b"order_id,order_id\n", "line 1: the column 'order_id' is there more than once"),
        (b"order_id,,amount\n", "line 1: a column has no name"),
        (b'"order_id,amount\n', "line 1: is no header"),
        ((HEADER + "1,2,\n1,\0,\n").encode(), "line 3: holds a NUL"),
        ((HEADER + "1,2\n").encode(), "line 2: has 2 cells, and the header has 3"),
        (HEADER.encode() + b"1,2,\n\xff,2,\n", "line 3: is not UTF-8, from its byte 1 on"),
        ((HEADER + '"a\nb",2,\n"c"d,2,\n').encode(), "line 4: has a quote in the middle"),
        ((HEADER + 'a"b,2,\nc"d,2,\n').encode(), "line 2: has a quote in the middle"),
        ((HEADER + '"a,2,\nb,2,\n').encode(), "line 2: has a quote that is not closed up to line 3, the last one"),
        ((HEADER + "a,2,\rb,2,\n").encode(), "line 2: has a line break outside of quotes"),
        (HEADER.encode() + b'"' + b"x\n" * 6_000_000, "line 2: begins a row of more than 10,000,000 bytes; is a quote"),
    ],
)
def test_a_bad_file_says_where_and_leaves_no_job_behind(
    crm: SalesforceData360, sandbox: Sandbox, content: bytes, said: str
) -> None:
    with pytest.raises(RequestError) as refusal:
        crm.bulk_ingest(SOURCE, ORDERS, io.BytesIO(content))
    assert said in str(refusal.value)
    assert set(states(sandbox)) <= {"Aborted"}
    assert not orders(sandbox)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"order_id": "a\0b"}, r"records\[1\]: order_id: is a text with a NUL"),
        ({"order_id": "1", "amount": [1]}, r"records\[1\]: amount: is a list"),
        ({"order_id": "1", "amount": float("nan")}, "is a float that is no number"),
        ({"order_id": "1", "colour": "red"}, "has colour, which is none of the columns"),
        ({"order_id": "\ud800"}, "half of a character"),
        ({"order_id": "x" * 11_000_000}, "takes 11,000,004 bytes, and a row may have 10,000,000"),
        ("text", "is a str, not a mapping"),
    ],
)
def test_a_bad_record_says_which(crm: SalesforceData360, sandbox: Sandbox, record: Any, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        crm.bulk_ingest(SOURCE, ORDERS, [order(0), record])
    assert not orders(sandbox)


def test_rejected_rows_are_handed_over_and_the_others_go(crm: SalesforceData360, sandbox: Sandbox) -> None:
    rejected: list[Rejected] = []
    file = io.BytesIO((HEADER + "1,2,\n1,2\n2,\0,\n3,4,\n").encode())
    result = crm.bulk_ingest(SOURCE, ORDERS, file, on_rejected=rejected.append)

    assert (result.rows, result.rejected) == (2, 2)
    assert [(row.at, row.content) for row in rejected] == [(3, b"1,2\n"), (4, b"2,\0,\n")]
    assert set(orders(sandbox)) == {"1", "3"}


def test_rejects_that_were_mended_can_be_loaded_as_they_are() -> None:
    text = io.StringIO()
    csv.writer(text).writerow([3, 'has "2" cells, not 3'])
    file = f"rejected.line,rejected.reason,{HEADER}{text.getvalue().rstrip()},1,2,x\r\n7,plain,3,4,y\r\n"
    table = CsvTable(io.BytesIO(file.encode()))

    assert table.header == HEADER.encode()
    assert [row.content for row in table.rows()] == [b"1,2,x\r\n", b"3,4,y\r\n"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"records": "no-such-file.csv"}, "records: 'no-such-file.csv' cannot be read: No such file"),
        ({"records": io.StringIO("a")}, "records: is a file of text"),
        ({"records": {"a": 1}}, "records: takes a list"),
        ({"records": [{}]}, r"records\[0\]: is no record with fields"),
        ({"records": [{"a": 1}], "fields": []}, "fields: is empty"),
        ({"records": [], "operation": "insert"}, "operation: is 'upsert' or 'delete'"),
        ({"records": io.BytesIO(b"a\n1\n"), "fields": ["a"]}, "fields: is for mappings"),
    ],
)
def test_what_is_no_bulk_load_is_refused(tenant: Tenant, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        tenant.block().bulk_ingest(SOURCE, ORDERS, **arguments)
    assert not tenant.server.requests


@pytest.mark.parametrize(("source", "name"), [("wrong", ORDERS), (SOURCE, "orders")])
def test_an_unknown_target_says_so(crm: SalesforceData360, source: str, name: str) -> None:
    with pytest.raises(ResponseError, match=r"404 .*source is the connector's API name"):
        crm.bulk_ingest(source, name, [order(0)])


def test_a_failed_job_is_an_error_with_its_reason_and_the_result(crm: SalesforceData360, sandbox: Sandbox) -> None:
    sandbox.set_data_360(fail_next_job="the mapping is broken")
    with pytest.raises(BulkIngestError, match=r"1 of 1 bulk jobs did not complete: .* is Failed: the mapping") as error:
        crm.bulk_ingest(SOURCE, ORDERS, [order(0)])
    assert error.value.result.rows == 1
    assert error.value.result.jobs[0].is_over


def test_a_job_that_takes_too_long_is_told_and_can_be_looked_at(crm: SalesforceData360, sandbox: Sandbox) -> None:
    sandbox.set_data_360(job_polls=3)
    with pytest.raises(BulkIngestError, match="is still at the bulk jobs") as error:
        crm.bulk_ingest(SOURCE, ORDERS, [order(0)], wait=0.000001)
    job_id = error.value.result.jobs[0].id
    while not crm.bulk_job(job_id).is_over:
        pass
    assert crm.bulk_job(job_id).state == "JobComplete"


def test_a_wait_of_zero_leaves_the_job_to_itself(crm: SalesforceData360) -> None:
    result = crm.bulk_ingest(SOURCE, ORDERS, [order(0)], wait=0)

    assert result.jobs[0].state in ("UploadComplete", "InProgress")


@pytest.mark.parametrize("path", [JOBS, JOB, BATCHES])
@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429}])
def test_what_may_pass_is_sent_again(
    crm: SalesforceData360, sandbox: Sandbox, path: str, fault: dict[str, Any]
) -> None:
    sandbox.misbehave(path, times=2, **fault)

    assert crm.bulk_ingest(SOURCE, ORDERS, [order(0)]).is_complete
    assert len(orders(sandbox)) == 1


@pytest.mark.parametrize("path", [JOB, BATCHES])
def test_an_answer_that_was_lost_does_no_harm(crm: SalesforceData360, sandbox: Sandbox, path: str) -> None:
    sandbox.misbehave(path, times=1, cut=True, after=True)

    assert crm.bulk_ingest(SOURCE, ORDERS, [order(0)]).is_complete
    assert len(orders(sandbox)) == 1


def test_an_upload_that_fails_for_good_aborts_the_job(crm: SalesforceData360, sandbox: Sandbox) -> None:
    sandbox.misbehave(BATCHES, status=500)
    with pytest.raises(ResponseError, match="500"):
        crm.bulk_ingest(SOURCE, ORDERS, [order(0)])
    assert states(sandbox) == ["Aborted"]


def test_a_job_whose_answer_was_lost_stays_empty(crm: SalesforceData360, sandbox: Sandbox) -> None:
    sandbox.misbehave(JOBS, cut=True, after=True)
    with pytest.raises(TransportError):
        crm.bulk_ingest(SOURCE, ORDERS, [order(0)])
    assert [(job["state"], job["files"]) for job in jobs(sandbox)] == [("Open", 0)]


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_what_fails_after_the_upload_has_the_jobs(crm: SalesforceData360, sandbox: Sandbox, method: str) -> None:
    sandbox.misbehave(JOB, method=method, status=403, body={"message": "no longer"})
    with pytest.raises(BulkIngestError, match=r"what became of the bulk jobs .* is not known: .* 403") as error:
        crm.bulk_ingest(SOURCE, ORDERS, [order(0)])
    assert [job.id for job in error.value.result.jobs] == [job["id"] for job in jobs(sandbox)]
    assert error.value.result.rows == 1


def test_polling_outlasts_an_outage(crm: SalesforceData360, sandbox: Sandbox) -> None:
    sandbox.misbehave(JOB, method="GET", times=10, status=503)

    assert crm.bulk_ingest(SOURCE, ORDERS, [order(0)]).is_complete


@pytest.mark.parametrize("text", ["o-1,1\r\r\n", "o-1,1\r", "o-1,1", "o-1,1\n"])
def test_a_row_ends_once(text: str) -> None:
    (row,) = CsvTable(io.BytesIO(b"order_id,amount\n" + text.encode())).rows()
    assert (row.fault, row.content.rstrip(b"\n")) in ((None, b"o-1,1"), (None, b"o-1,1\r"))
    assert list(csv.reader(io.StringIO(row.content.decode(), newline=""))) == [["o-1", "1"]]


@pytest.mark.parametrize("text", ['o-1,"', 'o-1,"\r\n', '",o-1\n'])
def test_a_file_that_ends_in_a_quote_is_no_row(text: str) -> None:
    (row,) = CsvTable(io.BytesIO(b"order_id,amount\n" + text.encode())).rows()
    assert row.fault


@given(st.text(st.sampled_from('",ab\n\r "é'), max_size=9))
def test_what_passes_is_read_as_one_row_with_all_cells(text: str) -> None:
    for row in CsvTable(io.BytesIO(b"order_id,amount\n" + text.encode())).rows():
        if not row.fault:
            (cells,) = csv.reader(io.StringIO(row.content.decode(), newline=""), strict=True)
            assert len(cells) == 2


def test_fractions_of_json_keep_their_digits() -> None:
    lines = b'{"a": 12345678901234567890.123, "b": 0.10}\n{"a": 1e999, "b": 1}\n'
    first, second = JsonLinesTable(io.BytesIO(lines)).rows()
    assert first.content == b"12345678901234567890.123,0.10\r\n"
    assert "a: is a something that is no JSON" in str(second.fault)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "a datetime that is in no year"),
        (Decimal("1e999999999"), "a Decimal that is no number, or too large"),
    ],
)
def test_a_value_that_cannot_be_written_is_a_fault_of_its_row(value: Any, said: str) -> None:
    (row,) = RecordTable([{"a": value}]).rows()
    assert said in str(row.fault)


@pytest.mark.parametrize("fields", ["abc", 5, b"abc", {"a": 1}])
def test_fields_that_are_no_list_are_refused(fields: Any) -> None:
    with pytest.raises(RequestError, match=r"^fields: is a list"):
        RecordTable([], fields)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"wait": "10"}, "wait: is a number"),
        ({"wait": None}, "wait: is a number"),
        ({"wait": float("nan")}, "wait: is a number"),
        ({"on_job": 5}, "on_job: takes a function"),
        ({"on_rejected": 5}, "on_rejected: takes a function"),
        ({"records": "a\0.csv"}, "records: .* cannot be read: embedded null byte"),
        ({"records": "a.csv", "bucket": "slug"}, "bucket: is a str"),
    ],
)
def test_bad_arguments_are_told_before_anything_is_sent(tenant: Tenant, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        tenant.block().bulk_ingest(SOURCE, ORDERS, **{"records": [order(1)], **arguments})
    assert not tenant.server.requests


def test_ids_of_jobs_that_are_none_are_told(tenant: Tenant) -> None:
    block = tenant.block()
    for ids in ("job-1", 5, [5]):
        with pytest.raises(RequestError, match=r"^job_ids: "):
            block.follow_bulk_jobs(ids)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match=r"^job_id: "):
        block.close_bulk_job(5)  # type: ignore[arg-type]
    assert not tenant.server.requests


def test_a_long_text_in_quotes_is_no_fault() -> None:
    row = b'"' + b"x" * 200_000 + b'","a ""b"", c",""\r\n'

    assert [each.fault for each in CsvTable(io.BytesIO(b"a,b,c\r\n" + row)).rows()] == [None]


def test_records_that_fail_in_the_middle_abort_the_job(crm: SalesforceData360, sandbox: Sandbox) -> None:
    def made() -> Iterator[dict[str, Any]]:
        for number in range(10):
            yield order(number)
        raise KeyError("the database is gone")

    load = BulkLoad(Jobs(crm._api()), SOURCE, ORDERS, "upsert", most_bytes=200)
    with pytest.raises(KeyError):
        load.upload(RecordTable(made()))
    assert states(sandbox) == ["Aborted"]


def test_a_token_that_ends_in_uploads_and_polls_is_renewed_with_both_steps(
    crm: SalesforceData360, sandbox: Sandbox
) -> None:
    sandbox.set_data_360(session_calls=1, job_polls=3)
    load = BulkLoad(Jobs(crm._api()), SOURCE, ORDERS, "upsert", most_bytes=200)
    load.upload(RecordTable(order(number) for number in range(20)))
    load.close()
    while not crm.bulk_job(load.ids[0]).is_over:
        pass

    assert len(orders(sandbox)) == 20
    calls = sandbox.calls()
    assert calls["POST /services/oauth2/token"] == calls["POST /services/a360/token"] > 5


def test_another_open_job_is_told(crm: SalesforceData360, sandbox: Sandbox) -> None:
    sandbox.set_data_360(one_job_per_object=True)
    load = BulkLoad(Jobs(crm._api()), SOURCE, ORDERS, "upsert")
    load.upload(RecordTable([order(0)]))
    with pytest.raises(ResponseError, match=r"409 .*is another job of this object open"):
        crm.bulk_ingest(SOURCE, ORDERS, [order(1)])
    crm.abort_bulk_job(load.ids[0])
    assert crm.bulk_ingest(SOURCE, ORDERS, [order(1)]).is_complete


def test_a_web_page_is_no_job(tenant: Tenant) -> None:
    tenant.answer = lambda request: Answer(200, [("Content-Type", "text/html")], b"<html>Sign in</html>")
    with pytest.raises(ResponseError, match="text/html where a JSON object was expected"):
        tenant.block().bulk_ingest(SOURCE, ORDERS, [order(0)])
    tenant.answer = lambda request: as_json(201, state="Open")
    with pytest.raises(AtomicError, match="a job that has no id"):
        tenant.block().bulk_ingest(SOURCE, ORDERS, [order(0)])


MEMORY = """
import resource, sys
from prefect_atomic import SalesforceData360
def orders(count):
    for number in range(count):
        yield {"order_id": f"o-{number}", "amount": number, "placed_at": "2026-01-31T09:00:00.000Z"}
crm = SalesforceData360(login_url=sys.argv[1], client_id=sys.argv[2], client_secret=sys.argv[3])
crm.bulk_ingest("prefect_connector", "orders_1c2d3e4f", orders(100))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = crm.bulk_ingest("prefect_connector", "orders_1c2d3e4f", orders(int(sys.argv[4])))
print(result.rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("body", ["<html>Sign in</html>", {"state": "Open"}])
def test_a_job_that_did_not_become_what_was_asked_is_told(crm: SalesforceData360, sandbox: Sandbox, body: Any) -> None:
    sandbox.misbehave(JOB, method="PATCH", body=body)
    with pytest.raises(BulkIngestError, match=r"what became of the bulk jobs .* is not known") as failure:
        crm.bulk_ingest(SOURCE, ORDERS, [order(1)], wait=0)
    with pytest.raises(AtomicError):
        crm.abort_bulk_job(failure.value.result.jobs[0].id)
    assert states(sandbox) == ["Open"]


@pytest.mark.parametrize("body", ["", {"id": "x"}])
def test_a_job_that_became_what_was_asked_may_say_so_later(crm: SalesforceData360, sandbox: Sandbox, body: Any) -> None:
    sandbox.misbehave(JOB, method="PATCH", body=body, after=True)

    assert crm.bulk_ingest(SOURCE, ORDERS, [order(1)]).is_complete


@pytest.mark.parametrize("job_id", ["..", "\ud800", 5])
def test_an_id_that_cannot_be_asked_for_is_no_job(tenant: Tenant, job_id: Any) -> None:
    tenant.answer = lambda request: as_json(201, id=job_id, state="Open")
    with pytest.raises(AtomicError, match="a job that has no id"):
        tenant.block().bulk_ingest(SOURCE, ORDERS, [order(1)])
    assert len(tenant.asked()) == 1


def test_a_hundred_thousand_rows_take_no_memory_to_speak_of(sandbox: Sandbox) -> None:
    account = sandbox.accounts.data_360
    arguments = [account.login_url, account.client_id, account.client_secret, "100000"]
    ran = subprocess.run([sys.executable, "-c", MEMORY, *arguments], capture_output=True, text=True, check=True)
    rows, kilobytes = map(int, ran.stdout.split()[-2:])

    assert rows == 100_000
    assert sandbox.data_360()["counts"][ORDERS] == 100_000
    assert kilobytes < 8_000  # the file has 4 MB


def test_allowed_hosts_guard_bulk_jobs(sandbox: Sandbox) -> None:
    with pytest.raises(AtomicError, match="may not be used at 127"):
        block_for(sandbox, allowed_hosts=["*.c360a.salesforce.com"]).bulk_ingest(SOURCE, ORDERS, [order(0)])
