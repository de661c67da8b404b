"""Listings that come page by page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect_atomic.errors import ResponseError
from prefect_atomic.integrations.atomic.api import Api, check_number, listed
from prefect_atomic.tasks.course import Course
from prefect_atomic.transport import Response

LARGEST_PAGE = 1000
_USUAL_PAGE = 100
"""What Atomic documents as its default. A page at least as long may have been cut to a limit that is not known."""


class Listing:
    """A listing by limit and offset. Calling it is the course of its next page.

    Args:
        api: The operation that lists.
        name: What the items are called in an answer.
        page_size: How many to ask for at once.
        filters: Further parameters.
    """

    def __init__(self, api: Api, name: str, page_size: int, filters: Mapping[str, str | None]) -> None:
        self._api = api
        self._name = name
        self._page_size = check_number("page_size", page_size, most=LARGEST_PAGE)
        self._filters = filters
        self._offset = 0
        self._before: list[dict[str, Any]] = []
        self._is_over = False

    def __call__(self) -> Course[list[dict[str, Any]] | None]:
        if self._is_over:
            return None
        step = self._api.ask(params={**self._filters, "limit": self._page_size, "offset": self._offset})
        response: Response = yield step
        page = listed(step.request, response, self._name)
        if page and page == self._before:
            raise ResponseError(
                f"{step.request.method} {response.url} answered with the same page again at offset {self._offset}: "
                "the offset is not heeded, and the listing would never end.",
                response=response,
            )
        self._offset += len(page)
        self._before = page
        self._is_over = len(page) < min(self._page_size, _USUAL_PAGE)
        return page
