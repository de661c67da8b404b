"""A token that its receiver refuses is dropped, that very one, and fetched once for everybody."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from prefect_atomic.errors import CredentialError


def test_a_rejected_token_is_renewed_and_shared(cache, new_cache, seal, provider):
    old = cache.get(seal, provider.mint).token

    renewed = cache.get(seal, provider.mint, rejected=old)

    assert renewed.minted
    assert renewed.token != old
    assert new_cache().get(seal, provider.mint).token == renewed.token


def test_threads_that_are_refused_with_the_same_token_share_one_renewal(cache, new_cache, seal, provider):
    old = cache.get(seal, provider.mint).token
    caches = [cache, new_cache()]
    barrier = threading.Barrier(16)

    def renew(number):
        barrier.wait()
        return caches[number % 2].get(seal, provider.mint, rejected=old).token.value

    with ThreadPoolExecutor(16) as pool:
        tokens = set(pool.map(renew, range(16)))

    assert tokens == {"token-2"}
    assert provider.calls == 2


def test_tasks_that_are_refused_share_one_renewal(cache, seal, provider):
    old = cache.get(seal, provider.mint).token

    async def main():
        return await asyncio.gather(*(cache.aget(seal, provider.mint, rejected=old) for _ in range(50)))

    assert {lookup.token.value for lookup in asyncio.run(main())} == {"token-2"}
    assert provider.calls == 2


def test_a_token_that_was_renewed_meanwhile_is_kept(cache, new_cache, seal, provider):
    old = cache.get(seal, provider.mint).token
    renewed = new_cache().get(seal, provider.mint, rejected=old).token

    late = cache.get(seal, provider.mint, rejected=old)

    assert late.token == renewed
    assert not late.minted
    assert provider.calls == 2


def test_a_renewal_that_fails_leaves_nothing_behind(cache, new_cache, seal, provider):
    old = cache.get(seal, provider.mint).token
    provider.refuses = True
    with pytest.raises(CredentialError):
        cache.get(seal, provider.mint, rejected=old)
    provider.refuses = False

    fresh = {each.get(seal, provider.mint).token.value for each in (new_cache(), cache)}

    assert fresh == {"token-2"}


def test_who_waits_with_a_rejected_token_is_not_served_that_one(new_cache, seal, provider):
    """A flight that finds the old token in the store is no answer to who was refused with it."""
    old = new_cache().get(seal, provider.mint).token
    cache = new_cache()
    barrier = threading.Barrier(8)

    def call(number):
        barrier.wait()
        return cache.get(seal, provider.mint, rejected=old if number % 2 else None).token.value

    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(call, range(8)))

    assert set(tokens[1::2]) == {"token-2"}
    assert provider.calls == 2


def test_invalidate_is_noticed_by_other_processes_even_while_they_read(cache, new_cache, seal, provider):
    """The token is dropped between the moment another process reads it and the moment it keeps it."""
    cache.get(seal, provider.mint)
    other = new_cache()
    read = other._store.read

    def read_and_lose(name):
        sealed = read(name)
        if name == seal.name:
            cache.forget(seal)
        return sealed

    other._store.read = read_and_lose
    other.get(seal, provider.mint)
    other._store.read = read

    assert other.get(seal, provider.mint).token.value == "token-2"


def test_a_failure_in_another_process_answers_those_who_wait_there(new_cache, seal, provider):
    """Processes queue for the provider: the first is refused, the others do not ask again one by one."""
    provider.refuses = True
    provider.may_answer.clear()
    first, second = new_cache(), new_cache()
    at_the_lock = threading.Event()
    lock = second._store.lock

    def lock_and_tell(name, lease):
        at_the_lock.set()
        return lock(name, lease)

    second._store.lock = lock_and_tell
    with ThreadPoolExecutor(2) as pool:
        refused = pool.submit(first.get, seal, provider.mint)
        provider.asked.wait()
        waiting = pool.submit(second.get, seal, provider.mint)
        at_the_lock.wait()
        provider.may_answer.set()

        errors = [refused.exception(), waiting.exception()]

    assert [str(error) for error in errors] == ["the provider says no"] * 2
    assert errors[1].transient
    assert errors[1].retry_after == 7.0
    assert provider.calls == 1


def test_who_comes_after_a_failure_asks_again(cache, new_cache, seal, provider):
    provider.refuses = True
    for each in (cache, new_cache(), cache):
        with pytest.raises(CredentialError):
            each.get(seal, provider.mint)
    provider.refuses = False

    assert provider.calls == 3
    assert cache.get(seal, provider.mint).minted
