"""The file store: whole entries or none, versions that never repeat, and no harm to what is not ours."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import time_machine

from prefect_atomic.tokens import stores
from prefect_atomic.tokens.stores import PRUNED_AFTER, FileStore

NAME = "0123456789abcdef" * 4
WRITER = """
import importlib.util, itertools, pathlib, sys
spec = importlib.util.spec_from_file_location("stores", sys.argv[1])
stores = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stores)
store = stores.FileStore(pathlib.Path(sys.argv[2]))
for number in itertools.count():
    store.write(sys.argv[3], bytes([number % 256]) * 4_000_000)
"""


@pytest.fixture
def store(token_folder):
    return FileStore(token_folder)


def much_later():
    return time_machine.travel(PRUNED_AFTER + 3600 + 1_900_000_000, tick=False)


def now():
    return time_machine.travel(1_900_000_000, tick=False)


def test_a_writer_that_is_killed_leaves_a_whole_entry_and_its_drafts_are_pruned(store, token_folder):
    drafts = []
    for _ in range(40):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, stores.__file__, str(token_folder), NAME])
        before, seen = store.version(NAME), 0
        while seen < 2:  # it has written a few times
            if (version := store.version(NAME)) != before:
                before, seen = version, seen + 1
                content = store.read(NAME)
                assert content == content[:1] * 4_000_000
        while not any(token_folder.glob("*.tmp")):  # and is in the middle of another one
            pass
        writer.kill()
        writer.wait()
        content = store.read(NAME)
        assert content == content[:1] * 4_000_000
        if drafts := list(token_folder.glob("*.tmp")):
            break
    assert drafts, "killed 40 times, never in the middle of a write"

    for draft in drafts:
        os.utime(draft, (0, 0))
    FileStore(token_folder).write(NAME, b"next")

    assert not list(token_folder.glob("*.tmp"))
    assert store.read(NAME) == b"next"


def test_a_write_that_fails_leaves_no_draft(store, token_folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    store.write(NAME, b"old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        store.write(NAME, b"new")

    assert [path.name for path in token_folder.iterdir()] == [NAME]
    assert store.read(NAME) == b"old"


def test_no_two_entries_have_the_same_version(store):
    """An entry that replaces a deleted one gets its inode, and within one tick of the file system its time."""
    versions = []
    for _ in range(500):
        versions.append(store.write(NAME, b"same length"))
        assert store.version(NAME) == versions[-1]
        store.delete(NAME)

    assert len(set(versions)) == 500


def test_what_is_not_there_has_no_version_and_no_content(store):
    assert store.version(NAME) is None
    assert store.read(NAME) is None
    store.delete(NAME)


def test_what_nobody_wrote_for_a_week_is_pruned_and_nothing_else(store, token_folder):
    with now():
        store.write(NAME, b"old")
        store.write(f"{NAME}-failure", b"old")
    report, folder = token_folder / "report.csv", token_folder / NAME[::-1]
    report.touch()
    folder.mkdir()
    os.utime(report, (0, 0))
    os.utime(folder, (0, 0))

    with much_later():
        FileStore(token_folder).write("f" * 64, b"new")

    assert {path.name for path in token_folder.iterdir()} == {"report.csv", NAME[::-1], "f" * 64}


def test_a_lock_that_is_held_is_not_pruned_however_old_it_is(store, token_folder):
    free, held = token_folder / f"{'f' * 64}.lock", token_folder / f"{NAME}.lock"
    with store.lock(NAME, 1):
        free.touch()
        for lock in (free, held):
            os.utime(lock, (0, 0))

        FileStore(token_folder).write("e" * 64, b"new")

        assert held.exists()
        assert not free.exists()


def test_who_holds_a_lock_for_longer_than_the_lease_loses_it_to_one_at_a_time(token_folder):
    inside, together, barrier = [], [], threading.Barrier(8)

    def wait_for_it(number):
        barrier.wait()
        with FileStore(token_folder).lock(NAME, 0.5):
            inside.append(number)
            together.append(len(inside))
            inside.remove(number)

    with FileStore(token_folder).lock(NAME, 60), ThreadPoolExecutor(8) as pool:
        list(pool.map(wait_for_it, range(8)))

    assert together == [1] * 8


def test_a_lock_does_not_survive_its_holder(token_folder):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, stores.__file__, str(token_folder), NAME], stdout=subprocess.PIPE
    )
    holder.stdout.readline()
    holder.kill()
    holder.wait()
    holder.stdout.close()
    inode = (token_folder / f"{NAME}.lock").stat().st_ino

    with FileStore(token_folder).lock(NAME, 60):
        assert (token_folder / f"{NAME}.lock").stat().st_ino == inode  # given back, not taken away


HOLDER = """
import importlib.util, pathlib, sys
spec = importlib.util.spec_from_file_location("stores", sys.argv[1])
stores = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stores)
with stores.FileStore(pathlib.Path(sys.argv[2])).lock(sys.argv[3], 60):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_that_users_share_is_refused(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)

    with pytest.raises(PermissionError, match="a folder that users share; name one of its own"):
        FileStore(shared).write(NAME, b"token")

    assert Path(shared).stat().st_mode & 0o777 == 0o777
