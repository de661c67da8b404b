"""A secret never leaves its credential: everything is run, everything that is left behind is searched.

Each secret is unmistakable (see `one_of_each`), the servers echo all they are sent in every encoding, all loggers are
at DEBUG. The search must be able to find: a canary is planted in every place that is searched, and must be reported
from there.
"""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import re
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import cloudpickle
import httpx
import pytest
from prefect import flow, task, unmapped
from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event
from prefect.logging.handlers import APILogHandler
from prefect.serializers import JSONSerializer
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.variables import Variable

from prefect_atomic import AtomicError, Credential, KeyPair, Response, Salesforce, asend_request, send_request
from prefect_atomic.settings import settings
from tests.e2e import one_of_each as samples
from tests.e2e.flows_for_tests import (
    Leaky,
    break_a_credential,
    broken_credentials,
    call_all,
    call_with_credential,
    call_with_slug,
)
from tests.e2e.hunting import Finding, Hunter
from tests.e2e.left_behind import Everything, behind, everything_logged, flush, told_by_the_api
from tests.e2e.one_of_each import Api, Provider, one_of_each
from tests.e2e.prefect_server import PROJECT, PrefectServer
from tests.e2e.servers.faulty import CapturedRequest, FaultServer

pytestmark = [
    pytest.mark.prefect_server,
    pytest.mark.timeout(600),  # a minute or two; more where the machine has other work
    # Prefect leaves the sockets of its own clients to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

CALLERS_KEY = "callersKEYinTHEquery+/="

PLACES = (
    "log lines",
    "output of a subprocess",
    "output of a worker",
    "traceback",
    "exception behind an exception",
    "repr, text or pickle of an outcome",
    "API: flow runs",
    "API: task runs",
    "API: states",
    "API: logs",
    "API: artifacts",
    "API: events",
    "API: deployments",
    "API: block documents",
    "API: block schemas",
    "API: block types",
    "API: variables",
    "result storage",
    "Prefect's home",
    "token store",
    "server log",
)


CANARIES = {place: f"canary{number:02d}in{number:02d}planted" for number, place in enumerate(PLACES)}


def canary(place: str) -> str:
    return CANARIES[place]


class Hunt:
    """What was run, and what it left behind."""

    def __init__(self) -> None:
        self.exceptions: list[BaseException] = []
        self.responses: list[Response] = []
        self.texts: dict[str, list[str | bytes]] = {place: [] for place in PLACES}
        self.outcomes: dict[str, int] = {}

    def keep(self, outcome: object) -> None:
        if isinstance(outcome, BaseException):
            self.exceptions.append(outcome)
        elif isinstance(outcome, Response):
            self.responses.append(outcome)
        else:
            raise TypeError(f"neither an answer nor an error: {outcome!r}")
        self.outcomes[type(outcome).__name__] = self.outcomes.get(type(outcome).__name__, 0) + 1

    def attempt(self, act: Callable[[], object]) -> None:
        try:
            outcome = act()
        except Exception as error:  # noqa: BLE001 - every one is searched
            outcome = error
        if isinstance(outcome, BaseException | Response):
            self.keep(outcome)
        else:
            self.texts["repr, text or pickle of an outcome"].append(repr(outcome))


class Servers:
    """Who is spoken to: a provider and an API that talk too much, one that nobody trusts, and one that is not there."""

    def __init__(self, stack: ExitStack) -> None:
        self.provider = stack.enter_context(FaultServer())
        self.elsewhere = stack.enter_context(FaultServer())
        self.api = stack.enter_context(FaultServer())
        self.tls = stack.enter_context(FaultServer(tls=True))
        self.provider.handler = Provider(self.provider)
        self.elsewhere.handler = Api(self.elsewhere, self.api.url)
        self.api.handler = Api(self.api, self.elsewhere.url)
        taken = stack.enter_context(socket.socket())
        taken.bind(("127.0.0.1", 0))  # bound and not listening: every connection is refused
        self.refusing = f"http://127.0.0.1:{taken.getsockname()[1]}"

    def sent(self) -> list[CapturedRequest]:
        return [*self.provider.requests, *self.elsewhere.requests, *self.api.requests]

    def cases(self) -> list[tuple[str, dict[str, Any]]]:
        """Every way in which a request may go: URL and options."""
        api, key = self.api.url, {"api_key": CALLERS_KEY}
        return [
            (f"{api}/echo", {}),
            (f"{api}/echo/php", {"max_response_bytes": 100_000}),
            (f"{api}/echo/dotnet", {}),
            (f"{api}/echo", {"max_response_bytes": 50}),
            (f"{api}/status/400", {}),
            (f"{api}/status/401", {}),
            (f"{api}/status/403/php", {"raise_for_status": False}),
            (f"{api}/status/500", {}),
            (f"{api}/away", {}),
            (f"{api}/away", {"follow_redirects": True}),
            (f"{api}/here", {"follow_redirects": True}),
            (f"{api}/loop", {"follow_redirects": True}),
            (f"{api}/host", {}),
            (f"{api}/host", {"follow_redirects": True}),
            (f"{api}/hang", {"timeout": 0.3, "params": key}),
            (f"{api}/close", {"params": key}),
            (f"{api}/garbage", {"params": key}),
            (f"{api}/cut-body", {"params": key}),
            (f"{api}/not-gzip", {"params": key}),
            (f"{self.refusing}/path", {"params": key}),
            (f"{self.tls.url}/echo", {"params": key}),
        ]


def failing_credentials(servers: Servers) -> list[Credential]:
    """Every credential that asks a provider, with every provider that does not help."""
    found: list[Credential] = []
    steps = ("token-400", "token-500", "token-away", "first-400", "hang", "garbage", "cut-body")
    for step in steps:
        made = one_of_each(servers.provider.url, step=step)
        found += [made[name] for name in samples.ASKS_A_PROVIDER]
    for url in (servers.refusing, servers.tls.url):
        made = one_of_each(url)
        found += [made[name] for name in samples.ASKS_A_PROVIDER]
    return found


def run_everything(server: PrefectServer, servers: Servers, hunt: Hunt) -> None:
    credentials = one_of_each(servers.provider.url)
    cases = servers.cases()

    @flow(name="hunt-threads", task_runner=ThreadPoolTaskRunner(max_workers=8), persist_result=True)
    def threads() -> int:
        persisted = send_request.with_options(persist_result=True)
        as_json = send_request.with_options(persist_result=True, result_serializer=JSONSerializer())
        futures = [
            (as_json if number % 2 else persisted).submit("GET", url, credential=credential, retry=None, **options)
            for credential in credentials.values()
            for number, (url, options) in enumerate(cases)
        ]
        for future in futures:
            hunt.keep(future.result(raise_on_failure=False))
        urls = [f"{servers.api.url}/echo", f"{servers.api.url}/status/400"]
        for credential in credentials.values():
            for mapped in persisted.map("GET", urls, credential=unmapped(credential), retry=None):
                hunt.keep(mapped.result(raise_on_failure=False))
        return len(futures)

    @flow(name="hunt-async", persist_result=True)
    async def asynchronously() -> None:
        gate = asyncio.Semaphore(8)
        persisted = asend_request.with_options(persist_result=True)

        async def one(credential: Credential, url: str, options: dict[str, Any]) -> object:
            async with gate:
                return await persisted("GET", url, credential=credential, retry=None, **options)

        thorough = ("oauth", "basic", "aws")
        runs = [
            one(credentials[name], url, options)
            for name in samples.EACH_KIND
            for url, options in (cases if name in thorough else cases[:5])
        ]
        for outcome in await asyncio.gather(*runs, return_exceptions=True):
            hunt.keep(outcome)

    @flow(name="hunt-providers", persist_result=True)
    async def providers() -> None:
        url = f"{servers.api.url}/echo"
        for number, credential in enumerate(failing_credentials(servers)):
            if number % 2:
                hunt.attempt(lambda credential=credential: send_request("GET", url, credential=credential))  # type: ignore[misc]
            else:
                outcomes = await asyncio.gather(
                    asend_request("GET", url, credential=credential), return_exceptions=True
                )
                hunt.keep(outcomes[0])
            if number < len(samples.ASKS_A_PROVIDER):
                hunt.attempt(credential.check)

    @flow(name="hunt-logs-to-the-api")
    def logs_to_the_api() -> None:
        for name in ("httpx", "httpcore.connection", "httpcore.http11"):
            logging.getLogger(name).addHandler(to_api)
        try:
            for credential in credentials.values():
                for path in ("/echo", "/status/401", "/away"):
                    hunt.attempt(
                        lambda credential=credential, path=path: send_request.fn(  # type: ignore[misc]
                            "GET", servers.api.url + path, credential=credential, retry=None
                        )
                    )
        finally:
            for name in ("httpx", "httpcore.connection", "httpcore.http11"):
                logging.getLogger(name).removeHandler(to_api)

    to_api = APILogHandler()
    threads()
    asyncio.run(asynchronously())
    asyncio.run(providers())
    logs_to_the_api()

    for name, credential in credentials.items():
        credential.save(f"hunt-{name}", overwrite=True)
        hunt.attempt(lambda credential=credential: credential.check())  # type: ignore[misc]
        hunt.attempt(lambda credential=credential: pickle.dumps(repr(credential) + str(credential)))  # type: ignore[misc]
        is_simple = isinstance(credential, Salesforce)  # its client is simple-salesforce's; see test_salesforce_hunt
        client = httpx.Client(auth=credential.auth()) if is_simple else credential.get_client()
        with client, suppress(Exception):
            client.get(f"{servers.api.url}/status/401")
            client.get(f"{servers.api.url}/away", follow_redirects=True)
    for make in broken_credentials():
        hunt.attempt(make)
    single_runs(server, servers, hunt, credentials)
    elsewhere(server, servers, hunt, credentials)


def single_runs(server: PrefectServer, servers: Servers, hunt: Hunt, credentials: dict[str, Credential]) -> None:
    """Flows that fail, each with its failure persisted; within one flow: each outside of it takes a second more."""
    url = f"{servers.api.url}/status/400"

    @flow(name="hunt-single")
    def single() -> None:
        for number in range(0, len(broken_credentials()), 3):  # all of them were tried above, outside of a flow
            hunt.attempt(lambda number=number: break_a_credential(number))  # type: ignore[misc]
        for slug in ("atomic-basic-auth/no-such", "secret/hunt-not-a-credential", samples.API_KEY):
            hunt.attempt(lambda slug=slug: send_request("GET", url, credential=slug))  # type: ignore[misc]
        for name in samples.EACH_KIND:
            credential = credentials[name]
            slug = f"{credential.get_block_type_slug()}/hunt-{name}"
            hunt.attempt(lambda slug=slug: call_with_slug(slug, url))  # type: ignore[misc]
        hunt.attempt(lambda: call_with_slug("atomic-basic-auth/hunt-basic", f"{servers.api.url}/echo"))
        hunt.attempt(lambda: call_with_credential(credentials["headers"], url))
        damage_a_saved_key(server)
        hunt.attempt(lambda: call_with_slug("atomic-key-pair/hunt-damaged", url))
        hunt.attempt(lambda: KeyPair.load("hunt-damaged"))
        reference: Any = {"$ref": {"block_document_slug": "atomic-key-pair/hunt-damaged"}}
        hunt.attempt(lambda: call_with_credential(reference, url))

    single()


def elsewhere(server: PrefectServer, servers: Servers, hunt: Hunt, credentials: dict[str, Credential]) -> None:
    """Other processes: a process pool, and a real worker that is started with a deployment."""
    noisy = {
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PREFECT_LOGGING_ROOT_LEVEL": "DEBUG",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "httpx",
    }
    slugs = [f"{credential.get_block_type_slug()}/hunt-{name}" for name, credential in credentials.items()]
    urls = [f"{servers.api.url}/echo", f"{servers.api.url}/status/400"]
    program = (
        "import sys, json\n"
        "from prefect_atomic import *\n"
        "from prefect.blocks.core import Block\n"
        "from tests.e2e.flows_for_tests import call_in_processes\n"
        "if __name__ == '__main__':\n"
        "    slugs, urls = json.loads(sys.argv[1])\n"
        "    print(call_in_processes([*slugs[:3], *(Block.load(slug) for slug in slugs)], urls))\n"
    )
    pool = "hunt-pool"
    made = server.run(sys.executable, "-m", "prefect", "work-pool", "create", pool, "--type", "process")
    assert made.returncode == 0, made.stdout
    deployments = {
        "all": (call_all, {"slugs": slugs, "urls": urls}),
        "one": (call_with_slug, {"slug": slugs[0], "url": urls[1]}),
        "planted": (call_with_slug, {"slug": f"atomic-basic-auth/{canary('output of a worker')}", "url": urls[1]}),
        "reference": (
            call_with_credential,
            {"cred": {"$ref": {"block_document_slug": "atomic-custom-headers/hunt-headers"}}, "url": urls[1]},
        ),
        "default": (call_with_credential, {"cred": credentials["basic"], "url": urls[1]}),
    }
    runs = []
    for name, (what, parameters) in deployments.items():
        identifier = (
            what.from_source(source=str(PROJECT), entrypoint=f"tests/e2e/flows_for_tests.py:{what.fn.__name__}")  # type: ignore[attr-defined]
            .to_deployment(f"hunt-{name}", work_pool_name=pool, parameters=parameters)
            .apply()
        )
        runs.append(server.post(f"deployments/{identifier}/create_flow_run")["id"])
    with server.worker(pool, **noisy) as worker:
        ran = server.run(sys.executable, "-c", program, json.dumps([slugs, urls]), timeout=120, **noisy)
        hunt.texts["output of a subprocess"].append(ran.stdout)
        assert ran.returncode == 0, ran.stdout[-3000:]
        ended = [server.wait_for_run(run, explain=worker.said, timeout=180) for run in runs]
    hunt.texts["output of a worker"].append(worker.said())
    assert [run["state_type"] for run in ended] == ["FAILED"] * 5, ended
    assert "httpcore" in worker.said()
    assert "httpcore" in ran.stdout


def damage_a_saved_key(server: PrefectServer) -> None:
    """A document that no longer makes a credential: somebody edited it in the form."""
    KeyPair.generate("ES256").save("hunt-damaged")
    document = server.get("block_types/slug/atomic-key-pair/block_documents/name/hunt-damaged")
    lines = samples.rsa_pem().splitlines()
    data = {**document["data"], "private_key": "\n".join(lines[:4] + lines[6:])}
    server.client.patch(f"block_documents/{document['id']}", json={"data": data}).raise_for_status()


def plant(server: PrefectServer, hunt: Hunt, token_folder: Path) -> None:
    """A canary of its own in every place; the one in the output of the worker was planted when that ran."""
    logging.getLogger("httpcore.http11").debug("planted %s", canary("log lines"))
    ran = server.run(sys.executable, "-c", f"import sys; sys.stderr.write({canary('output of a subprocess')!r})")
    hunt.texts["output of a subprocess"].append(ran.stdout)
    hunt.attempt(lambda: _raise(ValueError(canary("traceback"))))
    hunt.attempt(lambda: _raise_from(ValueError(canary("exception behind an exception"))))
    hunt.keep(
        Response(status_code=200, headers={}, url="", elapsed=0, attempts=1, content=canary(PLACES[5]).encode())  # type: ignore[arg-type]
    )

    @task(task_run_name=canary("API: task runs"), persist_result=True)
    def planted_task() -> str:
        create_markdown_artifact(canary("API: artifacts"), key="planted")
        emit_event("planted", resource={"prefect.resource.id": "planted"}, payload={"is": canary("API: events")})
        Variable.set("planted", canary("API: variables"), overwrite=True)
        logging.getLogger("prefect.flow_runs").info("planted %s", canary("API: logs"))
        return canary("result storage")

    @flow(name="planted")
    def planted_flow(planted: str) -> None:
        planted_task()
        raise ValueError(canary("API: states"))

    hunt.attempt(lambda: planted_flow(canary("API: flow runs")))
    hunt.exceptions.pop()  # the canary of the states shall be found there

    call_all.from_source(source=str(PROJECT), entrypoint="tests/e2e/flows_for_tests.py:call_all").to_deployment(  # type: ignore[attr-defined]
        "planted", work_pool_name="hunt-pool", description=canary("API: deployments")
    ).apply()
    Leaky(values={"planted": canary("API: block documents")}).save("planted")  # type: ignore[dict-item]

    class Planted(Leaky):
        __doc__ = f"Planted {canary('API: block types')}."
        _block_type_name = "Planted"
        _block_type_slug = "test-planted"
        default: str = canary("API: block schemas")

    Planted.register_type_and_schema()  # type: ignore[unused-coroutine]
    (server.folder / "client" / "planted").write_text(canary("Prefect's home"))
    (token_folder / "planted").write_bytes(canary("token store").encode())
    with server.program.output.open("a") as log:
        log.write(canary("server log"))


def collect(server: PrefectServer, hunt: Hunt, logged: Everything, token_folder: Path) -> None:
    """Everything that is left, by the place it was found in."""
    texts = hunt.texts
    texts["log lines"] += logged.seen
    texts["server log"].append(server.program.said())
    for error in hunt.exceptions:
        texts["traceback"].append("".join(traceback.format_exception(error)))
        texts["exception behind an exception"] += behind(error)
        with suppress(TypeError, AttributeError):
            texts["repr, text or pickle of an outcome"].append(cloudpickle.dumps(error))
        if isinstance(error, AtomicError):
            texts["repr, text or pickle of an outcome"].append(repr(vars(error)))
    for response in hunt.responses:
        texts["repr, text or pickle of an outcome"] += [
            repr(response),
            str(response),
            pickle.dumps(response),
            response.model_dump_json(),
            JSONSerializer().dumps(response),
            response.content,
            repr(response.headers),
        ]
    for place, text in told_by_the_api(server):
        texts[place].append(text)


def _raise(error: Exception) -> None:
    raise error


def _raise_from(error: Exception) -> None:
    try:
        raise error
    except ValueError:
        raise RuntimeError("planted") from None


def secrets_sent(servers: Servers) -> dict[str, str]:
    """The proofs that went over the wire: tokens, signed JWTs, Basic pairs, signatures."""
    found: dict[str, str] = {}
    for request in servers.sent():
        for value in request.all("Authorization"):
            scheme, _, proof = value.partition(" ")
            if scheme == "Bearer" and proof.count(".") == 2:
                found[f"JWT signature {proof[-12:]}"] = proof.rpartition(".")[2]
            elif scheme in ("Bearer", "Basic"):
                found[f"{scheme} {proof[:12]}…"] = proof
            elif signature := proof.partition("Signature=")[2]:
                found[f"AWS signature {signature[:12]}…"] = signature
        for text in (request.query, request.body.decode("latin-1")):
            for match in re.finditer(r"X-Amz-Signature=([0-9a-f]{64})|assertion=[\w-]+\.[\w-]+\.([\w-]{80,})", text):
                found[f"proof in a query or form {match[0][:30]}…"] = match[1] or match[2]
    return found


def test_no_secret_is_found_anywhere(
    prefect_api: PrefectServer, token_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is run, with everything that can go wrong; nothing of any secret is found, all canaries are."""
    server, hunt = prefect_api, Hunt()
    monkeypatch.setenv("PREFECT_ATOMIC_TOKEN_REQUEST_TIMEOUT", "0.5")
    settings.cache_clear()
    token_folder.mkdir(mode=0o700, exist_ok=True)
    with ExitStack() as stack:
        servers = Servers(stack)
        with everything_logged() as logged:
            run_everything(server, servers, hunt)
            plant(server, hunt, token_folder)
            flush(server)
        collect(server, hunt, logged, token_folder)
        provider = servers.provider.handler
        assert isinstance(provider, Provider)
        sent = secrets_sent(servers)
        tokens = {f"token {number}": token for number, token in enumerate(provider.tokens)}

    # All of it really happened.
    assert {"Response", "ResponseError", "TransportError", "CredentialError", "DestinationError"} <= set(hunt.outcomes)
    assert min(hunt.outcomes[kind] for kind in ("Response", "ResponseError", "TransportError", "CredentialError")) > 20
    assert len(tokens) >= len(samples.ASKS_A_PROVIDER)
    assert len(sent) > 50

    hunter = Hunter({**samples.PLAIN_SECRETS, **samples.key_secrets(), **tokens, **sent, "caller's key": CALLERS_KEY})
    for place, canary in CANARIES.items():
        hunter.add(f"canary: {place}", canary)
    findings: list[Finding] = []
    for place, texts in hunt.texts.items():
        for text in dict.fromkeys(texts):
            findings += hunter.search(place, text)
    findings += hunter.search_files("result storage", server.results)
    findings += hunter.search_files("Prefect's home", server.folder / "client")
    findings += hunter.search_files("token store", token_folder)

    planted = {(finding.secret, finding.where) for finding in findings}
    for place in PLACES:
        assert (f"canary: {place}", place) in planted, f"the hunt cannot find what is planted in: {place}"
    leaks = [finding for finding in findings if not finding.secret.startswith("canary: ")]
    assert not leaks, f"{len(leaks)} leaks:\n" + "\n".join(_summary(leaks))


def _summary(leaks: list[Finding]) -> list[str]:
    """One line for each way that a secret got somewhere, with how often."""
    kinds: dict[str, list[Finding]] = {}
    for leak in leaks:
        name = re.sub("[0-9a-f…]{6,}.*|[0-9]+", "", leak.secret)
        kinds.setdefault(f"{name} in {leak.where} ({leak.how})", []).append(leak)
    return [f"{len(found)} x {found[0]}" for found in kinds.values()]
