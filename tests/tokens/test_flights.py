"""One fetch at a time for each credential, and nobody who waits can spoil it for the others."""

import asyncio
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import FileLock

from prefect_atomic.errors import CredentialError
from prefect_atomic.tokens import TokenCache, seal_for, shared_cache
from prefect_atomic.tokens import cache as cache_module
from prefect_atomic.tokens.stores import MemoryStore


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.fixture
def other():
    return seal_for(("another credential", "its secret"))


async def until(event):
    """Waits for a threading.Event without blocking the loop."""
    await asyncio.get_running_loop().run_in_executor(None, event.wait)


def test_a_provider_that_hangs_does_not_delay_another_credential(cache, seal, other, provider, pool):
    provider.may_answer.clear()
    hanging = pool.submit(cache.get, seal, provider.mint)
    provider.asked.wait()

    quick = type(provider)()
    assert cache.get(other, quick.mint).token.value == "token-1"

    assert not hanging.done()
    provider.may_answer.set()
    assert hanging.result().minted


def test_nor_do_a_hundred_of_them_delay_an_event_loop(cache, seal, provider):
    provider.may_answer.clear()
    quick = type(provider)()

    async def main():
        hanging = [asyncio.ensure_future(cache.aget(seal_for((n,)), provider.mint)) for n in range(100)]
        served = await cache.aget(seal, quick.mint)
        assert not any(task.done() for task in hanging)
        provider.may_answer.set()
        await asyncio.gather(*hanging)
        return served

    assert asyncio.run(main()).token.value == "token-1"
    assert provider.calls == 100


def test_an_interrupted_caller_does_not_take_the_others_down(cache, seal, provider, pool):
    provider.may_answer.clear()
    main = threading.main_thread().ident

    def interrupt():
        provider.asked.wait()
        waiting = pool.submit(cache.get, seal, provider.mint)
        signal.pthread_kill(main, signal.SIGINT)
        return waiting

    interrupting = pool.submit(interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache.get(seal, provider.mint)
    provider.may_answer.set()

    assert interrupting.result().result().token.value == "token-1"
    assert provider.calls == 1


def test_a_cancelled_task_does_not_hurt_those_who_wait(cache, seal, provider):
    provider.may_answer.clear()

    async def main():
        first = asyncio.ensure_future(cache.aget(seal, provider.mint))
        others = [asyncio.ensure_future(cache.aget(seal, provider.mint)) for _ in range(10)]
        await until(provider.asked)
        first.cancel()
        others[3].cancel()
        await asyncio.wait([first, others[3]])
        provider.may_answer.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    first, *others = asyncio.run(main())

    assert isinstance(first, asyncio.CancelledError)
    assert isinstance(others.pop(3), asyncio.CancelledError)
    assert {lookup.token.value for lookup in others} == {"token-1"}
    assert provider.calls == 1


def test_a_loop_that_ends_while_it_waits_leaves_the_fetch_to_the_next(cache, seal, provider):
    provider.may_answer.clear()

    async def give_up():
        waiting = asyncio.ensure_future(cache.aget(seal, provider.mint))
        await until(provider.asked)
        assert not waiting.done()

    asyncio.run(give_up())
    provider.may_answer.set()

    assert cache.get(seal, provider.mint).token.value == "token-1"
    assert provider.calls == 1


def test_everybody_who_waits_gets_the_error_as_an_object_of_his_own(cache, seal, provider, pool):
    provider.refuses = True
    provider.may_answer.clear()
    callers = [pool.submit(cache.get, seal, provider.mint) for _ in range(16)]
    provider.asked.wait()
    provider.may_answer.set()

    errors = [caller.exception() for caller in callers]

    assert {(type(error), str(error)) for error in errors} == {(CredentialError, "the provider says no")}
    assert {(error.transient, error.retry_after) for error in errors} == {(True, 7.0)}
    assert len({id(error) for error in errors}) == 16


def refused_to_somebody(cache, seal, provider):
    """The first of many callers is refused, in a thread of its own."""
    provider.refuses = True
    with ThreadPoolExecutor(1) as pool, pytest.raises(CredentialError):
        pool.submit(cache.get, seal, provider.mint).result()


def test_a_failure_answers_those_who_come_just_too_late(new_cache, seal, provider):
    cache = new_cache(failure_shared_for=3600)
    refused_to_somebody(cache, seal, provider)

    with pytest.raises(CredentialError, match="the provider says no"):
        cache.get(seal, provider.mint)

    assert provider.calls == 1


def test_who_was_refused_and_asks_again_has_the_provider_asked(new_cache, seal, provider):
    cache = new_cache(failure_shared_for=3600)
    provider.refuses = True
    with pytest.raises(CredentialError):
        cache.get(seal, provider.mint)

    provider.refuses = False

    assert cache.get(seal, provider.mint).minted


def test_invalidate_ends_the_sharing_of_a_failure(new_cache, seal, provider):
    cache = new_cache(failure_shared_for=3600)
    refused_to_somebody(cache, seal, provider)

    provider.refuses = False
    cache.forget(seal)

    assert cache.get(seal, provider.mint).minted


def test_an_unforeseen_error_reaches_the_caller_and_the_next_one_asks_again(cache, seal, provider):
    def broken():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cache.get(seal, broken)

    assert cache.get(seal, provider.mint).minted


@pytest.mark.parametrize("held", ["the provider", "another process"])
def test_the_event_loop_runs_on_while_somebody_holds_the_token_up(cache, seal, provider, token_folder, held):
    token_folder.mkdir(mode=0o700)
    lock = FileLock(token_folder / f"{seal.name}.lock", thread_local=False)
    if held == "the provider":
        provider.may_answer.clear()
        release = provider.may_answer.set
    else:
        lock.acquire()
        release = lock.release

    async def main():
        waiting = asyncio.ensure_future(cache.aget(seal, provider.mint))
        for _ in range(1000):  # a blocked loop would never get to the end, and nobody would let go
            await asyncio.sleep(0)
        assert not waiting.done()
        release()
        return await waiting

    assert asyncio.run(main()).minted


def test_where_no_thread_is_to_be_had_the_caller_fetches_alone(cache, seal, provider, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)

    assert cache.get(seal, provider.mint).minted
    assert not cache.get(seal, provider.mint).minted


def test_a_store_that_shares_nothing_still_asks_once_for_all_threads(seal, provider, pool):
    cache = TokenCache(MemoryStore(), lease=60)
    barrier = threading.Barrier(16)

    def call():
        barrier.wait()
        return cache.get(seal, provider.mint).token.value

    assert {caller.result() for caller in [pool.submit(call) for _ in range(16)]} == {"token-1"}
    assert provider.calls == 1


def test_threads_that_ask_first_at_the_same_moment_get_one_cache(pool):
    for _ in range(20):
        shared_cache.cache_clear()
        barrier = threading.Barrier(16)

        def ask(barrier=barrier):
            barrier.wait()
            return shared_cache()

        assert len({id(caller.result()) for caller in [pool.submit(ask) for _ in range(16)]}) == 1


def test_memory_is_bounded_and_the_latest_stay(provider, monkeypatch):
    monkeypatch.setattr(cache_module, "_HELD_AT_MOST", 64)
    cache = TokenCache(MemoryStore(), lease=60)
    for n in range(200):
        cache.get(seal_for((n,)), provider.mint)
    assert provider.calls == 200

    for n in reversed(range(200)):
        cache.get(seal_for((n,)), provider.mint)

    assert 200 + 136 <= provider.calls < 400


def test_nobody_waits_for_ever_for_a_provider_that_never_ends(new_cache, seal, provider):
    cache = new_cache(patience=0.01)
    provider.may_answer.clear()
    try:
        with pytest.raises(CredentialError, match="has not ended within") as overdue:
            cache.get(seal, provider.mint)
        assert overdue.value.transient
        with pytest.raises(CredentialError, match="has not ended within"):
            asyncio.run(cache.aget(seal, provider.mint))
    finally:
        provider.may_answer.set()
