"""The proof of a request to Marketo, which waits until Marketo takes another call, and holds its place to the end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import TYPE_CHECKING, cast

import anyio
import anyio.to_thread
import httpx
from anyio.lowlevel import RunVar

from prefect_atomic.credentials.auth import TokenAuth
from prefect_atomic.integrations.marketo.limits import Limits, Permit
from prefect_atomic.tasks.aside import aside

if TYPE_CHECKING:
    from prefect_atomic.credentials.base import TokenCredential


_WAITING: RunVar[dict[Limits, anyio.CapacityLimiter]] = RunVar("prefect_atomic_marketo_waiting")


class LimitedAuth(TokenAuth):
    """Every request of a Marketo credential, whichever client sends it, within the limits of the instance.

    Args:
        credential: Whose token it is.
        limits: Of the instance.
        host: Where they count; requests to other hosts go at once.
    """

    def __init__(self, credential: TokenCredential, limits: Limits, host: str) -> None:
        super().__init__(credential)
        self._limits = limits
        self._host = host

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        flow = super().sync_auth_flow(request)
        if request.url.netloc.decode() != self._host:
            yield from flow
            return
        response: httpx.Response | None = None
        while True:
            permit = self._limits.permit()
            permit.acquire()
            try:
                # The token is taken after the wait, which may be longer than its life.
                request = next(flow) if response is None else request
                response = yield request
            except BaseException:
                permit.release()
                raise
            response.stream = _Held(response.stream, permit)
            try:
                request = flow.send(response)
            except StopIteration:
                return

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        flow = super().async_auth_flow(request)
        if request.url.netloc.decode() != self._host:
            response = yield await anext(flow)
            while True:
                try:
                    response = yield await flow.asend(response)
                except StopAsyncIteration:
                    return
        first: httpx.Response | None = None
        while True:
            permit = self._limits.permit()
            try:
                await anyio.to_thread.run_sync(permit.acquire, limiter=_waiting(self._limits), abandon_on_cancel=True)
                request = await anext(flow) if first is None else request
                first = yield request
            except BaseException:
                aside(permit.release)
                raise
            first.stream = _AsyncHeld(first.stream, permit)
            try:
                request = await flow.asend(first)
            except StopAsyncIteration:
                return


class _Held(httpx.SyncByteStream):
    """The body of an answer, at whose end the call is over."""

    def __init__(self, stream: object, permit: Permit) -> None:
        self._stream = cast("httpx.SyncByteStream", stream)
        self._permit = permit

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._permit.release()


class _AsyncHeld(httpx.AsyncByteStream):
    def __init__(self, stream: object, permit: Permit) -> None:
        self._stream = cast("httpx.AsyncByteStream", stream)
        self._permit = permit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield chunk

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._permit.release, limiter=anyio.CapacityLimiter(1))


def _waiting(limits: Limits) -> anyio.CapacityLimiter:
    """Threads of this event loop that wait for permits: if they took all of its own, nobody could end a call."""
    try:
        limiters = _WAITING.get()
    except LookupError:
        limiters = {}
        _WAITING.set(limiters)
    return limiters.setdefault(limits, anyio.CapacityLimiter(limits.at_once))
