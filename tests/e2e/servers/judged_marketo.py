"""Marketo's REST API with judges in front: what is sent is judged by Prism, what comes back by Adobe's description.

It stands where an instance of Marketo would, passes on what is as Adobe describes it, byte for byte, and refuses what
is not with a 422. What Prism lets through is found here: names in a query that are not described (also those that
differ in upper and lower case only), and calls without a token in their header, as the description has no word on it.

A long GET may be sent as a POST with ``_method=GET``; it is judged as the GET that it stands for.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.e2e.judged import Description

from .faulty import Answer, CapturedRequest, FaultServer
from .prism import PrismServer, Violation

TOKEN = "a-token"
_HOP = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})


@dataclass(frozen=True)
class _Judged:
    """A request in the form in which it is judged."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes | None

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path


class JudgedMarketo:
    """The judges on loopback, for as long as the ``with`` block lasts. Calls go through one after another.

    Args:
        description: Adobe's.
        prism: Prism with that description, not as a proxy.
        upstream: What plays Marketo, such as ``http://127.0.0.1:8080/marketo``. Without it tokens are
            :data:`TOKEN` and the answers are made up by Prism, which always has a next page.
    """

    def __init__(self, description: Description, prism: PrismServer, *, upstream: str | None = None) -> None:
        self.calls: list[tuple[str, str]] = []
        """The calls so far, refused ones too: the method, and the path as it is described."""
        self.violations: list[Violation] = []
        self._description = description
        self._prism = prism
        self._upstream = urlsplit(upstream) if upstream else None
        self._front = FaultServer()

    @property
    def rest_endpoint(self) -> str:
        """Where the block sends calls, in its settings."""
        return f"{self._front.url}/rest"

    @property
    def identity_endpoint(self) -> str:
        """Where the block asks for tokens, in its settings."""
        return f"{self._front.url}/identity"

    @property
    def url(self) -> str:
        """What both begin with, without a slash at the end."""
        return self._front.url

    def __enter__(self) -> Self:
        self._front.handler = self._answer
        self._front.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._front.__exit__(kind, error, trace)

    def _answer(self, request: CapturedRequest) -> Answer:
        if request.path.startswith("/identity/"):  # it is not in this description
            return self._forward(request) if self._upstream else _token()
        judged = _stands_for(request)
        try:
            template = self._description.template_of(judged.method, judged.path)
        except LookupError:
            template = None
        self.calls.append((judged.method, template or judged.path))
        faults = list(self._faults(judged, template))
        verdict = None
        if _is_json(judged.headers) and judged.body and not _parses(judged.body):
            faults.append(("request.body", "is no JSON"))
        else:
            verdict = self._prism.judge(judged.method, judged.target, judged.headers, judged.body)
            faults += [(each.where, each.message) for each in verdict.violations]
        if faults or verdict is None or template is None:
            return self._refuse(judged, faults or [("request", "Prism knows it, and we do not")])
        if self._upstream is None:
            return Answer(verdict.status, _end_to_end(verdict.headers), verdict.body)
        answer = self._forward(request)
        if answer.status == 200 and _is_json(answer.headers):
            wrong = (
                self._description.faults(judged.method, template, json.loads(answer.body))
                if _parses(answer.body)
                else ["is no JSON"]
            )
            self.violations += [Violation(judged.method, judged.path, "response", each) for each in wrong]
        return answer

    def _refuse(self, judged: _Judged, faults: list[tuple[str, str]]) -> Answer:
        found = [Violation(judged.method, judged.path, where, message) for where, message in faults]
        self.violations += found
        told = {"title": "This is not as Adobe describes it", "validation": [vars(each) for each in found]}
        return Answer(422, [("Content-Type", "application/problem+json")], json.dumps(told).encode())

    def _faults(self, judged: _Judged, template: str | None) -> Iterator[tuple[str, str]]:
        sent = {name.lower(): value for name, value in judged.headers}
        if not sent.get("authorization", "").startswith("Bearer "):
            yield "request.headers.authorization", "has no token"
        if template is not None:
            names = {name for name, _ in parse_qsl(judged.query, keep_blank_values=True)}
            for name in sorted(names - self._description.query_names(judged.method, template)):
                yield f"request.query.{name}", "is not described"

    def _forward(self, request: CapturedRequest) -> Answer:
        assert self._upstream is not None
        connection = http.client.HTTPConnection(str(self._upstream.hostname), self._upstream.port, timeout=60)
        try:
            connection.putrequest(request.method, self._upstream.path + request.target, skip_accept_encoding=True)
            for name, value in _end_to_end(request.headers):
                if name.lower() != "accept-encoding":  # answers are read here
                    connection.putheader(name, value)
            if request.body or request.method != "GET":
                connection.putheader("Content-Length", str(len(request.body)))
            connection.endheaders(request.body)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        return Answer(response.status, _end_to_end(response.getheaders()), body)


def _stands_for(request: CapturedRequest) -> _Judged:
    """The request as it is described: a POST with `_method=GET` is a GET, whose query is in the body, or JSON is."""
    headers = _end_to_end(request.headers)
    query = parse_qsl(request.query, keep_blank_values=True)
    if request.method != "POST" or ("_method", "GET") not in query:
        return _Judged(request.method, request.path, request.query, headers, request.body or None)
    query.remove(("_method", "GET"))
    if not _is_json(headers):
        headers = [(name, value) for name, value in headers if name.lower() != "content-type"]
        query += parse_qsl(request.body.decode("latin-1"), keep_blank_values=True)
        return _Judged("GET", request.path, urlencode(query), headers, None)
    # Adobe's pages: such a body has the members of a query, but `input` instead of `filterValues`.
    members = json.loads(request.body) if _parses(request.body) else None
    if isinstance(members, dict):
        given = {name for name, _ in query}
        query += [("filterType", str(members["filterType"]))] if "filterType" in members.keys() - given else []
        query += [("filterValues", "input")] if "input" in members else []
    return _Judged("GET", request.path, urlencode(query), headers, request.body)


def _token() -> Answer:
    said = {"access_token": TOKEN, "token_type": "bearer", "expires_in": 3600, "scope": "tests@example.com"}
    return Answer(200, [("Content-Type", "application/json")], json.dumps(said).encode())


def _end_to_end(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers that are not about one connection."""
    return [(name, value) for name, value in headers if name.lower() not in _HOP]


def _is_json(headers: Iterable[tuple[str, str]]) -> bool:
    return any(name.lower() == "content-type" and "json" in value.lower() for name, value in headers)


def _parses(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True
