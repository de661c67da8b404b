"""One token for everyone, in real processes: however many ask at the same moment, the provider is asked once."""

import json
import os
import signal
import socket
import time
from collections import Counter
from itertools import count

import pytest

from prefect_atomic.sandbox import Sandbox
from tests.e2e.servers.faulty import Answer
from tests.tokens.workers import Workers

PROCESSES, THREADS = 8, 16
JSON = [("Content-Type", "application/json")]


@pytest.fixture(scope="module")
def workers():
    workers = Workers(PROCESSES)
    yield workers
    workers.stop()


class Provider:
    """Hands out a new token for each request, 200 ms after it was asked, unless told otherwise."""

    def __init__(self, server):
        self.server = server
        self.refuses_with = None
        self.holds_first = False
        self._numbers = count(1)
        server.handler = self._answer

    @property
    def asked(self):
        return dict(Counter(request.path for request in self.server.requests))

    def _answer(self, request):
        if self.refuses_with:
            return self.refuses_with
        number = next(self._numbers)
        content = {
            "access_token": f"token-{number}",
            "instance_url": "tenant.c360a.example.com",
            "rest_instance_url": f"http://127.0.0.1:{self.server.port}/",
        }
        body = json.dumps(content).encode()
        if self.holds_first and number == 1:
            return Answer(headers=JSON, body=body, hold=True)
        return Answer(headers=JSON, body=body, delay=0.2)


@pytest.fixture
def provider(fault_server):
    return Provider(fault_server)


class OAuth:
    kind = "OAuthClientCredentials"
    lifetime = 45
    steps = ("/oauth/token",)

    def __init__(self, url):
        self.fields = {"identity_url": f"{url}/oauth/token", "client_id": "storm", "client_secret": "correct horse"}


class Data360:
    kind = "SalesforceData360"
    lifetime = 300
    steps = ("/services/oauth2/token", "/services/a360/token")

    def __init__(self, url):
        self.fields = {"login_url": url, "client_id": "storm", "client_secret": "correct horse"}


class Core:
    kind = "Salesforce"
    lifetime = 3600
    steps = ("/services/oauth2/token",)

    def __init__(self, url):
        self.fields = {"domain": url, "client_id": "storm", "client_secret": "correct horse"}


class MarketingCloud:
    kind = "SalesforceMarketingCloud"
    lifetime = 1200
    steps = ("/v2/token",)

    def __init__(self, url):
        self.fields = {
            "subdomain": "mc563885gzs27c5t9-63k636ttgm",
            "auth_url": url,
            "client_id": "storm",
            "client_secret": "correct horse",
        }


class Marketo:
    kind = "Marketo"
    lifetime = 3600
    steps = ("/identity/oauth/token",)

    def __init__(self, url):
        self.fields = {
            "rest_endpoint": f"{url}/rest",
            "identity_endpoint": f"{url}/identity",
            "client_id": "storm",
            "client_secret": "correct horse",
        }


@pytest.fixture(params=[OAuth, Data360])
def account(request, provider):
    return request.param(provider.server.url)


@pytest.fixture
def order(account, token_folder):
    return {
        "kind": account.kind,
        "fields": account.fields,
        "threads": THREADS,
        "environment": {"PREFECT_ATOMIC_TOKEN_STORE_PATH": str(token_folder), "PREFECT_ATOMIC_TOKEN_LEASE": "60"},
    }


def each_step(account, times):
    return dict.fromkeys(account.steps, times)


@pytest.mark.parametrize("account", [OAuth, Data360, Core, MarketingCloud, Marketo], indirect=True)
def test_a_storm_asks_once_for_each_lifetime(workers, provider, account, order):
    moment = time.time()

    first = workers.run(**order, at=moment)

    assert provider.asked == each_step(account, 1)
    assert len(first.outcomes) == PROCESSES * THREADS
    assert len(first.tokens) == 1

    del order["environment"]  # the processes go on with the caches they have
    just_before = workers.run(**order, at=moment + account.lifetime - 0.001)

    assert provider.asked == each_step(account, 1)
    assert just_before.tokens == first.tokens

    after = workers.run(**order, at=moment + account.lifetime + 1)

    assert provider.asked == each_step(account, 2)
    assert len(after.tokens) == 1
    assert after.tokens != first.tokens
    assert not first.errors + just_before.errors + after.errors


def test_threads_and_event_loops_share_one_fetch(workers, provider, account, order):
    storm = workers.run(**order | {"threads": 4}, loops=2, tasks=25)

    assert provider.asked == each_step(account, 1)
    assert [outcome[0] for outcome in storm.outcomes] == ["token"] * PROCESSES * (4 + 2 * 25)
    assert len(storm.tokens) == 1


def test_two_hundred_tasks_of_one_loop_share_one_fetch(workers, provider, account, order):
    storm = workers.run(**order | {"threads": 0}, loops=1, tasks=200, only=1)

    assert provider.asked == each_step(account, 1)
    assert [outcome[0] for outcome in storm.outcomes] == ["token"] * 200


def test_two_loops_in_two_threads_share_one_fetch(workers, provider, account, order):
    storm = workers.run(**order | {"threads": 0}, loops=2, tasks=50, only=1)

    assert provider.asked == each_step(account, 1)
    assert [outcome[0] for outcome in storm.outcomes] == ["token"] * 100


def test_forked_children_use_the_token_their_parent_fetched(workers, provider, account, order):
    before = workers.run(**order, only=1)
    del order["environment"]

    children = workers.run("fork", **order, children=4, only=1)

    assert provider.asked == each_step(account, 1)
    assert len(children.outcomes) == 4 * THREADS
    assert children.tokens == before.tokens


def test_forked_children_renew_an_expired_token_once(workers, provider, account, order):
    workers.run(**order, only=1)
    del order["environment"]

    children = workers.run("fork", **order, children=4, only=1, at=time.time() + account.lifetime + 1)

    assert provider.asked == each_step(account, 2)
    assert len(children.tokens) == 1


def test_a_fork_while_its_parent_fetches_neither_hangs_nor_fetches(workers, provider, account, order):
    provider.holds_first = True
    chosen = workers.begin("fork in flight", **order, only=1)
    provider.server.wait(lambda server: server.requests)
    chosen[0].tell("fork now")
    provider.server.release()

    children = workers.finish(chosen)

    assert provider.asked == each_step(account, 1)
    assert len(children.tokens) == 1
    assert not children.errors


def test_when_the_one_that_fetches_is_killed_one_other_takes_over(workers, provider, account, order):
    provider.holds_first = True
    chosen = workers.begin(**order)
    fetcher = workers.next("minting")
    provider.server.wait(lambda server: server.requests)

    fetcher.kill()
    storm = workers.finish(chosen)

    assert provider.asked == {**each_step(account, 1), account.steps[0]: 2}
    assert [outcome[0] for outcome in storm.outcomes] == ["token"] * (PROCESSES - 1) * THREADS
    assert len(storm.tokens) == 1


def test_when_the_one_that_fetches_is_stopped_one_other_takes_over_after_the_lease(workers, provider, account, order):
    provider.holds_first = True
    order["environment"]["PREFECT_ATOMIC_TOKEN_LEASE"] = "1"
    chosen = workers.begin(**order)
    fetcher = workers.next("minting")
    provider.server.wait(lambda server: server.requests)

    os.kill(fetcher.pid, signal.SIGSTOP)
    try:
        others = workers.finish([worker for worker in chosen if worker is not fetcher])
        asked = provider.asked
    finally:
        os.kill(fetcher.pid, signal.SIGCONT)
        provider.server.release()
    woken = workers.finish([fetcher])

    assert asked == {**each_step(account, 1), account.steps[0]: 2}
    assert [outcome[0] for outcome in others.outcomes] == ["token"] * (PROCESSES - 1) * THREADS
    assert len(others.tokens) == 1
    assert [outcome[0] for outcome in woken.outcomes] == ["token"] * THREADS


def is_clear(error):
    kind, text = error
    return kind == "CredentialError" and "request at http://127.0.0.1:" in text and "correct horse" not in text


def test_a_refusal_reaches_every_caller_and_no_process_asks_twice(workers, provider, account, order):
    refusal = b'{"error": "invalid_client", "error_description": "the secret was rotated"}'
    provider.refuses_with = Answer(status=400, headers=JSON, body=refusal, delay=0.2)

    storm = workers.run(**order)

    assert len(storm.errors) == PROCESSES * THREADS
    assert all(is_clear(error) and "the secret was rotated" in error[1] for error in storm.errors)
    assert set(storm.mints.values()) == {1}
    assert provider.asked == {account.steps[0]: len(storm.mints)}


@pytest.mark.parametrize("fault", ["close", "reset", "garbage"])
def test_a_provider_that_breaks_at_once_is_asked_once_by_each_process_at_most(workers, provider, account, order, fault):
    provider.refuses_with = fault

    storm = workers.run(**order)

    assert len(storm.errors) == PROCESSES * THREADS
    assert all(is_clear(error) for error in storm.errors)
    assert set(storm.mints.values()) == {1}


def test_a_provider_that_is_down_is_called_once_by_each_process_at_most(workers, provider, account, order):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"

    storm = workers.run(**order | {"fields": type(account)(url).fields})

    assert len(storm.errors) == PROCESSES * THREADS
    assert all(is_clear(error) for error in storm.errors)
    assert set(storm.mints.values()) == {1}


def test_after_an_outage_new_caches_get_a_token(workers, provider, account, order):
    provider.refuses_with = Answer(status=503)
    workers.run(**order)
    provider.refuses_with = None
    provider.server.reset()
    provider.server.handler = provider._answer

    storm = workers.run(**order)

    assert provider.asked == each_step(account, 1)
    assert [outcome[0] for outcome in storm.outcomes] == ["token"] * PROCESSES * THREADS


def test_a_token_that_is_refused_everywhere_is_renewed_once(workers, provider, account, order):
    [old] = workers.run(**order, only=2).tokens
    del order["environment"]

    storm = workers.run(**order | {"threads": 8}, withdrawn=old, only=2)

    assert provider.asked == each_step(account, 2)
    assert [outcome[0] for outcome in storm.outcomes] == ["token"] * 16
    assert len(storm.tokens) == 1


def test_a_token_that_was_fetched_just_now_is_not_renewed(workers, provider, account, order):
    last_step = f"token-{len(account.steps)}"

    storm = workers.run(**order, withdrawn=last_step, only=1)

    assert provider.asked == each_step(account, 1)
    assert storm.outcomes == [["refused", last_step]] * THREADS


def test_a_token_that_another_process_renewed_is_used_without_asking(workers, provider, account, order):
    [old] = workers.run(**order, only=2).tokens
    del order["environment"]
    [renewed] = workers.run(**order, withdrawn=old, only=1).tokens

    everybody = workers.run(**order, withdrawn=old, only=2)

    assert everybody.tokens == {renewed}
    assert provider.asked == each_step(account, 2)


def test_invalidate_is_noticed_by_the_other_processes(workers, provider, account, order):
    [old] = workers.run(**order, only=3).tokens
    del order["environment"]

    workers.run("invalidate", **order, only=1)
    storm = workers.run(**order, only=3)

    assert old not in storm.tokens
    assert len(storm.tokens) == 1
    assert provider.asked == each_step(account, 2)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox.start() as sandbox:
        yield sandbox


@pytest.mark.parametrize("kind", [OAuth, Data360])
def test_a_provider_that_checks_what_it_is_sent_is_asked_once_too(workers, sandbox, kind, token_folder):
    """The sandbox, a process of its own, refuses a wrong secret, and a core token that is exchanged twice."""
    sandbox.reset()
    account = kind(sandbox.url)
    accounts = {OAuth: sandbox.accounts.oauth, Data360: sandbox.accounts.data_360}[kind]
    account.fields |= {"client_id": accounts.client_id, "client_secret": accounts.client_secret}
    for step in account.steps:
        sandbox.misbehave(step, delay=0.2)
    environment = {"PREFECT_ATOMIC_TOKEN_STORE_PATH": str(token_folder)}

    storm = workers.run(kind=account.kind, fields=account.fields, threads=THREADS, environment=environment)

    assert sandbox.calls() == {f"POST {step}": 1 for step in account.steps}
    assert [outcome[0] for outcome in storm.outcomes] == ["token"] * PROCESSES * THREADS
    assert len(storm.tokens) == 1
