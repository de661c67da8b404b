"""Marketo at work: many leads from many processes, half a million rows, a quota that is used up, and a bad network."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prefect_atomic import Marketo, MarketoQuotaError, Outcomes, RecordsError, instant_retries
from prefect_atomic.integrations.marketo import limits
from prefect_atomic.integrations.marketo.api import Api
from prefect_atomic.sandbox import Sandbox
from tests.e2e.marketo_programs import expected, some_leads

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(280)]

PROCESSES = 4
LEADS = 100_000
WINDOW = 5.0
"""Seconds in place of the 20, on both sides: four windows take 20 s then."""
ROWS = 500_000
PEAK = 200 * 1024
"""Kilobytes of the whole process."""

SYNC = "/marketo/rest/v1/leads.json"
TRIGGER = "/marketo/rest/v1/campaigns/{campaignId}/trigger.json"
CAMPAIGN = 3001


@pytest.fixture(scope="module")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox.start() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    monkeypatch.setenv("PREFECT_ATOMIC_LIMITS_PATH", str(tmp_path / "limits"))
    limits.forget()
    running_sandbox.reset()
    yield running_sandbox
    limits.forget()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second is enough to wait for an answer."""
    monkeypatch.setitem(Api.call.__kwdefaults__, "timeout", 1.0)


def block_of(sandbox: Sandbox) -> dict[str, str]:
    account = sandbox.accounts.marketo
    return {
        "rest_endpoint": account.rest_url,
        "identity_endpoint": account.identity_url,
        "client_id": account.client_id,
        "client_secret": account.client_secret,
    }


def started(home: Path, **wanted: Any) -> subprocess.Popen[str]:
    """A process that does something with Marketo; all of a test share their home, and so tokens and counts."""
    env = {"PATH": "/usr/bin:/bin", "PREFECT_HOME": str(home), "HOME": str(home), "DO_NOT_TRACK": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.marketo_programs", json.dumps(wanted)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env=env,
    )


def said_by(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors[-3000:]
    said: dict[str, Any] = json.loads(output.splitlines()[-1])
    return said


def states(outcomes: Outcomes) -> list[str]:
    return [outcome.state for outcome in outcomes]


def test_100_000_leads_of_four_processes_arrive_within_the_limits(sandbox: Sandbox, tmp_path: Path) -> None:
    """The token ends every 5 seconds, and one call in 200 is told that there are too many."""
    sandbox.set_marketo(token_seconds=5, error_every=200, window_milliseconds=int(1000 * WINDOW))
    each = LEADS // PROCESSES
    processes = [
        started(tmp_path, do="sync", block=block_of(sandbox), window=WINDOW, first=number * each, count=each)
        for number in range(PROCESSES)
    ]
    for said in [said_by(process) for process in processes]:
        assert said == {"states": {"succeeded": each}, "ids": each, "in_order": True}
    found = sandbox.marketo()
    calls = found["calls"]
    assert found["leads"] == LEADS
    assert calls["most_in_window"] <= 100
    assert calls["most_at_once"] <= 10
    assert set(calls["refused"]) <= {"606", "601", "602"}
    assert calls["refused"]["606"] >= 1
    asked = sum(count for call, count in sandbox.calls().items() if call.endswith("/identity/oauth/token"))
    assert found["tokens_issued"] >= 2
    assert asked <= 2 * found["tokens_issued"]  # once for each, and once more where it was nearly over


def test_500_000_imported_rows_have_their_outcomes_in_less_than_200_megabytes(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.set_marketo(fail_row_every=997, warn_row_every=1009)
    said = said_by(started(tmp_path, do="imported", block=block_of(sandbox), count=ROWS))
    assert said["states"] == {"succeeded": ROWS - ROWS // 997, "failed": ROWS // 997}
    assert said["digest"] == expected(
        ROWS,
        fail_every=997,
        warn_every=1009,
        failure="The sandbox was told to fail this row",
        warning="The sandbox was told to warn of this row",
    )
    assert said["peak"] < PEAK
    assert sandbox.marketo()["leads"] == ROWS - ROWS // 997


def test_a_used_up_quota_ends_it_at_once_and_the_rest_completes_it_later(sandbox: Sandbox) -> None:
    marketo = Marketo(**block_of(sandbox))
    leads = list(some_leads(0, 6000))
    sandbox.set_marketo(quota_after=8)
    with instant_retries(), pytest.raises(RecordsError) as caught:
        marketo.sync_leads(leads)
    ended = caught.value.__cause__
    assert isinstance(ended, MarketoQuotaError)
    assert ended.until is not None
    assert ended.until.isoformat() in str(caught.value)
    outcomes = caught.value.outcomes
    assert Counter(states(outcomes)) == {"succeeded": 8 * 300, "not sent": 6000 - 8 * 300}
    # Those under way at that moment, of which there are five at most, are the last ones.
    assert sandbox.marketo()["calls"]["total"] <= 8 + 5
    sandbox.set_marketo(quota_after=0)
    rest = [leads[outcome.position] for outcome in outcomes if outcome.state == "not sent"]
    with instant_retries():
        assert marketo.sync_leads(rest).succeeded == len(rest)
    assert sandbox.marketo()["leads"] == 6000


@pytest.mark.parametrize(
    "fault",
    [{"status": 502}, {"status": 503}, {"cut": True}, {"cut": True, "after": True}],
    ids=["502", "503", "cut before", "cut after"],
)
def test_leads_get_through_a_fault_that_passes(sandbox: Sandbox, fault: dict[str, Any]) -> None:
    marketo = Marketo(**block_of(sandbox))
    sandbox.misbehave(SYNC, method="POST", times=2, **fault)
    with instant_retries():
        assert marketo.sync_leads(some_leads(0, 900)).succeeded == 900
    assert sandbox.marketo()["leads"] == 900


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        ({"status": 500, "body": "<html>Oops</html>", "content_type": "text/html"}, "unknown"),
        ({"status": 200, "body": "<html>Sign in</html>", "content_type": "text/html"}, "unknown"),
        ({"cut": True}, "unknown"),
        ({"hang": True}, "unknown"),
    ],
    ids=["500", "HTML", "cut", "hang"],
)
def test_leads_without_an_answer_are_unknown_and_those_never_sent_are_told_apart(
    sandbox: Sandbox, impatient: None, fault: dict[str, Any], state: str
) -> None:
    marketo = Marketo(**block_of(sandbox))
    sandbox.misbehave(SYNC, method="POST", **fault)
    with instant_retries():
        outcomes = marketo.sync_leads(some_leads(0, 9000), on_error="return")
    assert set(states(outcomes)) == {state, "not sent"}
    assert sandbox.marketo()["leads"] == 0
    with instant_retries(), pytest.raises(RecordsError):
        marketo.sync_leads(some_leads(0, 9000))


def test_a_lead_is_read_after_a_fault_that_passes(sandbox: Sandbox) -> None:
    marketo = Marketo(**block_of(sandbox))
    marketo.sync_leads(some_leads(0, 400))
    sandbox.misbehave(SYNC, times=1, cut=True)
    sandbox.misbehave(SYNC, times=1, status=503)
    with instant_retries():
        found = list(marketo.leads("email", [f"lead-{number}@example.com" for number in range(400)]))
    assert len({lead["id"] for lead in found}) == 400


@pytest.mark.parametrize(
    "fault",
    [
        {"cut": True, "after": True},
        {"cut": True},
        {"status": 502, "after": True},
        {"status": 200, "body": "<html>Sign in</html>", "content_type": "text/html"},
        {"hang": True},
        {"delay": 2.0},
    ],
    ids=["cut after", "cut before", "502", "HTML", "hang", "slow"],
)
def test_a_campaign_is_never_requested_twice_whatever_becomes_of_the_answer(
    sandbox: Sandbox, impatient: None, fault: dict[str, Any]
) -> None:
    marketo = Marketo(**block_of(sandbox))
    ids = [int(outcome.id or 0) for outcome in marketo.sync_leads(some_leads(0, 250))]
    sandbox.misbehave(TRIGGER, method="POST", times=1, **fault)
    with instant_retries():
        outcomes = marketo.request_campaign(CAMPAIGN, ids, on_error="return")
    assert states(outcomes) == ["unknown"] * 100 + ["succeeded"] * 150
    assert sandbox.calls()[f"POST {TRIGGER}"] == 3
    requested = Counter(lead for campaign in sandbox.marketo()["campaigns"] for lead in campaign["leads"])
    assert max(requested.values()) == 1
