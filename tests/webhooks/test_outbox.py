"""The folder where events wait: whole or not at all, oldest first, held by one at a time, and never lost."""

import fcntl
import json
import os
import random
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from prefect_atomic import OutboxError
from prefect_atomic.webhooks import redeliver
from prefect_atomic.webhooks.entry import Entry
from prefect_atomic.webhooks.outbox import FolderOutbox
from tests.e2e.servers.faulty import Answer
from tests.mounts import mounted
from tests.webhooks.conftest import event

WORKER = Path(__file__).with_name("worker.py")


def entry(number=1, **fields):
    return Entry(**{"event": event(number), "stored_at": 1000.0 + number, "due": 1000.0, **fields})


@contextmanager
def worker(*arguments):
    """A process at work, from when it said its first line, which comes along with it."""
    process = subprocess.Popen(
        [sys.executable, WORKER, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.fixture
def outbox(tmp_path):
    return FolderOutbox(tmp_path / "a" / "b")


def ids(outbox):
    return [json.loads((outbox.folder / name).read_bytes())["event"]["id"] for name in outbox.waiting()]


def test_an_outbox_that_is_not_there_is_empty(outbox):
    assert (list(outbox.waiting()), outbox.count()) == ([], 0)


def test_what_is_put_waits_and_is_held(outbox):
    held = outbox.put(entry())

    (name,) = outbox.waiting()
    assert outbox.count() == 1
    assert outbox.claim(name) is None
    held.release()
    assert outbox.claim(name).entry == entry()


def test_what_is_claimed_is_held(outbox):
    outbox.put(entry()).release()
    (name,) = outbox.waiting()
    held = outbox.claim(name)

    assert outbox.claim(name) is None
    held.release()
    held.release()
    assert outbox.claim(name)


def test_what_is_kept_is_stored_and_still_held(outbox):
    held = outbox.put(entry())
    held.keep(entry(due=2000.0))

    (name,) = outbox.waiting()
    assert held.entry.due == 2000.0
    assert outbox.claim(name) is None
    held.release()
    assert outbox.claim(name).entry.due == 2000.0


def test_what_is_left_is_stored_and_free(outbox):
    outbox.put(entry()).leave(entry(is_exhausted=True))

    (name,) = outbox.waiting()
    assert outbox.claim(name).entry.is_exhausted


@pytest.mark.parametrize("done", [lambda held: held.leave(entry(due=2000.0)), lambda held: held.remove()])
def test_what_was_replaced_or_removed_while_it_was_claimed_is_not_claimed(outbox, monkeypatch, done):
    """A lock on the file that was there before keeps nobody from the one that is there now."""
    held = outbox.put(entry())
    (name,) = outbox.waiting()
    flock = fcntl.flock

    def flock_after_the_holder_is_done(file, operation):
        monkeypatch.undo()
        done(held)
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock_after_the_holder_is_done)

    assert outbox.claim(name) is None


def test_what_is_removed_is_gone(outbox):
    held = outbox.put(entry())
    (name,) = outbox.waiting()
    held.remove()
    held.remove()

    assert [path.name for path in outbox.folder.iterdir()] == ["redelivery.lock"]
    assert outbox.claim(name) is None


def test_what_nobody_has_any_more_is_free(outbox):
    outbox.put(entry())

    (name,) = outbox.waiting()
    assert outbox.claim(name)


def test_the_oldest_comes_first(outbox):
    for number in (3, 1, 2):
        outbox.put(entry(number))

    assert ids(outbox) == ["evt_1", "evt_2", "evt_3"]


def test_what_arrives_meanwhile_is_left_to_the_next_time(outbox):
    outbox.put(entry(1))
    waiting = outbox.waiting()
    next(waiting)
    outbox.put(entry(2, stored_at=time.time() + 60))

    assert list(waiting) == []


def test_nobody_else_may_read_it(outbox):
    before = os.umask(0)
    try:
        outbox.put(entry()).leave(entry())
        with outbox.redelivering():
            pass
    finally:
        os.umask(before)

    modes = {stat.S_IMODE(path.stat().st_mode) for path in outbox.folder.iterdir()}
    assert (stat.S_IMODE(outbox.folder.stat().st_mode), modes) == (0o700, {0o600})


def test_one_redelivers_at_a_time(outbox):
    with outbox.redelivering() as first, FolderOutbox(outbox.folder).redelivering() as second:
        assert (first, second) == (True, False)
    with outbox.redelivering() as again:
        assert again


def test_what_another_process_holds_is_free_once_that_is_killed(outbox):
    for number in (1, 2):
        outbox.put(entry(number)).release()
    names = list(outbox.waiting())
    with worker("hold", outbox.folder) as (process, claimed):
        assert claimed == "2"
        assert [outbox.claim(name) for name in names] == [None, None]
        process.kill()
        process.wait()

        assert all(outbox.claim(name) for name in names)


def test_what_another_process_replaces_is_never_seen_torn(outbox):
    outbox.put(entry()).release()
    (name,) = outbox.waiting()
    path, claims, seen = outbox.folder / name, 0, set()
    with worker("rewrite", outbox.folder) as (process, _):
        while process.poll() is None:
            seen.add(len(json.loads(path.read_bytes())["event"]["data"]))
            if held := outbox.claim(name):
                claims += 1
                held.release()
        assert process.returncode == 0

    assert claims
    assert len(seen) > 1


def test_ten_thousand_events_are_listed_in_order_and_in_bounded_memory(outbox):
    outbox.folder.mkdir(parents=True)
    content = entry().to_json()
    names = [f"{number:019d}-{number:012x}.json" for number in range(10_000)]
    for name in random.Random(1).sample(names, k=len(names)):
        (outbox.folder / name).write_bytes(content)
    tracemalloc.start()
    try:
        assert outbox.count() == 10_000
        for listed, name in zip(outbox.waiting(), names, strict=True):
            assert listed == name
            outbox.claim(listed).release()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 1_000_000  # two million bytes if all names were in memory


def test_drafts_of_the_killed_are_swept_after_a_day(outbox):
    outbox.folder.mkdir(parents=True)
    old, new = outbox.folder / "old.draft", outbox.folder / "new.draft"
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time() - 90_000,) * 2)

    with outbox.redelivering():
        assert not old.exists()
        assert new.exists()


def test_a_draft_that_its_writer_puts_in_its_place_meanwhile_is_no_fault(outbox):
    writer = threading.Thread(target=lambda: [held.keep(entry()) for _ in range(500)])
    held = outbox.put(entry())
    writer.start()
    while writer.is_alive():
        with outbox.redelivering() as is_ours:
            assert is_ours
    writer.join()


def test_drafts_and_strangers_do_not_wait(outbox):
    outbox.folder.mkdir(parents=True)
    for name in ("notes.txt", "0000000000000000001-0123456789ab.json.0123456789ab.draft", "redelivery.lock"):
        (outbox.folder / name).write_text("x")

    assert (list(outbox.waiting()), outbox.count()) == ([], 0)


@pytest.mark.parametrize("content", [b"", b"{", b"null", b'{"event": {}}', b"\xff", b"[" * 10_000])
def test_what_is_no_event_is_reported_and_passed_by(subscribe, server, outbox_of, said, content):
    outbox = outbox_of(to := subscribe())
    outbox.put(entry(2)).release()
    name = f"{1:019d}-0123456789ab.json"
    (outbox.folder / name).write_bytes(content)

    assert redeliver(to).delivered == 1
    assert said == [f"What is stored as {name} for 127.0.0.1 is no event of this version."]
    assert (outbox.folder / name).read_bytes() == content


# -- broken disks ---------------------------------------------------------------------------------------------------


def fill(folder):
    with (folder / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(b"x" * 4096)


@contextmanager
def under_a_file(folder):
    folder.write_text("not a folder")
    yield


@contextmanager
def read_only(folder):
    with mounted(folder, "ro"):
        yield


@contextmanager
def full(folder):
    with mounted(folder, "size=4k"):
        (folder / "ballast").write_bytes(b"x" * 4096)
        yield


@contextmanager
def nearly_full(folder):
    with mounted(folder, "size=8k"):
        (folder / "ballast").write_bytes(b"x" * 4096)
        yield


@contextmanager
def out_of_inodes(folder):
    with mounted(folder, "nr_inodes=2"):
        yield


@pytest.mark.parametrize("fault", [under_a_file, read_only, full, nearly_full, out_of_inodes])
def test_what_cannot_be_stored_is_not_sent(fault, tell, subscribe, server, outbox_path):
    with fault(outbox_path):
        with pytest.raises(
            OutboxError, match="outbox: the event could not be stored in the folder of PREFECT_HOME"
        ) as error:
            tell(event(data="x" * 5000), subscribe())
        left = list(outbox_path.rglob("*.json*")) if outbox_path.is_dir() else []

    assert "xxx" not in str(error.value)
    assert error.value.transient
    assert not server.requests
    assert left == []


def test_a_disk_that_fills_up_during_retries_costs_a_warning(
    tell, subscribe, server, outbox_path, waiting, clock, said
):
    def refuse(request):
        fill(outbox_path)
        return Answer(500)

    to = subscribe(retry_delays=[1, 3600])
    with mounted(outbox_path, "size=64k"):
        server.handler = refuse
        delivery = tell(event(data="x" * 5000), to)
        (kept,) = waiting(to)

    assert (delivery.state, len(delivery.attempts), len(server.requests)) == ("waiting", 2, 2)
    assert kept.event["data"] == "x" * 5000
    assert kept.attempts == ()
    warnings = [line for line in said if "cannot be recorded" in line]
    assert len(warnings) == 2
    assert warnings[0].startswith("The attempts of webhook evt_1 cannot be recorded: No space left on device")


def test_redelivery_goes_on_where_the_disk_is_full(subscribe, server, outbox_path, outbox_of, said):
    """Nothing frees it like the events that are delivered."""
    to = subscribe()
    with mounted(outbox_path, "size=32k"):
        for number in (1, 2, 3):
            outbox_of(to).put(entry(number)).release()
        fill(outbox_path)
        server.script([Answer(500)])

        done = redeliver(to)

        assert (done.delivered, done.failed, outbox_of(to).count()) == (2, 1, 1)
    assert any("cannot be recorded: No space left on device" in line for line in said)


def test_what_is_delivered_and_cannot_be_removed_is_delivered(tell, subscribe, server, outbox_of, said):
    def replace(request):
        (path,) = (outbox_of(to).folder / name for name in outbox_of(to).waiting())
        path.unlink()
        path.mkdir()
        return Answer()

    to = subscribe()
    server.handler = replace

    assert tell(event(), to).delivered
    assert said[0].startswith("Webhook evt_1 was delivered, and cannot be removed: Is a directory")


def test_an_outbox_that_cannot_be_read_is_an_error_of_redelivery(subscribe, outbox_path):
    outbox_path.write_text("not a folder")

    with pytest.raises(OutboxError, match=r"outbox: of 127\.0\.0\.1 cannot be used: Not a directory"):
        redeliver(subscribe())
