"""No secret of the three Salesforce systems is left anywhere, though their servers echo all that they are sent.

Every method is called, and simple-salesforce's, against answers of every kind; errors, results, pickles, logs at DEBUG,
token files and what Prefect would show of the blocks are searched. A canary is planted in each place, and found.
"""

from __future__ import annotations

import io
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import simple_salesforce.bulk
import simple_salesforce.bulk2

from prefect_atomic import (
    Credential,
    KeyPair,
    Outcomes,
    Salesforce,
    SalesforceData360,
    SalesforceMarketingCloud,
    instant_retries,
    send_request,
)
from tests.e2e.hunting import Finding, Hunter
from tests.e2e.one_of_each import too_talkative
from tests.e2e.servers.faulty import Answer, CapturedRequest, FaultServer

pytestmark = pytest.mark.timeout(280)

PEM = KeyPair.generate("RS256").private_key.get_secret_value()
SECRETS = {
    "client secret of core": "coreSECRET+/=abc%2B0123456789&<>",
    "password": "passwordSECRET<&>'0123456789",
    "security token": "securityTOKENsecret0123456789",
    "session": "00Dsession!SECRETsession0123456789",
    "client secret of marketing cloud": 'marketingcloudSECRET"+/=abc0123456789',
    "client secret of data 360": "data360SECRET+/=abc%7E0123456789",
    **{f"key, line {number}": line for number, line in enumerate(PEM.splitlines()[1:-1]) if len(line) > 40},
}
CANARY = "canarySECRETinAplace0123456789"
MODES: tuple[int | str, ...] = (200, 202, 400, 401, 403, 404, 413, 429, 500, "close", "garbage", "cut-body", "not-gzip")
TOKEN_MODES: tuple[int | str, ...] = ("grant", 400, 401, 500, "close", "garbage")
PLACES = ("errors", "results", "logs", "token files", "blocks")
SOAP = """<?xml version="1.0"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>
<loginResponse><result><serverUrl>{url}/services/Soap/u/62.0</serverUrl><sessionId>{token}</sessionId></result>
</loginResponse></soapenv:Body></soapenv:Envelope>"""


class Systems:
    """All three, and their token endpoints, on one server that echoes what it is sent."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server
        self.mode: int | str = 200
        self.token_mode: int | str = "grant"
        self.tokens: list[str] = []
        server.handler = self._answer

    def _answer(self, request: CapturedRequest) -> Answer | str:
        if request.path.endswith("/token"):
            return self._granted() if self.token_mode == "grant" else self._misbehaved(request, self.token_mode)
        if "/services/Soap/u" in request.path and self.token_mode == "grant":
            text = SOAP.format(url=self.server.url, token=self._new_token())
            return Answer(200, [("Content-Type", "text/xml")], text.encode())
        return self._misbehaved(request, self.mode)

    def _granted(self) -> Answer:
        grant = {
            "access_token": self._new_token(),
            "token_type": "Bearer",
            "instance_url": self.server.url,
            "rest_instance_url": f"{self.server.url}/",
        }
        return Answer(200, [("Content-Type", "application/json")], json.dumps(grant).encode())

    def _new_token(self) -> str:
        self.tokens.append(f"00Dtoken!{len(self.tokens):04d}tokenSECRETofTHEsystem{len(self.tokens):04d}")
        return self.tokens[-1]

    def _misbehaved(self, request: CapturedRequest, mode: int | str) -> Answer | str:
        return mode if isinstance(mode, str) else too_talkative(request, status=mode)


def blocks(url: str) -> dict[str, Credential]:
    return {
        "app": Salesforce(domain=url, client_id="3MVG9", client_secret=SECRETS["client secret of core"]),
        "user": Salesforce(
            domain=url, username="me", password=SECRETS["password"], security_token=SECRETS["security token"]
        ),
        "key": Salesforce(domain=url, client_id="3MVG9", username="me", private_key=PEM),
        "session": Salesforce(session_id=SECRETS["session"], instance_url=url),
        "marketing cloud": SalesforceMarketingCloud(
            subdomain="mc563885gzs27c5t9-63k636ttgm",
            client_id="id",
            client_secret=SECRETS["client secret of marketing cloud"],
            auth_url=url,
        ),
        "data 360": SalesforceData360(
            login_url=url, client_id="3MVG9", client_secret=SECRETS["client secret of data 360"]
        ),
    }


def calls(block: Any) -> Iterator[Callable[[], Any]]:
    """What is done with a block of each kind."""
    row = {"Id": "003000000000001AAA", "External_Id__c": "x", "LastName": "L"}
    yield lambda: block.check()
    if isinstance(block, Salesforce):
        yield lambda: list(block.query("SELECT Id FROM Contact WHERE Email = 'a'"))
        yield lambda: block.get("Contact", "003000000000001AAA")
        yield lambda: block.create("Contact", [row], on_error="return")
        yield lambda: block.create("Contact", [row])
        yield lambda: block.upsert("Contact", [row, row, row], external_id="External_Id__c", bulk_from=2)
        yield lambda: block.delete_records("Contact", ["003000000000001AAA"])
        yield lambda: block.get_client().query("SELECT Id FROM Contact")
        yield lambda: block.get_client().Contact.create(row)
        yield lambda: block.get_client().bulk.Contact.insert([row])
        yield lambda: block.get_client().bulk2.Contact.insert(records=[row])
        yield lambda: block.get_client().session.get(f"{block.get_client().base_url}limits")
    elif isinstance(block, SalesforceMarketingCloud):
        yield lambda: block.upsert_rows("Events", [{"EventId": "1", "Type": "t"}], keys=["EventId"])
        yield lambda: block.upsert_rows("Events", [{"EventId": "1"}], keys=["EventId"], mode="async", on_error="return")
        yield lambda: list(block.read_rows("Events"))
        yield lambda: block.fire_entry_event("contact", "APIEvent-welcome")
        yield lambda: block.fire_entry_events("APIEvent-welcome", [{"contactKey": "c"}])
    else:
        yield lambda: block.ingest("connector", "contacts_734a9fa2", [{"id": "1"}])
        yield lambda: block.delete_records("connector", "contacts_734a9fa2", ["1"])
        yield lambda: block.bulk_ingest("connector", "contacts_734a9fa2", [{"id": "1"}])
        yield lambda: list(block.query("SELECT 1"))
    yield lambda: send_request.fn("GET", f"{_base(block)}/services/data", credential=block, retry=None)


def _base(block: Any) -> str:
    return str(block._token().token.attributes["base_url"])


class Search:
    """Collects what is left behind, and looks for secrets in it."""

    def __init__(self, hunter: Hunter) -> None:
        self.hunter = hunter
        self.found: list[Finding] = []

    def look(self, where: str, *contents: str | bytes) -> None:
        for content in contents:
            self.found += self.hunter.search(where, content)

    def attempt(self, act: Callable[[], Any]) -> None:
        try:
            result = act()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is searched
            told = "".join(traceback.format_exception(error))
            self.look("errors", str(error), repr(error), repr(error.args), told, repr(vars(error)))
            for each in (error, error.__cause__, error.__context__):
                if each is not None:
                    self.look("errors", _pickled(each))
        else:
            self.look("results", repr(result), str(result), _pickled(result))
            if isinstance(result, list | tuple | Outcomes):
                self.look("results", *map(str, result))


def _pickled(thing: object) -> bytes:
    buffer = io.BytesIO()
    try:
        pickle.dump(thing, buffer)
    except Exception as error:  # noqa: BLE001 - what cannot be pickled is not stored
        return str(error).encode()
    return buffer.getvalue()


def test_no_secret_is_left_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PREFECT_ATOMIC_TOKEN_STORE_PATH", str(tmp_path))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    for module in (simple_salesforce.bulk, simple_salesforce.bulk2):
        monkeypatch.setattr(module, "sleep", lambda seconds: None)
    caplog.set_level(logging.DEBUG)
    search = Search(Hunter(SECRETS))
    search.hunter.add("canary", CANARY)
    with FaultServer() as server, instant_retries():
        systems = Systems(server)
        for name, block in blocks(server.url).items():
            for mode in MODES:
                systems.mode = mode
                for act in calls(block):
                    _known(search, systems)
                    search.attempt(act)
            systems.mode = 200
            for token_mode in TOKEN_MODES:
                systems.token_mode = token_mode
                block.invalidate()
                search.attempt(block.check)
                search.attempt(lambda block=block: block.get_client())  # type: ignore[misc]
            systems.token_mode = "grant"
            search.look("blocks", repr(block), str(block), block.model_dump_json(), str(block.model_dump()), name)
        _known(search, systems)
        search.look("logs", caplog.text, *(str(record.args) for record in caplog.records))
        search.found += search.hunter.search_files("token files", tmp_path)
        assert len(systems.tokens) > 20
        assert len(server.requests) > 400
    assert not search.found, "\n".join({str(finding): None for finding in search.found})
    assert search.hunter.searched.keys() >= set(PLACES) - {"token files"}
    for place in PLACES:
        search.look(place, f"so {CANARY} is found")
    assert {finding.where for finding in search.found} == set(PLACES)


def _known(search: Search, systems: Systems) -> None:
    for number, token in enumerate(systems.tokens):
        search.hunter.add(f"token {number}", token)
