"""Send a request with a credential: Atomic's Send Request step as a Prefect task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run
from prefect.tasks import task

from prefect_atomic.credentials import Credential
from prefect_atomic.errors import CredentialError
from prefect_atomic.tasks.saved import Saved
from prefect_atomic.transport import MAX_RESPONSE_BYTES, Policy, Response, Retry, asend, outgoing, send
from prefect_atomic.transport.request import Content, HeaderFields, Params, Timeout


def request_name(method: object, url: object) -> str:
    """What a run is called: `METHOD host`. Path and query stay out of it, where secrets may stand."""
    try:
        host = httpx.URL(str(url)).host
    except (httpx.InvalidURL, UnicodeError):
        host = ""
    return f"{str(method).upper()[:16]} {host or 'nowhere'}"


def _run_name() -> str:
    return request_name(task_run.parameters.get("method", ""), task_run.parameters.get("url", ""))


# Prefect's cache keys leave secrets out: with a cache, one tenant would be served another's answer.
@task(name="send_request", task_run_name=_run_name, cache_policy=NO_CACHE)
def send_request(
    method: str,
    url: str,
    *,
    credential: Credential | str | None = None,
    params: Params | None = None,
    headers: HeaderFields | None = None,
    json: Any = None,
    data: Mapping[str, Any] | None = None,
    content: Content | None = None,
    files: Any = None,
    timeout: Timeout = 30.0,
    retry: Retry | None = Retry(),
    follow_redirects: bool = False,
    raise_for_status: bool = True,
    max_response_bytes: int = MAX_RESPONSE_BYTES,
    allow_private_networks: bool = True,
) -> Response:
    """Sends a request, with the proof of a credential on it, and returns the answer.

    Args:
        method: The HTTP method.
        url: Where to, with scheme. Path and query are sent as they are written here.
        credential: What proves who sends it: a credential block, or the slug of a saved one, such as
            `atomic-basic-auth/crm`. A slug is safe in flow parameters, deployments and queues.
        params: Added to the query of the URL; the query it has is kept.
        headers: Header fields, as a mapping or as pairs.
        json: The body, as JSON.
        data: The body, as the fields of a form.
        content: The body, as text, bytes, an open binary file, or an iterator of bytes (which cannot be sent twice, so
            is never retried).
        files: The files of a multipart form, as httpx takes them; together with `data` if it has other fields.
        timeout: Seconds to wait for a connection, and for each part of the answer.
        retry: When to send again; None = never.
        follow_redirects: Whether to go where a redirect leads. Another origin gets no proof, unless the credential's
            `allowed_hosts` names it.
        raise_for_status: Whether an answer that is neither 2xx nor 304 is an error.
        max_response_bytes: The most that is read of an answer, after decoding; more is an error.
        allow_private_networks: Whether the URL may lead to a loopback, private or otherwise not public address. False
            connects directly, without the proxy that the environment may name.

    Returns:
        The answer, without the request; a secret that it echoes is masked.

    Raises:
        RequestError: The arguments do not make a request.
        CredentialError: The credential is not there, or its provider refused it.
        DestinationError: The request, or a redirect, leads where it must not go.
        TransportError: No complete answer arrived.
        ResponseError: The answer is an error, too long, or cannot be decoded; it is in `.response`.
    """
    request = outgoing(
        method, url, params=params, headers=headers, json=json, data=data, content=content, files=files, timeout=timeout
    )
    policy = Policy(
        retry=_NEVER if retry is None else retry,
        follow_redirects=follow_redirects,
        raise_for_status=raise_for_status,
        max_response_bytes=max_response_bytes,
        allow_private_networks=allow_private_networks,
    )
    return send(request, resolve(credential), policy)


@task(name="asend_request", task_run_name=_run_name, cache_policy=NO_CACHE)
async def asend_request(
    method: str,
    url: str,
    *,
    credential: Credential | str | None = None,
    params: Params | None = None,
    headers: HeaderFields | None = None,
    json: Any = None,
    data: Mapping[str, Any] | None = None,
    content: Content | None = None,
    files: Any = None,
    timeout: Timeout = 30.0,  # noqa: ASYNC109 - the same signature as send_request
    retry: Retry | None = Retry(),
    follow_redirects: bool = False,
    raise_for_status: bool = True,
    max_response_bytes: int = MAX_RESPONSE_BYTES,
    allow_private_networks: bool = True,
) -> Response:
    """The same as `send_request`, for asynchronous flows: arguments, answer and errors are those."""
    request = outgoing(
        method, url, params=params, headers=headers, json=json, data=data, content=content, files=files, timeout=timeout
    )
    policy = Policy(
        retry=_NEVER if retry is None else retry,
        follow_redirects=follow_redirects,
        raise_for_status=raise_for_status,
        max_response_bytes=max_response_bytes,
        allow_private_networks=allow_private_networks,
    )
    return await asend(request, await aresolve(credential), policy)


_NEVER = Retry(attempts=1)
_CREDENTIALS = Saved("credential", "atomic-basic-auth/crm", CredentialError)


def resolve(credential: Credential | str | None) -> Credential | None:
    """The credential itself, loaded if it was given as the slug of a saved one.

    Raises:
        CredentialError: There is no such block, or it is no credential.
    """
    return _checked(_CREDENTIALS.load(credential) if isinstance(credential, str) else credential)


async def aresolve(credential: Credential | str | None) -> Credential | None:
    """The same as `resolve`, for an event loop."""
    return _checked(await _CREDENTIALS.aload(credential) if isinstance(credential, str) else credential)


def _checked(block: object) -> Credential | None:
    if block is None or isinstance(block, Credential):
        return block
    raise CredentialError(f"credential: is a {type(block).__name__}, which is no credential of prefect-atomic.")
