"""What an answer or a failure becomes for the caller: a Response, or an error that a person can act on.

No text made here holds a secret: URLs are redacted, and what was sent or is known is masked in all that is quoted.
"""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import NamedTuple

import httpx

from prefect_atomic.errors import RequestError, ResponseError, TransportError
from prefect_atomic.transport.redaction import excerpt, redact_url, scrub, scrub_content
from prefect_atomic.transport.request import Outgoing, url_of
from prefect_atomic.transport.response import Headers, Response
from prefect_atomic.transport.retry import TRANSIENT, is_tls_refusal


class Received(NamedTuple):
    """An answer whose body was read to its end, unless `problem` says why not."""

    response: httpx.Response
    content: bytes
    problem: str | None = None


def as_response(received: Received, secrets: tuple[str, ...], elapsed: float, attempts: int) -> Response:
    """The answer for the caller: without the request, and without the secrets that were sent."""
    answer = received.response
    headers = [
        (name.decode("ascii", "replace"), value.decode("utf-8", "replace")) for name, value in answer.headers.raw
    ]
    return Response(
        status_code=answer.status_code,
        headers=Headers((name, scrub(value, secrets)) for name, value in headers) if secrets else Headers(headers),
        content=scrub_content(received.content, secrets) if secrets else received.content,
        url=redact_url(scrub(url_of(answer.request), secrets)),
        elapsed=elapsed,
        attempts=attempts,
    )


def response_error(
    hop: Outgoing,
    secrets: tuple[str, ...],
    received: Received,
    response: Response,
    asked: float | None,
    *,
    followed: bool,
) -> ResponseError:
    """The error for an answer that says no, or cannot be used."""
    text = f"{hop.method} {response.url} answered {response.status_code}"
    if phrase := _phrase(response.status_code):
        text += f" {phrase}"
    if response.attempts > 1:
        text += f" after {response.attempts} attempts"
    if received.problem:
        text += f", {received.problem}"
    elif received.response.has_redirect_location:
        # Masked first: a secret that goes through an equals sign would be cut in two.
        text += f" and leads to {redact_url(scrub(received.response.headers['location'], secrets))[:500]}"
        if not followed:
            text += "; follow_redirects=True would follow it"
        else:
            text += ", which cannot be followed" + ("" if hop.is_replayable else ": the body cannot be sent twice")
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


def transport_error(
    hop: Outgoing, secrets: tuple[str, ...], error: httpx.HTTPError, attempts: int
) -> TransportError | RequestError:
    """The error for a request that got no complete answer."""
    # Its text only, never as the cause: httpx and httpcore may quote the URL or the headers.
    detail = str(error) or type(error).__name__
    where = f"{hop.method} {redact_url(hop.url)}"
    if isinstance(error, httpx.LocalProtocolError):
        return RequestError(scrub(f"{where} could not be sent as its headers and content are: {detail}", secrets))
    what = next((words for kind, words in _WHAT_HAPPENED.items() if isinstance(error, kind)), "failed")
    if is_tls_refusal(error):
        what = "did not trust the server's certificate"
    tries = f" ({attempts} attempts)" if attempts > 1 else ""
    # What the HTTP parser says may quote what was received; what the operating system and TLS say does not.
    reason = scrub(f"{what}: {detail}", secrets) if isinstance(error, httpx.ConnectError) else what
    return TransportError(
        scrub(f"{where} {what}{tries}: {detail}", secrets), reason=reason, transient=not is_tls_refusal(error)
    )


def _phrase(status_code: int) -> str:
    try:
        return http.HTTPStatus(status_code).phrase
    except ValueError:
        return ""
