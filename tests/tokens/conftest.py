"""A cache and what it needs, with a provider that counts."""

import logging
import threading
import time
from itertools import count

import pytest

from prefect_atomic.errors import CredentialError
from prefect_atomic.tokens import Token, TokenCache, seal_for
from prefect_atomic.tokens import cache as cache_module
from prefect_atomic.tokens.stores import FileStore


class Provider:
    """Mints a new token each time, unless it is told to refuse; waits while it is told to hold."""

    def __init__(self):
        self.calls = 0
        self.refuses = False
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._numbers = count(1)

    def mint(self):
        self.calls += 1
        self.asked.set()
        self.may_answer.wait()
        if self.refuses:
            raise CredentialError("the provider says no", transient=True, retry_after=7.0)
        return Token(value=f"token-{next(self._numbers)}", issued_at=time.time(), expires_at=time.time() + 3600)


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def seal():
    return seal_for(("a credential", "its secret"))


@pytest.fixture
def new_cache(token_folder):
    """A cache as another process would have it, on the same folder."""

    def new_cache(folder=token_folder, **options):
        return TokenCache(FileStore(folder), **{"lease": 60, "failure_shared_for": 0, **options})

    return new_cache


@pytest.fixture
def cache(new_cache):
    return new_cache()


@pytest.fixture
def warnings(monkeypatch):
    """What the token cache logs."""
    said = []

    class Listener(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())

    listener = Listener(logging.WARNING)
    cache_module.logger.addHandler(listener)
    yield said
    cache_module.logger.removeHandler(listener)
