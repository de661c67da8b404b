"""Requests to a tenant of Data 360, and what its refusals say, in words that name what to mend."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, BinaryIO, TypeGuard
from urllib.parse import quote

from prefect_atomic.errors import RequestError, ResponseError
from prefect_atomic.transport import Policy, Proof, Response, Retry, outgoing, send

INGEST = ("api", "v1", "ingest")

TARGET_HINT = (
    "source is the connector's API name; object is the endpoint's name on its page in Setup, such as "
    "contacts_734a9fa2; and a data stream has to be deployed for it"
)

_TIMEOUT = 60.0
"""Seconds for each part of an answer."""

_RETRY = Retry(attempts=5, backoff=1.0)
"""More patient than usual: whoever is told to slow down, at a rate that is not documented, has to."""

_HINTS: Mapping[tuple[str, int], str] = {
    ("ingest", 403): "the external client app needs the scope cdp_ingest_api, and its user access to the data space",
    ("query", 403): "the external client app needs the scope cdp_query_api, and its user access to the data space",
    ("sources", 404): TARGET_HINT,
    ("ingest", 409): "is another job of this object open? Abort it, or wait for its end",
}


@dataclass(frozen=True, slots=True)
class Api:
    """A tenant, ready to be asked.

    Attributes:
        proof: What proves who asks.
        base_url: Says where the tenant is, such as `https://abc123.c360a.salesforce.com`.
    """

    proof: Proof
    base_url: Callable[[], str]

    def ask(
        self,
        method: str,
        *path: str,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
        content: bytes | BinaryIO | None = None,
        content_type: str = "application/json",
        repeatable: bool | None = None,
        retry: Retry = _RETRY,
        timeout: float = _TIMEOUT,
    ) -> Response:
        """The answer to a request.

        Raises:
            ResponseError: It says no; the text says what to look at.
            CredentialError, DestinationError, TransportError: There is none.
        """
        url = "/".join((self.base_url(), *(quote(part, safe="") for part in path)))
        headers = {"Accept": "application/json", **({} if content is None else {"Content-Type": content_type})}
        request = outgoing(method, url, params=params, headers=headers, json=json, content=content, timeout=timeout)
        try:
            return send(request, self.proof, Policy(retry=retry, repeatable=repeatable))
        except ResponseError as error:
            hint = next(
                (_HINTS[part, error.response.status_code] for part in reversed(path) if _hinted(part, error)), ""
            )
            if not hint:
                raise
            told, answer = f"{error} ({hint}).", error.response
            transient, after = error.transient, error.retry_after
        raise ResponseError(told, response=answer, transient=transient, retry_after=after)


def _hinted(part: str, error: ResponseError) -> bool:
    return (part, error.response.status_code) in _HINTS


def object_of(response: Response) -> dict[str, Any]:
    """The JSON object of an answer, its fractions as Decimals.

    Raises:
        ResponseError: It is none, such as a web page of a proxy.
    """
    try:
        found = json.loads(response.content, parse_float=Decimal)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    kind = response.headers.get("content-type", "no content type").partition(";")[0]
    raise ResponseError(
        f"{response.url} answered {response.status_code} with {len(response.content)} bytes of {kind} where a JSON "
        "object was expected; does something in between answer for Data 360?",
        response=response,
    )


def reason_of(error: ResponseError) -> tuple[str, str]:
    """What a refusal calls its reason, and the reason itself."""
    try:
        found = json.loads(error.response.content)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, list) and found:
        found = found[0]
    if isinstance(found, dict):
        code = found.get("internalErrorCode") or found.get("errorCode") or found.get("error")
        message = found.get("message") or found.get("error_description")
        if isinstance(message, str) and message:
            return str(code or error.response.status_code), message
    return str(error.response.status_code), str(error)


def check_name(argument: str, value: object, example: str) -> str:
    """A name that goes into a path or a job.

    Raises:
        RequestError: It cannot.
    """
    if not isinstance(value, str) or not _is_text(value) or value in ("", ".", "..") or value != value.strip():
        raise RequestError(f"{argument}: is a name such as {example}, as text, without spaces around it.")
    return value


def check_wait(wait: object) -> None:
    """Refuses what is no time to wait, before anything is sent.

    Raises:
        RequestError: It is no number of seconds.
    """
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not wait >= 0:  # NaN is not, either
        raise RequestError("wait: is a number of seconds, 0 or more.")


def is_id(value: object) -> TypeGuard[str]:
    """Whether what Data 360 answered can be asked for."""
    return isinstance(value, str) and value not in ("", ".", "..") and _is_text(value)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a character
        return False
    return True


def check_target(source: object, object: object) -> tuple[str, str]:  # noqa: A002 - as Data 360 calls it
    """The connector and its object.

    Raises:
        RequestError: One of them is no name.
    """
    return check_name("source", source, "my_connector"), check_name("object", object, "contacts_734a9fa2")
