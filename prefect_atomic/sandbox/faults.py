"""Misbehaviour on demand: slow, failing, hanging, cut off."""

import json
from collections import defaultdict, deque
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import parse_qsl

from prefect_atomic.sandbox.wire import Answer, Received

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True)
class Fault:
    """What happens instead of the usual service, or after it.

    Args:
        method: for calls with this method only; None for all.
        times: for how many calls; None until the next reset.
        delay: seconds to wait first.
        status: answer this status (200 if only `body` or `headers` are given).
        body: answer this body; `{secret}` stands for the secret that the caller sent.
        content_type: of that body.
        headers: further headers of that answer.
        cut: close the connection without an answer.
        hang: never answer.
        after: the usual service runs first, so that what was asked for is done, and only its answer is lost.
    """

    method: str | None = None
    times: int | None = None
    delay: float = 0.0
    status: int | None = None
    body: str | None = None
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    hang: bool = False
    after: bool = False

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Fault":
        """Reads a fault; raises ValueError with a sentence that says what is wrong with it."""
        unknown = data.keys() - {each.name for each in fields(cls)}
        if unknown:
            raise ValueError(f"a fault has no {', '.join(sorted(unknown))}")
        given = {key: value for key, value in data.items() if value is not None}
        _check(given)
        if "body" in given and not isinstance(given["body"], str):
            given["body"] = json.dumps(given["body"])
        if "headers" in given:
            given["headers"] = {str(name): str(value) for name, value in given["headers"].items()}
        fault = cls(**given)
        if not (fault.answers or fault.delay or fault.cut or fault.hang):
            raise ValueError("a fault needs at least one of delay, status, body, headers, cut and hang")
        return fault

    @property
    def answers(self) -> bool:
        """Whether it answers in place of the usual service."""
        return self.status is not None or self.body is not None or bool(self.headers)

    def answer(self, received: Received) -> Answer:
        """The answer that takes the place of the usual one."""
        body = (self.body or "").replace("{secret}", _secret_in(received))
        headers = dict(self.headers)
        if body and "content-type" not in {name.lower() for name in headers}:
            headers["Content-Type"] = self.content_type
        return Answer(self.status or 200, body.encode(), tuple(headers.items()))


class Faults:
    """The faults to come, by route. Those of one route follow each other; the last one set ends an endless one.

    Those for one method of a route are a row of their own, and come before those for all of its methods.
    """

    def __init__(self) -> None:
        self._queues: defaultdict[tuple[str, str | None], deque[Fault]] = defaultdict(deque)
        self._used: dict[tuple[str, str | None], int] = {}

    def add(self, path: str, fault: Fault) -> None:
        """Sets a fault after those that the route still has to get through."""
        queue = self._queues[path, fault.method]
        if queue and queue[-1].times is None:
            queue.pop()
        queue.append(fault)

    def next(self, path: str, method: str) -> Fault | None:
        """The fault for the call that just arrived, if any."""
        key = next((key for key in ((path, method), (path, None)) if self._queues.get(key)), None)
        if key is None:
            return None
        fault = self._queues[key][0]
        if fault.times is not None:
            self._used[key] = self._used.get(key, 0) + 1
            if self._used[key] >= fault.times:
                self._queues[key].popleft()
                self._used[key] = 0
        return fault

    def reset(self) -> None:
        """Service as usual."""
        self._queues.clear()
        self._used.clear()


def _secret_in(received: Received) -> str:
    # a provider may echo any body, whatever the caller says that it is
    body = parse_qsl(received.body.decode("utf-8", "replace"))
    for name, value in [*body, *received.query_pairs]:
        if name == "client_secret":
            return value
    return received.header("authorization") or ""


def _check(given: dict[str, Any]) -> None:
    times, delay, status = given.get("times", 1), given.get("delay", 0), given.get("status", 200)
    if type(times) is not int or times < 1:
        raise ValueError("times is a whole number from 1, or null for every call until the next reset")
    if type(delay) not in (int, float) or delay < 0:
        raise ValueError("delay is a number of seconds")
    if type(status) is not int or not 200 <= status <= 599:
        raise ValueError("status is an HTTP status from 200 to 599")
    if given.get("method", "GET") not in METHODS:
        raise ValueError(f"method is one of {', '.join(METHODS)}")
    if type(given.get("after", False)) is not bool:
        raise ValueError("after is true or false")
    if not isinstance(given.get("headers", {}), dict):
        raise ValueError("headers is an object, with a text for each name")
