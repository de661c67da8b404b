"""Two processes, one store, and whatever may happen to them, against a model of a dozen lines."""

import time
from contextlib import contextmanager
from itertools import count

import pytest
import time_machine
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from prefect_atomic.errors import CredentialError
from prefect_atomic.tokens import Token, TokenCache, seal_for, served_until

START = 1_900_000_000
LIFETIME = 45
processes = st.sampled_from([0, 1])


class SharedDict:
    """A store for two caches of one process; each entry has a number of its own."""

    def __init__(self):
        self.entries = {}
        self._numbers = count(1)

    def read(self, name):
        return self.entries[name][1] if name in self.entries else None

    def write(self, name, sealed):
        self.entries[name] = next(self._numbers), sealed
        return self.entries[name][0]

    def delete(self, name):
        self.entries.pop(name, None)

    def version(self, name):
        return self.entries[name][0] if name in self.entries else None

    @contextmanager
    def lock(self, name, lease):
        yield


class OneTokenForEveryone(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.store = SharedDict()
        self.caches = [TokenCache(self.store, lease=60, failure_shared_for=0) for _ in range(2)]
        self.clock = time_machine.travel(START, tick=False)
        self.traveller = self.clock.start()
        self.now = float(START)
        self.secret = 0
        self.live = {}  # the model: the token of each secret, and when it may be served
        self.last_seen = [None, None]
        self.expires_in = None
        self.provider_is_up = True
        self.mints = 0

    def teardown(self):
        self.clock.stop()

    def mint(self):
        self.mints += 1
        if not self.provider_is_up:
            raise CredentialError("down")
        until = served_until(self.now, LIFETIME, self.expires_in)
        return Token(value=f"token-{self.mints}", issued_at=self.now, expires_at=until)

    def served(self):
        token = self.live.get(self.secret)
        return token if token and token.issued_at <= self.now < token.expires_at else None

    def ask(self, process, rejected=None):
        expected, mints = self.served(), self.mints
        if expected and rejected and expected.value == rejected.value:
            expected = None
        seal = seal_for(("id", self.secret))
        if expected is None and not self.provider_is_up:
            with pytest.raises(CredentialError, match="down"):
                self.caches[process].get(seal, self.mint, rejected=rejected)
            if rejected:
                self.live.pop(self.secret, None)
            assert self.mints == mints + 1
            return
        lookup = self.caches[process].get(seal, self.mint, rejected=rejected)
        assert lookup.minted == (expected is None)
        assert self.mints == mints + (expected is None)
        if expected:
            assert lookup.token == expected
        self.live[self.secret] = self.last_seen[process] = lookup.token

    @rule(process=processes)
    def request(self, process):
        self.ask(process)

    @precondition(lambda self: any(self.last_seen))
    @rule(process=processes)
    def is_refused(self, process):
        if self.last_seen[process]:
            self.ask(process, rejected=self.last_seen[process])

    @rule(process=processes)
    def invalidate(self, process):
        self.caches[process].forget(seal_for(("id", self.secret)))
        self.live.pop(self.secret, None)

    @rule(seconds=st.sampled_from([-1, 0.001, 1, 17.999, 27, 44.999, 45, 300]))
    def time_passes(self, seconds):
        self.now += seconds
        self.traveller.move_to(self.now)
        self.now = time.time()

    @rule(secret=st.sampled_from([0, 1]))
    def rotate(self, secret):
        self.secret = secret
        self.last_seen = [None, None]

    @rule(is_up=st.booleans())
    def provider_goes_up_or_down(self, is_up):
        self.provider_is_up = is_up

    @rule(seconds=st.sampled_from([None, 20, 30, 7200, 0, -5]))
    def provider_says_expires_in(self, seconds):
        self.expires_in = seconds

    @rule(process=processes)
    def restart(self, process):
        self.caches[process] = TokenCache(self.store, lease=60, failure_shared_for=0)

    @rule()
    def an_entry_is_damaged(self):
        name = seal_for(("id", self.secret)).name
        if name in self.store.entries:
            self.store.write(name, b"garbage")
            self.live.pop(self.secret, None)

    @invariant()
    def nothing_in_the_store_is_readable(self):
        assert not any(b"token-" in sealed for _, sealed in self.store.entries.values())


OneTokenForEveryone.TestCase.settings = settings(max_examples=30, stateful_step_count=40)
TestOneTokenForEveryone = OneTokenForEveryone.TestCase
