"""One request from end to end: its attempts and its redirects.

`converse` decides everything and does no I/O: it yields what to do next and is sent what came of it. `send` and `asend`
are the two small drivers that do it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias
from urllib.parse import unquote_plus

import h11
import httpx

from prefect_atomic.errors import AtomicError, DestinationError, RequestError
from prefect_atomic.transport.clients import pooled_async_client, pooled_client
from prefect_atomic.transport.hosts import can_be_asked, origin
from prefect_atomic.transport.logs import hidden_queries
from prefect_atomic.transport.outcomes import Received, as_response, response_error, transport_error
from prefect_atomic.transport.redaction import redact_url, scrub
from prefect_atomic.transport.request import Outgoing, redirected, target_of
from prefect_atomic.transport.response import Response
from prefect_atomic.transport.retry import (
    IDEMPOTENT,
    Retry,
    asleep,
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


class Sink(Protocol):
    """A file, as far as the body of an answer needs it."""

    def seekable(self) -> bool: ...

    def tell(self) -> int: ...

    def seek(self, position: int, /) -> object: ...

    def truncate(self) -> object: ...

    def write(self, content: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a request is sent and its answer received; see `send_request` for what each means."""

    retry: Retry = field(default_factory=Retry)
    follow_redirects: bool = False
    raise_for_status: bool = True
    max_response_bytes: int = MAX_RESPONSE_BYTES
    allow_private_networks: bool = True
    patience: float | None = None
    """Seconds after which an answer that is still coming in, however steadily, counts as lost."""
    sink: Sink | None = None
    """Where the body of a 2xx answer is written instead of into the answer; rewound for another attempt."""
    repeatable: bool | None = None
    """Whether doing twice what the request asks does no harm; None = as its method and its Idempotency-Key say."""

    def __post_init__(self) -> None:
        limit: object = self.max_response_bytes
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
            raise RequestError("max_response_bytes: is a whole number of bytes, zero or more.")
        if not isinstance(self.retry, Retry):
            raise RequestError("retry: takes a Retry, such as Retry(attempts=5), or None for no retries.")
        if self.sink is not None and not self.sink.seekable():
            raise RequestError("sink: cannot be rewound for another attempt; give a file, such as a temporary one.")


class Send(NamedTuple):
    request: httpx.Request
    auth: httpx.Auth | None


class Wait(NamedTuple):
    seconds: float


class _Body:
    """What is received of an answer: into the sink what a success brings, into memory all else."""

    def __init__(self, sink: Sink | None) -> None:
        self._sink = sink
        self._start = sink.tell() if sink is not None else 0

    def begin(self, response: httpx.Response) -> None:
        self.rewind()
        self.length = 0
        self.content = bytearray()
        self._is_for_sink = self._sink is not None and response.is_success

    def add(self, chunk: bytes) -> None:
        self.length += len(chunk)
        if self._sink is not None and self._is_for_sink:
            self._sink.write(chunk)
        else:
            self.content += chunk

    def rewind(self) -> None:
        if self._sink is not None:
            self._sink.seek(self._start)
            self._sink.truncate()


Outcome: TypeAlias = Received | httpx.HTTPError
Conversation: TypeAlias = Generator[Send | Wait, Outcome | None, Response]


def send(outgoing: Outgoing, proof: Proof | None, policy: Policy) -> Response:
    """Sends a request and returns its answer. Raises what `send_request` raises."""
    if not isinstance(outgoing.stream, httpx.SyncByteStream):
        raise RequestError("content: is an asynchronous iterator; asend_request takes those.")
    client = pooled_client(allow_private_networks=policy.allow_private_networks)
    conversation, body = converse(outgoing, proof, policy), _Body(policy.sink)
    with hidden_queries():
        outcome: Outcome | None = None
        while True:
            try:
                step = conversation.send(outcome)
            except StopIteration as end:
                response: Response = end.value
                return response
            except AtomicError:
                body.rewind()
                raise
            if isinstance(step, Wait):
                sleep(step.seconds)
                outcome = None
            else:
                outcome = _receive(client, step, policy, body)


async def asend(outgoing: Outgoing, proof: Proof | None, policy: Policy) -> Response:
    """The same as `send`, for an event loop."""
    if not isinstance(outgoing.stream, httpx.AsyncByteStream):
        raise RequestError("content: would block the event loop; give bytes, or an asynchronous iterator of bytes.")
    client = await pooled_async_client(allow_private_networks=policy.allow_private_networks)
    conversation, body = converse(outgoing, proof, policy), _Body(policy.sink)
    with hidden_queries():
        outcome: Outcome | None = None
        while True:
            try:
                step = conversation.send(outcome)
            except StopIteration as end:
                response: Response = end.value
                return response
            except AtomicError:
                body.rewind()
                raise
            if isinstance(step, Wait):
                await asleep(step.seconds)
                outcome = None
            else:
                outcome = await _areceive(client, step, policy, body)


def _receive(client: httpx.Client, step: Send, policy: Policy, body: _Body) -> Outcome:
    limit, ends = policy.max_response_bytes, _end(policy)
    try:
        response = client.send(step.request, auth=step.auth, stream=True, follow_redirects=False)
        try:
            body.begin(response)
            if problem := _unreadable(response, limit):
                return Received(response, b"", problem)
            for chunk in response.iter_bytes():
                body.add(chunk)
                if body.length > limit:
                    return Received(response, b"", _too_long(limit))
                if time.monotonic() > ends:
                    return httpx.ReadTimeout("its end did not come")
            return Received(response, bytes(body.content))
        except httpx.DecodingError:
            return Received(response, b"", _undecodable(response))
        finally:
            response.close()
    except httpx.HTTPError as error:
        return error
    except h11.LocalProtocolError as error:  # httpcore lets it through where a body is not as long as it was declared
        return httpx.LocalProtocolError(str(error))


async def _areceive(client: httpx.AsyncClient, step: Send, policy: Policy, body: _Body) -> Outcome:
    limit, ends = policy.max_response_bytes, _end(policy)
    try:
        response = await client.send(step.request, auth=step.auth, stream=True, follow_redirects=False)
        try:
            body.begin(response)
            if problem := _unreadable(response, limit):
                return Received(response, b"", problem)
            async for chunk in response.aiter_bytes():
                body.add(chunk)
                if body.length > limit:
                    return Received(response, b"", _too_long(limit))
                if time.monotonic() > ends:
                    return httpx.ReadTimeout("its end did not come")
            return Received(response, bytes(body.content))
        except httpx.DecodingError:
            return Received(response, b"", _undecodable(response))
        finally:
            await response.aclose()
    except httpx.HTTPError as error:
        return error
    except h11.LocalProtocolError as error:  # httpcore lets it through where a body is not as long as it was declared
        return httpx.LocalProtocolError(str(error))


def _end(policy: Policy) -> float:
    return math.inf if policy.patience is None else time.monotonic() + policy.patience


def converse(outgoing: Outgoing, proof: Proof | None, policy: Policy) -> Conversation:
    """The course of a request: yields each thing to do, is sent its outcome, and returns the answer."""
    started = time.perf_counter()
    repeatable = policy.repeatable
    if repeatable is None:
        repeatable = outgoing.method in IDEMPOTENT or any(
            name.lower() == b"idempotency-key" for name, _ in outgoing.headers
        )
    attempt = 0
    while True:
        attempt += 1
        hop, outcome, secrets = yield from _follow(outgoing, proof, policy)
        may_try_again = (
            attempt < policy.retry.attempts
            and outgoing.is_replayable
            and (repeatable or hop is outgoing)  # whoever answered with a redirect may have done what was asked
        )
        if isinstance(outcome, httpx.HTTPError):
            if may_try_again and may_resend_error(outcome, repeatable=repeatable):
                yield Wait(policy.retry.wait(attempt, None))
                continue
            raise transport_error(hop, _known(secrets, proof), outcome, attempt)
        asked = retry_after(outcome.response.headers)
        if may_try_again and may_resend_status(outcome.response.status_code, repeatable=repeatable):
            yield Wait(policy.retry.wait(attempt, asked))
            continue
        response = as_response(outcome, secrets, time.perf_counter() - started, attempt)
        if outcome.problem or (policy.raise_for_status and not response.is_success and response.status_code != 304):
            raise response_error(
                hop, _known(secrets, proof), outcome, response, asked, followed=policy.follow_redirects
            )
        return response


def _follow(
    outgoing: Outgoing, proof: Proof | None, policy: Policy
) -> Generator[Send, Outcome | None, tuple[Outgoing, Outcome, tuple[str, ...]]]:
    """One attempt, with its redirects. Returns its last hop, what came of it, and the secrets that were sent."""
    hop, prover, secrets = outgoing, proof, tuple[str, ...]()
    for _ in range(MAX_REDIRECTS + 1):
        plain = hop.build()
        outcome = yield Send(plain, prover.auth() if prover else None)
        secrets += tuple(plain.extensions.get(SENT_SECRETS, ()))
        if not isinstance(outcome, Received):
            return hop, outcome or httpx.TransportError("nothing was received"), secrets
        sent, onward = outcome.response.request, outcome.response.next_request
        if not policy.follow_redirects or onward is None or not can_be_asked(onward.url):
            return hop, outcome, secrets
        if not hop.is_replayable and onward.method == hop.method:
            return hop, outcome, secrets
        if proof:
            proof.refuse_destination(onward.url)
        if origin(onward.url) != origin(sent.url):
            is_in_clear = outgoing.url.scheme == "https" and onward.url.scheme != "https"
            prover = proof if proof and proof.may_prove_at(onward.url) and not is_in_clear else None
        hop = _next_hop(hop, sent, onward, secrets)
    text = f"{outgoing.method} {redact_url(outgoing.url)} was redirected more than {MAX_REDIRECTS} times; "
    text += f"the last one led to {redact_url(hop.url)}."
    raise DestinationError(scrub(text, _known(secrets, proof)))


def _next_hop(hop: Outgoing, sent: httpx.Request, onward: httpx.Request, secrets: tuple[str, ...]) -> Outgoing:
    """The request that a redirect asks for, without anything the proof added: neither header nor query parameter."""
    headers: Iterable[tuple[bytes, bytes]] = hop.headers
    if origin(onward.url) != origin(sent.url):
        kept = [(name, value) for name, value in headers if name.lower() not in _FOR_ONE_ORIGIN]
        headers = [(b"Host", onward.url.netloc), *kept]
    url = onward.url
    path, _, query = url.raw_path.partition(b"?")
    echoed = (set(_pairs(target_of(sent))) - set(_pairs(hop.target))) & set(_pairs(url.raw_path))
    # Without a secret among them, they are a signature of the redirecting server's own.
    if any(value in secrets for _, value in echoed):
        query = b"&".join(pair for pair in query.split(b"&") if _pair(pair) not in echoed)
        url = url.copy_with(raw_path=path + (b"?" + query if query else b""))
    return redirected(hop, onward.method, url, headers)


_FOR_ONE_ORIGIN = frozenset({b"authorization", b"cookie", b"host", b"proxy-authorization"})
"""Header fields of the caller's own that are not for others; `Host` is made anew."""


def _pairs(target: bytes) -> list[tuple[str, str]]:
    query = target.partition(b"?")[2]
    return [_pair(pair) for pair in query.split(b"&") if pair]


def _pair(pair: bytes) -> tuple[str, str]:
    name, _, value = pair.decode("ascii", "replace").partition("=")
    return unquote_plus(name), unquote_plus(value)


def _known(secrets: tuple[str, ...], proof: Proof | None) -> tuple[str, ...]:
    return (*secrets, *proof.known_secrets()) if proof else secrets


def _unreadable(response: httpx.Response, limit: int) -> str | None:
    """What speaks against reading a body."""
    if response.headers.get("content-encoding", "").count(","):
        return "with a body that is encoded more than once"  # 30 kB of gzip in gzip unpack to gigabytes, at once
    length = response.headers.get("content-length", "")
    has_body = response.request.method != "HEAD" and response.status_code not in (204, 304)
    return _too_long(limit) if has_body and length.isdigit() and int(length) > limit else None


def _too_long(limit: int) -> str:
    return f"with more than max_response_bytes={limit} bytes; raise the limit if that is right"


def _undecodable(response: httpx.Response) -> str:
    return f"with a body that is not the {response.headers.get('content-encoding', 'encoding')} it claims to be"
