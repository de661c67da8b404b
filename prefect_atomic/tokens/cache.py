"""The token cache: memory in each process, a store shared by all, and one fetch for everybody who waits."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from threading import Lock, get_ident
from typing import NamedTuple

from prefect.logging import get_logger

from prefect_atomic.errors import CredentialError
from prefect_atomic.settings import settings, token_folder
from prefect_atomic.tokens.flights import Flights
from prefect_atomic.tokens.sealing import Seal
from prefect_atomic.tokens.stores import FileStore, MemoryStore, TokenStore
from prefect_atomic.tokens.token import Token

logger = get_logger("atomic.tokens")

FAILURE_SHARED_FOR = 1.0
"""Seconds for which a failed fetch answers those of its process who come too late to wait for it.

Of many callers that start at the same moment, some come after a provider that refuses at once has done so. Who was
told already and asks again means it: his is a new request.
"""

_HELD_AT_MOST = 4096
_MARGIN = 5.0


class Lookup(NamedTuple):
    """A token, and whether it was fetched for those who waited just now (then a rejection would not be its age)."""

    token: Token
    minted: bool


class _Held(NamedTuple):
    token: Token
    version: Hashable


class _Failed(NamedTuple):
    error: CredentialError
    at: float
    """On the monotonic clock."""
    told: set[Hashable]
    """The callers who know of it."""


class TokenCache:
    """Serves live tokens; has one fetched when there is none.

    Args:
        store: Shared with the other processes.
        lease: How long to wait for another process's fetch before fetching as well, in seconds.
        patience: The longest that a caller waits, whatever hangs, in seconds: for another process, and for a provider.
        failure_shared_for: How long a failed fetch answers those of this process who come after it, in seconds.
    """

    def __init__(
        self,
        store: TokenStore,
        *,
        lease: float,
        patience: float = 3600,
        failure_shared_for: float = FAILURE_SHARED_FOR,
    ) -> None:
        self._store = store
        self._lease = lease
        self._patience = patience
        self._failure_shared_for = failure_shared_for
        self._failed: dict[str, _Failed] = {}
        self._held: dict[str, _Held] = {}
        self._holding = Lock()
        self._flights: Flights[Lookup] = Flights()
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
        caller = get_ident()
        while True:
            if token := self._remembered(seal, rejected):
                return Lookup(token, minted=False)
            flight, is_ours = self._flights.join(seal.name, lambda: self._fetch(seal, mint, rejected, caller))
            try:
                lookup = flight.result(self._patience)
            except CredentialError as error:
                raise self._told(seal, caller, error) from None
            except TimeoutError:
                raise self._overdue(seal, flight) from None
            if is_ours or _answers(lookup, rejected):
                return lookup

    async def aget(self, seal: Seal, mint: Callable[[], Token], *, rejected: Token | None = None) -> Lookup:
        """The same as `get`, for a running asyncio loop: `mint` and the locks wait in a thread, never in the loop."""
        caller = id(asyncio.current_task())
        while True:
            if token := self._remembered(seal, rejected):
                return Lookup(token, minted=False)
            flight, is_ours = self._flights.join(seal.name, lambda: self._fetch(seal, mint, rejected, caller))
            try:
                lookup = await asyncio.wait_for(asyncio.wrap_future(flight), self._patience)
            except CredentialError as error:
                raise self._told(seal, caller, error) from None
            except TimeoutError:
                raise self._overdue(seal, flight) from None
            if is_ours or _answers(lookup, rejected):
                return lookup

    def forget(self, seal: Seal) -> None:
        """Drops the token here and in the store; other processes notice before their next request."""
        with self._holding:
            self._held.pop(seal.name, None)
            self._failed.pop(seal.name, None)
        try:
            self._store.delete(seal.name)
        except OSError as error:
            self._warn(error)

    def _remembered(self, seal: Seal, rejected: Token | None) -> Token | None:
        held = self._held.get(seal.name)
        if held is None or not _serves(held.token, rejected):
            return None
        # Another process may have dropped or renewed it since.
        return held.token if held.version == self._version(seal.name) else None

    def _fetch(self, seal: Seal, mint: Callable[[], Token], rejected: Token | None, caller: Hashable) -> Lookup:
        if token := self._remembered(seal, rejected) or self._stored(seal, rejected):
            return Lookup(token, minted=False)
        if (failed := self._failed.get(seal.name)) and self._is_recent(failed) and caller not in failed.told:
            raise failed.error
        failures_seen = self._version(_failure(seal))
        with self._locked(seal):
            if token := self._remembered(seal, rejected) or self._stored(seal, rejected):
                return Lookup(token, minted=False)
            if self._version(_failure(seal)) != failures_seen and (error := self._stored_failure(seal)):
                self._fail(seal, error)
                raise error  # another process was refused while we waited for it: asking again would not help
            if rejected:
                self.forget(seal)
            try:
                token = mint()
            except CredentialError as error:
                self._fail(seal, error)
                self._write(_failure(seal), seal, json.dumps([str(error), error.transient, error.retry_after]).encode())
                raise
            self._hold(seal, token, self._write(seal.name, seal, token.to_json()))
            return Lookup(token, minted=True)

    def _hold(self, seal: Seal, token: Token, version: Hashable) -> None:
        with self._holding:
            self._held.pop(seal.name, None)  # the one held last comes last
            if len(self._held) >= _HELD_AT_MOST:
                now = time.time()
                dead = [name for name, held in self._held.items() if not held.token.is_live(now)]
                for name in dead or list(self._held)[: _HELD_AT_MOST // 4]:
                    self._held.pop(name, None)
            self._held[seal.name] = _Held(token, version)

    def _fail(self, seal: Seal, error: CredentialError) -> None:
        with self._holding:
            self._failed = {name: failed for name, failed in self._failed.items() if self._is_recent(failed)}
            self._failed[seal.name] = _Failed(_again(error), time.monotonic(), set())

    def _overdue(self, seal: Seal, flight: Future[Lookup]) -> CredentialError:
        # A provider whose answer drips in, byte by byte, passes every timeout there is.
        self._flights.give_up(seal.name, flight)
        return CredentialError(
            f"A token request has not ended within {self._patience:g} seconds; its provider answers too slowly, or the "
            "token store hangs.",
            transient=True,
        )

    def _told(self, seal: Seal, caller: Hashable, error: CredentialError) -> CredentialError:
        """The error for one of those who waited, of whom it is noted that he got it."""
        if failed := self._failed.get(seal.name):
            failed.told.add(caller)
        return _again(error)

    def _is_recent(self, failed: _Failed) -> bool:
        return time.monotonic() - failed.at < self._failure_shared_for

    def _stored(self, seal: Seal, rejected: Token | None) -> Token | None:
        # The version comes first: an entry that is replaced while we read it is then read again, not held for ever.
        version = self._version(seal.name)
        content = self._read(seal.name, seal)
        token = Token.from_json(content) if content else None
        if token is None or not _serves(token, rejected):
            return None
        self._hold(seal, token, version)
        return token

    def _stored_failure(self, seal: Seal) -> CredentialError | None:
        content = self._read(_failure(seal), seal)
        if not content:
            return None
        message, transient, retry_after = json.loads(content)
        return CredentialError(message, transient=transient, retry_after=retry_after)

    def _read(self, name: str, seal: Seal) -> bytes | None:
        try:
            sealed = self._store.read(name)
        except OSError as error:
            self._warn(error)
            return None
        return seal.open(sealed, name) if sealed else None

    def _write(self, name: str, seal: Seal, content: bytes) -> Hashable:
        """Returns the version of what is there afterwards: the new entry, or the old one where it could not be had."""
        version = self._version(name)
        try:
            return self._store.write(name, seal.close(content, name))
        except OSError as error:
            self._warn(error)
            return version

    @contextmanager
    def _locked(self, seal: Seal) -> Iterator[None]:
        """Holds the store's lock where it can be had, and goes on without it where it cannot."""
        with ExitStack() as held:
            try:
                held.enter_context(self._store.lock(seal.name, self._lease))
            except TimeoutError:
                logger.warning("Waited %g s for another process to get a token; asking for one too.", self._lease)
            except (OSError, NotImplementedError) as error:  # filelock: a file system without locks has none to give
                self._warn(error)
            yield

    def _version(self, name: str) -> Hashable:
        try:
            return self._store.version(name)
        except OSError as error:
            self._warn(error)
            return None

    def _warn(self, error: Exception) -> None:
        """Says it once: a store that is broken costs a fetch per process, not a log line per request."""
        if not self._has_warned:
            self._has_warned = True
            logger.warning("The token store cannot be used, so each process fetches its own tokens: %s", error)


class _SharedCache:
    """Makes the cache of this process when it is first asked for: one, however many threads ask at that moment."""

    def __init__(self) -> None:
        self.cache_clear()

    def __call__(self) -> TokenCache:
        """The cache of this process, as `PREFECT_ATOMIC_TOKEN_STORE` says."""
        return self._cache or self._make()

    def cache_clear(self) -> None:
        """Forgets it, as a new process would."""
        self._making = Lock()
        self._cache: TokenCache | None = None

    def _make(self) -> TokenCache:
        with self._making:
            if self._cache is None:
                kind = settings().token_store.get_secret_value()
                store = FileStore(token_folder()) if kind == "file" else MemoryStore()
                lease = settings().token_lease
                patience = lease + settings().token_request_timeout + _MARGIN
                self._cache = TokenCache(store, lease=lease, patience=patience)
            return self._cache


shared_cache = _SharedCache()

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
