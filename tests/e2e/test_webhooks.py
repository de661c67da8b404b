"""Webhooks on a real Prefect server: subscriptions as blocks, pausing that everybody sees, kills, and both flows."""

from __future__ import annotations

import asyncio
import base64
import contextvars
import json
import random
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import flow
from prefect.events.worker import EventsWorker
from prefect.filesystems import LocalFileSystem

from flows.deliver_webhooks import deliver_webhooks_flow
from flows.redeliver_webhooks import redeliver_webhooks_flow
from prefect_atomic import (
    AtomicError,
    BasicAuth,
    RequestError,
    WebhookSubscription,
    awebhook,
    redeliver,
    verify_webhook,
    webhook,
)
from prefect_atomic.settings import settings
from tests.e2e import one_of_each as samples
from tests.e2e.hunting import Hunter
from tests.e2e.one_of_each import EACH_KIND, one_of_each
from tests.e2e.prefect_server import PROJECT, PrefectServer, Program, wait_until
from tests.e2e.saving import registered_once
from tests.e2e.servers.faulty import Answer, FaultServer
from tests.e2e.webhook_programs import Running

pytestmark = [
    pytest.mark.prefect_server,
    pytest.mark.timeout(600),  # seconds each; more where the machine has other work
    # Prefect leaves the sockets of its own clients to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

SECRET, NEW_SECRET = (f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}" for _ in range(2))
PAYLOAD = "payloadTHATnobodyMAYread"
BASIC = "Basic dXNlcjp0aGUtcGFzc3dvcmQ="
KILLS, THREADS = 3, 4


@pytest.fixture(scope="module", autouse=True)
def _registered(prefect_server: PrefectServer) -> Iterator[None]:
    with registered_once(prefect_server, WebhookSubscription):
        yield


@pytest.fixture(scope="module")
def outbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all outboxes, for this process and those it starts."""
    return tmp_path_factory.mktemp("outbox")


@pytest.fixture(autouse=True)
def _only_its_own_subscriptions(
    prefect_api: PrefectServer, outbox: Path, token_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flows look after all subscriptions that are saved: those of other tests are gone."""
    monkeypatch.setenv("PREFECT_ATOMIC_OUTBOX_PATH", str(outbox))
    settings.cache_clear()
    for document in documents(prefect_api):
        url = f"block_documents/{document['id']}"
        wait_until(lambda url=url: prefect_api.client.delete(url).is_success, f"{url} is deleted")  # type: ignore[misc]


@pytest.fixture
def receiver(fault_server: FaultServer) -> FaultServer:
    return fault_server


def documents(server: PrefectServer) -> list[Any]:
    return server.all_of("block_documents/filter", {"block_types": {"slug": {"any_": ["atomic-webhook-subscription"]}}})


def saved(name: str, url: str, **fields: Any) -> WebhookSubscription:
    WebhookSubscription(url=url, **fields).save(name, overwrite=True)
    return WebhookSubscription.load(name)


def slug(name: str) -> str:
    return f"atomic-webhook-subscription/{name}"


def edited(server: PrefectServer, subscription: WebhookSubscription, **fields: Any) -> None:
    """As the form does it, by somebody else: it sends the references too."""
    url = f"block_documents/{subscription._block_document_id}"
    for name, reference in server.get(url)["block_document_references"].items():
        fields[name] = {"$ref": {"block_document_id": reference["block_document"]["id"]}}
    server.client.patch(url, json={"data": fields}).raise_for_status()


def event(number: int = 1, **more: Any) -> dict[str, Any]:
    return {"id": f"evt_{number}", "type": "card-completed", "data": {"card": PAYLOAD}, **more}


def ids(server: FaultServer) -> list[str | None]:
    return [request.header("webhook-id") for request in server.requests]


def plain(block: Any) -> Any:
    """All fields, secrets included."""
    fields = set(type(block).model_fields)
    return {
        name: plain(value) if hasattr(value := getattr(block, name), "_block_type_slug") else _plain_value(value)
        for name in sorted(fields)
    }


def _plain_value(value: Any) -> Any:
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


def happened(server: PrefectServer, *names: str, resource: str | None = None) -> list[Any]:
    """The events of these names that have arrived, of a block document or an automation."""
    filter_: dict[str, Any] = {"event": {"name": list(names)}}
    if resource:
        filter_["resource"] = {"id": [resource]}
    events: list[Any] = server.post("events/filter", {"filter": filter_, "limit": 50})["events"]
    return events


def here(function: Any) -> Any:
    """The function as a thread is to run it that works with the same Prefect server as this one."""
    return partial(contextvars.copy_context().run, function)


def resource_of(subscription: WebhookSubscription) -> str:
    return f"prefect.block-document.{subscription._block_document_id}"


# -- as a block ----------------------------------------------------------------------------------------------------


EVERYTHING: dict[str, Any] = {
    "method": "PUT",
    "event_types": ["card-completed", "card-opened"],
    "headers": {"X-Tenant": samples.SECOND_HEADER},
    "signing_secret": SECRET,
    "body_template": '{"kind": {{ event.type | tojson }}}',
    "timeout": 7.5,
    "retry_delays": [0.0, 60.0],
    "allow_private_networks": False,
    "outbox": "local-file-system/outbox",
    "paused": True,
}


@pytest.mark.parametrize("how", ["reference", "inline"])
@pytest.mark.parametrize("name", EACH_KIND)
def test_a_subscription_reloads_the_class_it_was_saved_with(prefect_api: PrefectServer, name: str, how: str) -> None:
    """Its credential by reference to a saved one, and inline; all else is equal too."""
    credential = one_of_each("http://127.0.0.1:1")[name]
    if how == "reference":
        credential.save(f"hooks-{name}", overwrite=True)
    subscription = WebhookSubscription(url="https://hooks.example.com/in", credential=credential, **EVERYTHING)
    subscription.save("reloads", overwrite=True)
    loaded = WebhookSubscription.load("reloads")
    assert type(loaded.credential) is type(credential)
    assert plain(loaded) == plain(subscription)
    assert loaded.known_secrets() == subscription.known_secrets()
    assert (loaded.credential._block_document_name == f"hooks-{name}") is (how == "reference")


def test_the_api_shows_no_secret_of_a_subscription_unless_asked(prefect_api: PrefectServer) -> None:
    hunter = Hunter({**samples.PLAIN_SECRETS, **samples.key_secrets(), "signing secret": SECRET})
    for name, credential in one_of_each("http://127.0.0.1:1").items():
        if name in EACH_KIND:
            subscription = WebhookSubscription(url="https://hooks.example.com", credential=credential, **EVERYTHING)
            subscription.save(f"masked-{name}")
    for document in documents(prefect_api):
        path = f"block_documents/{document['id']}"
        assert hunter.search("filter", json.dumps(document, ensure_ascii=False)) == []
        assert hunter.search("get", json.dumps(prefect_api.get(path), ensure_ascii=False)) == []
        assert hunter.search("asked", json.dumps(prefect_api.get(path, include_secrets=True)))


# -- as a task -----------------------------------------------------------------------------------------------------


def every_way(server: PrefectServer, where: str) -> list[bool]:
    """With a block and with a slug; in a process of its own: Prefect's process pool starts a server in ours."""
    program = (
        "from prefect_atomic import WebhookSubscription\n"
        f"from tests.e2e.webhook_programs import {where}\n"
        "if __name__ == '__main__':\n"
        f"    print({where}([WebhookSubscription.load('crm'), {slug('crm')!r}]))\n"
    )
    ran = server.run(sys.executable, "-c", program)
    assert ran.returncode == 0, ran.stdout
    (told,) = (line for line in ran.stdout.splitlines() if line.startswith("["))
    done: list[bool] = json.loads(told.lower())
    return done


@pytest.mark.parametrize("where", ["in_threads", "in_processes"])
def test_a_webhook_in_every_way_to_run_one(prefect_api: PrefectServer, receiver: FaultServer, where: str) -> None:
    """Called, submitted, mapped."""
    saved("crm", receiver.url, signing_secret=SECRET)
    assert every_way(prefect_api, where) == [True] * 8
    assert Counter(ids(receiver)) == dict.fromkeys(("evt_0", "evt_1", "evt_2", "evt_3"), 2)
    for request in receiver.requests:
        verify_webhook(dict(request.headers), request.body, SECRET)


def test_a_webhook_in_an_asynchronous_flow(receiver: FaultServer) -> None:
    crm = saved("crm", receiver.url)

    @flow
    async def both() -> list[bool]:
        submitted = awebhook.submit(event(3), crm)
        done = [await awebhook(event(1), crm), await awebhook(event(2), slug("crm")), submitted.result()]
        return [each.delivered for each in done]

    assert asyncio.run(both()) == [True] * 3
    assert sorted(map(str, ids(receiver))) == ["evt_1", "evt_2", "evt_3"]


def test_an_id_is_the_same_when_prefect_runs_the_task_again(receiver: FaultServer, monkeypatch: Any) -> None:
    """The outbox fails after the first run was accepted; the receiver can tell that it is the same event."""
    crm = saved("crm", receiver.url)
    attempts: list[Any] = []

    @flow
    def retried() -> None:
        again = webhook.with_options(retries=1, retry_delay_seconds=0, on_completion=[])
        delivered = again.fn

        def fails_once(*args: Any, **kwargs: Any) -> Any:
            attempts.append(delivered(*args, **kwargs))
            if len(attempts) == 1:
                raise ConnectionError("the process lost its server just then")
            return attempts[-1]

        again.fn = fails_once
        again({"type": "card-completed"}, crm)

    retried()
    first, second = ids(receiver)
    assert first == second
    assert str(first).startswith("evt_")


# -- pausing -------------------------------------------------------------------------------------------------------


def exhausted(subscription: WebhookSubscription, number: int = 1) -> None:
    assert webhook.fn(event(number), subscription).state == "paused"


@pytest.fixture
def failing(receiver: FaultServer) -> FaultServer:
    receiver.handler = lambda request: Answer(500, body=request.body)
    return receiver


def test_exhaustion_pauses_the_saved_subscription(prefect_api: PrefectServer, failing: FaultServer) -> None:
    """So no process sends to it, whichever loads it."""
    exhausted(saved("crm", failing.url, retry_delays=[]))
    assert WebhookSubscription.load("crm").paused
    assert webhook.fn(event(2), slug("crm")).state == "paused"
    assert ids(failing) == ["evt_1"]


@pytest.mark.parametrize("how", ["reference", "inline"])
@pytest.mark.parametrize("name", ["oauth", "headers"])
def test_pausing_changes_nothing_else(prefect_api: PrefectServer, failing: FaultServer, name: str, how: str) -> None:
    """A secret and a URL that somebody entered meanwhile, the credential, all other secrets: they stay."""
    provider = FaultServer()
    with provider:
        credential = one_of_each(provider.url)[name]
        provider.handler = samples.Provider(provider)
        if how == "reference":
            credential.save("crm", overwrite=True)
        fields = {"headers": {"X-Tenant": samples.SECOND_HEADER}, "signing_secret": SECRET, "retry_delays": []}
        stale = saved("crm", failing.url, credential=credential, **fields)
        edited(prefect_api, stale, signing_secret=NEW_SECRET, url="https://new.example.com/in")
        assert WebhookSubscription.load("crm").credential
        before = plain(WebhookSubscription.load("crm"))
        exhausted(stale)
        after = WebhookSubscription.load("crm")
    assert plain(after) == {**before, "paused": True}
    assert type(after.credential) is type(credential)
    assert after.signing_secret.get_secret_value() == NEW_SECRET


@pytest.mark.parametrize("how", ["reference", "inline"])
def test_after_a_pause_events_are_proved_and_signed_as_before(failing: FaultServer, how: str) -> None:
    credential = BasicAuth(username="user", password="the-password")
    if how == "reference":
        credential.save("crm", overwrite=True)
    exhausted(saved("crm", failing.url, credential=credential, signing_secret=SECRET, retry_delays=[]))
    failing.reset()
    done = redeliver(slug("crm"))
    assert (done.delivered, done.state) == (1, "active")
    (request,) = failing.requests
    assert request.header("Authorization") == BASIC
    assert verify_webhook(dict(request.headers), request.body, SECRET)["id"] == "evt_1"


def test_pausing_and_resuming_are_told_once_each(prefect_api: PrefectServer, failing: FaultServer) -> None:
    """However many had it loaded before, and without a word of what could not be delivered."""
    saved("crm", failing.url, retry_delays=[], signing_secret=SECRET)
    loaded = [WebhookSubscription.load("crm") for _ in range(3)]
    for number, each in enumerate(loaded):
        exhausted(each, number)
    failing.reset()
    assert redeliver(slug("crm")).delivered == 3
    resource = resource_of(loaded[0])
    both = ("atomic.webhook.paused", "atomic.webhook.resumed")
    wait_until(lambda: len(happened(prefect_api, *both, resource=resource)) >= 2, "both events arrive")
    EventsWorker.instance().drain()
    told = sorted(happened(prefect_api, *both, resource=resource), key=lambda each: each["event"])
    assert [each["event"] for each in told] == list(both)
    paused = told[0]
    assert paused["resource"]["prefect.resource.id"] == resource
    assert paused["resource"]["prefect.resource.name"] == "crm"
    assert paused["payload"] == {"reason": "answered 500 Internal Server Error", "event_id": "evt_0", "attempts": 1}
    hunter = Hunter({"payload": PAYLOAD, "signing secret": SECRET})
    assert hunter.search("events", json.dumps(told)) == []


def test_those_that_fail_at_the_same_moment_tell_it_once(prefect_api: PrefectServer, failing: FaultServer) -> None:
    failing.handler = lambda request: Answer(500, hold=True)
    saved("crm", failing.url, retry_delays=[])
    loaded = [WebhookSubscription.load("crm") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(here(exhausted), each, number) for number, each in enumerate(loaded)]
        failing.wait(lambda server: len(server.requests) == 4, 60)
        failing.release()
        for each in running:
            each.result()
    failing.reset()
    assert redeliver(slug("crm")).delivered == 4
    resource = resource_of(loaded[0])
    wait_until(lambda: happened(prefect_api, "atomic.webhook.resumed", resource=resource), "it is resumed")
    EventsWorker.instance().drain()
    assert len(happened(prefect_api, "atomic.webhook.paused", resource=resource)) == 1


def test_an_automation_on_a_pause_fires(prefect_api: PrefectServer, failing: FaultServer) -> None:
    crm = saved("crm", failing.url, retry_delays=[])
    trigger = {
        "type": "event",
        "posture": "Reactive",
        "expect": ["atomic.webhook.paused"],
        "match": {"prefect.resource.id": resource_of(crm)},
        "for_each": ["prefect.resource.id"],
        "threshold": 1,
        "within": 0,
    }
    automation = {"name": "tell-somebody", "trigger": trigger, "actions": [{"type": "do-nothing"}]}
    made = prefect_api.post("automations/", automation)
    try:
        exhausted(crm)
        resource = f"prefect.automation.{made['id']}"
        wait_until(lambda: happened(prefect_api, "prefect.automation.triggered", resource=resource), "it fires")
    finally:
        prefect_api.client.delete(f"automations/{made['id']}").raise_for_status()


# -- kills ---------------------------------------------------------------------------------------------------------


def test_no_event_is_lost_when_its_process_is_killed(
    prefect_api: PrefectServer, outbox: Path, receiver: FaultServer, tmp_path: Path
) -> None:
    """Three times, at random; what is seen twice was in flight at a kill."""
    seed = random.randrange(2**32)
    kill_after = sorted(random.Random(seed).sample(range(50, 950), KILLS))
    receiver.handler = lambda request: Answer(200, delay=0.01)
    crm, notes = saved("crm", receiver.url), tmp_path / "returned"
    notes.touch()
    everything = [f"evt_{number}" for number in range(1000)]
    folder, in_flight, accepted = outbox / str(crm._block_document_id), set[str](), set[str]()
    for requests in (*kill_after, None):
        with Running(prefect_api, outbox, "deliver", slug("crm"), str(notes), str(THREADS)) as process:
            process.write(json.dumps([each for each in everything if each not in accepted]))
            if requests is None:
                assert process.ended() == 0
            else:
                receiver.wait(lambda server, enough=requests: len(server.requests) >= enough, 120)  # type: ignore[misc]
        receiver.wait(lambda server: server.open_connections == 0, 60)
        returned = set(notes.read_text().split())
        stored = {json.loads(file.read_bytes())["event"]["id"] for file in folder.glob("*.json")}
        now_in_flight = (stored | {str(each) for each in ids(receiver)}) - returned - in_flight
        assert len(now_in_flight) <= THREADS, seed
        in_flight |= now_in_flight
        accepted = returned | stored
    left = len(list(folder.glob("*.json")))
    done = redeliver(slug("crm"))
    assert (done.found, done.delivered) == (left, left), seed
    seen = Counter(map(str, ids(receiver)))
    assert seen.keys() == set(everything), seed
    assert {each for each, times in seen.items() if times > 1} <= in_flight, seed
    assert max(seen.values()) <= 2, seed
    assert list(folder.glob("*.json")) == []


# -- redelivery ----------------------------------------------------------------------------------------------------


def waits(subscription: WebhookSubscription, *numbers: int) -> None:
    """Puts events into the outbox, due at once."""
    subscription.paused = True  # here only, not as it is saved
    for number in numbers:
        assert webhook.fn(event(number), subscription).state == "paused"


def test_an_event_in_flight_is_not_redelivered(receiver: FaultServer) -> None:
    receiver.handler = lambda request: Answer(200, hold=True)
    crm = saved("crm", receiver.url)
    with ThreadPoolExecutor() as pool:
        running = pool.submit(here(webhook.fn), event(1), crm)
        receiver.wait(lambda server: server.requests)
        done = redeliver(slug("crm"))
        receiver.release()
        assert running.result().delivered
    assert (done.found, done.delivered, done.failed) == (1, 0, 0)
    assert ids(receiver) == ["evt_1"]


def test_a_second_redelivery_leaves_everything_to_the_first(
    prefect_api: PrefectServer, outbox: Path, receiver: FaultServer
) -> None:
    """In processes of their own, the first held up in the middle of an event."""
    receiver.handler = lambda request: Answer(200, hold=True)
    waits(saved("crm", receiver.url), 1, 2, 3)
    with Running(prefect_api, outbox, "redeliver", slug("crm")) as first:
        receiver.wait(lambda server: server.requests, 60)
        second = redeliver(slug("crm"))
        receiver.release()
        told = json.loads(first.next_line())
    assert (second.state, second.delivered) == ("busy", 0)
    assert told["delivered"] == 3
    assert ids(receiver) == ["evt_1", "evt_2", "evt_3"]


def test_a_redelivery_that_is_killed_is_followed_by_the_next(
    prefect_api: PrefectServer, outbox: Path, receiver: FaultServer
) -> None:
    receiver.handler = lambda request: Answer(200, hold=True)
    waits(saved("crm", receiver.url), 1, 2)
    with Running(prefect_api, outbox, "redeliver", slug("crm")):
        receiver.wait(lambda server: server.requests, 60)
    receiver.reset()
    assert redeliver(slug("crm")).delivered == 2
    assert ids(receiver) == ["evt_1", "evt_2"]


@pytest.fixture(scope="module")
def worker(prefect_server: PrefectServer, outbox: Path) -> Iterator[Program]:
    pool = "webhooks-pool"
    made = prefect_server.run(sys.executable, "-m", "prefect", "work-pool", "create", pool, "--type", "process")
    assert made.returncode == 0, made.stdout
    with prefect_server.worker(pool, PREFECT_ATOMIC_OUTBOX_PATH=str(outbox)) as worker:
        yield worker


def deployed(name: str, **parameters: Any) -> Any:
    """The deployment of that name in prefect.yaml, for the worker of these tests."""
    told = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    (found,) = (each for each in told if each["name"] == name)
    source: Any = flow(lambda: None, name="any").from_source(str(PROJECT), found["entrypoint"])
    given = {**found.get("parameters", {}), **parameters}
    return source.to_deployment(name, work_pool_name="webhooks-pool", parameters=given).apply()


def table(server: PrefectServer, key: str, flow_run: str) -> list[dict[str, Any]]:
    filter_ = {"artifacts": {"key": {"any_": [key]}, "flow_run_id": {"any_": [flow_run]}}}
    (artifact,) = server.post("artifacts/filter", filter_)
    data = artifact["data"]
    rows: list[dict[str, Any]] = json.loads(data) if isinstance(data, str) else data
    return rows


def test_a_worker_redelivers_as_prefect_yaml_has_it(
    prefect_api: PrefectServer, worker: Program, receiver: FaultServer
) -> None:
    """Several at once deliver each event once; progress and table are there, payload and secret are not."""
    identifier = deployed("redeliver-webhooks")
    receiver.handler = lambda request: Answer(200, delay=0.05)
    fields: dict[str, Any] = {"signing_secret": SECRET, "headers": {"X-Tenant": samples.SECOND_HEADER}}
    waits(saved("crm", f"{receiver.url}/crm", **fields), *range(10))
    waits(saved("erp", f"{receiver.url}/erp", **fields), *range(10, 20))
    runs = [prefect_api.post(f"deployments/{identifier}/create_flow_run")["id"] for _ in range(2)]
    ended = [prefect_api.wait_for_run(run, explain=worker.said) for run in runs]
    assert [run["state_type"] for run in ended] == ["COMPLETED"] * 2, worker.said()
    assert Counter(ids(receiver)) == dict.fromkeys((f"evt_{number}" for number in range(20)), 1)
    rows = [row for run in runs for row in table(prefect_api, "webhook-redelivery-results", run)]
    assert [row["subscription"] for row in rows] == ["crm", "erp"] * 2
    assert sum(row["delivered"] for row in rows) == 20
    artifacts = prefect_api.all_of("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": runs}}})
    progress = [artifact["data"] for artifact in artifacts if artifact["type"] == "progress"]
    assert progress == [100.0, 100.0]
    hunter = Hunter({"payload": PAYLOAD, "signing secret": SECRET, "header": samples.SECOND_HEADER})
    logs = prefect_api.all_of("logs/filter", {"logs": {"flow_run_id": {"any_": runs}}})
    assert hunter.search("artifacts", json.dumps(artifacts)) == []
    assert hunter.search("logs", json.dumps(logs)) == []
    assert hunter.search("worker", worker.said()) == []


def test_a_worker_delivers_as_prefect_yaml_has_it(
    prefect_api: PrefectServer, worker: Program, receiver: FaultServer
) -> None:
    saved("crm", receiver.url, signing_secret=SECRET)
    identifier = deployed("deliver-webhooks", events=[event(1), event(2)])
    run = prefect_api.post(f"deployments/{identifier}/create_flow_run")["id"]
    ended = prefect_api.wait_for_run(run, explain=worker.said)
    assert ended["state_type"] == "COMPLETED", worker.said()
    assert sorted(map(str, ids(receiver))) == ["evt_1", "evt_2"]
    assert table(prefect_api, "webhook-delivery-results", run) == [
        {"subscription": slug("crm"), "delivered": 2, "waiting": 0, "paused": 0, "failed": 0}
    ]


def broken_document(server: PrefectServer, url: str) -> str:
    edited(server, saved("a-broken", url), timeout=-1)
    return "could not be loaded"


def outbox_that_is_gone(server: PrefectServer, url: str) -> str:
    saved("a-broken", url, outbox="local-file-system/gone")
    return "local-file-system/gone"


def outbox_that_raises(server: PrefectServer, url: str) -> str:
    from tests.e2e.file_systems_for_tests import FailingFiles

    files = FailingFiles(basepath=str(settings().outbox_path) + "/failing")
    files.save("failing", overwrite=True)
    waits(saved("a-broken", url, outbox="test-failing-files/failing"), 7)
    files.fails = "read-talks"
    files.save("failing", overwrite=True)
    return "RuntimeError"


@pytest.mark.parametrize("broken", [broken_document, outbox_that_is_gone, outbox_that_raises])
def test_a_subscription_that_cannot_be_looked_after_keeps_no_other_waiting(
    prefect_api: PrefectServer, receiver: FaultServer, broken: Callable[[PrefectServer, str], str]
) -> None:
    """The others are delivered, and the run fails and says which it was, and why."""
    why = broken(prefect_api, f"{receiver.url}/broken")
    waits(saved("b-well", f"{receiver.url}/well"), 1, 2)
    state = redeliver_webhooks_flow(return_state=True)
    assert state.is_failed()
    assert str(state.message).endswith("1 of 2 subscriptions could not be looked after; see the table.")
    assert [request.path for request in receiver.requests] == ["/well", "/well"]
    run = str(state.state_details.flow_run_id)
    well, not_well = table(prefect_api, "webhook-redelivery-results", run)
    assert (well["subscription"], well["delivered"]) == ("b-well", 2)
    assert not_well["subscription"] == slug("a-broken")
    assert why in not_well["state"]


# -- delivery of many ----------------------------------------------------------------------------------------------


def test_each_subscription_gets_the_events_that_it_wants(receiver: FaultServer) -> None:
    saved("all", f"{receiver.url}/all")
    saved("opened", f"{receiver.url}/opened", event_types=["card-opened"])
    saved("none", f"{receiver.url}/none", event_types=["card-burnt"])
    done = deliver_webhooks_flow(events=[event(1), event(2, type="card-opened"), event(3)])
    assert done == {slug("all"): {"delivered": 3}, slug("opened"): {"delivered": 1}, slug("none"): {}}
    got = sorted((request.path, str(request.header("webhook-id"))) for request in receiver.requests)
    assert got == [("/all", "evt_1"), ("/all", "evt_2"), ("/all", "evt_3"), ("/opened", "evt_2")]


@pytest.fixture
def files(prefect_api: PrefectServer, tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    LocalFileSystem(basepath=str(folder)).save("hooks", overwrite=True)
    return folder


def delivered_from_a_file(name: str = "events.jsonl") -> Any:
    return deliver_webhooks_flow(file=name, storage="local-file-system/hooks")


def lines(*each: Any) -> str:
    return "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in each)


def test_a_json_lines_file_on_a_file_system_block(files: Path, receiver: FaultServer) -> None:
    saved("crm", receiver.url)
    (files / "events.jsonl").write_text(lines(event(1), "", event(2, data="é\u2028"), event(3)))
    assert delivered_from_a_file() == {slug("crm"): {"delivered": 3}}
    assert sorted(map(str, ids(receiver))) == ["evt_1", "evt_2", "evt_3"]


def test_a_file_of_this_host(tmp_path: Path, receiver: FaultServer) -> None:
    saved("crm", receiver.url)
    (tmp_path / "events.jsonl").write_text(lines(event(1)))
    assert deliver_webhooks_flow(file=str(tmp_path / "events.jsonl")) == {slug("crm"): {"delivered": 1}}


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ('{"type": "card-completed", ', "is not JSON"),
        ({"data": PAYLOAD}, "has no `type`"),
        ([PAYLOAD], "is a mapping"),
        ('{"type": "a", "value": NaN}', "event.value: is nan"),
        ({"type": "a", "id": 7}, "`id` is text"),
        ("[" * 100_000, "is not JSON"),
    ],
    ids=["no-json", "no-type", "no-mapping", "nan", "id", "too-deep"],
)
def test_one_bad_line_and_nothing_is_sent(files: Path, receiver: FaultServer, bad: Any, why: str) -> None:
    """The line is named, as an editor counts them: empty ones too."""
    saved("crm", receiver.url)
    (files / "events.jsonl").write_text(lines(event(1), "", event(2), bad, event(3)))
    with pytest.raises(RequestError, match=rf"line 4\b.*{why}") as refused:
        delivered_from_a_file()
    assert PAYLOAD not in str(refused.value)
    assert receiver.requests == []


def test_one_bad_event_of_a_list_and_nothing_is_sent(receiver: FaultServer) -> None:
    saved("crm", receiver.url)
    with pytest.raises(RequestError, match=r"events: number 2: event: has no `type`"):
        deliver_webhooks_flow(events=[event(1), {"id": "evt_2"}])
    assert receiver.requests == []


def test_an_event_that_a_template_cannot_shape_and_nothing_is_sent(receiver: FaultServer) -> None:
    saved("a-raw", receiver.url)
    saved("b-shaped", receiver.url, body_template='{"to": {{ event.data.to | tojson }}}')
    with pytest.raises(RequestError, match="body_template"):
        deliver_webhooks_flow(events=[event(1, data={"to": "crm"}), event(2, data={})])
    assert receiver.requests == []


def test_a_subscription_that_is_not_there_and_nothing_is_sent(receiver: FaultServer) -> None:
    saved("crm", receiver.url)
    with pytest.raises(RequestError, match="no saved block 'atomic-webhook-subscription/nowhere'"):
        deliver_webhooks_flow(events=[event(1)], subscriptions=[slug("crm"), slug("nowhere")])
    assert receiver.requests == []


def test_ids_are_the_same_when_the_flow_is_run_again(receiver: FaultServer) -> None:
    """One subscription fails, so Prefect runs the flow again: the other knows what it has already."""
    saved("a-well", f"{receiver.url}/well")
    saved("b-broken", f"{receiver.url}/broken", outbox="local-file-system/gone")
    with pytest.raises(AtomicError, match="2 of 4 deliveries could not be accepted"):
        deliver_webhooks_flow.with_options(retries=1)(events=[{"type": "a"}, {"type": "b"}])
    seen = Counter(map(str, ids(receiver)))
    assert list(seen.values()) == [2, 2]


def test_two_runs_have_ids_of_their_own(receiver: FaultServer) -> None:
    saved("crm", receiver.url)
    for _ in range(2):
        deliver_webhooks_flow(events=[{"type": "a"}])
    first, second = ids(receiver)
    assert first != second
