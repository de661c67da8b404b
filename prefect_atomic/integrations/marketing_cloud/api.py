"""Requests to a tenant's REST API, and what its refusals say, in words that name what to mend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from prefect_atomic.errors import RequestError, ResponseError
from prefect_atomic.integrations.marketing_cloud.failures import complaint_of
from prefect_atomic.tasks.course import Course, Do, Send
from prefect_atomic.transport import Policy, Proof, Response, Retry, outgoing
from prefect_atomic.transport.redaction import scrub_content

TIMEOUT = 60.0
"""Seconds to wait for each part of an answer: a batch of many takes its time."""

PATIENT = Retry(attempts=6, backoff=2.0, max_wait=60.0)
"""For what may be repeated. Marketing Cloud throttles whole tenants, sometimes without saying for how long (50200)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """A tenant, ready to be asked.

    Attributes:
        proof: What proves who asks.
        base_url: Says what the paths follow on, which takes a token.
        business_unit: What messages call the business unit that is asked.
        sync_batch: The most rows of one synchronous request.
        async_batch: The most rows of one asynchronous request.
        max_bytes: The most bytes of a request's body.
        max_text: The most characters of a value.
    """

    proof: Proof
    base_url: Callable[[], str]
    business_unit: str
    sync_batch: int
    async_batch: int
    max_bytes: int
    max_text: int

    def ask(
        self,
        method: str,
        *path: str,
        params: Mapping[str, str | int | None] | None = None,
        content: bytes | None = None,
        repeatable: bool | None = None,
        retry: Retry = PATIENT,
        scope: str,
    ) -> Course[Response]:
        """The course of a request. Parameters that are None are left out.

        Args:
            method: The HTTP method.
            path: The parts of the path, each of which may hold any character.
            params: The query.
            content: The body, as JSON.
            repeatable: Whether doing it twice does no harm; None = as the method says.
            retry: When to send again.
            scope: The scope that it takes, for the message where it is missing.

        Raises:
            ResponseError: Marketing Cloud says no; the text says what to look at.
            CredentialError, DestinationError, TransportError: There is no answer.
        """
        base_url = yield Do(self.base_url)
        # Without the charset, Marketing Cloud does not read other letters than ASCII ones as UTF-8.
        kind = {} if content is None else {"Content-Type": "application/json; charset=UTF-8"}
        request = outgoing(
            method,
            "/".join((base_url, *(quote(part, safe=":") for part in path))),
            params={name: value for name, value in (params or {}).items() if value is not None},
            headers={"Accept": "application/json", **kind},
            content=content,
            timeout=TIMEOUT,
        )
        try:
            answer: Response = yield Send(request, self.proof, Policy(retry=retry, repeatable=repeatable))
        except ResponseError as error:
            hint, response = self._hint(error.response, scope), self._without_secrets(error.response)
            if not hint and response is error.response:
                raise
            explained = ResponseError(
                f"{str(error).rstrip('.')} ({hint})." if hint else str(error),
                response=response,
                transient=error.transient,
                retry_after=error.retry_after,
            )
        else:
            return self._without_secrets(answer)
        raise explained

    def _without_secrets(self, response: Response) -> Response:
        """The answer without those secrets, too, that this request did not send: its text becomes an outcome's."""
        content = scrub_content(response.content, self.proof.known_secrets())
        return response if content == response.content else response.model_copy(update={"content": content})

    def _hint(self, response: Response, scope: str) -> str:
        match response.status_code:
            case 401:
                return "a new token is refused too: was the installed package removed, or its access to the tenant?"
            case 403:
                code = complaint_of(response).code
                lacks = "lacks" if code == "20002" else "may lack"
                return (
                    f"the installed package {lacks} the scope {scope}, or its integration has no access to the "
                    f"{self.business_unit}; if `scope` of the block is set, it has to name it too"
                )
            case 404:
                return f"is the key the external key of something in the {self.business_unit}?"
            case _:
                return ""


def check_key(argument: str, value: object) -> str:
    """A key that goes into a path or a body.

    Raises:
        RequestError: It cannot.
    """
    if not isinstance(value, str) or not value.strip() or value in (".", ".."):
        raise RequestError(f"{argument}: is an external key, as text, and not empty.")
    try:
        value.encode()
    except UnicodeEncodeError:
        pass  # raised out here, so that the error has no context
    else:
        return value
    raise RequestError(f"{argument}: holds a half of a character (a lone surrogate).")


def check_number(argument: str, value: object, *, most: int | None = None) -> int:
    """A whole number from 1.

    Raises:
        RequestError: It is something else.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= (most or value):
        return value
    raise RequestError(f"{argument}: is a whole number from 1{f' to {most}' if most else ''}.")


def check_seconds(argument: str, value: object) -> float:
    """A number of seconds from 0.

    Raises:
        RequestError: It is something else.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        with suppress(OverflowError):
            return float(value)
    raise RequestError(f"{argument}: is a number of seconds, zero or more.")


def object_of(response: Response) -> dict[str, Any]:
    """The JSON object of an answer.

    Raises:
        ResponseError: It is none, such as a web page of a proxy.
    """
    try:
        found = response.json()
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    raise unusable(response, "a JSON object")


def unusable(response: Response, expected: str) -> ResponseError:
    """The error for an answer that says yes and cannot be read."""
    kind = response.headers.get("content-type", "no content type").partition(";")[0]
    return ResponseError(
        f"{response.url} answered {response.status_code} with {len(response.content)} bytes of {kind} where "
        f"{expected} was expected; does something in between answer for Marketing Cloud?",
        response=response,
    )
