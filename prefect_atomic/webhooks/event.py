"""What is delivered: a JSON mapping with a type, an id that never changes, and a timestamp."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

from prefect_atomic.credentials.base import now
from prefect_atomic.errors import RequestError
from prefect_atomic.transport.request import header_fault

Event: TypeAlias = Mapping[str, Any]

MAX_EVENT_BYTES = 1024 * 1024
"""The most that an event, or the body made of it, may have."""

_LONGEST_ID = 256
_MOST_LEVELS = 100  # pydantic writes 254 levels to the outbox, and reads no more than 198 of them
_MOST_BITS = 13_000  # Python turns integers of at most 4300 digits into text


def complete(event: Event, *, fallback_id: str) -> dict[str, Any]:
    """A copy of the event with an `id` and a `timestamp` where it has none.

    Raises:
        RequestError: It is not JSON, has no type, an id that no header can carry, or is too long; says which field.
    """
    if not isinstance(event, Mapping):
        raise RequestError(f"event: is a mapping with a `type`, and this is a {type(event).__name__}.")
    completed: dict[str, Any] = json_copy(event, "event")
    kind = completed.get("type")
    if not isinstance(kind, str) or not kind.strip():
        raise RequestError('event: has no `type`; give it one, such as {"type": "card-completed", ...}.')
    if completed.get("id") in (None, ""):
        completed["id"] = fallback_id
    if completed.get("timestamp") in (None, ""):
        completed["timestamp"] = datetime.fromtimestamp(now(), UTC).isoformat(timespec="milliseconds")
    identifier = completed["id"]
    if not isinstance(identifier, str):
        raise RequestError(f"event: `id` is text, and this is a {type(identifier).__name__}; write it in quotes.")
    if header_fault("webhook-id", identifier) or len(identifier) > _LONGEST_ID:
        raise RequestError(
            f"event: `id` is sent as a header, so it has at most {_LONGEST_ID} characters, all of them ASCII, without "
            "line breaks and without spaces around it."
        )
    refuse_if_too_long(encoded(completed), "event")
    return completed


def encoded(event: Event) -> bytes:
    """The event as JSON, as short as it can be written."""
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def refuse_if_too_long(content: bytes, what: str) -> None:
    if len(content) > MAX_EVENT_BYTES:
        raise RequestError(
            f"{what}: has {len(content)} bytes as JSON, and {MAX_EVENT_BYTES} are the most; send a link to the rest."
        )


def json_copy(value: object, where: str, levels: int = _MOST_LEVELS) -> Any:
    """A copy that nobody else can change between two attempts, of nothing but what JSON has.

    Raises:
        RequestError: A value is none that JSON has, so it would be changed or lost; names the field.
    """
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise RequestError(f"{where}: holds a half of a character (a lone surrogate).")
        return value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if value.bit_length() > _MOST_BITS:
            raise RequestError(f"{where}: is a number of more than 4000 digits, which few can read; send it as text.")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RequestError(f"{where}: is {value}, which JSON does not have; leave it out, or send null.")
        return value
    if not isinstance(value, Mapping | list | tuple):
        hint = "write it with .isoformat()" if hasattr(value, "isoformat") else "turn it into text, numbers or lists"
        raise RequestError(f"{where}: is a {type(value).__name__}, which JSON does not have; {hint}.")
    if levels == 0:
        raise RequestError(f"event: is nested more than {_MOST_LEVELS} levels deep, or holds itself.")
    if not isinstance(value, Mapping):
        return [json_copy(item, f"{where}[{number}]", levels - 1) for number, item in enumerate(value)]
    copy: dict[str, Any] = {}
    for name, item in value.items():
        if not isinstance(name, str):
            raise RequestError(f"{where}: has a name that is no text but a {type(name).__name__}.")
        json_copy(name, f"{where}, a name in it")
        copy[name] = json_copy(item, f"{where}.{name[:40]}", levels - 1)
    return copy
