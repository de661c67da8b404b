"""Neither a secret nor what an event says leaves a webhook but to its receiver: everything is run, and then searched.

The receiver and the provider echo all they are sent, in every encoding; all loggers are at DEBUG. The payload may be in
the outbox and in the file that it was read from, a secret in neither. A canary is planted in every place that is
searched, and must be reported from there.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import socketserver
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import Any

import cloudpickle
import pytest
from prefect import flow, task, unmapped
from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event
from prefect.filesystems import LocalFileSystem
from prefect.serializers import JSONSerializer
from prefect.states import State
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.variables import Variable

from flows.deliver_webhooks import deliver_webhooks_flow
from flows.redeliver_webhooks import redeliver_webhooks_flow
from prefect_atomic import Credential, Delivery, WebhookSubscription, awebhook, webhook
from prefect_atomic.settings import settings
from tests.e2e import one_of_each as samples
from tests.e2e.file_systems_for_tests import FailingFiles
from tests.e2e.flows_for_tests import Leaky
from tests.e2e.hunting import Finding, Hunter
from tests.e2e.left_behind import Everything, behind, everything_logged, flush, told_by_the_api
from tests.e2e.one_of_each import Api, Provider, one_of_each
from tests.e2e.prefect_server import PrefectServer, wait_until
from tests.e2e.saving import registered_once
from tests.e2e.servers.faulty import Answer, CapturedRequest, FaultServer

pytestmark = [
    pytest.mark.prefect_server,
    pytest.mark.timeout(600),  # a minute; more where the machine has other work
    # Prefect leaves the sockets of its own clients to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

PAYLOAD = "payloadMARKERofTHEhunt<é>&\"'+/=77"
HEADER = "headerSECRETofTHEsubscription+/=99"
SYMMETRIC, SEED = b"signingSECRETofTHEwebhook0123456", b"ed25519SEEDsecretOFtheWEBHOOK999"
HMAC, ED25519 = f"whsec_{base64.b64encode(SYMMETRIC).decode()}", f"whsk_{base64.b64encode(SEED).decode()}"
SECRETS = {
    "signing secret": HMAC,
    "signing secret, decoded": SYMMETRIC.decode(),
    "ed25519 key": ED25519,
    "ed25519 key, decoded": SEED.decode(),
    "header": HEADER,
}

PLACES = (
    "log lines",
    "output of a subprocess",
    "traceback",
    "exception behind an exception",
    "outcome",
    "API: flow runs",
    "API: task runs",
    "API: states",
    "API: logs",
    "API: artifacts",
    "API: events",
    "API: block documents",
    "API: variables",
    "result storage",
    "outbox",
    "server log",
)
HOLDS_THE_PAYLOAD = ("outbox",)
CANARIES = {place: f"webhookCANARY{number:02d}in{number:02d}" for number, place in enumerate(PLACES)}
TEMPLATES = {
    "names": '{"a": {{ {"x": 1}[event.data.card] | tojson }}}',
    "no-json": "{{ event.data.card }}",
    "raises": '{"a": {{ event.data.card + 1 }}}',
    "filter": "{{ event.data.card | batch(event.data.card) | list }}",
    "too-long": '"{{ event.data.card * 40000 }}"',
}


@pytest.fixture(scope="module", autouse=True)
def _registered(prefect_server: PrefectServer) -> Iterator[None]:
    with registered_once(prefect_server, WebhookSubscription):
        yield


class Hunt:
    """What was run, and what it left behind."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str | bytes]] = {place: [] for place in PLACES}
        self.outcomes = Counter[str]()

    def keep(self, outcome: object) -> None:
        if isinstance(outcome, State):
            outcome = outcome.result(raise_on_failure=False)
        texts = self.texts
        if isinstance(outcome, BaseException):
            self.outcomes[type(outcome).__name__] += 1
            texts["traceback"].append("".join(traceback.format_exception(outcome)))
            texts["exception behind an exception"] += behind(outcome)
            texts["outcome"].append(f"{outcome!r} {vars(outcome)!r}")
        elif isinstance(outcome, Delivery):
            self.outcomes[outcome.state] += 1
            texts["outcome"] += [outcome.model_dump_json(), JSONSerializer().dumps(outcome)]
        texts["outcome"].append(repr(outcome))
        with suppress(TypeError, AttributeError):
            texts["outcome"].append(cloudpickle.dumps(outcome))

    def attempt(self, act: Callable[[], object]) -> None:
        try:
            self.keep(act())
        except Exception as error:  # noqa: BLE001 - every one is searched
            self.keep(error)


class Reasons(socketserver.BaseRequestHandler):
    """Sends back what it was sent where the reason belongs: `HTTP/1.1 400 {"id": ...`."""

    def handle(self) -> None:
        head, _, body = self.request.recv(65536).partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        while len(body) < length:
            body += self.request.recv(65536)
        self.request.sendall(b"HTTP/1.1 400 " + body + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


class Servers:
    """A provider and a receiver that talk too much, one that nobody trusts, and one that is not there."""

    def __init__(self, stack: ExitStack) -> None:
        self.provider = stack.enter_context(FaultServer())
        self.receiver = stack.enter_context(FaultServer())
        self.tls = stack.enter_context(FaultServer(tls=True))
        self.reasons = stack.enter_context(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Reasons))
        Thread(target=self.reasons.serve_forever, daemon=True).start()
        stack.callback(self.reasons.shutdown)
        self.provider.handler = Provider(self.provider)
        api = Api(self.receiver, self.provider.url)
        api, later = Api(self.receiver, self.provider.url), Answer(429, [("Retry-After", "payload?")])
        self.receiver.handler = lambda request: later if request.path == "/later" else api(request)

    def targets(self) -> list[tuple[str, dict[str, Any]]]:
        url = self.receiver.url
        paths = ("echo", "echo/php", "status/400", "status/410", "status/500/dotnet", "away", "here", "host", "later")
        cut = ("hang", "close", "garbage", "cut-body", "cut-headers", "not-gzip")
        found: list[tuple[str, dict[str, Any]]] = [(f"{url}/{path}", {}) for path in (*paths, *cut)]
        found.append((f"http://127.0.0.1:{self.reasons.server_address[1]}/", {}))
        found.append((f"{url}/echo", {"allow_private_networks": False}))
        found.append(("http://127.0.0.1:9/refused", {}))
        found.append((f"{self.tls.url}/echo", {}))
        return found


def subscriptions(servers: Servers) -> list[WebhookSubscription]:
    """Every way in which a delivery may go, some of them saved; all credentials take part."""
    credentials = list(one_of_each(servers.provider.url).values())
    silent: list[Credential] = [
        made[name]
        for step in ("token-400", "token-500", "token-away", "first-400", "garbage")
        for made in (one_of_each(servers.provider.url, step=step),)
        for name in ("oauth", "oauth-query", "google-exchange", "data-360")
    ]
    targets = servers.targets()
    cases = [(*target, credentials[number % len(credentials)]) for number, target in enumerate(targets)]
    cases += [(*targets[number % 5], credential) for number, credential in enumerate(credentials)]
    cases += [(*targets[0], credential) for credential in silent]
    cases += [(targets[0][0], {"body_template": template}, None) for template in TEMPLATES.values()]  # type: ignore[list-item]
    made = []
    for number, (url, options, credential) in enumerate(cases):
        subscription = WebhookSubscription(
            url=url,
            credential=credential,
            headers={"X-Tenant": HEADER},
            signing_secret=(HMAC, ED25519, f"{HMAC} {ED25519}")[number % 3],
            retry_delays=[] if number % 2 else [0.0, 3600.0],
            timeout=1,
            **options,
        )
        if number % 5 == 0:  # it takes a while
            subscription.save(f"hunt-{number:03d}", overwrite=True)
        made.append(subscription)
    return made


def event(number: int = 0, **more: Any) -> dict[str, Any]:
    return {"id": f"evt_hunt_{number}", "type": "card-completed", "data": {"card": PAYLOAD, "all": [PAYLOAD]}, **more}


def bad_events() -> list[Any]:
    return [
        {"data": PAYLOAD},
        {"type": "a", "data": {"when": datetime(2026, 1, 1), "card": PAYLOAD}},  # noqa: DTZ001
        {"type": "a", "data": [float("nan"), PAYLOAD]},
        {"type": "a", "data": PAYLOAD.encode()},
        {"type": "a", "data": PAYLOAD + "\ud800"},
        {"type": "a", "data": PAYLOAD * 50_000},
        {"type": "a", "id": PAYLOAD + "\r\n"},
        {"type": "a", "id": [PAYLOAD]},
        {"type": [PAYLOAD]},
        [PAYLOAD],
        PAYLOAD,
    ]


def run_everything(server: PrefectServer, servers: Servers, hunt: Hunt, folder: Path) -> None:
    persisted, persisted_async = (each.with_options(persist_result=True) for each in (webhook, awebhook))
    as_json = webhook.with_options(persist_result=True, result_serializer=JSONSerializer())

    @flow(name="webhook-hunt-threads", task_runner=ThreadPoolTaskRunner(max_workers=8), persist_result=True)
    def threads() -> None:
        made = subscriptions(servers)
        futures = [
            (as_json if number % 2 else persisted).submit(event(number), subscription)
            for number, subscription in enumerate(made)
        ]
        futures += [persisted.submit(each, made[0]) for each in bad_events()]
        futures += [persisted.submit(event(), slug) for slug in ("atomic-webhook-subscription/nowhere", HMAC)]
        futures += persisted.map([event(number) for number in range(4)], unmapped(made[2]))
        for future in futures:
            hunt.keep(future.result(raise_on_failure=False))
        for number in range(3):
            hunt.attempt(lambda number=number: persisted(event(), made[number]))  # type: ignore[misc]

    @flow(name="webhook-hunt-async", persist_result=True)
    async def asynchronously() -> None:
        slugs = [f"atomic-webhook-subscription/hunt-{number:03d}" for number in range(0, 40, 5)]
        runs = [persisted_async(event(number), slug) for number, slug in enumerate(slugs)]
        for outcome in await asyncio.gather(*runs, return_exceptions=True):
            hunt.keep(outcome)

    @flow(name="webhook-hunt-outboxes", persist_result=True)
    def outboxes() -> None:
        files = FailingFiles(basepath=str(folder / "block"))
        files.save("hunt", overwrite=True)
        url = f"{servers.receiver.url}/status/400"
        fields: dict[str, Any] = {"signing_secret": HMAC, "headers": {"X-Tenant": HEADER}}
        boxed = WebhookSubscription(url=url, outbox="test-failing-files/hunt", **fields)
        boxed.save("hunt-boxed", overwrite=True)
        hunt.attempt(lambda: persisted(event(), boxed, max_wait=0))
        for fails in ("write-talks", "write-talks-in-errno", "write-not-permitted", "read-talks"):
            files.fails = fails  # type: ignore[assignment]
            files.save("hunt", overwrite=True)
            hunt.attempt(lambda: persisted(event(), boxed, max_wait=0))
            hunt.attempt(lambda: asyncio.run(awebhook.fn(event(), boxed, max_wait=0)))
        gone = WebhookSubscription(url=url, outbox="local-file-system/gone", **fields)
        hunt.attempt(lambda: persisted(event(), gone))

    threads()
    asyncio.run(asynchronously())
    outboxes()
    hunt.attempt(lambda: redeliver_webhooks_flow.with_options(persist_result=True)(return_state=True))
    from_a_file(hunt, folder)
    for make in broken_subscriptions():
        hunt.attempt(make)
    elsewhere(server, hunt)


def from_a_file(hunt: Hunt, folder: Path) -> None:
    LocalFileSystem(basepath=str(folder)).save("hunt", overwrite=True)
    good = "".join(json.dumps(event(number)) + "\n" for number in range(3)).encode()
    bad = (
        b"",
        b'{"type": "a", "data": "' + PAYLOAD.encode() + b"\n",
        b'{"type": "a", "data": "' + PAYLOAD.encode() + b'\xff"}\n',
        PAYLOAD.encode() + b"\n",
        *(json.dumps(each).encode() + b"\n" for each in bad_events()[5::2]),
    )
    persisted = deliver_webhooks_flow.with_options(persist_result=True)
    some = [f"atomic-webhook-subscription/hunt-{number:03d}" for number in (0, 5, 10, 15)]
    for number, line in enumerate(bad):
        (folder / "events.jsonl").write_bytes(good + line)
        slugs = [*some, "atomic-webhook-subscription/hunt-boxed"] if number == 0 else some
        hunt.attempt(
            lambda slugs=slugs: persisted(  # type: ignore[misc]
                file="events.jsonl", storage="local-file-system/hunt", subscriptions=slugs, return_state=True
            )
        )


def broken_subscriptions() -> list[Callable[[], Any]]:
    def with_(**fields: Any) -> Callable[[], Any]:
        return lambda: WebhookSubscription(**{"url": "https://hooks.example.com", **fields})

    return [
        with_(signing_secret=HMAC[:-8]),
        with_(signing_secret=HMAC + "%"),
        with_(signing_secret=HEADER),
        with_(signing_secret=[HMAC]),
        with_(signing_secrets=HMAC),
        with_(signing_secret=ED25519 + "AAAA"),
        with_(signing_secret=samples.rsa_pem()),
        with_(headers={"X-Tenant": HEADER + "\r\n"}),
        with_(headers={"X Tenant": HEADER}),
        with_(headers={"webhook-signature": HEADER}),
        with_(headers=HEADER),
        with_(outbox=HEADER),
        with_(url=f"https://user:{HEADER}@hooks.example.com"),
        with_(credential={"kind": "basic-auth", "password": [samples.PASSWORD]}),
    ]


def elsewhere(server: PrefectServer, hunt: Hunt) -> None:
    """Redelivery in a process of its own, which says all it can."""
    program = (
        "import sys\n"
        "from tests.e2e import file_systems_for_tests\n"
        "from flows.redeliver_webhooks import redeliver_webhooks_flow\n"
        "print(redeliver_webhooks_flow(retry_all=True, return_state=True))\n"
        f"sys.stderr.write({CANARIES['output of a subprocess']!r})\n"
    )
    noisy = {
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PREFECT_LOGGING_ROOT_LEVEL": "DEBUG",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "httpx",
        "PREFECT_ATOMIC_OUTBOX_PATH": str(settings().outbox_path),
    }
    ran = server.run(sys.executable, "-c", program, **noisy)
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert "httpcore" in ran.stdout
    hunt.texts["output of a subprocess"].append(ran.stdout)


def plant(server: PrefectServer, hunt: Hunt, outbox: Path) -> None:
    logging.getLogger("httpcore.http11").debug("planted %s", CANARIES["log lines"])
    hunt.attempt(lambda: _raise(ValueError(CANARIES["traceback"])))
    hunt.attempt(lambda: _raise_from(ValueError(CANARIES["exception behind an exception"])))
    hunt.keep(Delivery(event_id=CANARIES["outcome"], subscription="planted", state="waiting"))

    @task(task_run_name=CANARIES["API: task runs"], persist_result=True)
    def planted_task() -> str:
        create_markdown_artifact(CANARIES["API: artifacts"], key="planted")
        emit_event(
            "webhooks.planted", resource={"prefect.resource.id": "planted"}, payload={"is": CANARIES["API: events"]}
        )
        Variable.set("webhooks_planted", CANARIES["API: variables"], overwrite=True)
        logging.getLogger("prefect.flow_runs").info("planted %s", CANARIES["API: logs"])
        return CANARIES["result storage"]

    @flow(name="planted")
    def planted_flow(planted: str) -> None:
        planted_task()
        raise ValueError(CANARIES["API: states"])

    planted_flow(CANARIES["API: flow runs"], return_state=True)
    asked = {"filter": {"event": {"name": ["webhooks.planted"]}}}
    wait_until(lambda: server.post("events/filter", asked)["events"], "the planted event arrives")
    Leaky(values={"planted": CANARIES["API: block documents"]}).save("webhooks-planted", overwrite=True)  # type: ignore[dict-item]
    (outbox / "planted").write_text(CANARIES["outbox"])
    with server.program.output.open("a") as log:
        log.write(CANARIES["server log"])


def _raise(error: Exception) -> None:
    raise error


def _raise_from(error: Exception) -> None:
    try:
        raise error
    except ValueError:
        raise RuntimeError("planted") from None


def proofs(requests: list[CapturedRequest]) -> dict[str, str]:
    """What went over the wire to prove who sends: nothing of that is to be read either."""
    found: dict[str, str] = {}
    for request in requests:
        for signature in (request.header("webhook-signature") or "").split():
            found[f"signature {signature[:12]}…"] = signature.partition(",")[2]
        for value in request.all("Authorization"):
            found[f"authorization {value[:20]}…"] = re.split(r"Signature=|\.|\s", value)[-1]
    return found


def test_neither_a_secret_nor_a_payload_is_found_anywhere(
    prefect_api: PrefectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token_folder: Path
) -> None:
    """Everything is run, with everything that can go wrong; nothing of them is found, all canaries are."""
    server, hunt, outbox = prefect_api, Hunt(), tmp_path / "outbox"
    outbox.mkdir()
    (tmp_path / "files").mkdir()
    monkeypatch.setenv("PREFECT_ATOMIC_OUTBOX_PATH", str(outbox))
    monkeypatch.setenv("PREFECT_ATOMIC_TOKEN_REQUEST_TIMEOUT", "1")
    settings.cache_clear()
    for document in server.all_of(
        "block_documents/filter", {"block_types": {"slug": {"any_": ["atomic-webhook-subscription"]}}}
    ):
        server.client.delete(f"block_documents/{document['id']}")
    with ExitStack() as stack:
        servers = Servers(stack)
        with everything_logged() as logged:
            run_everything(server, servers, hunt, tmp_path / "files")
            plant(server, hunt, outbox)
            flush(server)
        collect(server, hunt, logged)
        provider = servers.provider
        assert isinstance(provider.handler, Provider)
        sent = proofs(servers.receiver.requests)
        tokens = {f"token {number}": token for number, token in enumerate(provider.handler.tokens)}

    # All of it really happened.
    assert {"delivered", "waiting", "paused", "RequestError", "OutboxError"} <= set(hunt.outcomes)
    assert len(sent) > 50
    assert tokens
    assert any(b"payloadMARKERofTHEhunt" in request.body for request in servers.receiver.requests)

    secrets = Hunter({**SECRETS, **samples.PLAIN_SECRETS, **samples.key_secrets(), **tokens, **sent})
    payload = Hunter({"payload": PAYLOAD})
    for place, planted in CANARIES.items():
        secrets.add(f"canary: {place}", planted)
        payload.add(f"canary: {place}", planted)
    findings: list[Finding] = []
    for hunter in (secrets, payload):
        found = searched(hunter, hunt, server, outbox)
        findings += found
        planted_and_found = {(finding.secret, finding.where) for finding in found}
        for place in PLACES:
            assert (f"canary: {place}", place) in planted_and_found, f"nothing can be found in: {place}"
    assert any(finding.secret == "payload" and finding.where == "outbox" for finding in findings)
    leaks = [
        finding
        for finding in findings
        if not finding.secret.startswith("canary: ")
        and (finding.secret != "payload" or finding.where not in HOLDS_THE_PAYLOAD)
    ]
    assert not leaks, f"{len(leaks)} leaks:\n" + "\n".join(_summary(leaks))


def collect(server: PrefectServer, hunt: Hunt, logged: Everything) -> None:
    hunt.texts["log lines"] += logged.seen
    hunt.texts["server log"].append(server.program.said())
    for place, text in told_by_the_api(server):
        if place in hunt.texts:
            hunt.texts[place].append(text)


def searched(hunter: Hunter, hunt: Hunt, server: PrefectServer, outbox: Path) -> list[Finding]:
    findings: list[Finding] = []
    for place, texts in hunt.texts.items():
        for text in dict.fromkeys(texts):
            findings += hunter.search(place, text)
    findings += hunter.search_files("result storage", server.results)
    findings += hunter.search_files("outbox", outbox)
    return findings


def _summary(leaks: list[Finding]) -> list[str]:
    """One line for each way that something got somewhere, with how often."""
    kinds: dict[str, list[Finding]] = {}
    for leak in leaks:
        kinds.setdefault(
            f"{re.sub('[0-9]+|…', '', leak.secret).split(',')[0]} in {leak.where} ({leak.how})", []
        ).append(leak)
    return [f"{len(found)} x {found[0]}" for found in kinds.values()]
