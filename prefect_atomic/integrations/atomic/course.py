"""Drives what decides without doing: a course yields what to do next, and is sent what came of it.

So one course serves a method and its asynchronous twin.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

from prefect_atomic.transport import Outgoing, Policy, Proof, Response, asend, send
from prefect_atomic.transport.retry import asleep, sleep

T = TypeVar("T")


class Ask(NamedTuple):
    """Send a request; the course is sent the answer."""

    request: Outgoing
    policy: Policy
    proof: Proof | None


class Wait(NamedTuple):
    """Wait."""

    seconds: float


Step: TypeAlias = Ask | Wait
Course: TypeAlias = Generator[Step, Any, T]
Pages: TypeAlias = Callable[[], Course[list[T] | None]]
"""The course of the next page, each time; it returns None where there is no more."""


def run(course: Course[T]) -> T:
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
        result: T = end.value
        return result
    finally:
        course.close()


async def arun(course: Course[T]) -> T:
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
        result: T = end.value
        return result
    finally:
        course.close()


def each(pages: Pages[T]) -> Iterator[T]:
    """What is on the pages, which are asked for as they are needed."""
    while (page := run(pages())) is not None:
        yield from page


async def aeach(pages: Pages[T]) -> AsyncIterator[T]:
    """The same as `each`, for an event loop."""
    while (page := await arun(pages())) is not None:
        for item in page:
            yield item


def _done(step: Step) -> Response | None:
    if isinstance(step, Wait):
        sleep(step.seconds)
        return None
    return send(step.request, step.proof, step.policy)


async def _adone(step: Step) -> Response | None:
    if isinstance(step, Wait):
        await asleep(step.seconds)
        return None
    return await asend(step.request, step.proof, step.policy)
