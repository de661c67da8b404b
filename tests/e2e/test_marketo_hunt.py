"""No secret of a Marketo block is left anywhere, though the instance echoes all that it is sent.

Its identity URL carries the secret, and fails in every way. Errors, results, pickles, logs at DEBUG, token files, the
files of the limits and what Prefect would show of the block are searched. A canary is planted in each place, and found.
"""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from prefect import flow

from prefect_atomic import Marketo, instant_retries, send_request
from prefect_atomic.credentials import provider
from prefect_atomic.integrations.marketo import limits
from tests.e2e.hunting import Hunter
from tests.e2e.one_of_each import too_talkative
from tests.e2e.servers.faulty import Answer, CapturedRequest, FaultServer
from tests.e2e.test_salesforce_hunt import Search

if TYPE_CHECKING:
    from tests.e2e.prefect_server import PrefectServer

pytestmark = pytest.mark.timeout(280)

SECRETS = {"client secret": 'marketoSECRET"+/=abc%2B0123456789&<>'}
CANARY = "canarySECRETinAplace0123456789"
MODES: tuple[int | str, ...] = (200, 401, 403, 404, 413, 500, "602", "607", "1003", "close", "garbage", "cut-body")
TOKEN_MODES: tuple[int | str, ...] = ("grant", 400, 401, 403, 404, 500, "html", "redirect", "close", "garbage")
PLACES = ("errors", "results", "logs", "token files", "limits", "block")


class Instance:
    """An instance that echoes what it is sent, and its identity endpoint."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server
        self.mode: int | str = 200
        self.token_mode: int | str = "grant"
        self.tokens: list[str] = []
        server.handler = self._answer

    def block(self) -> Marketo:
        return Marketo(
            rest_endpoint=f"{self.server.url}/rest",
            identity_endpoint=f"{self.server.url}/identity",
            client_id="service",
            client_secret=SECRETS["client secret"],
        )

    def asked(self) -> list[CapturedRequest]:
        """What reached the API."""
        return [request for request in self.server.requests if request.path.startswith("/rest")]

    def _answer(self, request: CapturedRequest) -> Answer | str:
        if request.path.startswith("/identity"):
            return self._identity(request)
        if isinstance(self.mode, int):
            return too_talkative(request, status=self.mode)
        if not self.mode.isdigit():
            return self.mode
        told = f"{request.target} {request.headers} {request.body.decode('utf-8', 'replace')}"
        return _json({"requestId": told, "success": False, "errors": [{"code": self.mode, "message": told}]})

    def _identity(self, request: CapturedRequest) -> Answer | str:
        match self.token_mode:
            case "grant":
                self.tokens.append(f"t0kenSECRETofTHEinstance{len(self.tokens):04d}:sj")
                return _json({"access_token": self.tokens[-1], "token_type": "bearer", "expires_in": 3599})
            case "html":
                return Answer(200, [("Content-Type", "text/html")], f"<p>{request.target}</p>".encode())
            case "redirect":
                return Answer(302, [("Location", f"{self.server.url}/elsewhere{request.target}")], b"")
            case int(status):
                return too_talkative(request, status=status)
            case mode:
                return mode


def _json(content: dict[str, Any]) -> Answer:
    return Answer(200, [("Content-Type", "application/json")], json.dumps(content).encode())


def calls(block: Marketo) -> Iterator[Callable[[], Any]]:
    """What is done with the block."""
    lead = {"email": "ada@example.com"}
    yield block.check
    yield block.describe
    yield block.usage
    yield lambda: block.sync_leads([lead], on_error="return")
    yield lambda: block.sync_leads([lead])
    yield lambda: list(block.leads("email", ["ada@example.com"]))
    yield lambda: block.merge_leads(1, [2])
    yield lambda: block.delete_leads([1])
    yield lambda: block.associate_lead(1, "id:123&token:abc")
    yield lambda: block.add_to_list(1, [1], on_error="return")
    yield lambda: list(block.list_members(1))
    yield lambda: block.set_program_status(1, "Registered", [1])
    yield lambda: block.request_campaign(1, [1], on_error="return")
    yield lambda: block.schedule_campaign(1)
    yield lambda: block.sync_custom_objects("car_c", [{"vin": "1"}])
    yield lambda: block.import_leads([lead], on_error="return", wait=1)
    yield lambda: send_request.fn("GET", f"{block.rest_url()}/v1/leads.json", credential=block, retry=None)
    yield lambda: _with_client(block)
    yield lambda: asyncio.run(_with_async_client(block))


def _with_client(block: Marketo) -> str:
    with block.get_client() as client:
        try:
            return str(client.get(f"{block.rest_url()}/v1/leads.json").status_code)
        except httpx.HTTPError as error:
            return _told_by_httpx(error)


async def _with_async_client(block: Marketo) -> str:
    async with block.get_async_client() as client:
        try:
            return str((await client.get(f"{block.rest_url()}/v1/leads.json")).status_code)
        except httpx.HTTPError as error:
            return _told_by_httpx(error)


def _told_by_httpx(error: httpx.HTTPError) -> str:
    # Its errors in a client of the user's own hold the request as it was sent: they are shown, and not pickled.
    return "".join(traceback.format_exception(error)) + repr(error)


def test_no_secret_is_left_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tokens, counts = tmp_path / "tokens", tmp_path / "limits"
    monkeypatch.setenv("PREFECT_ATOMIC_TOKEN_STORE_PATH", str(tokens))
    monkeypatch.setenv("PREFECT_ATOMIC_LIMITS_PATH", str(counts))
    limits.forget()
    for name in ("httpx", "httpcore"):
        caplog.set_level(logging.DEBUG, name)
    caplog.set_level(logging.DEBUG)
    search = Search(Hunter(SECRETS))
    search.hunter.add("canary", CANARY)
    with FaultServer() as server, instant_retries():
        instance = Instance(server)
        block = instance.block()
        for mode in MODES:
            instance.mode = mode
            for act in calls(block):
                search.attempt(act)
                _known(search, instance)
        instance.mode = 200
        for token_mode in TOKEN_MODES:
            instance.token_mode = token_mode
            for act in (block.check, block.describe, lambda: _with_client(block)):
                block.invalidate()
                search.attempt(act)
            block.invalidate()
            search.attempt(lambda: asyncio.run(_with_async_client(block)))
        search.look("block", repr(block), str(block), block.model_dump_json(), str(block.model_dump()))
        _known(search, instance)
        search.look("logs", caplog.text, *(str(record.args) for record in caplog.records))
        search.found += search.hunter.search_files("token files", tokens)
        search.found += search.hunter.search_files("limits", counts)
        assert len(instance.tokens) > 3
        assert len(server.requests) > 150
    assert list(counts.glob("*.calls"))
    assert not search.found, "\n".join({str(finding): None for finding in search.found})
    for place in PLACES:
        search.look(place, f"so {CANARY} is found")
    assert {finding.where for finding in search.found} == set(PLACES)


@pytest.mark.parametrize("how", ["hangs", "nobody"])
def test_an_identity_endpoint_without_an_answer_is_told_without_its_query(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    caplog.set_level(logging.DEBUG)
    search = Search(Hunter(SECRETS))
    with FaultServer() as server, instant_retries():
        url = server.url if how == "hangs" else "http://127.0.0.1:9"
        server.handler = lambda request: "hang"
        monkeypatch.setattr(provider, "deadline", lambda: provider.time.monotonic() + 1)
        block = Marketo(
            rest_endpoint=f"{url}/rest",
            identity_endpoint=f"{url}/identity",
            client_id="service",
            client_secret=SECRETS["client secret"],
        )
        search.attempt(block.check)
    search.look("logs", caplog.text, *(str(record.args) for record in caplog.records))
    assert "errors" in search.hunter.searched
    assert not search.found, "\n".join({str(finding): None for finding in search.found})


@pytest.mark.prefect_server
def test_what_prefect_shows_of_a_saved_block_and_a_run_has_no_secret(
    prefect_api: PrefectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_ATOMIC_TOKEN_STORE_PATH", str(tmp_path / "tokens"))
    monkeypatch.setenv("PREFECT_ATOMIC_LIMITS_PATH", str(tmp_path / "limits"))
    limits.forget()

    @flow(persist_result=True)
    def hunted(given: Marketo) -> Any:
        return given.sync_leads([{"email": "ada@example.com"}], on_error="return")

    search = Search(Hunter(SECRETS))
    with FaultServer() as server, instant_retries():
        instance = Instance(server)
        instance.mode = "1003"
        block = instance.block()
        block.save("hunted", overwrite=True)
        search.attempt(lambda: hunted(block))
        search.attempt(lambda: hunted(Marketo.load("hunted")))  # type: ignore[arg-type]
        assert len(instance.asked()) >= 2
        _known(search, instance)
    shown = prefect_api.all_of("block_documents/filter")
    assert any(document["name"] == "hunted" for document in shown)
    runs = [run for run in prefect_api.all_of("flow_runs/filter") if "given" in run["parameters"]]
    assert len(runs) >= 2
    search.look("Prefect's API", json.dumps(shown), json.dumps(runs), json.dumps(prefect_api.all_of("logs/filter")))
    search.found += search.hunter.search_files("stored results", prefect_api.results)
    assert not search.found, "\n".join({str(finding): None for finding in search.found})


def _known(search: Search, instance: Instance) -> None:
    for number, token in enumerate(instance.tokens):
        search.hunter.add(f"token {number}", token)
