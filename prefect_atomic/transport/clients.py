"""The pooled clients: one per process and configuration, the asynchronous ones per event loop.

A client costs 20 ms to build, nearly all of it the TLS context, and its pool is what makes the second request cheap.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator
from contextlib import suppress
from functools import cache
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import httpcore
import httpx

from prefect_atomic.transport.private_networks import AsyncPublicOnlyBackend, PublicOnlyBackend

_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=100, keepalive_expiry=5.0)


@cache
def tls_context() -> ssl.SSLContext:
    """The one TLS context of this process; `SSL_CERT_FILE` and `SSL_CERT_DIR` name other authorities."""
    return httpx.create_ssl_context()


def pooled_client(*, allow_private_networks: bool = True) -> httpx.Client:
    """The client that all requests of this process share."""
    if (client := _clients.get(allow_private_networks)) is None:
        with _one_at_a_time:
            if (client := _clients.get(allow_private_networks)) is None:
                transport = None if allow_private_networks else _PublicTransport()
                client = _clients[allow_private_networks] = _Client(
                    transport=transport, verify=tls_context(), limits=_LIMITS
                )
    return client


_clients: dict[bool, httpx.Client] = {}
_one_at_a_time = Lock()


async def pooled_async_client(*, allow_private_networks: bool = True) -> httpx.AsyncClient:
    """The same for the running event loop; closed when that loop ends."""
    loop = asyncio.get_running_loop()
    clients = _async_clients.setdefault(loop, {})
    if (kept := clients.get(allow_private_networks)) is None:
        transport = None if allow_private_networks else _AsyncPublicTransport()
        client = _AsyncClient(transport=transport, verify=tls_context(), limits=_LIMITS)
        kept = clients[allow_private_networks] = client, _close_with_loop(client, loop)
        await anext(kept[1])
    return kept[0]


_Keeper = AsyncGenerator[None]
_async_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[bool, tuple[httpx.AsyncClient, _Keeper]]]
_async_clients = WeakKeyDictionary()


async def _close_with_loop(client: httpx.AsyncClient, loop: asyncio.AbstractEventLoop) -> _Keeper:
    # A loop offers no hook for its end but this one: it closes the generators that are still suspended.
    try:
        yield
    finally:
        _async_clients.pop(loop, None)
        await client.aclose()


class _NoCookies(httpx.Cookies):
    """Keeps no cookies: they would pass between tenants."""

    def extract_cookies(self, response: httpx.Response) -> None:
        pass


# What httpx makes of a Location that it cannot read; it reads every one, whether or not the redirect is followed.
_UNREADABLE = (httpx.InvalidURL, httpx.RemoteProtocolError, UnicodeError)


class _Client(httpx.Client):
    """Keeps no cookies. An answer whose `Location` is no URL is an answer too, with no `next_request`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._cookies = _NoCookies()

    def _build_redirect_request(self, request: httpx.Request, response: httpx.Response) -> Any:
        with suppress(*_UNREADABLE):
            return super()._build_redirect_request(request, response)


class _AsyncClient(httpx.AsyncClient):
    """The same for an event loop."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._cookies = _NoCookies()

    def _build_redirect_request(self, request: httpx.Request, response: httpx.Response) -> Any:
        with suppress(*_UNREADABLE):
            return super()._build_redirect_request(request, response)


class _PublicTransport(httpx.HTTPTransport):
    """Connects to public addresses only. It uses no proxy: a proxy would resolve names where nobody judges them."""

    def __init__(self) -> None:
        super().__init__(verify=tls_context(), trust_env=False)
        # httpx offers no way to hand over a network backend; httpcore does.
        self._pool = httpcore.ConnectionPool(network_backend=PublicOnlyBackend(), **_pool_options())


class _AsyncPublicTransport(httpx.AsyncHTTPTransport):
    """The same for an event loop."""

    def __init__(self) -> None:
        super().__init__(verify=tls_context(), trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(network_backend=AsyncPublicOnlyBackend(), **_pool_options())


def _pool_options() -> dict[str, Any]:
    return {
        "ssl_context": tls_context(),
        "max_connections": _LIMITS.max_connections,
        "max_keepalive_connections": _LIMITS.max_keepalive_connections,
        "keepalive_expiry": _LIMITS.keepalive_expiry,
    }


def _start_anew() -> None:
    """Sockets must not be shared with a forked child, and a lock that another thread held stays locked there."""
    global _one_at_a_time
    _one_at_a_time = Lock()
    _clients.clear()


os.register_at_fork(after_in_child=_start_anew)
