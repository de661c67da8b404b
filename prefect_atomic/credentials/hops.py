"""Keeps the proof at home when a client of the user's own follows a redirect.

httpx strips `Authorization` on the way to another origin and forwards every other header. An `httpx.Auth` is not asked
again at a redirect, but httpcore tells the `trace` extension of a request what it is about to send, at every hop. Our
own requests do not need this: they follow redirects themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

import httpx

from prefect_atomic.transport.hosts import origin
from prefect_atomic.transport.request import REPLAYABLE

_Guard = Callable[[str, dict[str, Any]], None]


class _Owner(Protocol):
    def may_prove_at(self, url: httpx.URL) -> bool: ...

    def refuse_destination(self, url: httpx.URL) -> None: ...


def guard_hops(request: httpx.Request, before: Iterable[tuple[bytes, bytes]], owner: _Owner) -> None:
    """Watches every hop of a request that was just proved; `before` are its headers without the proof."""
    if REPLAYABLE in request.extensions:
        return
    guard, theirs = _guard(request, before, owner), request.extensions.get("trace")

    def trace(event: str, info: dict[str, Any]) -> None:
        guard(event, info)
        if theirs is not None:
            theirs(event, info)

    request.extensions["trace"] = trace


def aguard_hops(request: httpx.Request, before: Iterable[tuple[bytes, bytes]], owner: _Owner) -> None:
    """The same for an asynchronous client."""
    if REPLAYABLE in request.extensions:
        return
    guard, theirs = _guard(request, before, owner), request.extensions.get("trace")

    async def trace(event: str, info: dict[str, Any]) -> None:
        guard(event, info)
        if theirs is not None:
            answer: Awaitable[None] = theirs(event, info)
            await answer

    request.extensions["trace"] = trace


def _guard(request: httpx.Request, before: Iterable[tuple[bytes, bytes]], owner: _Owner) -> _Guard:
    def guard(event: str, info: dict[str, Any]) -> None:
        if not event.endswith("send_request_headers.started") or info["request"].method == b"CONNECT":
            return
        sent = info["request"]
        there = _destination(sent.url)
        # httpx hands the extensions of a request on to the next hop, which has a target of its own.
        request.extensions.pop("target", None)
        if origin(there) == origin(request.url):
            return
        owner.refuse_destination(there)
        if request.url.scheme == "https" != there.scheme or not owner.may_prove_at(there):
            known = set(before)
            added = {name.lower() for name, value in request.headers.raw if (name, value) not in known}
            sent.headers = [(name, value) for name, value in sent.headers if name.lower() not in added]

    return guard


def _destination(url: Any) -> httpx.URL:
    if url.target.startswith(b"http"):  # by way of a proxy: the target is the whole URL
        return httpx.URL(url.target.decode())
    return httpx.URL(scheme=url.scheme.decode(), host=url.host.decode(), port=url.port)
