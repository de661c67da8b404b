"""The token cache: memory in each process, a store shared by all, and one fetch for everybody who waits."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from functools import cache

from prefect.logging import get_logger

from prefect_atomic.errors import CredentialError
from prefect_atomic.settings import settings, token_folder
from prefect_atomic.tokens.flights import Abandoned, Flights
from prefect_atomic.tokens.sealing import Seal
from prefect_atomic.tokens.stores import FileStore, MemoryStore, TokenStore
from prefect_atomic.tokens.token import Token

logger = get_logger("atomic.tokens")

_HELD_AT_MOST = 4096
_FETCHING_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Lookup:
    """A token, and whether it was fetched for those who waited just now (then a rejection would not be its age)."""

    token: Token
    minted: bool


@dataclass(frozen=True, slots=True)
class _Held:
    token: Token
    version: Hashable


class TokenCache:
    """Serves live tokens; has one fetched when there is none.

    Args:
        store: Shared with the other processes.
        lease: How long to wait for another process's fetch before fetching as well, in seconds.
    """

    def __init__(self, store: TokenStore, *, lease: float) -> None:
        self._store = store
        self._lease = lease
        self._held: dict[str, _Held] = {}
        self._flights: Flights[Lookup] = Flights()
        self._threads = ThreadPoolExecutor(_FETCHING_AT_ONCE, thread_name_prefix="atomic-token")
        self._has_warned = False

    def get(self, seal: Seal, mint: Callable[[], Token], *, rejected: Token | None = None) -> Lookup:
        """A live token.

        Args:
            seal: Of the credential.
            mint: Asks the provider; called at most once, and only when nobody has a live token.
            rejected: A token that its receiver refused: drops it, if it is still the one cached.

        Raises:
            CredentialError: What `mint` raised, for everybody who waited for it.
        """
        while True:
            if token := self._remembered(seal, rejected):
                return Lookup(token, minted=False)
            flight, leads = self._flights.join(seal.name)
            if leads:
                flight.run(lambda: self._fetch(seal, mint, rejected))
            try:
                lookup = flight.future.result()
            except Abandoned:
                continue
            except CredentialError as error:
                raise _again(error) from None
            if leads or _answers(lookup, rejected):
                return lookup

    async def aget(self, seal: Seal, mint: Callable[[], Token], *, rejected: Token | None = None) -> Lookup:
        """The same as `get`, for a running asyncio loop: `mint` and the locks wait in a thread, never in the loop."""
        while True:
            if token := self._remembered(seal, rejected):
                return Lookup(token, minted=False)
            flight, leads = self._flights.join(seal.name)
            if leads:
                # Not awaited: the fetch goes on for the others when this caller is cancelled.
                self._threads.submit(copy_context().run, flight.run, lambda: self._fetch(seal, mint, rejected))
            try:
                lookup = await asyncio.wrap_future(flight.future)
            except Abandoned:
                continue
            except CredentialError as error:
                raise _again(error) from None
            if leads or _answers(lookup, rejected):
                return lookup

    def forget(self, seal: Seal) -> None:
        """Drops the token here and in the store; other processes notice before their next request."""
        self._held.pop(seal.name, None)
        self._with_store(lambda: self._store.delete(seal.name))

    def _remembered(self, seal: Seal, rejected: Token | None) -> Token | None:
        held = self._held.get(seal.name)
        if held is None or not _serves(held.token, rejected):
            return None
        # Another process may have dropped or renewed it since.
        return held.token if held.version == self._version(seal.name) else None

    def _fetch(self, seal: Seal, mint: Callable[[], Token], rejected: Token | None) -> Lookup:
        failures_seen = self._version(_failure(seal))
        with self._locked(seal):
            if token := self._remembered(seal, rejected) or self._stored(seal, rejected):
                self._hold(seal, token)
                return Lookup(token, minted=False)
            if self._version(_failure(seal)) != failures_seen and (error := self._stored_failure(seal)):
                raise error  # another process was refused while we waited for it: asking again would not help
            if rejected:
                self.forget(seal)
            try:
                token = mint()
            except CredentialError as error:
                self._store_failure(seal, error)
                raise
            self._with_store(lambda: self._store.write(seal.name, seal.close(token.to_json(), seal.name)))
            self._hold(seal, token)
            return Lookup(token, minted=True)

    def _hold(self, seal: Seal, token: Token) -> None:
        if len(self._held) >= _HELD_AT_MOST:
            now = time.time()
            self._held = {name: held for name, held in self._held.items() if held.token.is_live(now)}
        self._held[seal.name] = _Held(token, self._version(seal.name))

    def _stored(self, seal: Seal, rejected: Token | None) -> Token | None:
        sealed = self._with_store(lambda: self._store.read(seal.name))
        content = sealed and seal.open(sealed, seal.name)
        token = Token.from_json(content) if content else None
        return token if token and _serves(token, rejected) else None

    def _stored_failure(self, seal: Seal) -> CredentialError | None:
        sealed = self._with_store(lambda: self._store.read(_failure(seal)))
        content = sealed and seal.open(sealed, _failure(seal))
        if not content:
            return None
        message, transient, retry_after = json.loads(content)
        return CredentialError(message, transient=transient, retry_after=retry_after)

    def _store_failure(self, seal: Seal, error: CredentialError) -> None:
        content = json.dumps([str(error), error.transient, error.retry_after]).encode()
        self._with_store(lambda: self._store.write(_failure(seal), seal.close(content, _failure(seal))))

    @contextmanager
    def _locked(self, seal: Seal) -> Iterator[None]:
        """Holds the store's lock where it can be had, and goes on without it where it cannot."""
        with ExitStack() as held:
            try:
                held.enter_context(self._store.lock(seal.name, self._lease))
            except TimeoutError:
                logger.warning("Waited %g s for another process to get a token; asking for one too.", self._lease)
            except (OSError, NotImplementedError) as error:
                self._warn(error)
            yield

    def _version(self, name: str) -> Hashable:
        try:
            return self._store.version(name)
        except OSError as error:
            self._warn(error)
            return None

    def _with_store(self, act: Callable[[], bytes | None]) -> bytes | None:
        try:
            return act()
        except OSError as error:
            self._warn(error)
            return None

    def _warn(self, error: Exception) -> None:
        """Says it once: a store that is broken costs a fetch per process, not a log line per request."""
        if not self._has_warned:
            self._has_warned = True
            logger.warning("The token store cannot be used, so each process fetches its own tokens: %s", error)


@cache
def shared_cache() -> TokenCache:
    """The cache of this process, as `PREFECT_ATOMIC_TOKEN_STORE` says."""
    kind = settings().token_store.get_secret_value()
    return TokenCache(FileStore(token_folder()) if kind == "file" else MemoryStore(), lease=settings().token_lease)


# Locks and threads do not survive a fork: the child makes its own.
os.register_at_fork(after_in_child=shared_cache.cache_clear)


def _serves(token: Token, rejected: Token | None) -> bool:
    return token.is_live(time.time()) and (rejected is None or token.value != rejected.value)


def _answers(lookup: Lookup, rejected: Token | None) -> bool:
    """Whether a flight that somebody else led serves one whose token was rejected."""
    return lookup.minted or rejected is None or lookup.token.value != rejected.value


def _failure(seal: Seal) -> str:
    return f"{seal.name}-failure"


def _again(error: CredentialError) -> CredentialError:
    """A copy for each waiter: an exception that several threads raise would collect all their tracebacks."""
    return CredentialError(str(error), transient=error.transient, retry_after=error.retry_after)
