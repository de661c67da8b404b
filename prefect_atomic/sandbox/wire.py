"""What arrives and what goes back: a request with its bytes as they were sent, and an answer to it."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl


@dataclass(frozen=True)
class Received:
    """A request. Its path and query are percent-encoded as the caller sent them, for signatures cover those bytes."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value of a header, or None."""
        return next(iter(self.header_values(name)), None)

    def header_values(self, name: str) -> list[str]:
        """Every value of a header, in the order in which they came."""
        return [value for key, value in self.headers if key == name]

    @cached_property
    def query_pairs(self) -> list[tuple[str, str]]:
        """The query, decoded, with its duplicates and in its order."""
        return parse_qsl(self.query, keep_blank_values=True)

    @cached_property
    def form_pairs(self) -> list[tuple[str, str]]:
        """The body as a form, decoded, with its duplicates and in its order; empty if it is not a form."""
        if not self.is_form:
            return []
        return parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True)

    @property
    def is_form(self) -> bool:
        """Whether the body says that it is an HTML form."""
        media_type = (self.header("content-type") or "").partition(";")[0].strip().lower()
        return media_type == "application/x-www-form-urlencoded"

    @cached_property
    def body_sha256(self) -> str:
        """The SHA-256 of the body, in hex."""
        return hashlib.sha256(self.body).hexdigest()


@dataclass(frozen=True)
class Answer:
    """A response; a body that is an iterator is streamed."""

    status: int = 200
    body: bytes | Iterator[bytes] = b""
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of_json(cls, content: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> "Answer":
        """An answer in JSON."""
        typed = {"Content-Type": "application/json", **(headers or {})}
        return cls(status, json.dumps(content).encode(), tuple(typed.items()))

    @classmethod
    def of_text(cls, text: str, *, status: int = 200, content_type: str = "text/plain; charset=utf-8") -> "Answer":
        """An answer in text or HTML."""
        return cls(status, text.encode(), (("Content-Type", content_type),))


class Refused(Exception):  # noqa: N818 - not an error of the sandbox, but its answer
    """Ends the handling of a request with a refusal."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass(frozen=True)
class Turn:
    """How the handling of a request goes on: after a delay in seconds; with this answer, if it was refused already."""

    delay: float = 0.0
    refusal: Answer | None = None


@dataclass(frozen=True)
class Route:
    """A fixed path and who serves it.

    Args:
        path: the fixed path; calls are counted and faults are set by it. A part of it in braces, as in
            `/jobs/{id}/batches`, stands for whatever is between two slashes.
        handler: turns the request into an answer, or raises `Refused`.
        about: a line for the index.
        methods: the methods served; None for any.
        below: whether the paths below it are served too.
        around: entered when a request has arrived, and left when its answer was sent.
    """

    path: str
    handler: Callable[[Received], Answer]
    about: str
    methods: frozenset[str] | None = None
    below: bool = False
    around: Callable[[Received], AbstractContextManager[Turn]] | None = None

    @cached_property
    def pattern(self) -> re.Pattern[str] | None:
        """What the path matches, if it has braces."""
        if "{" not in self.path:
            return None
        return re.compile("[^/]+".join(re.escape(part) for part in re.split(r"\{\w+\}", self.path)))


def read_json(received: Received) -> dict[str, Any]:
    """The body as a JSON object; refuses anything else."""
    try:
        content = json.loads(received.body or b"{}")
    except ValueError as error:
        raise Refused(Answer.of_json({"error": f"the body is not JSON: {error}"}, status=400)) from None
    if not isinstance(content, dict):
        raise Refused(Answer.of_json({"error": "the body is not a JSON object"}, status=400))
    return content
