"""Bulk imports: what became of each row is told, whatever Marketo gives back, and a killed call goes on."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prefect_atomic import (
    Marketo,
    MarketoBusyError,
    MarketoInputError,
    MarketoQuotaError,
    RecordsError,
    RequestError,
    TransportError,
)
from prefect_atomic.integrations.marketo import api, import_files, imports, patience
from prefect_atomic.integrations.marketo.imports import import_custom_objects, import_leads, import_program_members
from prefect_atomic.integrations.records import Outcomes
from prefect_atomic.sandbox import Sandbox
from tests.e2e.servers.faulty import Answer, CapturedRequest
from tests.integrations.marketo.conftest import Instance, nobody, says_no, says_yes
from tests.integrations.marketo.killing import Death, KilledError, Store
from tests.integrations.marketo.killing import death as death


def leads(count: int) -> Iterator[dict[str, Any]]:
    return ({"email": f"lead-{number}@example.com", "lastName": str(number)} for number in range(count))


def emails(sandbox: Sandbox) -> set[str]:
    return {lead["email"] for lead in sandbox.marketo()["lead_list"]}


def states(outcomes: Outcomes) -> list[str]:
    return [outcome.state for outcome in outcomes]


def importing(
    instance: Instance, failures: bytes | None, *, warnings: bytes | None = None, **about: Any
) -> list[CapturedRequest]:
    """An instance that imports what it gets, and gives back what a test says; the files that were uploaded."""
    uploaded: list[CapturedRequest] = []

    def respond(request: CapturedRequest) -> Answer:
        if request.method == "POST":
            uploaded.append(request)
            return says_yes({"batchId": 1000 + len(uploaded), "status": "Queued"})
        for name, content in (("failures", failures), ("warnings", warnings)):
            if request.path.endswith(f"/{name}.json"):
                assert content is not None, f"nobody was to ask for {name}"
                return Answer(200, [("Content-Type", "text/csv")], content)
        return says_yes({"batchId": 1001, "status": "Complete", **about})

    instance.answer = respond
    return uploaded


class Failing(Store):
    """A store that fails whenever a test says so."""

    def __init__(self, fails: Callable[[int, dict[str, Any]], bool], error: Exception) -> None:
        super().__init__()
        self.saves = 0
        self._fails = fails
        self._error = error

    def save(self, notes: dict[str, Any]) -> None:
        self.saves += 1
        if self._fails(self.saves, notes):
            raise self._error
        super().save(notes)


FULL = OSError(28, "No space left on device")
AWAY = TransportError("S3: could not connect", reason="could not connect: refused", transient=True)


def fails_from(monkeypatch: pytest.MonkeyPatch, module: Any, number: int) -> None:
    """The disk is full from the n-th file on that a module makes."""
    made, make = 0, module.TemporaryFile

    def full() -> Any:
        nonlocal made
        made += 1
        if made >= number:
            raise FULL
        return make()

    monkeypatch.setattr(module, "TemporaryFile", full)


def content_of(request: CapturedRequest) -> bytes:
    """The file in a form."""
    return request.body.split(b"\r\n\r\n", 1)[1].rpartition(b"\r\n--")[0]


# What is sent


def test_leads_arrive_with_all_that_csv_can_hold(marketo: Marketo, sandbox: Sandbox) -> None:
    name = 'quote " comma , and\r\nline; ünï'
    outcomes = import_leads(marketo._api(), [{"email": "a@example.com", "lastName": name, "unsubscribed": True}])

    assert (len(outcomes), outcomes.succeeded) == (1, 1)
    (lead,) = sandbox.marketo()["lead_list"]
    assert (lead["lastName"], lead["unsubscribed"]) == (name, True)


def test_lookup_field_list_and_partition_are_passed_on(marketo: Marketo, sandbox: Sandbox) -> None:
    rows = [{"externalId": "x1", "email": "a@example.com"}]
    import_leads(marketo._api(), rows, lookup_field="externalId", list_id=1001, partition="Europe")

    (lead,) = sandbox.marketo()["lead_list"]
    assert sandbox.marketo()["lists"]["1001"] == [lead["id"]]
    assert lead["leadPartitionId"] != 1


def test_custom_objects_arrive(marketo: Marketo, sandbox: Sandbox) -> None:
    rows = [{"vin": f"v{number}", "year": 2000 + number} for number in range(3)]
    assert import_custom_objects(marketo._api(), "car_c", rows).succeeded == 3
    assert len(sandbox.marketo()["custom_objects"]["car_c"]) == 3


def test_program_members_arrive_with_their_status(marketo: Marketo, sandbox: Sandbox) -> None:
    assert import_program_members(marketo._api(), 2001, "Registered", leads(3)).succeeded == 3
    assert list(sandbox.marketo()["members"]["2001"].values()) == ["Registered"] * 3


@pytest.mark.parametrize("kind", ["path", "open", "jsonl"])
def test_files_are_imported_as_they_are(marketo: Marketo, sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"leads.{'jsonl' if kind == 'jsonl' else 'csv'}"
    if kind == "jsonl":
        path.write_text('{"email": "a@example.com", "lastName": "Ä, b"}\n\n')
    else:
        path.write_bytes('\ufeffemail,lastName\r\na@example.com,"Ä, b"\n\n'.encode())
    if kind == "open":
        with path.open("rb") as file:
            outcomes = import_leads(marketo._api(), file)
    else:
        outcomes = import_leads(marketo._api(), path)

    assert states(outcomes) == ["succeeded"]
    assert sandbox.marketo()["lead_list"][0]["lastName"] == "Ä, b"


def test_no_rows_make_no_call(marketo: Marketo, sandbox: Sandbox) -> None:
    assert len(import_leads(marketo._api(), [], columns=["email"])) == 0
    assert not sandbox.marketo()["imports"]


def test_rows_that_cannot_be_sent_are_told_and_the_others_go(marketo: Marketo, sandbox: Sandbox) -> None:
    rows = (
        b'email,lastName\na@example.com,A\n,""\nb@example.com\nc@example.com,C\0\nd@example.com,a"D"\ne@example.com,E\n'
    )
    outcomes = import_leads(marketo._api(), io.BytesIO(rows), on_error="return")

    assert states(outcomes) == ["succeeded", *["not sent"] * 4, "succeeded"]
    told = [str(outcome.message) for outcome in outcomes.failures()]
    for message, reason in zip(told, ["blank", "has 1 cells", "NUL", "quote"], strict=True):
        assert reason in message
    assert told[0].startswith("line 3: ")
    assert emails(sandbox) == {"a@example.com", "e@example.com"}


def test_files_are_cut_below_the_limit_at_rows(
    marketo: Marketo, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "MOST_BYTES", 1000)
    rows = [*leads(200), {"email": "long@example.com", "lastName": "x" * 1000}]
    outcomes = import_leads(marketo._api(), rows, on_error="return")

    assert (outcomes.succeeded, outcomes.not_sent) == (200, 1)
    assert len(emails(sandbox)) == 200
    made = sandbox.marketo()["imports"]
    assert sum(job["rows"] for job in made) == 200
    assert all(900 < job["bytes"] <= 1000 for job in made[:-1])


def test_the_limit_is_below_ten_million_bytes() -> None:
    assert imports.MOST_BYTES < 10_000_000


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"list_id": "Newsletter"}, "list_id: "),
        ({"lookup_field": ""}, "lookup_field: "),
        ({"wait": "long"}, "wait: "),
        ({"on_error": "ignore"}, "on_error: "),
        ({"columns": []}, "columns: "),
        ({"columns": ["email", "email"]}, "columns: "),
        ({"state": 7}, "state: "),
        ({"records": {"email": "a@example.com"}}, "records: "),
        ({"records": "no/such/file.csv"}, "records: "),
    ],
)
def test_arguments_that_make_no_import_are_refused(
    marketo: Marketo, sandbox: Sandbox, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestError, match=re.escape(message)):
        import_leads(marketo._api(), **{"records": leads(1), **given})
    assert not sandbox.marketo()["imports"]


def test_a_column_that_marketo_does_not_know_is_its_error(marketo: Marketo, sandbox: Sandbox) -> None:
    with pytest.raises(MarketoInputError, match="shoeSize"):
        import_leads(marketo._api(), [{"email": "a@example.com", "shoeSize": 42}], on_error="return")
    assert not sandbox.marketo()["imports"]


def test_what_is_refused_at_once_is_not_read_to_its_end(
    marketo: Marketo, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "MOST_BYTES", 1000)
    rows = ({"email": f"lead-{number}@example.com", "shoeSize": 42} for number in range(5000))
    with pytest.raises(MarketoInputError, match="shoeSize"):
        import_leads(marketo._api(), rows, on_error="return")
    assert sum(1 for _ in rows) > 4900


def test_records_that_fail_in_the_middle_are_sent_so_far_and_told(marketo: Marketo, sandbox: Sandbox) -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield from leads(5)
        raise ValueError("the database went away")

    with pytest.raises(RecordsError, match="beyond the first 5") as raised:
        import_leads(marketo._api(), broken(), on_error="return")
    assert isinstance(raised.value.__cause__, ValueError)
    assert raised.value.outcomes.succeeded == len(emails(sandbox)) == 5


def test_a_file_that_cannot_be_read_on_is_told_with_the_line(marketo: Marketo, sandbox: Sandbox) -> None:
    rows = b'email,lastName\na@example.com,A\nb@example.com,"oops\n' + b"c@example.com,C\n" * 700_000
    with pytest.raises(
        RecordsError, match=r"beyond the first 1, .* line 3: begins a row of more than 10,000,000"
    ) as raised:
        import_leads(marketo._api(), io.BytesIO(rows), on_error="return")
    assert isinstance(raised.value.__cause__, RequestError)
    assert raised.value.outcomes.succeeded == len(emails(sandbox)) == 1


# What became of each row


def test_each_row_that_failed_has_its_reason_and_each_warning_is_told(marketo: Marketo, sandbox: Sandbox) -> None:
    sandbox.set_marketo(fail_row_every=7, warn_row_every=5)
    outcomes = import_leads(marketo._api(), leads(100), on_error="return")

    assert {outcome.position for outcome in outcomes.failures()} == set(range(6, 100, 7))
    assert {outcome.message for outcome in outcomes.failures()} == {"The sandbox was told to fail this row"}
    warned = {outcome.position for outcome in outcomes if outcome.success and outcome.message}
    assert warned == set(range(4, 100, 5)) - set(range(6, 100, 7))


def test_rows_that_failed_raise_with_all_outcomes(marketo: Marketo, sandbox: Sandbox) -> None:
    sandbox.set_marketo(fail_row_every=10)
    with pytest.raises(RecordsError, match="2 of 20 leads to be imported") as raised:
        import_leads(marketo._api(), leads(20))
    assert raised.value.outcomes.succeeded == 18


def test_rows_are_found_again_though_marketo_writes_them_in_its_own_way(instance: Instance) -> None:
    rows = [
        {"email": "a@example.com", "lastName": 'He said "no", twice', "notes": "one\r\ntwo"},
        {"email": "b@example.com", "lastName": " B ", "notes": ""},
        {"email": "c@example.com", "lastName": "C", "notes": ""},
    ]
    failures = (
        b'"Row","LASTNAME","email","notes","Import Failure Reason"\n'
        b'"2","B","b@example.com","","1003: is bad"\n'
        b'"1","He said ""no"", twice","a@example.com","one\ntwo","is worse"\n'
    )
    importing(instance, failures, numOfRowsFailed=2, numOfRowsWithWarning=0)
    outcomes = import_leads(instance.block()._api(), rows, on_error="return")

    assert [(outcome.state, outcome.message) for outcome in outcomes] == [
        ("failed", "is worse"),
        ("failed", "1003: is bad"),
        ("succeeded", None),
    ]


def test_a_lone_carriage_return_that_marketo_puts_no_quotes_around_splits_no_row(
    marketo: Marketo, sandbox: Sandbox, instance: Instance
) -> None:
    rows = [{"email": f"{name}@example.com", "lastName": f"{name}\rZ"} for name in "abc"]
    failures = b"email,lastName,Import Failure Reason\r\nb@example.com,b\rZ,is bad\r\n"
    importing(instance, failures, numOfRowsFailed=1, numOfRowsWithWarning=0)
    outcomes = import_leads(instance.block()._api(), rows, on_error="return")

    assert states(outcomes) == ["succeeded", "failed", "succeeded"]
    assert outcomes[1].message == "is bad"

    sandbox.set_marketo(fail_row_every=2)
    assert states(import_leads(marketo._api(), rows, on_error="return")) == ["succeeded", "failed", "succeeded"]


def test_a_file_of_failures_that_cannot_be_read_leaves_the_rows_in_doubt(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefect_atomic.integrations.marketo.export_rows.LARGEST_ROW", 1000)
    importing(instance, b'email,reason\n"a@example.com,' + b"x" * 2000, numOfRowsFailed=1, numOfRowsWithWarning=0)
    outcomes = import_leads(instance.block()._api(), leads(3), on_error="return")

    assert states(outcomes) == ["unknown"] * 3
    assert "its file of failures: a row has more than 1,000 bytes" in str(outcomes[0].message)


def test_rows_that_are_the_same_get_their_reasons_in_order(instance: Instance) -> None:
    rows = [{"email": email} for email in ("a@example.com", "b@example.com", "a@example.com", "a@example.com")]
    failures = b"email,Import Failure Reason\na@example.com,first\na@example.com,second\n"
    importing(instance, failures, numOfRowsFailed=2, numOfRowsWithWarning=0)
    outcomes = import_leads(instance.block()._api(), rows, on_error="return")

    assert [(outcome.state, outcome.message) for outcome in outcomes] == [
        ("failed", "first"),
        ("succeeded", None),
        ("failed", "second"),
        ("succeeded", None),
    ]


@pytest.mark.parametrize(
    ("failures", "count"),
    [
        (b"email,Import Failure Reason\na@example.com,bad\nsomebody@else.com,bad\n", 2),
        (b"email,Import Failure Reason\na@example.com,bad\n", 2),
        (b"Address,Import Failure Reason\na@example.com,bad\n", 1),
        (b"", 1),
    ],
)
def test_no_row_is_called_a_success_if_a_failure_fits_to_none(instance: Instance, failures: bytes, count: int) -> None:
    importing(instance, failures, numOfRowsFailed=count, numOfRowsWithWarning=0)
    outcomes = import_leads(
        instance.block()._api(), [{"email": "a@example.com"}, {"email": "b@example.com"}], on_error="return"
    )

    assert outcomes.succeeded == 0
    assert outcomes[1].state == "unknown"
    assert f"{count} rows of its file failed" in str(outcomes[1].message)


def test_what_did_not_fail_is_not_asked_for(instance: Instance) -> None:
    uploaded = importing(instance, None, numOfRowsFailed=0, numOfRowsWithWarning=0)
    assert import_leads(instance.block()._api(), leads(3)).succeeded == 3
    assert content_of(uploaded[0]).startswith(b"email,lastName\r\nlead-0@example.com,0\r\n")


def test_what_marketo_does_not_count_is_asked_for(instance: Instance) -> None:
    importing(instance, b"email,Import Failure Reason\n", warnings=b"")
    assert import_leads(instance.block()._api(), leads(3)).succeeded == 3


def test_results_that_cannot_be_had_leave_the_rows_in_doubt(instance: Instance) -> None:
    importing(instance, b"", numOfRowsFailed=1)
    inner = instance.answer
    instance.answer = lambda request: (
        says_no("610", "Requested resource not found") if request.path.endswith("/failures.json") else inner(request)
    )
    outcomes = import_leads(instance.block()._api(), leads(3), on_error="return")

    assert states(outcomes) == ["unknown"] * 3
    assert "import 1001" in str(outcomes[0].message)
    assert outcomes[0].code == "610"


def test_an_import_that_fails_as_a_whole_fails_its_rows_and_no_others(
    marketo: Marketo, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "MOST_BYTES", 200)
    sandbox.set_marketo(failed_import="Internal failure")
    outcomes = import_leads(marketo._api(), leads(20), on_error="return")

    first = sandbox.marketo()["imports"][0]
    assert states(outcomes) == ["failed"] * first["rows"] + ["succeeded"] * (20 - first["rows"])
    assert f"import {first['id']} is Failed: Internal failure" == outcomes[0].message


def test_what_is_not_over_in_time_is_unknown_and_has_the_id(marketo: Marketo, sandbox: Sandbox) -> None:
    sandbox.set_marketo(import_polls=1000)
    outcomes = import_leads(marketo._api(), leads(5), wait=60, on_error="return")

    assert states(outcomes) == ["unknown"] * 5
    assert f"import {sandbox.marketo()['imports'][0]['id']} is not over after 60 seconds" in str(outcomes[0].message)


@pytest.mark.parametrize("seconds", [0.0, 120.0], ids=["at once", "after 120 seconds"])
def test_looks_at_an_import_end_with_the_wait_though_each_fails(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    clock, looks = 0.0, 0

    def passes(more: float) -> None:
        nonlocal clock
        clock += more

    def respond(request: CapturedRequest) -> Answer | str:
        nonlocal looks
        if request.method == "POST":
            return says_yes({"batchId": 1001, "status": "Queued"})
        looks += 1
        passes(seconds)
        return "close"

    instance.answer = respond
    for module in (patience, api):
        monkeypatch.setattr(module, "sleep", passes)
    monkeypatch.setattr(patience, "monotonic", lambda: clock)
    outcomes = import_leads(instance.block()._api(), leads(3), wait=3600, on_error="return")

    assert states(outcomes) == ["unknown"] * 3
    assert "not over after 3600 seconds" in str(outcomes[0].message)
    assert looks < 300
    assert 3600 <= clock < 3600 + 3 * 120


def test_a_busy_instance_is_looked_at_again(instance: Instance) -> None:
    importing(instance, None, numOfRowsFailed=0, numOfRowsWithWarning=0)
    inner, looks = instance.answer, 0

    def busy(request: CapturedRequest) -> Answer | str:
        nonlocal looks
        looks += request.method == "GET"
        return says_no("606", "Max rate limit exceeded") if 0 < looks < 20 else inner(request)

    instance.answer = busy
    assert import_leads(instance.block()._api(), leads(3)).succeeded == 3


# Limits


def test_a_full_queue_is_waited_for(marketo: Marketo, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "MOST_BYTES", 300)
    sandbox.set_marketo(most_imports=1, import_polls=3)
    assert import_leads(marketo._api(), leads(100)).succeeded == 100
    assert sandbox.marketo()["calls"]["refused"]["1016"] > 0


def test_a_queue_that_stays_full_ends_it_with_nothing_sent(instance: Instance) -> None:
    instance.answer = lambda request: says_no("1016", "Too many imports")
    with pytest.raises(MarketoBusyError, match="1016"):
        import_leads(instance.block()._api(), leads(3), wait=60)


@pytest.mark.parametrize(
    ("code", "message"),
    [("1016", "Too many imports"), ("1019", "Import in progress"), ("1029", "Too many jobs (10) in queue")],
)
def test_a_queue_of_others_is_tried_once_after_each_wait(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    happened: list[str] = []

    def full(request: CapturedRequest) -> Answer:
        happened.append("upload")
        return says_no(code, message)

    for module in (patience, api):
        monkeypatch.setattr(module, "sleep", lambda seconds: happened.append("wait"))
    instance.answer = full
    with pytest.raises(MarketoBusyError, match=code):
        import_leads(instance.block()._api(), leads(3), wait=90)
    assert happened == ["upload", *["wait", "upload"] * 3]


def test_a_queue_of_our_own_is_tried_once_after_each_import_that_is_over(
    marketo: Marketo, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "MOST_BYTES", 300)
    sandbox.set_marketo(most_imports=1, import_polls=3)
    import_leads(marketo._api(), leads(40))
    files = len(sandbox.marketo()["imports"])
    assert files > 3
    assert sandbox.marketo()["calls"]["refused"] == {"1016": files - 1}


def test_a_used_up_quota_stops_at_once_and_says_until_when(
    marketo: Marketo, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "MOST_BYTES", 300)
    sandbox.set_marketo(quota_after=3)
    with pytest.raises(RecordsError, match="607") as raised:
        import_leads(marketo._api(), leads(100))

    assert isinstance(raised.value.__cause__, MarketoQuotaError)
    outcomes = raised.value.outcomes
    assert len(outcomes) == 100
    assert outcomes.succeeded == outcomes.failed == 0
    assert outcomes[99].state == "not sent"
    assert outcomes[99].code == "607"
    assert "midnight in US Central time" in str(outcomes[99].message)
    assert sandbox.marketo()["calls"]["total"] <= 5


def test_a_lost_upload_is_unknown_and_ends_it(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "MOST_BYTES", 200)
    instance.answer = lambda request: "close"
    outcomes = import_leads(instance.block()._api(), leads(20), on_error="return")

    assert outcomes[0].state == "unknown"
    assert outcomes[19].state == "not sent"


def test_what_never_arrived_is_raised(instance: Instance) -> None:
    block = instance.block(rest_endpoint=f"{nobody()}/rest")
    with pytest.raises(TransportError, match="could not connect"):
        import_leads(block._api(), leads(3), on_error="return")


# Killed, and taken up


def test_a_killed_import_goes_on_wherever_it_was(
    marketo: Marketo, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, death: Death
) -> None:
    monkeypatch.setattr(imports, "MOST_BYTES", 200)
    api, number, uploads = marketo._api(), 0, 0
    import_leads(api, leads(12))
    files = len(sandbox.marketo()["imports"])
    while True:
        number += 1
        sandbox.reset()
        sandbox.set_marketo(enforce=False, fail_row_every=4, import_polls=0)
        store = Store()
        death.comes_at(number)
        try:
            import_leads(api, leads(12), state=store, on_error="return")
        except KilledError:
            was_killed = True
        else:
            was_killed = False
        death.comes_at(0)
        made_before = len(sandbox.marketo()["imports"])
        was_over = made_before >= files and "files" not in json.loads(store.text)
        outcomes = import_leads(api, leads(12), state=store, on_error="return")

        made = len(sandbox.marketo()["imports"])
        # A file whose upload was not noted before the end is uploaded once more; no other is. After its end it is new.
        assert made <= (made_before + files if was_over else files + 1), f"killed at {number}"
        uploads = max(uploads, 0 if was_over else made)
        assert (len(outcomes), outcomes.unknown, outcomes.not_sent) == (12, 0, 0), f"killed at {number}"
        assert outcomes.failed >= 2
        if not was_killed:
            break
    assert number > 20
    assert uploads == files + 1


def test_other_records_are_uploaded_though_a_batch_is_noted(marketo: Marketo, sandbox: Sandbox) -> None:
    store = Store()
    import_leads(marketo._api(), leads(3), state=store)
    import_leads(marketo._api(), leads(5), state=store)
    assert len(emails(sandbox)) == 5


@pytest.mark.parametrize("became", ["forgotten", "failed"])
def test_a_noted_batch_that_is_gone_or_failed_is_uploaded_again(
    marketo: Marketo, sandbox: Sandbox, became: str
) -> None:
    store = Store()
    if became == "failed":
        sandbox.set_marketo(failed_import="Internal failure")
    import_leads(marketo._api(), leads(3), state=store, on_error="return")
    if became == "forgotten":
        sandbox.reset()
        sandbox.set_marketo(enforce=False)
    assert import_leads(marketo._api(), leads(3), state=store).succeeded == 3


def test_a_noted_batch_that_cannot_be_looked_at_is_unknown_and_not_uploaded_again(
    marketo: Marketo, sandbox: Sandbox
) -> None:
    store = Store()
    sandbox.set_marketo(import_polls=100)
    import_leads(marketo._api(), leads(3), state=store, wait=0, on_error="return")
    sandbox.set_marketo(quota_after=1)
    outcomes = import_leads(marketo._api(), leads(3), state=store, on_error="return")
    assert [(outcome.state, outcome.code) for outcome in outcomes] == [("unknown", "607")] * 3
    assert len(sandbox.marketo()["imports"]) == 1


def test_notes_of_another_import_are_refused(marketo: Marketo, instance: Instance, tmp_path: Path) -> None:
    """Of another instance, too: a batch of one is nobody's, or somebody else's, at another."""
    path = tmp_path / "notes.json"
    import_leads(marketo._api(), leads(1), state=path)
    with pytest.raises(RequestError, match="state: "):
        import_leads(instance.block()._api(), leads(1), state=path)
    with pytest.raises(RequestError, match="state: "):
        import_custom_objects(marketo._api(), "car_c", [{"vin": "1"}], state=path)
    path.write_text("[]")
    with pytest.raises(RequestError, match="state: "):
        import_leads(marketo._api(), leads(1), state=path)


@pytest.mark.parametrize(
    "files", [[], {"0": 5}, {"0": {"sha256": "ab", "batch": 1}, "1": None}], ids=["a list", "a number", "nothing"]
)
def test_notes_that_are_damaged_are_named_with_the_mend(
    marketo: Marketo, sandbox: Sandbox, tmp_path: Path, files: object
) -> None:
    path = tmp_path / "notes.json"
    import_leads(marketo._api(), leads(1), state=path)
    made = len(sandbox.marketo()["imports"])
    path.write_text(json.dumps({**json.loads(path.read_text()), "files": files}))
    with pytest.raises(RequestError, match=rf"state: '{re.escape(str(path))}' has notes that are damaged; delete"):
        import_leads(marketo._api(), leads(1), state=path)

    path.unlink()
    assert import_leads(marketo._api(), leads(1), state=path).succeeded == 1
    assert len(sandbox.marketo()["imports"]) == made + 1


def test_the_same_rows_after_the_end_are_another_import(marketo: Marketo, sandbox: Sandbox) -> None:
    store = Store()
    for _ in range(2):
        assert import_leads(marketo._api(), leads(3), state=store).succeeded == 3
    assert len(sandbox.marketo()["imports"]) == 2


# What was sent is told, whatever else fails


@pytest.mark.parametrize("error", [AWAY, FULL, KeyError("secret")], ids=["away", "full", "a fault of its own"])
def test_a_note_that_cannot_be_kept_makes_no_outcome_and_is_kept_with_the_next(
    marketo: Marketo,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    monkeypatch.setattr(imports, "MOST_BYTES", 200)
    kept: list[int] = []

    def fails(number: int, notes: dict[str, Any]) -> bool:
        kept.append(len(notes.get("files", {})))
        return number == 2

    assert import_leads(marketo._api(), leads(12), state=Failing(fails, error)).succeeded == 12
    first = sandbox.marketo()["imports"][0]["id"]
    assert f"do not have import {first}" in caplog.text
    assert "secret" not in caplog.text
    assert kept[:3] == [0, 1, 2]


def test_notes_that_cannot_be_kept_at_all_are_told_before_anything_is_sent(marketo: Marketo, sandbox: Sandbox) -> None:
    with pytest.raises(TransportError, match="S3: could not connect"):
        import_leads(marketo._api(), leads(3), state=Failing(lambda number, notes: True, AWAY), on_error="return")
    assert not sandbox.marketo()["imports"]


@pytest.mark.parametrize("error", [AWAY, FULL], ids=["away", "full"])
def test_notes_that_cannot_be_emptied_leave_the_outcomes(
    marketo: Marketo, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    store = Failing(lambda number, notes: "files" not in notes, error)
    assert import_leads(marketo._api(), leads(3), state=store).succeeded == 3
    assert "could not be emptied" in caplog.text


def test_a_disk_that_is_full_leaves_the_outcomes_of_what_was_sent(
    marketo: Marketo, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "MOST_BYTES", 200)
    fails_from(monkeypatch, import_files, 3)
    with pytest.raises(RecordsError, match=r"then it ended: .*No space left on device") as raised:
        import_leads(marketo._api(), leads(40))

    outcomes = raised.value.outcomes
    sent = sum(job["rows"] for job in sandbox.marketo()["imports"])
    assert raised.value.__cause__ is FULL
    assert len(sandbox.marketo()["imports"]) == 2
    assert states(outcomes) == ["succeeded"] * sent + ["not sent"] * (40 - sent)
    assert "No space left on device" in str(outcomes[39].message)


def test_a_disk_that_is_full_before_anything_is_sent_is_the_error(
    marketo: Marketo, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_from(monkeypatch, import_files, 1)
    with pytest.raises(OSError, match="No space left on device"):
        import_leads(marketo._api(), leads(40), on_error="return")
    assert not sandbox.marketo()["imports"]


def test_what_was_not_written_to_the_disk_is_not_uploaded(
    marketo: Marketo, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "MOST_BYTES", 200)
    opened = import_files.ImportFile.opened

    def full(file: import_files.ImportFile) -> Any:
        if 20 in file.positions:
            raise FULL
        return opened(file)

    monkeypatch.setattr(import_files.ImportFile, "opened", full)
    outcomes = import_leads(marketo._api(), leads(40), on_error="return")
    assert outcomes.succeeded == sum(job["rows"] for job in sandbox.marketo()["imports"]) > 0
    assert (outcomes[20].state, outcomes[39].state, len(outcomes)) == ("not sent", "not sent", 40)


def test_failures_that_the_disk_does_not_take_leave_the_rows_of_their_file_in_doubt(
    marketo: Marketo, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "MOST_BYTES", 200)
    sandbox.set_marketo(fail_row_every=4)
    store = Store()
    with monkeypatch.context() as full:
        fails_from(full, imports, 2)
        outcomes = import_leads(marketo._api(), leads(12), state=store, on_error="return")

    first = sandbox.marketo()["imports"][0]["rows"]
    assert (len(outcomes), outcomes.not_sent) == (12, 0)
    assert "unknown" not in states(outcomes)[:first]
    assert "could not be read: " in str(outcomes[11].message)
    assert "No space left on device" in str(outcomes[11].message)

    made = len(sandbox.marketo()["imports"])
    assert import_leads(marketo._api(), leads(12), state=store, on_error="return").unknown == 0
    assert len(sandbox.marketo()["imports"]) == made
