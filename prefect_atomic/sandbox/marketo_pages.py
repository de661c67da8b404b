"""Pages of results, and the tokens that lead from one to the next: nobody's business what they are made of."""

import base64
import binascii
import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from prefect_atomic.sandbox.marketo_answers import fail
from prefect_atomic.sandbox.marketo_request import Query

T = TypeVar("T")


def token(*parts: object) -> str:
    """A token that stands for these."""
    return base64.b32encode(json.dumps(parts).encode()).decode().rstrip("=")


def parts_of(text: str, count: int) -> list[Any]:
    """What a token stands for; refuses one that was not made here."""
    try:
        parts = json.loads(base64.b32decode(text + "=" * (-len(text) % 8)))
    except (ValueError, binascii.Error):
        parts = None
    if not isinstance(parts, list) or len(parts) != count:
        fail(1003, "Invalid value for 'nextPageToken'")
    return parts


def page(items: Sequence[T], query: Query, key: Callable[[T], Any]) -> tuple[Sequence[T], str | None]:
    """The items of a page, and the token of the next one if there is one. Items are in the order of their keys."""
    size, text = query.size(), query.text("nextPageToken")
    scope = hashlib.sha256(query.scope().encode()).hexdigest()[:8]
    start = 0
    if text:
        of, last = parts_of(text, 2)
        if of != scope or (items and type(last) is not type(key(items[0]))):
            fail(1003, "Invalid value for 'nextPageToken': it is one of another query")
        start = bisect_right(items, last, key=key)
    found = items[start : start + size]
    return found, token(scope, key(found[-1])) if start + size < len(items) else None
