"""One request from end to end: attempts, redirects, and what becomes of the answer.

`converse` decides everything and does no I/O: it yields what to do next and is sent what came of it. `send` and `asend`
are the two small drivers that do it.
"""

from __future__ import annotations

import http
import time
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias
from urllib.parse import unquote_plus

import httpx

from prefect_atomic.errors import AtomicError, DestinationError, ResponseError, TransportError
from prefect_atomic.transport.clients import pooled_async_client, pooled_client
from prefect_atomic.transport.hosts import origin
from prefect_atomic.transport.logs import hidden_queries
from prefect_atomic.transport.redaction import excerpt, redact_url, scrub, scrub_content
from prefect_atomic.transport.request import Outgoing, redirected, target_of, url_of
from prefect_atomic.transport.response import Headers, Response
from prefect_atomic.transport.retry import (
    IDEMPOTENT,
    TRANSIENT,
    Retry,
    asleep,
    is_tls_refusal,
    may_resend_error,
    may_resend_status,
    retry_after,
    sleep,
)

MAX_RESPONSE_BYTES = 50 * 1024 * 1024
MAX_REDIRECTS = 10

SENT_SECRETS = "prefect_atomic.sent_secrets"
"""The extension in which a proof leaves the secrets that it put on a request: an answer may echo them."""


class Proof(Protocol):
    """What the exchange needs of a credential."""

    def auth(self) -> httpx.Auth: ...

    def may_prove_at(self, url: httpx.URL) -> bool:
        """Whether the credential names this host as one that may see its proof."""

    def refuse_destination(self, url: httpx.URL) -> None:
        """Raises DestinationError if requests with this credential must not go there."""

    def known_secrets(self) -> Iterable[str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a request is sent and its answer received; see `send_request` for what each means."""

    retry: Retry = field(default_factory=Retry)
    follow_redirects: bool = False
    raise_for_status: bool = True
    max_response_bytes: int = MAX_RESPONSE_BYTES
    allow_private_networks: bool = True


@dataclass(frozen=True, slots=True)
class Send:
    request: httpx.Request
    auth: httpx.Auth | None


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


@dataclass(frozen=True, slots=True)
class Received:
    """An answer whose body was read to its end, unless `problem` says why not."""

    response: httpx.Response
    content: bytes
    problem: str | None = None


Conversation: TypeAlias = Generator[Send | Wait, Received | httpx.HTTPError | None, Response]


def send(outgoing: Outgoing, proof: Proof | None, policy: Policy) -> Response:
    """Sends a request and returns its answer. Raises what `send_request` raises."""
    client = pooled_client(allow_private_networks=policy.allow_private_networks)
    conversation = converse(outgoing, proof, policy)
    with hidden_queries():
        outcome: Received | httpx.HTTPError | None = None
        while True:
            try:
                step = conversation.send(outcome)
            except StopIteration as end:
                response: Response = end.value
                return response
            if isinstance(step, Wait):
                sleep(step.seconds)
                outcome = None
            else:
                outcome = _receive(client, step, policy.max_response_bytes)


async def asend(outgoing: Outgoing, proof: Proof | None, policy: Policy) -> Response:
    """The same as `send`, for an event loop."""
    client = await pooled_async_client(allow_private_networks=policy.allow_private_networks)
    conversation = converse(outgoing, proof, policy)
    with hidden_queries():
        outcome: Received | httpx.HTTPError | None = None
        while True:
            try:
                step = conversation.send(outcome)
            except StopIteration as end:
                response: Response = end.value
                return response
            if isinstance(step, Wait):
                await asleep(step.seconds)
                outcome = None
            else:
                outcome = await _areceive(client, step, policy.max_response_bytes)


def _receive(client: httpx.Client, step: Send, limit: int) -> Received | httpx.HTTPError:
    try:
        response = client.send(step.request, auth=step.auth, stream=True, follow_redirects=False)
        try:
            content = bytearray()
            if problem := _declared_too_long(response, limit):
                return Received(response, b"", problem)
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > limit:
                    return Received(response, b"", _too_long(limit))
            return Received(response, bytes(content))
        except httpx.DecodingError:
            return Received(response, b"", _undecodable(response))
        finally:
            response.close()
    except httpx.HTTPError as error:
        return error


async def _areceive(client: httpx.AsyncClient, step: Send, limit: int) -> Received | httpx.HTTPError:
    try:
        response = await client.send(step.request, auth=step.auth, stream=True, follow_redirects=False)
        try:
            content = bytearray()
            if problem := _declared_too_long(response, limit):
                return Received(response, b"", problem)
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > limit:
                    return Received(response, b"", _too_long(limit))
            return Received(response, bytes(content))
        except httpx.DecodingError:
            return Received(response, b"", _undecodable(response))
        finally:
            await response.aclose()
    except httpx.HTTPError as error:
        return error


def converse(outgoing: Outgoing, proof: Proof | None, policy: Policy) -> Conversation:
    """The course of a request: yields each thing to do, is sent its outcome, and returns the answer."""
    started = time.perf_counter()
    repeatable = outgoing.method in IDEMPOTENT or any(
        name.lower() == b"idempotency-key" for name, _ in outgoing.headers
    )
    attempt = 0
    while True:
        attempt += 1
        may_try_again = attempt < policy.retry.attempts and outgoing.is_replayable
        received, secrets = yield from _follow(outgoing, proof, policy)
        if isinstance(received, httpx.HTTPError):
            if may_try_again and may_resend_error(received, repeatable=repeatable):
                yield Wait(policy.retry.wait(attempt, None))
                continue
            raise _transport_error(outgoing, _known(secrets, proof), received, attempt)
        asked = retry_after(received.response.headers)
        if may_try_again and may_resend_status(received.response.status_code, repeatable=repeatable):
            yield Wait(policy.retry.wait(attempt, asked))
            continue
        response = _as_response(received, secrets, time.perf_counter() - started, attempt)
        if received.problem or (policy.raise_for_status and not response.is_success and response.status_code != 304):
            raise _response_error(outgoing, _known(secrets, proof), received, response, asked)
        return response


def _follow(
    outgoing: Outgoing, proof: Proof | None, policy: Policy
) -> Generator[Send, Received | httpx.HTTPError | None, tuple[Received | httpx.HTTPError, tuple[str, ...]]]:
    """One attempt, with its redirects. Returns its last outcome, and the secrets that were sent to get it."""
    hop, prover, secrets = outgoing, proof, tuple[str, ...]()
    for _ in range(MAX_REDIRECTS + 1):
        plain = hop.build()
        outcome = yield Send(plain, prover.auth() if prover else None)
        secrets += tuple(plain.extensions.get(SENT_SECRETS, ()))
        if not isinstance(outcome, Received):
            return outcome or httpx.TransportError("nothing was received"), secrets
        sent, onward = outcome.response.request, outcome.response.next_request
        if onward is None or not policy.follow_redirects:
            return outcome, secrets
        if proof:
            proof.refuse_destination(onward.url)
        if not hop.is_replayable and onward.method == hop.method:
            return outcome, secrets
        if origin(onward.url) != origin(sent.url):
            is_downgrade = sent.url.scheme == "https" and onward.url.scheme != "https"
            prover = proof if proof and proof.may_prove_at(onward.url) and not is_downgrade else None
        hop = _next_hop(hop, sent, onward)
    raise DestinationError(
        f"{outgoing.method} {redact_url(outgoing.url)} was redirected more than {MAX_REDIRECTS} times; "
        f"the last one led to {redact_url(hop.url)}."
    )


def _next_hop(hop: Outgoing, sent: httpx.Request, onward: httpx.Request) -> Outgoing:
    """The request that a redirect asks for, without anything the proof added: neither header nor query parameter."""
    plain = set(hop.headers)
    added = {name.lower() for name, value in sent.headers.raw if (name, value) not in plain}
    headers = [
        (name, value) for name, value in onward.headers.raw if name.lower() not in added or name.lower() == b"host"
    ]
    url = onward.url
    path, _, query = url.raw_path.partition(b"?")
    added_to_query = set(_pairs(target_of(sent))) - set(_pairs(hop.target))
    if query and added_to_query:
        query = b"&".join(pair for pair in query.split(b"&") if _pair(pair) not in added_to_query)
        url = url.copy_with(raw_path=path + (b"?" + query if query else b""))
    return redirected(hop, onward.method, url, headers)


def _pairs(target: bytes) -> list[tuple[str, str]]:
    query = target.partition(b"?")[2]
    return [_pair(pair) for pair in query.split(b"&") if pair]


def _pair(pair: bytes) -> tuple[str, str]:
    name, _, value = pair.decode("ascii", "replace").partition("=")
    return unquote_plus(name), unquote_plus(value)


def _known(secrets: tuple[str, ...], proof: Proof | None) -> tuple[str, ...]:
    return (*secrets, *proof.known_secrets()) if proof else secrets


def _as_response(received: Received, secrets: tuple[str, ...], elapsed: float, attempts: int) -> Response:
    answer = received.response
    headers = [
        (name.decode("ascii", "replace"), value.decode("utf-8", "replace")) for name, value in answer.headers.raw
    ]
    return Response(
        status_code=answer.status_code,
        headers=Headers((name, scrub(value, secrets)) for name, value in headers) if secrets else Headers(headers),
        content=scrub_content(received.content, secrets) if secrets else received.content,
        url=scrub(redact_url(url_of(answer.request)), secrets),
        elapsed=elapsed,
        attempts=attempts,
    )


def _response_error(
    outgoing: Outgoing, secrets: tuple[str, ...], received: Received, response: Response, asked: float | None
) -> AtomicError:
    text = f"{outgoing.method} {response.url} answered {response.status_code}"
    if phrase := _phrase(response.status_code):
        text += f" {phrase}"
    if response.attempts > 1:
        text += f" after {response.attempts} attempts"
    if received.problem:
        text += f", {received.problem}"
    elif received.response.has_redirect_location:
        where = redact_url(received.response.headers["location"])
        text += f" and leads to {where}; follow_redirects=True would follow it"
    elif shown := excerpt(received.content, secrets):
        text += f": {shown}"
    return ResponseError(
        scrub(text, secrets),
        response=response,
        transient=response.status_code in TRANSIENT and not received.problem,
        retry_after=asked,
    )


_WHAT_HAPPENED: Mapping[type[httpx.HTTPError], str] = {
    httpx.ConnectTimeout: "could not connect in time",
    httpx.ReadTimeout: "got no answer in time",
    httpx.WriteTimeout: "could not be sent in time",
    httpx.PoolTimeout: "waited too long for a free connection",
    httpx.ConnectError: "could not connect",
    httpx.ReadError: "lost the connection while it was read",
    httpx.WriteError: "lost the connection while it was sent",
    httpx.RemoteProtocolError: "got an answer that is not valid HTTP, or only a part of one",
    httpx.ProxyError: "was refused by the proxy",
}


def _transport_error(
    outgoing: Outgoing, secrets: tuple[str, ...], error: httpx.HTTPError, attempts: int
) -> TransportError:
    what = next((words for kind, words in _WHAT_HAPPENED.items() if isinstance(error, kind)), "failed")
    if is_tls_refusal(error):
        what = "did not trust the server's certificate"
    detail = str(error) or type(error).__name__
    tries = f" ({attempts} attempts)" if attempts > 1 else ""
    text = f"{outgoing.method} {redact_url(outgoing.url)} {what}{tries}: {detail}"
    # Without the cause: httpx and httpcore may quote the URL or the headers.
    failure = TransportError(scrub(text, secrets), transient=not is_tls_refusal(error))
    failure.__suppress_context__ = True
    return failure


def _phrase(status_code: int) -> str:
    try:
        return http.HTTPStatus(status_code).phrase
    except ValueError:
        return ""


def _declared_too_long(response: httpx.Response, limit: int) -> str | None:
    length = response.headers.get("content-length", "")
    return _too_long(limit) if length.isdigit() and int(length) > limit and response.request.method != "HEAD" else None


def _too_long(limit: int) -> str:
    return f"with more than max_response_bytes={limit} bytes; raise the limit if that is right"


def _undecodable(response: httpx.Response) -> str:
    return f"with a body that is not the {response.headers.get('content-encoding', 'encoding')} it claims to be"
