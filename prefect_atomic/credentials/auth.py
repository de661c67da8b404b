"""How a credential gets onto the requests of any httpx client, synchronous or not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING, cast

import httpx

from prefect_atomic.credentials.hops import aguard_hops, guard_hops
from prefect_atomic.transport import SENT_SECRETS, is_replayable
from prefect_atomic.transport.hosts import origin
from prefect_atomic.transport.logs import hide_in_logs

if TYPE_CHECKING:
    from prefect_atomic.credentials.base import Credential, TokenCredential
    from prefect_atomic.tokens import Lookup


class ProofAuth(httpx.Auth):
    """For credentials that prove themselves without asking anybody."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential
        self.requires_request_body = credential._signs_body()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        self._credential.refuse_destination(request.url)
        if self.requires_request_body:
            request.read()
        before = request.headers.raw
        self._credential._prove(request)
        guard_hops(request, before, self._credential)
        yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        self._credential.refuse_destination(request.url)
        if self.requires_request_body:
            await request.aread()
        before = request.headers.raw
        self._credential._prove(request)
        aguard_hops(request, before, self._credential)
        yield request


class TokenAuth(httpx.Auth):
    """For credentials that prove themselves with a token: a rejected one is renewed once.

    A token that was minted for this very request is not: whatever is wrong with it, its age it is not.
    """

    def __init__(self, credential: TokenCredential) -> None:
        self._credential = credential

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        self._credential.refuse_destination(request.url)
        before = request.headers.raw
        lookup = self._credential._token()
        self._credential._prove_with(request, lookup.token)
        guard_hops(request, before, self._credential)
        response = yield request
        if self._credential._is_judged_by_body(response):
            response.read()
        if self._may_renew(lookup, request, response):
            if not response.is_closed:
                cast("httpx.SyncByteStream", response.stream).close()
                response.stream = _UNREAD
            renewed = self._credential._token(rejected=lookup.token)
            self._credential._prove_with(request, renewed.token)
            yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        self._credential.refuse_destination(request.url)
        before = request.headers.raw
        lookup = await self._credential._atoken()
        self._credential._prove_with(request, lookup.token)
        aguard_hops(request, before, self._credential)
        response = yield request
        if self._credential._is_judged_by_body(response):
            await response.aread()
        if self._may_renew(lookup, request, response):
            if not response.is_closed:
                await cast("httpx.AsyncByteStream", response.stream).aclose()
                response.stream = _UNREAD
            renewed = await self._credential._atoken(rejected=lookup.token)
            self._credential._prove_with(request, renewed.token)
            yield request

    def _may_renew(self, lookup: Lookup, request: httpx.Request, response: httpx.Response) -> bool:
        return (
            not lookup.minted
            and is_replayable(request)
            and self._credential._rejects(response)
            # Where a redirect led, the token was not sent along: a refusal there says nothing about it.
            and origin(response.request.url) == origin(request.url)
        )


# In place of the body of a refusal: httpx would read that to its end before it goes on, and it may have none.
_UNREAD = httpx.ByteStream(b"")


def was_sent(request: httpx.Request, *secrets: str) -> None:
    """Notes secrets that a proof put on the request: its answer may echo them, and the HTTP libraries log it."""
    request.extensions[SENT_SECRETS] = (*request.extensions.get(SENT_SECRETS, ()), *secrets)
    hide_in_logs(secrets)
