"""Requests that hold secrets beside the proof: they are masked in all that is told of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator

import httpx

from prefect_atomic.credentials.auth import was_sent
from prefect_atomic.transport import Proof


class Hiding:
    """A proof, or none, for a request that holds further secrets.

    Args:
        proof: What proves who asks.
        secrets: What nobody may read of the request, or of an answer that echoes it.
    """

    def __init__(self, proof: Proof | None, secrets: tuple[str, ...]) -> None:
        self._proof = proof
        self._secrets = secrets

    def auth(self) -> httpx.Auth:
        return _Noting(self._proof.auth() if self._proof else httpx.Auth(), self._secrets)

    def may_prove_at(self, url: httpx.URL) -> bool:
        return self._proof.may_prove_at(url) if self._proof else False

    def refuse_destination(self, url: httpx.URL) -> None:
        if self._proof:
            self._proof.refuse_destination(url)

    def known_secrets(self) -> tuple[str, ...]:
        return (*self._secrets, *(self._proof.known_secrets() if self._proof else ()))


class _Noting(httpx.Auth):
    """Notes what is secret of a request, and leaves the proof to another."""

    def __init__(self, auth: httpx.Auth, secrets: tuple[str, ...]) -> None:
        self._auth = auth
        self._secrets = secrets

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        was_sent(request, *self._secrets)
        yield from self._auth.sync_auth_flow(request)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        was_sent(request, *self._secrets)
        flow = self._auth.async_auth_flow(request)
        try:
            proved = await anext(flow)
            while True:
                response = yield proved
                proved = await flow.asend(response)
        except StopAsyncIteration:
            return
        finally:
            await flow.aclose()
