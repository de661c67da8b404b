"""Static lists: who is on them.

Source: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/lead-database/static-lists
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from prefect_atomic.integrations.marketo.answers import Answer
from prefect_atomic.integrations.marketo.api import Api, check_id
from prefect_atomic.integrations.marketo.leads import by_ids, field_names, pages
from prefect_atomic.integrations.records import OnError, Outcomes

_NOT_IN_LIST = "1015"


def add(api: Api, list_id: int, leads: Iterable[Any], on_error: OnError) -> Outcomes:
    """Puts leads on a list; see `Marketo.add_to_list`."""
    path = ("lists", check_id("list_id", list_id), "leads")
    return by_ids(
        leads,
        "leads to be put on a list",
        lambda body: api.call("POST", *path, content=body, repeatable=True),
        on_error=on_error,
    )


def remove(api: Api, list_id: int, leads: Iterable[Any], on_error: OnError) -> Outcomes:
    """Takes leads off a list; see `Marketo.remove_from_list`."""
    path = ("lists", check_id("list_id", list_id), "leads")

    def call(body: bytes) -> Answer:
        # Adobe's description wants the ids in the query, and in the body too.
        ids = [each["id"] for each in json.loads(body)["input"]]
        return api.call("DELETE", *path, params={"id": ids}, content=body)

    return by_ids(leads, "leads to be taken off a list", call, done_before=[_NOT_IN_LIST], on_error=on_error)


def members(api: Api, list_id: int, fields: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    """The leads of a list; see `Marketo.list_members`."""
    return pages(api, ("lists", check_id("list_id", list_id), "leads"), {"fields": field_names(fields)})
