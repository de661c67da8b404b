"""Lists that come page by page, each page by a course of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeAlias, TypeVar

from prefect_atomic.tasks.course import Course, arun, run

T = TypeVar("T")

Pages: TypeAlias = Callable[[], Course[list[T] | None]]
"""The course of the next page, each time; it returns None where there is no more."""


def each(pages: Pages[T]) -> Iterator[T]:
    """What is on the pages, which are asked for as they are needed."""
    while (page := run(pages())) is not None:
        yield from page


async def aeach(pages: Pages[T]) -> AsyncIterator[T]:
    """The same as `each`, for an event loop."""
    while (page := await arun(pages())) is not None:
        for item in page:
            yield item
