"""Rows out of a data extension, page by page.

Source: `/data/v1/customobjectdata/key/{key}/rowset`, as the REST reference of data extensions has it. Names of columns
come back in small letters, and values as text.
"""

from __future__ import annotations

from typing import Any

from prefect_atomic.errors import RequestError, ResponseError
from prefect_atomic.integrations.marketing_cloud.api import Api, check_key, check_number, object_of, unusable
from prefect_atomic.tasks.course import Course
from prefect_atomic.transport import Response

_LARGEST_PAGE = 2500
_SCOPE = "data_extensions_read"


class Reading:
    """The rows of a data extension. Calling it is the course of its next page.

    Args:
        api: The tenant.
        key: The data extension's external key.
        filter: A condition, as the API writes it.
        order_by: A column, perhaps with `desc`.
        page_size: How many rows to ask for at once.
    """

    def __init__(
        self,
        api: Api,
        key: str,
        *,
        filter: str | None,  # noqa: A002 - as the API calls it
        order_by: str | None,
        page_size: int,
    ) -> None:
        self._api = api
        self._key = check_key("data_extension_key", key)
        self._params = {
            "$pageSize": check_number("page_size", page_size, most=_LARGEST_PAGE),
            "$filter": _check_text("filter", filter),
            "$orderBy": _check_text("order_by", order_by),
        }
        self._page = 0
        self._read = 0
        self._before: object = None
        self._is_over = False

    def __call__(self) -> Course[list[dict[str, Any]] | None]:
        if self._is_over:
            return None
        self._page += 1
        response = yield from self._api.ask(
            "GET",
            *("data", "v1", "customobjectdata", "key", self._key, "rowset"),
            params={"$page": self._page, **self._params},
            scope=_SCOPE,
        )
        answer = object_of(response)
        items = answer.get("items")
        if not isinstance(items, list):
            raise unusable(response, '{"items": [...]}')
        said, count = answer.get("page"), answer.get("count")
        # Equal pages are equal rows, where the answer says that it is the next page, and of how many rows.
        is_repeated = items == self._before and not (said == self._page and isinstance(count, int))
        if items and (is_repeated or said not in (None, self._page)):
            raise ResponseError(
                f"{response.url} answered with another page than page {self._page}: the listing would never end.",
                response=response,
            )
        self._before = items
        self._read += len(items)
        self._is_over = self._ends(response, answer, has_items=bool(items))
        return [_row(response, item) for item in items]

    def _ends(self, response: Response, answer: dict[str, Any], *, has_items: bool) -> bool:
        count, links = answer.get("count"), answer.get("links")
        goes_on = has_items and isinstance(links, dict) and bool(links.get("next"))
        if not isinstance(count, int):
            return not goes_on
        if not has_items and self._read < count:
            raise ResponseError(
                f"{response.url} answered with no row although {count} are there, and {self._read} were read.",
                response=response,
                transient=True,
            )
        return self._read >= count and not goes_on  # a count may be that of the page, or an old one


def _row(response: Response, item: object) -> dict[str, Any]:
    if isinstance(item, dict) and ("keys" in item or "values" in item):
        keys, values = item.get("keys") or {}, item.get("values") or {}
        if isinstance(keys, dict) and isinstance(values, dict):
            return {**keys, **values}
    raise unusable(response, "a row of keys and values")


def _check_text(argument: str, value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise RequestError(f"{argument}: is text, or None; an empty one would not mean what it seems to.")
    return value
