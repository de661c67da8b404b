"""What a test may set of a system: the fields of a dataclass, told from JSON."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, TypeVar

Settings = TypeVar("Settings")
KINDS = {bool: "true or false", int: "a whole number from 0", str: "a text"}


def change(settings: Settings, data: Mapping[str, Any], *, of: str) -> Settings:
    """The settings with those changes; raises ValueError with a sentence. What is null stays as it is."""
    usual: dict[str, Any] = asdict(settings)  # type: ignore[call-overload]  # a dataclass, and mypy cannot say so
    unknown = data.keys() - usual.keys()
    if unknown:
        raise ValueError(f"{of} has no {', '.join(sorted(unknown))} to set")
    given = {name: value for name, value in data.items() if value is not None}
    for name, value in given.items():
        kind = type(usual[name])
        if type(value) is not kind or (kind is int and value < 0):
            raise ValueError(f"{name} is {KINDS[kind]}")
    changed: Settings = replace(settings, **given)  # type: ignore[type-var]  # as above
    return changed
