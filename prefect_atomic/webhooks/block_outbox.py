"""An outbox in any block that reads and writes paths, such as a bucket.

Prefect asks no more of a `WritableFileSystem` than `read_path` and `write_path`: it can neither list, nor remove, nor
lock, and a write may be cut off by a crash. So events lie in numbered slots. A slot is emptied, not removed, and used
again. A process has the slots of its lane to itself; Prefect's variables say which lanes there are, and how many slots
each has. An event is never overwritten: what changed goes into another slot before the old one is emptied.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

from prefect.client.orchestration import get_client
from prefect.filesystems import WritableFileSystem

from prefect_atomic.credentials.base import now
from prefect_atomic.settings import outbox_folder
from prefect_atomic.tasks import paths
from prefect_atomic.tasks.alone import alone
from prefect_atomic.tasks.variables import forget, remember
from prefect_atomic.webhooks.entry import Entry
from prefect_atomic.webhooks.outbox import Held

_ROOT = "atomic-outbox"
_PAGE = 200
_MOST_NEW_SLOTS = 64
_REGISTERED_AGAIN = 24 * 3600.0
_FORGOTTEN = 30 * 24 * 3600.0


class BlockOutbox:
    """The events of one subscription, in a block.

    Args:
        block: Where they are written.
        slug: Its slug: blocks are loaded anew all the time, and this says which are the same.
        subscription: What tells the subscription from others; part of the paths.
        lease: Seconds after which an event that somebody was delivering is free again, if he was killed.
    """

    def __init__(self, block: WritableFileSystem, slug: str, subscription: str, *, lease: float) -> None:
        self._block = block
        self._lease = lease
        self.key = hashlib.sha256(f"{slug} {subscription}".encode()).hexdigest()[:16]
        self.folder = f"{_ROOT}/{subscription}"

    def put(self, entry: Entry) -> Held:
        held = entry.model_copy(update={"held_until": now() + self._lease})
        lane = _lane_of(self)
        return _HeldSlot(self, lane, lane.store(self, held), held)

    def count(self) -> int:
        return len(self._found)

    def waiting(self) -> Iterator[str]:
        yield from self._found

    def claim(self, name: str) -> Held | None:
        _, _, slot = name.partition(" ")
        entry = self._entry(slot)
        if entry is None or entry.held_until > now():
            return None
        return _HeldSlot(self, None, slot, entry)

    def redelivering(self) -> AbstractContextManager[bool]:
        return alone(f"{_ROOT}-{self.key}")

    @cached_property
    def _found(self) -> list[str]:
        """When each was stored, and its slot: some hundred bytes for each event that waits."""
        found: list[str] = []
        for lane, value in _registered(self.key):
            slots = [f"{self.folder}/{lane}/{number}.json" for number in range(int(value["slots"]))]
            taken = [name for slot in slots if (name := self._name(slot))]
            found += taken
            if not taken and now() - float(value["at"]) > _FORGOTTEN:
                # Its owner would have registered it again before he used it.
                forget(_variable(self.key, lane))
        return sorted(found)

    def _name(self, slot: str) -> str | None:
        try:
            entry = self._entry(slot)
        except ValueError:  # `claim` says so
            return f"{0:019d} {slot}"
        return f"{int(entry.stored_at * 1e9):019d} {slot}" if entry else None

    def _entry(self, slot: str) -> Entry | None:
        content = self.read(slot)
        return Entry.from_json(content) if content else None

    def holds(self, slot: str, entry: Entry) -> bool:
        return self._entry(slot) == entry

    def read(self, slot: str) -> bytes:
        """What is in a slot; nothing where a write was cut off by a crash: what it was to hold was never accepted."""
        content = paths.read(self._block, slot)
        try:
            json.loads(content)
        except ValueError:
            return b""
        return content

    def write(self, path: str, content: bytes) -> None:
        paths.write(self._block, path, content)


class _HeldSlot:
    """An event of a `BlockOutbox` that is being delivered."""

    def __init__(self, outbox: BlockOutbox, lane: _Lane | None, slot: str, entry: Entry) -> None:
        self.entry = entry
        self._outbox = outbox
        self._lane = lane
        self._slot = slot

    def keep(self, entry: Entry) -> None:
        self._move(entry.model_copy(update={"held_until": now() + self._outbox._lease}))

    def leave(self, entry: Entry) -> None:
        self._move(entry.model_copy(update={"held_until": 0.0}))
        self.release()

    def remove(self) -> None:
        lane, self._lane = self._lane, None
        # A redelivery that stood still for longer than its lease was overtaken, and its slot may hold another event.
        if lane or self._outbox.holds(self._slot, self.entry):
            self._outbox.write(self._slot, b"")
        if lane:
            lane.free(self._slot)

    def release(self) -> None:
        """Its lease ends, if it was not removed or left; from then on others may empty the slot."""
        lane, self._lane = self._lane, None
        if lane:
            lane.leave(self._slot)

    def _move(self, entry: Entry) -> None:
        lane = _lane_of(self._outbox)
        slot = lane.store(self._outbox, entry)
        self.remove()
        self._lane, self._slot, self.entry = lane, slot, entry


class _Lane:
    """The slots that this process alone writes events to."""

    def __init__(self, outbox: BlockOutbox, name: str, lock: int | None) -> None:
        self.name = name
        self._lock = lock  # an open file; the lock on it ends with the process
        self._key = outbox.key
        self._using = Lock()
        value = dict(_registered(outbox.key)).get(name)
        self._slots = int(value["slots"]) if value else 0
        self._registered_at = 0.0
        self._ours = set[str]()  # not free, even where they are empty: they are written to just now
        self._stored = 0
        self._free: list[str] = []
        self._find_free(outbox)

    def store(self, outbox: BlockOutbox, entry: Entry) -> str:
        with self._using:
            if not self._free and self._stored >= self._slots:  # that often, and each event costs one read at most
                self._find_free(outbox)
            if not self._free:
                self._grow(outbox)
            elif now() - self._registered_at > _REGISTERED_AGAIN:
                self._register()
            slot = self._free.pop()
            self._ours.add(slot)
            self._stored += 1
        try:
            outbox.write(slot, entry.to_json())
        except BaseException:
            self.free(slot)
            raise
        return slot

    def free(self, slot: str) -> None:
        with self._using:
            self._ours.discard(slot)
            self._free.append(slot)

    def leave(self, slot: str) -> None:
        with self._using:
            self._ours.discard(slot)

    def _find_free(self, outbox: BlockOutbox) -> None:
        """Redelivery, in whatever process, empties slots and cannot say so."""
        slots = [f"{outbox.folder}/{self.name}/{number}.json" for number in reversed(range(self._slots))]
        self._free = [slot for slot in slots if slot not in self._ours and not outbox.read(slot)]
        self._stored = 0

    def _grow(self, outbox: BlockOutbox) -> None:
        new = range(self._slots, self._slots + min(max(1, self._slots), _MOST_NEW_SLOTS))
        slots = [f"{outbox.folder}/{self.name}/{number}.json" for number in new]
        for slot in slots:
            outbox.write(slot, b"")  # a slot that is registered can be read
        self._slots = new.stop
        self._register()
        self._free = slots[::-1]

    def _register(self) -> None:
        remember(_variable(self._key, self.name), {"slots": self._slots, "at": now()}, tag=_ROOT)
        self._registered_at = now()


def _lane_of(outbox: BlockOutbox) -> _Lane:
    with _finding:
        if outbox.key not in _lanes:
            name, lock = _free_lane(outbox.key)
            _lanes[outbox.key] = _Lane(outbox, name, lock)
        return _lanes[outbox.key]


_lanes: dict[str, _Lane] = {}
_finding = Lock()


def _free_lane(key: str) -> tuple[str, int | None]:
    """A lane that no process has: numbered, so that their number does not grow with every process there ever was."""
    folder = outbox_folder() / "lanes"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        home = _name_of_home(folder)
        number = 0
        while True:
            lock = os.open(folder / f"{key}-{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                number += 1
            else:
                return f"{home}-{number}", lock
    except OSError:  # a home that cannot be written: then a lane for this process only
        return uuid4().hex[:16], None


def _name_of_home(folder: Path) -> str:
    """Tells this PREFECT_HOME from those of other hosts, for good."""
    name = folder / "home"
    if not name.exists():
        draft = folder / f"home-{uuid4().hex}"
        draft.write_text(uuid4().hex[:16])
        try:
            os.link(draft, name)
        except FileExistsError:
            pass  # another process was first
        finally:
            draft.unlink()
    return name.read_text()


def _variable(key: str, lane: str) -> str:
    return f"{_ROOT}-{key}-{lane}"


def _registered(key: str) -> list[tuple[str, dict[str, Any]]]:
    """The lanes of an outbox, and what their variables say."""
    prefix, found = f"{_ROOT}-{key}-", list[tuple[str, dict[str, Any]]]()
    with get_client(sync_client=True) as client:
        while True:
            page = {"variables": {"name": {"like_": f"{prefix}%"}}, "limit": _PAGE, "offset": len(found)}
            answer = client.request("POST", "/variables/filter", json=page).json()
            found += [(each["name"].removeprefix(prefix), each["value"]) for each in answer]
            if len(answer) < _PAGE:
                return found


def _start_anew() -> None:
    """A forked child has no lane: its parent goes on using the one they would share."""
    global _finding
    _finding = Lock()
    _lanes.clear()


os.register_at_fork(after_in_child=_start_anew)
