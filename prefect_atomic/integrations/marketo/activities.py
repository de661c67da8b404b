"""Activities: read from a moment on, and custom ones added.

Source: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/lead-database/activities
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from prefect_atomic.errors import RequestError, ResponseError
from prefect_atomic.integrations.marketo.api import MOST, Api, check_id, check_name
from prefect_atomic.integrations.marketo.leads import field_names, id_list, next_page
from prefect_atomic.integrations.marketo.moments import written
from prefect_atomic.integrations.marketo.sending import Sending
from prefect_atomic.integrations.records import OnError, Outcomes
from prefect_atomic.integrations.records.outcomes import check_on_error

MOST_TYPES = 10
"""Of a call that reads, and of the custom ones that a subscription has."""

MOST_LEADS = 30
MOST_FIELDS = 20
"""Of a custom activity, as Atomic documents it."""

_MOST_ATTRIBUTE_BYTES = 65_536
_TOKEN_TIMEOUT = 320.0
"""Seconds: a paging token takes up to 300 at Marketo."""


class Activities(Iterator[dict[str, Any]]):
    """Activities, page by page as they are needed, from a moment or a paging token on.

    Attributes:
        paging_token: Where the page that is being read begins, and once it is read to its end and more is asked for,
            where it ends. A reading that goes on there misses none, and gives those of at most one page once more.
    """

    def __init__(self, api: Api, path: tuple[str, ...], token: str | None, since: str | None, params: Any) -> None:
        self._api = api
        self._path = path
        self._since = since
        self._params = params
        self._page: Iterator[dict[str, Any]] = iter(())
        self._is_over = False
        self.paging_token = self._next_token = token

    def __next__(self) -> dict[str, Any]:
        while True:
            activity = next(self._page, None)
            if activity is not None:
                return activity
            # Only who asks for more is done with the page.
            self.paging_token = self._next_token
            if self._is_over:
                raise StopIteration
            self._turn()

    def _turn(self) -> None:
        if self.paging_token is None:
            params: dict[str, Any] = {"sinceDatetime": self._since}
            answer = self._api.call("GET", "activities", "pagingtoken", params=params, timeout=_TOKEN_TIMEOUT)
            if answer.next_page_token is None:
                raise ResponseError(f"{answer.response.url} gave no paging token.", response=answer.response)
            self.paging_token = self._next_token = answer.next_page_token
        params = {**self._params, "batchSize": MOST, "nextPageToken": self.paging_token}
        answer = self._api.call("GET", *self._path, params=params)
        # A page may be empty though there are more, and the last one has a token too: a later reading begins there.
        following = next_page(answer, self.paging_token) if answer.more_result else answer.next_page_token
        self._next_token = following or self.paging_token
        self._page, self._is_over = iter(answer.result), not answer.more_result


def read(
    api: Api,
    since: datetime | str | None,
    *,
    types: Iterable[int | str],
    leads: Iterable[Any] | None,
    list_id: int | None,
    paging_token: str | None,
) -> Activities:
    """Activities of some types; see `Marketo.activities`."""
    named = _type_ids(api, types)
    if len(named) > MOST_TYPES:
        raise RequestError(f"types: has {len(named)} types, and a call takes {MOST_TYPES}.")
    of = None if leads is None else id_list("leads", leads)
    if of and len(of) > MOST_LEADS:
        raise RequestError(
            f"leads: has {len(of)} leads, and a call takes {MOST_LEADS}; leave it out to read those of all."
        )
    params = {
        "activityTypeIds": named,
        "leadIds": of,
        "listId": None if list_id is None else check_id("list_id", list_id),
    }
    return _reading(api, ("activities",), since, paging_token, params)


def lead_changes(
    api: Api, since: datetime | str | None, fields: Sequence[str], *, list_id: int | None, paging_token: str | None
) -> Activities:
    """Changes of leads' fields; see `Marketo.lead_changes`."""
    names = field_names(fields)
    if not names:
        raise RequestError("fields: is empty; name the fields whose changes are wanted.")
    params = {"fields": names, "listId": None if list_id is None else check_id("list_id", list_id)}
    return _reading(api, ("activities", "leadchanges"), since, paging_token, params)


def deleted_leads(api: Api, since: datetime | str | None, *, paging_token: str | None) -> Activities:
    """Leads that were deleted; see `Marketo.deleted_leads`."""
    return _reading(api, ("activities", "deletedleads"), since, paging_token, {})


def types(api: Api) -> list[dict[str, Any]]:
    """All types of activities; see `Marketo.activity_types`."""
    return api.call("GET", "activities", "types").result


def add(api: Api, records: Iterable[Mapping[str, Any]], on_error: OnError) -> Outcomes:
    """Adds custom activities; see `Marketo.add_activities`."""
    check_on_error(on_error)
    # One call after another: activities of a lead are to stand in their order. None is sent twice.
    sending = Sending(
        what="activities to be added",
        call=lambda body: api.call("POST", "activities", "external", content=body, repeatable=False),
    )
    return sending.run(records, argument="activities", shape=_shaped, check=_Check(), on_error=on_error)


def _reading(
    api: Api, path: tuple[str, ...], since: datetime | str | None, token: str | None, params: Mapping[str, Any]
) -> Activities:
    if (since is None) == (token is None):
        raise RequestError("since: give either the moment to begin at, or the paging_token of a reading before.")
    if token is not None:
        check_name("paging_token", token, "GIYDAOBN...")
    return Activities(api, path, token, None if since is None else written("since", since), params)


def _type_ids(api: Api, given: Iterable[int | str]) -> list[int]:
    """The ids of types; names are looked up."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise RequestError("types: is a list of types, by their ids or names.")
    listed: list[object] = list(given)
    if wrong := [each for each in listed if not isinstance(each, int | str)]:
        raise RequestError(f"types: has a {type(wrong[0]).__name__}; a type is an id, or a name.")
    asked = list(dict.fromkeys(listed))
    if not asked:
        raise RequestError("types: is empty; Marketo wants to know which types of activities, such as [1, 12].")
    ids: dict[str, int] = {}
    if not all(_is_number(each) for each in asked):
        for each in types(api):
            ids.update({str(each[key]): each["id"] for key in ("name", "apiName") if each.get(key) and "id" in each})
    found = []
    for name in asked:
        if not _is_number(name) and str(name) not in ids:
            raise RequestError(f"types: there is no type {str(name)[:100]!r}; activity_types() lists them.")
        found.append(check_id("types", name if _is_number(name) else ids[str(name)]))
    return found


def _is_number(given: object) -> bool:
    return isinstance(given, int) or (isinstance(given, str) and given.isascii() and given.isdigit())


class _Check:
    """What is wrong with a custom activity, and the types so far."""

    def __init__(self) -> None:
        self._types: set[int] = set()

    def __call__(self, record: Mapping[str, Any]) -> str | None:
        try:
            check_id("leadId", record.get("leadId"))
            kind = check_id("activityTypeId", record.get("activityTypeId"))
            written("activityDate", record.get("activityDate"))
        except RequestError as error:
            return str(error)
        value = record.get("primaryAttributeValue")
        if not isinstance(value, str | int | float) or isinstance(value, bool) or value == "":
            return "primaryAttributeValue: is missing; it is a text, or a number"
        if isinstance(value, float) and not math.isfinite(value):
            return "primaryAttributeValue: is NaN, or infinite; it is a text, or a number"
        unknown = record.keys() - _FIELDS
        if unknown:
            return f"has {min(map(str, unknown))}, and an activity has {', '.join(sorted(_FIELDS))}"
        if fault := _attributes_fault(record.get("attributes")):
            return fault
        # The last: a type of what is refused anyway is none of the ten, and theirs go on after an 11th.
        if kind not in self._types and len(self._types) == MOST_TYPES:
            return f"activityTypeId: {kind} is an {MOST_TYPES + 1}th type, and an instance has {MOST_TYPES} at most"
        self._types.add(kind)
        return None


_FIELDS = frozenset({"leadId", "activityTypeId", "activityDate", "primaryAttributeValue", "attributes"})


def _attributes_fault(attributes: object) -> str | None:
    if attributes is None:
        return None
    if not isinstance(attributes, Mapping):
        return "attributes: is a mapping of the API names of fields to values"
    if len(attributes) > MOST_FIELDS:
        return f"attributes: has {len(attributes)} fields, and an activity has {MOST_FIELDS} at most"
    size = 0
    for name, value in attributes.items():
        if not isinstance(name, str) or not name:
            return "attributes: has a field without a name"
        if isinstance(value, Mapping | list | tuple | set | bytes):
            return f"attributes: {name}: is a {type(value).__name__}; Marketo takes texts, numbers, true and false"
        size += len(name.encode("utf-8", "replace")) + len(str(value).encode("utf-8", "replace"))
    return (
        f"attributes: take {size:,} bytes, and Marketo takes {_MOST_ATTRIBUTE_BYTES:,}"
        if size > _MOST_ATTRIBUTE_BYTES
        else None
    )


def _shaped(record: Mapping[str, Any]) -> dict[str, Any]:
    attributes = record.get("attributes") or {}
    return {
        "leadId": check_id("leadId", record["leadId"]),
        "activityTypeId": check_id("activityTypeId", record["activityTypeId"]),
        "activityDate": written("activityDate", record["activityDate"]),
        "primaryAttributeValue": str(record["primaryAttributeValue"]),
        "attributes": [{"name": name, "value": value} for name, value in attributes.items() if value is not None],
    }
