"""Drives what decides without doing: a course yields what to do next, and is sent what came of it.

So one course serves a function and its asynchronous twin: the first blocks, the second never blocks its event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

import anyio.to_thread

from prefect_atomic.transport import Outgoing, Policy, Proof, Response, asend, send
from prefect_atomic.transport.logs import hidden_answers
from prefect_atomic.transport.retry import asleep, sleep

R = TypeVar("R")


class Do(NamedTuple):
    """Call something that may block."""

    act: Callable[[], Any]


class Send(NamedTuple):
    """Send a request; the course is sent the answer."""

    request: Outgoing
    proof: Proof | None
    policy: Policy


class Wait(NamedTuple):
    """Wait."""

    seconds: float


Step: TypeAlias = Do | Send | Wait
Course: TypeAlias = Generator[Step, Any, R]


def run(course: Course[R]) -> R:
    """Follows a course to its end. What a step raises is raised where the course yielded it."""
    go_on: Callable[[], Step] = partial(next, course)
    try:
        while True:
            step = go_on()
            try:
                go_on = partial(course.send, _done(step))
            except Exception as error:  # noqa: BLE001 - the course judges it
                go_on = partial(course.throw, error)
    except StopIteration as end:
        result: R = end.value
        return result
    finally:
        course.close()


async def arun(course: Course[R]) -> R:
    """The same as `run`, for an event loop."""
    go_on: Callable[[], Step] = partial(next, course)
    try:
        while True:
            step = go_on()
            try:
                go_on = partial(course.send, await _adone(step))
            except Exception as error:  # noqa: BLE001 - the course judges it
                go_on = partial(course.throw, error)
    except StopIteration as end:
        result: R = end.value
        return result
    finally:
        course.close()


def _done(step: Step) -> Any:
    if isinstance(step, Send):
        with hidden_answers():
            return send(step.request, step.proof, step.policy)
    return sleep(step.seconds) if isinstance(step, Wait) else step.act()


async def _adone(step: Step) -> Response | Any:
    if isinstance(step, Send):
        with hidden_answers():
            return await asend(step.request, step.proof, step.policy)
    return await (asleep(step.seconds) if isinstance(step, Wait) else anyio.to_thread.run_sync(step.act))
