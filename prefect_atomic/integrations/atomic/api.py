"""Requests to one environment of Atomic, and what comes back, read as liberally as the documentation is vague."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from prefect_atomic.errors import RequestError, ResponseError
from prefect_atomic.integrations.atomic.hiding import Hiding
from prefect_atomic.integrations.atomic.operations import Operation
from prefect_atomic.tasks.course import Send
from prefect_atomic.transport import Outgoing, Policy, Proof, Response, Retry, outgoing

T = TypeVar("T")

TIMEOUT = 60.0
"""Seconds to wait for each part of an answer: a batch of many takes its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """An operation of an environment, ready to be asked for.

    Attributes:
        environment: The URL that the operation's path is relative to.
        operation: Its method and path.
        proof: What proves who asks.
        batch_size: How many things go into one request.
        target_in_payload: Whether the target of an invocation goes into its payload.
    """

    environment: str
    operation: Operation
    proof: Proof
    batch_size: int
    target_in_payload: bool

    def ask(
        self,
        *,
        id: str = "",  # noqa: A002 - as the path calls it
        params: Mapping[str, str | int | None] | None = None,
        json: Any = None,
        retry: Retry | None = None,
        secrets: tuple[str, ...] = (),
    ) -> Send:
        """The step that asks for it. Parameters that are None are left out; `secrets` are masked in errors and logs."""
        path = self.operation.path.replace("{id}", quote(id, safe=""))
        request = outgoing(
            self.operation.method,
            f"{self.environment}/{path}",
            params={name: value for name, value in (params or {}).items() if value is not None},
            json=json,
            timeout=TIMEOUT,
        )
        return Send(request, Hiding(self.proof, secrets) if secrets else self.proof, Policy(retry=retry or Retry()))


def check_id(argument: str, value: object) -> str:
    """An id that goes into a path.

    Raises:
        RequestError: It cannot: it is empty, no text, or would lead elsewhere.
    """
    if not isinstance(value, str) or not value.strip() or value in (".", ".."):
        raise RequestError(f"{argument}: is the id of one, as text, and not empty.")
    return value


def check_number(argument: str, value: object, *, most: int) -> int:
    """A whole number from 1.

    Raises:
        RequestError: It is something else.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise RequestError(f"{argument}: is a whole number from 1 to {most}.")
    return value


def parsed(request: Outgoing, response: Response, *, is_secret: bool = False) -> Any:
    """The answer's JSON.

    Raises:
        ResponseError: It is none.
    """
    try:
        return response.json()
    except (ValueError, RecursionError):
        pass
    raise unusable(request, response, "JSON", is_secret=is_secret)


def listed(request: Outgoing, response: Response, name: str, *, is_secret: bool = False) -> list[dict[str, Any]]:
    """The objects that an answer lists, in `data`, in `data` under a name, or at the top."""
    answer = parsed(request, response, is_secret=is_secret)
    for _ in range(3):
        if isinstance(answer, list) and all(isinstance(item, dict) for item in answer):
            return answer
        if not isinstance(answer, dict):
            break
        answer = answer.get("data") if "data" in answer else answer.get(name)
    raise unusable(request, response, f'{{"data": {{"{name}": [...]}}}}', is_secret=is_secret)


def unusable(request: Outgoing, response: Response, expected: str, *, is_secret: bool = False) -> ResponseError:
    """The error for an answer that says yes and cannot be read; without its content where that is secret."""
    kept = response.model_copy(update={"content": b""}) if is_secret else response
    kind = response.headers.get("content-type", "no content type").partition(";")[0]
    return ResponseError(
        f"{request.method} {response.url} answered {response.status_code} with {len(response.content)} bytes of {kind} "
        f"that are not the expected {expected}; the block's `operations` can set another method and path.",
        response=kept,
    )
