"""Outboxes in blocks of a real Prefect server: whatever file system it is, and however the process ends."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import time_machine
from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from prefect.filesystems import LocalFileSystem, RemoteFileSystem, WritableFileSystem

from prefect_atomic import OutboxError, WebhookSubscription, awebhook, redeliver, webhook
from prefect_atomic.credentials.base import now
from prefect_atomic.settings import settings
from prefect_atomic.webhooks import block_outbox
from prefect_atomic.webhooks.block_outbox import BlockOutbox
from prefect_atomic.webhooks.delivery import outbox_of
from prefect_atomic.webhooks.entry import Entry
from prefect_atomic.webhooks.outbox import Held
from tests.e2e.file_systems_for_tests import AsyncFiles, FailingFiles, PlainFiles
from tests.e2e.prefect_server import PrefectServer
from tests.e2e.saving import registered_once
from tests.e2e.servers.faulty import Answer, FaultServer
from tests.e2e.webhook_programs import Running

pytestmark = [
    pytest.mark.prefect_server,
    pytest.mark.timeout(600),  # seconds each; more where the machine has other work
    # Prefect leaves the sockets of its own clients to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

PAYLOAD = "payloadTHATnobodyMAYread"
LEASE = 600.0
"""Longer than any lease of an event in these tests."""


@pytest.fixture(scope="module", autouse=True)
def _registered(prefect_server: PrefectServer) -> Iterator[None]:
    with registered_once(prefect_server, WebhookSubscription):
        yield


@pytest.fixture(autouse=True)
def home(prefect_api: PrefectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token_folder: Path) -> Path:
    """What processes of this host share."""
    monkeypatch.setenv("PREFECT_ATOMIC_OUTBOX_PATH", str(tmp_path / "home"))
    settings.cache_clear()
    return tmp_path / "home"


@pytest.fixture
def receiver(fault_server: FaultServer) -> FaultServer:
    return fault_server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "block"
    folder.mkdir()
    return folder


def local(folder: Path) -> WritableFileSystem:
    return LocalFileSystem(basepath=str(folder))


def asynchronous(folder: Path) -> WritableFileSystem:
    return AsyncFiles(basepath=str(folder))


def synchronous(folder: Path) -> WritableFileSystem:
    return PlainFiles(basepath=str(folder))


def remote(folder: Path) -> WritableFileSystem:
    """fsspec's memory, which lasts as long as this process."""
    return RemoteFileSystem(basepath=f"memory://{secrets.token_hex(8)}")


EACH = pytest.mark.parametrize("make", [local, asynchronous, synchronous, remote])


def saved(url: str, block: Block, **fields: Any) -> WebhookSubscription:
    """A subscription that is saved anew, whose events wait in the block."""
    name = f"box-{secrets.token_hex(6)}"
    block.save(name)
    outbox = f"{block.get_block_type_slug()}/{name}"
    WebhookSubscription(url=url, outbox=outbox, **fields).save(name)
    return WebhookSubscription.load(name)


def slug(subscription: WebhookSubscription) -> str:
    return f"atomic-webhook-subscription/{subscription._block_document_name}"


def event(number: int = 1) -> dict[str, Any]:
    return {"id": f"evt_{number}", "type": "card-completed", "data": {"card": PAYLOAD}}


def box(subscription: WebhookSubscription) -> BlockOutbox:
    outbox = outbox_of(subscription)
    assert isinstance(outbox, BlockOutbox)
    return outbox


def entry(number: int = 1) -> Entry:
    return Entry(event=event(number), stored_at=now(), due=now())


def waits(outbox: BlockOutbox, number: int = 1) -> Held:
    held = outbox.put(entry(number))
    held.leave(held.entry)
    return held


def ids(server: FaultServer) -> list[str | None]:
    return [request.header("webhook-id") for request in server.requests]


def slots(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.json"), key=lambda path: int(path.stem))


def full(folder: Path) -> list[Path]:
    return [path for path in slots(folder) if path.stat().st_size]


# -- what it is for ------------------------------------------------------------------------------------------------


@EACH
def test_a_delivered_event_leaves_nothing(receiver: FaultServer, folder: Path, make: Callable[..., Any]) -> None:
    """With both tasks: one may block, the other runs in an event loop."""
    crm = saved(receiver.url, make(folder))
    assert webhook.fn(event(1), crm).delivered
    assert asyncio.run(awebhook.fn(event(2), crm)).delivered
    assert ids(receiver) == ["evt_1", "evt_2"]
    assert box(crm).count() == 0


@EACH
def test_an_event_waits_in_the_block_until_it_is_redelivered(
    receiver: FaultServer, folder: Path, make: Callable[..., Any]
) -> None:
    """As it was accepted, oldest first."""
    crm = saved(receiver.url, make(folder), paused=True)
    for number in (1, 2, 3):
        assert webhook.fn(event(number), crm).state == "paused"
    assert box(crm).count() == 3
    done = redeliver(slug(crm))
    assert (done.found, done.delivered, done.state) == (3, 3, "active")
    assert ids(receiver) == ["evt_1", "evt_2", "evt_3"]
    assert json.loads(receiver.requests[0].body)["data"] == {"card": PAYLOAD}
    assert box(crm).count() == 0


def test_attempts_are_kept_with_the_event(receiver: FaultServer, folder: Path) -> None:
    receiver.script([Answer(500), Answer(502)])
    crm = saved(receiver.url, local(folder), retry_delays=[0.0, 60.0])
    assert webhook.fn(event(), crm, max_wait=0).state == "waiting"
    outbox = box(crm)
    (name,) = outbox.waiting()
    held = outbox.claim(name)
    assert held
    assert [attempt.status_code for attempt in held.entry.attempts] == [500, 502]
    assert redeliver(slug(crm)).delivered == 0
    with time_machine.travel(now() + 120):
        assert redeliver(slug(crm)).delivered == 1


def test_an_event_stays_where_it_was_until_it_is_stored_elsewhere(folder: Path) -> None:
    """Never overwritten: a crash while it is written again leaves the one before."""
    crm = saved("https://hooks.example.com", local(folder))
    outbox = box(crm)
    outbox.put(entry(1)).remove()
    held = outbox.put(entry(1))
    (before,) = full(folder)
    held.keep(held.entry)
    (after,) = full(folder)
    assert before != after


# -- what fails before anything is sent ----------------------------------------------------------------------------


def _awebhook(*args: Any) -> Any:
    return asyncio.run(awebhook.fn(*args))


BOTH = pytest.mark.parametrize("deliver", [webhook.fn, _awebhook], ids=["webhook", "awebhook"])


@BOTH
def test_a_block_that_is_gone(receiver: FaultServer, folder: Path, deliver: Callable[..., Any]) -> None:
    crm = saved(receiver.url, local(folder))
    assert crm.outbox
    LocalFileSystem.delete(crm.outbox.partition("/")[2])  # type: ignore[unused-coroutine]
    with pytest.raises(OutboxError, match=rf"outbox: there is no saved block '{crm.outbox}'"):
        deliver(event(), crm)
    assert receiver.requests == []


@BOTH
def test_a_block_that_is_no_file_system(receiver: FaultServer, deliver: Callable[..., Any]) -> None:
    crm = saved(receiver.url, Secret(value="the-secret-value"))
    with pytest.raises(OutboxError, match="is a Secret, which is no file system that can be written") as refused:
        deliver(event(), crm)
    assert "the-secret-value" not in str(refused.value)
    assert receiver.requests == []


@BOTH
@pytest.mark.parametrize(
    ("fails", "why", "transient"),
    [
        ("write-not-permitted", "Permission denied", True),
        ("write-talks-in-errno", "No space left on device", True),
        ("write-talks", "RuntimeError", False),
        ("read-talks", "RuntimeError", False),
    ],
)
def test_a_block_that_fails(
    receiver: FaultServer, folder: Path, deliver: Callable[..., Any], fails: Any, why: str, transient: bool
) -> None:
    """In words that say which block it is, and nothing of what it should have kept."""
    files = FailingFiles(basepath=str(folder))
    crm = saved(receiver.url, files)
    waits(box(crm))
    _forget_lanes()
    files.fails = fails
    files.save(str(files._block_document_name), overwrite=True)
    with pytest.raises(OutboxError, match=rf"could not be stored in {crm.outbox}, .* not sent: .*{why}") as refused:
        deliver(event(2), crm)
    assert PAYLOAD not in str(refused.value)
    assert refused.value.transient is transient
    assert receiver.requests == []


def _forget_lanes() -> None:
    """As in a process that begins."""
    for lane in block_outbox._lanes.values():
        if lane._lock is not None:
            os.close(lane._lock)
    block_outbox._lanes.clear()


def test_a_slot_that_could_not_be_written_is_used_again(receiver: FaultServer, folder: Path) -> None:
    files = FailingFiles(basepath=str(folder))
    crm = saved(receiver.url, files)
    assert webhook.fn(event(1), crm).delivered
    files.fails = "write-talks"
    files.save(str(files._block_document_name), overwrite=True)
    with pytest.raises(OutboxError):
        webhook.fn(event(2), crm)
    files.fails = "not"
    files.save(str(files._block_document_name), overwrite=True)
    assert webhook.fn(event(3), crm).delivered
    assert ids(receiver) == ["evt_1", "evt_3"]
    assert len(slots(folder)) == 1


# -- slots ---------------------------------------------------------------------------------------------------------


def test_storage_does_not_grow_with_what_was_delivered(folder: Path) -> None:
    outbox = box(saved("https://hooks.example.com", local(folder)))
    for number in range(200):
        held = outbox.put(entry(number))
        held.keep(held.entry)
        held.remove()
    assert len(slots(folder)) <= 2
    assert full(folder) == []


def test_storage_does_not_grow_with_what_others_redelivered(folder: Path) -> None:
    """A process that lives for long uses the slots again that redelivery emptied."""
    crm = saved("https://hooks.example.com", local(folder))
    stored, redelivery = box(crm), box(crm)
    for _ in range(20):
        for number in range(10):
            waits(stored, number)
        for name in box(crm).waiting():
            held = redelivery.claim(name)
            assert held
            held.remove()
    assert full(folder) == []
    assert len(slots(folder)) <= 64


def test_two_processes_never_write_to_the_same_slot(
    prefect_api: PrefectServer, home: Path, receiver: FaultServer, folder: Path
) -> None:
    crm = saved(receiver.url, local(folder))
    with (
        Running(prefect_api, home, "put", slug(crm), "one", "100") as one,
        Running(prefect_api, home, "put", slug(crm), "two", "100") as two,
    ):
        assert (one.next_line(), two.next_line()) == ("stored", "stored")
        done = redeliver(slug(crm))
    assert (done.found, done.delivered) == (200, 200)
    wanted = {f"{which}-{number}" for which in ("one", "two") for number in range(100)}
    assert Counter(ids(receiver)) == dict.fromkeys(wanted, 1)


def test_a_process_that_begins_goes_on_with_the_slots_of_one_that_ended(
    prefect_api: PrefectServer, home: Path, receiver: FaultServer, folder: Path
) -> None:
    """Otherwise every process that ever was would leave a lane behind."""
    crm = saved(receiver.url, local(folder))
    for which in ("one", "two", "three"):
        with Running(prefect_api, home, "put", slug(crm), which, "5") as process:
            assert process.next_line() == "stored"
    assert len({path.parent for path in slots(folder)}) == 1
    assert len(full(folder)) == 15
    assert redeliver(slug(crm)).delivered == 15


def test_a_write_that_was_cut_off_loses_nothing_that_was_accepted(receiver: FaultServer, folder: Path) -> None:
    """The other copy is there; the slot that holds half of an event is used again."""
    crm = saved(receiver.url, local(folder))
    outbox = box(crm)
    held = outbox.put(entry(1))
    (slot,) = full(folder)
    waits(outbox, 2)
    whole = slot.read_bytes()
    held.leave(held.entry)
    (left,) = [path for path in full(folder) if b"evt_1" in path.read_bytes()]
    (empty, *_) = [path for path in slots(folder) if path not in full(folder)]
    empty.write_bytes(whole[: len(whole) // 2])  # what a crash in LocalFileSystem.write_path leaves
    assert left.read_bytes()
    _forget_lanes()
    waits(box(crm), 3)
    done = redeliver(slug(crm))
    assert (done.found, done.delivered) == (3, 3)
    assert sorted(map(str, ids(receiver))) == ["evt_1", "evt_2", "evt_3"]


def test_what_is_no_event_keeps_no_other_waiting(receiver: FaultServer, folder: Path) -> None:
    """From a later version, or edited by hand: it stays, and the log says which it is."""
    crm = saved(receiver.url, local(folder))
    waits(box(crm), 1)
    waits(box(crm), 2)
    first = full(folder)[0]
    first.write_text(json.dumps({"version": 2, "payload": PAYLOAD}))
    assert redeliver(slug(crm)).delivered == 1
    assert full(folder) == [first]


# -- kills ---------------------------------------------------------------------------------------------------------


def test_what_waits_survives_the_kill_of_its_process(
    prefect_api: PrefectServer, home: Path, receiver: FaultServer, folder: Path, tmp_path: Path
) -> None:
    """What was in flight is redelivered when its lease has ended, not before."""
    crm = saved(receiver.url, local(folder))
    receiver.handler = lambda request: Answer(200, hold=True)
    with Running(prefect_api, home, "deliver", slug(crm), str(tmp_path / "notes"), "4") as process:
        process.write(json.dumps([f"evt_{number}" for number in range(4)]))
        receiver.wait(lambda server: len(server.requests) == 4, 120)
    receiver.reset()
    done = redeliver(slug(crm))
    assert (done.found, done.delivered) == (4, 0)
    with time_machine.travel(now() + LEASE):
        done = redeliver(slug(crm))
    assert (done.found, done.delivered) == (4, 4)
    assert sorted(map(str, ids(receiver))) == ["evt_0", "evt_1", "evt_2", "evt_3"]
    assert full(folder) == []


def test_an_event_is_held_until_its_lease_ends(folder: Path) -> None:
    crm = saved("https://hooks.example.com", local(folder))
    outbox = BlockOutbox(local(folder), str(crm.outbox), "lease", lease=30)
    outbox.put(entry())
    (name,) = BlockOutbox(local(folder), str(crm.outbox), "lease", lease=30).waiting()
    assert outbox.claim(name) is None
    with time_machine.travel(now() + 31):
        assert outbox.claim(name)


@pytest.mark.parametrize("act", ["remove", "leave"])
def test_a_redelivery_that_was_overtaken_empties_no_slot_of_another_event(folder: Path, act: str) -> None:
    """It stood still for longer than its lease; the slot was emptied meanwhile, and used again."""
    crm = saved("https://hooks.example.com", local(folder))
    waits(box(crm), 1)
    (name,) = box(crm).waiting()
    slow, quick = box(crm).claim(name), box(crm).claim(name)
    assert slow
    assert quick
    quick.remove()
    for number in range(2, 70):
        waits(box(crm), number)
    if act == "remove":
        slow.remove()
    else:
        slow.leave(slow.entry)
    kept = {held.entry.event["id"] for name in box(crm).waiting() if (held := box(crm).claim(name))}
    assert kept >= {f"evt_{number}" for number in range(2, 70)}


def test_redelivery_is_one_process_at_a_time(
    prefect_api: PrefectServer, home: Path, receiver: FaultServer, folder: Path
) -> None:
    crm = saved(receiver.url, local(folder))
    waits(box(crm))
    with Running(prefect_api, home, "hold", slug(crm)) as other:
        assert other.next_line() == "True"
        assert redeliver(slug(crm)).state == "busy"
        assert receiver.requests == []
        assert other.ended() == 0
    assert redeliver(slug(crm)).delivered == 1
