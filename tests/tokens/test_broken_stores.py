"""A store that is broken costs a warning and a fetch, never the request."""

import shutil
from contextlib import contextmanager

import pytest
from filelock import FileLock

from prefect_atomic.tokens import stores
from tests.mounts import mounted


@contextmanager
def under_a_file(folder, seal, monkeypatch):
    folder.write_text("not a folder")
    yield


@contextmanager
def read_only(folder, seal, monkeypatch):
    with mounted(folder, "ro"):
        yield


@contextmanager
def full(folder, seal, monkeypatch):
    with mounted(folder, "size=4k"):
        (folder / "ballast").write_bytes(b"x" * 4096)
        yield


@contextmanager
def out_of_inodes(folder, seal, monkeypatch):
    with mounted(folder, "nr_inodes=1"):
        yield


@contextmanager
def unreadable_entry(folder, seal, monkeypatch):
    (folder / seal.name).mkdir(parents=True)
    yield


@contextmanager
def unreadable_lock(folder, seal, monkeypatch):
    (folder / f"{seal.name}.lock").mkdir(parents=True)
    yield


@contextmanager
def failing_disk(folder, seal, monkeypatch):
    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    for call in ("open", "stat", "unlink", "scandir"):
        monkeypatch.setattr(stores.os, call, fail)
    yield
    monkeypatch.undo()


@contextmanager
def shared_with_others(folder, seal, monkeypatch):
    folder.mkdir()
    folder.chmod(0o1777)
    yield


@pytest.mark.parametrize(
    "fault",
    [
        under_a_file,
        read_only,
        full,
        out_of_inodes,
        unreadable_entry,
        unreadable_lock,
        failing_disk,
        shared_with_others,
    ],
)
def test_a_broken_store_costs_one_warning_and_a_fetch(
    fault, new_cache, seal, provider, warnings, token_folder, monkeypatch
):
    here, there = new_cache(), new_cache()  # as two processes have them
    with fault(token_folder, seal, monkeypatch):
        tokens = {here.get(seal, provider.mint).token.value for _ in range(5)}
        calls, said = provider.calls, list(warnings)
        there.get(seal, provider.mint)

    assert tokens == {"token-1"}, "the memory of the process goes on"
    assert calls == 1
    assert len(said) == 1
    assert said[0].startswith("The token store cannot be used, so each process fetches its own tokens: ")
    assert provider.calls <= 2


@pytest.mark.parametrize("fault", [under_a_file, read_only, failing_disk])
def test_renewal_and_invalidation_work_without_a_store(
    fault, cache, seal, provider, warnings, token_folder, monkeypatch
):
    with fault(token_folder, seal, monkeypatch):
        first = cache.get(seal, provider.mint).token
        second = cache.get(seal, provider.mint, rejected=first).token
        cache.forget(seal)
        third = cache.get(seal, provider.mint).token

    assert [token.value for token in (first, second, third)] == ["token-1", "token-2", "token-3"]
    assert len(warnings) == 1


def test_a_folder_that_is_deleted_comes_back(new_cache, seal, provider, warnings, token_folder):
    cache = new_cache()
    cache.get(seal, provider.mint)
    shutil.rmtree(token_folder)

    renewed = cache.get(seal, provider.mint).token

    assert new_cache().get(seal, provider.mint).token == renewed
    assert provider.calls == 2
    assert not warnings


def test_a_lock_that_is_held_for_ever_costs_the_lease_and_a_warning(new_cache, seal, provider, warnings, token_folder):
    token_folder.mkdir(mode=0o700)
    with FileLock(token_folder / f"{seal.name}.lock"):
        here, there = new_cache(lease=0.05), new_cache(lease=0.05)

        assert here.get(seal, provider.mint).minted
        assert not there.get(seal, provider.mint).minted
    assert warnings == ["A process has been getting a token for more than 0.05 s; going on without it."]


def test_a_live_token_is_served_without_waiting_for_a_lock(new_cache, seal, provider, token_folder):
    new_cache().get(seal, provider.mint)
    with FileLock(token_folder / f"{seal.name}.lock"):
        assert not new_cache(lease=3600).get(seal, provider.mint).minted


def test_a_store_that_recovers_is_used_again(new_cache, seal, provider, token_folder):
    """What one process could not write does not keep it from what another one writes later."""
    token_folder.write_text("not a folder")
    here = new_cache()
    here.get(seal, provider.mint)
    token_folder.unlink()
    there = new_cache().get(seal, provider.mint).token

    assert here.get(seal, provider.mint).token == there
