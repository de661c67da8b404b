"""Calls in a window, at once and in a day, over threads and processes; whatever happens to those who count."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from filelock import FileLock, Timeout

from prefect_atomic import MarketoQuotaError
from prefect_atomic.integrations.marketo import limits
from prefect_atomic.integrations.marketo.endpoints import instance_of
from prefect_atomic.integrations.marketo.limits import Limits
from prefect_atomic.sandbox import Sandbox
from tests.e2e.servers.faulty import Answer
from tests.integrations.marketo.conftest import REST, Instance, as_json, block_for, says_yes

PROJECT = Path(__file__).parents[3]
DESCRIBE = f"{REST}/leads/describe2.json"


class Clock:
    """Time that passes only where somebody waits."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.waited = 0.0
        self._lock = threading.Lock()

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds
            self.waited += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp())
    monkeypatch.setattr(limits, "time", clock)
    monkeypatch.setattr(limits, "sleep", clock.sleep)
    return clock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "limits"


def of(instance: str = "a", *, per_window: int = 100, at_once: int = 10, per_day: int = 50_000) -> Limits:
    return Limits(instance=instance, per_window=per_window, at_once=at_once, per_day=per_day)


def call(limits: Limits) -> None:
    permit = limits.permit()
    permit.acquire()
    permit.release()


def free_slots(folder: Path, instance: str, most: int) -> int:
    """How many more calls could be made at the same time."""
    free = 0
    for number in range(most):
        lock = FileLock(folder / f"{instance}.slot-{number}")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        lock.release()
        free += 1
    return free


# The window


def test_no_window_has_more_calls_than_it_takes_however_long_they_take(clock: Clock) -> None:
    dice, limit = random.Random(7), of(per_window=5)
    spans = []
    for _ in range(200):
        clock.now += dice.choice([0, 0, 0, 0.1, 3, 25])
        permit = limit.permit()
        permit.acquire()
        began = clock.now
        clock.now += dice.choice([0, 0, 0.5, 4])  # Marketo may count it at any moment of these
        permit.release()
        spans.append((began, clock.now))
    for earlier, later in zip(spans, spans[5:], strict=False):
        assert later[0] >= earlier[1] + limits.WINDOW - 1e-6


def test_calls_are_not_held_back_while_the_window_has_places(clock: Clock) -> None:
    for _ in range(100):
        call(of(per_window=100))
    assert clock.waited == 0


@pytest.mark.parametrize("per_window", [1, 2, 7])
def test_many_who_wait_at_once_get_places_one_after_another(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, per_window: int
) -> None:
    limit, starts, first_place = of(per_window=per_window, at_once=30), list[float](), limits._first_place

    def noted(file: int, most: int, now: float) -> tuple[int, float]:
        place, free_at = first_place(file, most, now)
        if free_at <= now:
            starts.append(now)
        return place, free_at

    monkeypatch.setattr(limits, "_first_place", noted)
    with ThreadPoolExecutor(30) as threads:
        list(threads.map(call, [limit] * 30))
    assert len(starts) == 30
    starts.sort()
    for earlier, later in zip(starts, starts[per_window:], strict=False):
        assert later >= earlier + limits.WINDOW - 1e-6


def test_who_waits_for_the_place_of_a_call_that_is_under_way_waits_for_a_window_from_its_end(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = of(per_window=1)
    began, first, second = clock.now, limit.permit(), limit.permit()
    first.acquire()

    def ends_after_10_seconds(seconds: float) -> None:
        monkeypatch.setattr(limits, "sleep", clock.sleep)
        clock.now += 10
        first.release()
        clock.now += seconds - 10

    monkeypatch.setattr(limits, "sleep", ends_after_10_seconds)
    second.acquire()
    assert clock.now == pytest.approx(began + 10 + limits.WINDOW)


def test_the_place_of_a_call_that_was_killed_is_free_after_two_windows(clock: Clock) -> None:
    began, limit = clock.now, of(per_window=1)
    limit.permit().acquire()  # and never released
    limit.permit().acquire()
    assert clock.now == pytest.approx(began + 2 * limits.WINDOW)


def test_blocks_with_other_limits_do_not_take_each_others_places(clock: Clock) -> None:
    small, large = of(per_window=2, at_once=100), of(per_window=100)
    for _ in range(2):
        call(small)
    waiting = [small.permit() for _ in range(3)]
    for permit in waiting:
        permit.acquire()
        permit.release()
    began = clock.now
    for _ in range(100):
        call(large)
    assert clock.now >= began + limits.WINDOW - 1  # two of a hundred were taken


@pytest.mark.parametrize("back", [10, 3600, 40 * 86_400])
def test_a_clock_that_is_set_back_holds_nobody_up_for_long(clock: Clock, back: float) -> None:
    for _ in range(5):
        call(of(per_window=5))
    clock.now -= back
    clock.waited = 0
    for _ in range(5):
        call(of(per_window=5))
    assert clock.waited <= 3 * limits.WINDOW


@pytest.mark.parametrize(
    "content",
    [b"", b"short", b"\xff" * 900, b"\0" * 900, random.Random(3).randbytes(4000), b"{'day': 1}" * 50],
    ids=["empty", "short", "ones", "zeros", "random", "text"],
)
def test_a_file_that_was_spoilt_stops_nothing_and_counts_on(clock: Clock, folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / "a.calls").write_bytes(content)
    starts = []
    for _ in range(12):
        permit = of(per_window=5).permit()
        permit.acquire()
        starts.append(clock.now)
        permit.release()
    assert clock.waited <= 5 * limits.WINDOW
    for earlier, later in zip(starts, starts[5:], strict=False):
        assert later >= earlier + limits.WINDOW - 1e-6


# The day


@pytest.mark.parametrize(
    ("before", "midnight"),
    [
        (datetime(2026, 6, 1, 12, tzinfo=UTC), datetime(2026, 6, 2, 5, tzinfo=UTC)),
        (datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 2, 6, tzinfo=UTC)),
        (datetime(2026, 3, 8, 6, 30, tzinfo=UTC), datetime(2026, 3, 9, 5, tzinfo=UTC)),
        (datetime(2026, 11, 1, 5, 30, tzinfo=UTC), datetime(2026, 11, 2, 6, tzinfo=UTC)),
    ],
    ids=["summer", "winter", "to summer time", "to winter time"],
)
def test_the_day_ends_at_midnight_in_us_central_time(clock: Clock, before: datetime, midnight: datetime) -> None:
    clock.now = before.timestamp()
    limit = of(per_day=3, at_once=1)
    for _ in range(3):
        call(limit)
    for moment in (before.timestamp() + 60, midnight.timestamp() - 1):
        clock.now = moment
        with pytest.raises(MarketoQuotaError, match="calls_per_day") as caught:
            call(limit)
        assert caught.value.until == midnight
    clock.now = midnight.timestamp()
    for _ in range(3):
        call(limit)
    with pytest.raises(MarketoQuotaError):
        call(limit)


def test_a_refused_call_holds_nothing(clock: Clock, folder: Path) -> None:
    call(of(per_day=1, at_once=2))
    with pytest.raises(MarketoQuotaError):
        call(of(per_day=1, at_once=2))
    assert free_slots(folder, "a", 2) == 2


def test_a_block_that_used_its_day_up_sends_nothing_more(sandbox: Sandbox) -> None:
    marketo = block_for(sandbox, calls_per_day=2)
    for _ in range(2):
        marketo.describe()
    with pytest.raises(MarketoQuotaError, match="midnight"):
        marketo.describe()
    assert sandbox.marketo()["calls"]["total"] == 2


# At once


def test_threads_do_not_hold_more_at_once_than_there_are(folder: Path) -> None:
    limit, held, most = of(at_once=3, per_window=10_000), set[int](), []

    def one(number: int) -> None:
        permit = limit.permit()
        permit.acquire()
        held.add(number)
        most.append(len(held))
        held.discard(number)
        permit.release()

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(one, range(200)))
    assert max(most) <= 3
    assert free_slots(folder, "a", 3) == 3


def test_instances_side_by_side_share_nothing(clock: Clock) -> None:
    first = of("a", per_window=1, at_once=1, per_day=1).permit()
    first.acquire()
    second = of("b", per_window=1, at_once=1, per_day=1).permit()
    second.acquire()
    assert clock.waited == 0
    first.release()
    second.release()


def run(folder: Path, sandbox: Sandbox, **wanted: Any) -> subprocess.Popen[str]:
    block = block_for(sandbox, **wanted.pop("fields")).model_dump(
        exclude={"client_secret", "allowed_hosts"}, exclude_none=True
    )
    block["client_secret"] = sandbox.accounts.marketo.client_secret
    home = str(folder.parent)
    env = {"PATH": "/usr/bin:/bin", "PREFECT_HOME": home, "HOME": home, "DO_NOT_TRACK": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.marketo_programs", json.dumps({"block": block, **wanted})],
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
        env={**env, "PREFECT_ATOMIC_LIMITS_PATH": str(folder)},
    )


def test_processes_and_their_threads_keep_both_limits_together(sandbox: Sandbox, folder: Path) -> None:
    sandbox.set_marketo(
        enforce=True, calls_per_window=20, window_milliseconds=500, concurrent_calls=3, latency_milliseconds=10
    )
    fields = {"calls_per_20_seconds": 20, "concurrent_calls": 3}
    processes = [run(folder, sandbox, do="called", fields=fields, window=0.5, threads=6, count=40) for _ in range(2)]
    said = [json.loads(process.communicate(timeout=120)[0].splitlines()[-1]) for process in processes]
    assert said == [{"succeeded": 40}] * 2
    calls = sandbox.marketo()["calls"]
    assert calls["refused"] == {}
    assert calls["most_in_window"] <= 20
    assert calls["most_at_once"] <= 3
    assert calls["total"] == 80


def test_a_process_that_is_killed_lets_go_of_what_it_held(sandbox: Sandbox, folder: Path) -> None:
    fields = {"concurrent_calls": 2}
    process = run(folder, sandbox, do="holding", fields=fields, count=2)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    instance = instance_of(sandbox.accounts.marketo.rest_url)
    assert free_slots(folder, instance, 2) == 0
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert free_slots(folder, instance, 2) == 2
    block_for(sandbox, **fields).describe()


# Where nothing can be written


def test_without_a_folder_to_write_to_the_process_counts_alone_and_warns_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("PREFECT_ATOMIC_LIMITS_PATH", str(tmp_path / "file" / "limits"))
    limits.forget()
    with caplog.at_level(logging.WARNING):
        for _ in range(7):
            call(of(per_window=3))
    assert clock.waited == pytest.approx(2 * limits.WINDOW)
    assert caplog.text.count("cannot be written to") == 1


def test_threads_that_find_no_folder_at_the_same_time_count_together(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("PREFECT_ATOMIC_LIMITS_PATH", str(tmp_path / "file" / "limits"))
    limits.forget()
    together = threading.Barrier(8)

    def one(_: int) -> object:
        together.wait()
        return limits._counters("a")

    with caplog.at_level(logging.WARNING), ThreadPoolExecutor(8) as threads:
        assert len({id(counters) for counters in threads.map(one, range(8))}) == 1
    assert caplog.text.count("cannot be written to") == 1


def test_a_folder_that_is_removed_meanwhile_stops_nothing(clock: Clock, folder: Path) -> None:
    call(of())
    shutil.rmtree(folder)
    call(of())
    assert (folder / "a.calls").exists()


def test_a_disk_that_is_full_meanwhile_stops_nothing(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    call(of(at_once=1))
    write = os.pwrite

    def full(file: int, content: bytes, at: int) -> int:
        if os.readlink(f"/proc/self/fd/{file}").startswith(str(folder)):
            raise OSError(28, "No space left on device")
        return write(file, content, at)

    monkeypatch.setattr(os, "pwrite", full)
    for _ in range(3):
        call(of(at_once=1))
    assert caplog.text.count("No space left on device") == 1
    assert free_slots(folder, "a", 1) == 1


# The proof


def test_a_streamed_body_holds_its_permit_to_its_end(instance: Instance, folder: Path) -> None:
    instance.answer = lambda request: Answer(200, [("Content-Type", "text/csv")], b"id\n1\n" * 100)
    marketo = instance.block(concurrent_calls=1)
    name = instance_of(marketo.rest_url())
    with marketo.get_client() as client:
        with client.stream("GET", f"{marketo.rest_url()}/file.csv") as response:
            assert free_slots(folder, name, 1) == 0
            response.read()
        assert free_slots(folder, name, 1) == 1


@pytest.mark.parametrize("status", [401, 200])
def test_a_rejected_token_is_renewed_where_only_one_call_is_made_at_once(instance: Instance, status: int) -> None:
    answers: Iterator[Any] = iter(
        [
            says_yes(),
            as_json(status, requestId="1", success=False, errors=[{"code": "602", "message": "Access token expired"}]),
            says_yes(),
        ]
    )
    instance.answer = lambda request: next(answers)
    marketo = instance.block(concurrent_calls=1)
    with marketo.get_client() as client:
        for _ in range(2):
            assert client.get(f"{marketo.rest_url()}/v1/x.json").json()["success"]
    assert len(instance.asked()) == 3

    async def asynchronous() -> None:
        async with marketo.get_async_client() as client:
            assert (await client.get(f"{marketo.rest_url()}/v1/x.json")).json()["success"]

    answers = iter(
        [
            as_json(status, requestId="1", success=False, errors=[{"code": "602", "message": "Access token expired"}]),
            says_yes(),
        ]
    )
    asyncio.run(asynchronous())


def test_a_hundred_asynchronous_requests_wait_for_one_permit_and_all_get_it(sandbox: Sandbox, folder: Path) -> None:
    marketo = block_for(sandbox, concurrent_calls=1)
    url = f"{marketo.rest_url()}/v1/leads/describe2.json"

    async def many() -> list[httpx.Response]:
        async with marketo.get_async_client(timeout=60) as client:
            return await asyncio.wait_for(asyncio.gather(*(client.get(url) for _ in range(100))), 60)

    assert all(response.json()["success"] for response in asyncio.run(many()))
    calls = sandbox.marketo()["calls"]
    assert calls["total"] == 100
    assert calls["most_at_once"] == 1
    assert free_slots(folder, instance_of(marketo.rest_url()), 1) == 1


def test_a_cancelled_request_frees_its_permit(sandbox: Sandbox, folder: Path) -> None:
    marketo = block_for(sandbox, concurrent_calls=1)
    marketo.describe()
    sandbox.misbehave(DESCRIBE, hang=True, times=1)
    url = f"{marketo.rest_url()}/v1/leads/describe2.json"

    async def cancelled() -> bool:
        async with marketo.get_async_client(timeout=60) as client:
            task = asyncio.create_task(client.get(url))
            while sandbox.calls().get(f"GET {DESCRIBE}", 0) < 2:  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            freed = free_slots(folder, instance_of(marketo.rest_url()), 1) == 1
            response = await client.get(url)
            return freed and bool(response.json()["success"])

    assert asyncio.run(cancelled())


@pytest.mark.parametrize("cancel", ["asyncio", "anyio"])
def test_requests_that_are_given_up_while_they_wait_hold_nothing(instance: Instance, folder: Path, cancel: str) -> None:
    """Their threads wait on, and must not take for good what nobody will give back."""
    block = instance.block(concurrent_calls=2)
    url = f"{block.rest_url()}/v1/stats/usage.json"

    async def given_up(client: httpx.AsyncClient) -> None:
        if cancel == "asyncio":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.get(url), 0.1)
        else:
            with anyio.move_on_after(0.1) as scope:
                await client.get(url)
            assert scope.cancelled_caught

    async def main() -> None:
        async with block.get_async_client(timeout=60) as client:
            await client.get(url)
            instance.answer = lambda request: replace(says_yes(), hold=True)
            sent = len(instance.asked())
            busy = [asyncio.create_task(client.get(url)) for _ in range(2)]
            while len(instance.asked()) < sent + 2:  # noqa: ASYNC110 - it is a server's
                await asyncio.sleep(0.01)
            await asyncio.gather(*(given_up(client) for _ in range(3)))
            instance.answer = lambda request: says_yes()
            instance.server.release()
            await asyncio.gather(*busy)
            for _ in range(5):
                assert (await client.get(url)).json()["success"]

    asyncio.run(asyncio.wait_for(main(), 60))
    (gate,) = limits._gates.values()
    assert all(gate.acquire(timeout=10) for _ in range(2))
    assert free_slots(folder, instance_of(block.rest_url()), 2) == 2


def test_requests_to_other_hosts_take_no_permit(sandbox: Sandbox, folder: Path) -> None:
    marketo = block_for(sandbox, concurrent_calls=1)
    permit = marketo.auth()._limits.permit()  # type: ignore[attr-defined]
    permit.acquire()
    other = sandbox.url.replace("127.0.0.1", "localhost")
    request = httpx.Request("GET", f"{other}/status/200")
    try:
        with httpx.Client(trust_env=False) as client:
            flow = marketo.model_copy(update={"allowed_hosts": ["localhost"]}).auth()
            assert client.send(request, auth=flow).status_code in (200, 404)
    finally:
        permit.release()
