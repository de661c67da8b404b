"""What is remembered from run to run, in Prefect's variables: JSON of at most 5,000 characters each."""

from __future__ import annotations

from typing import Any

from prefect.variables import Variable

# `_sync` is hidden by Prefect's dispatch: without it, the same call is a coroutine where an event loop runs.


def recall(name: str) -> Any:
    """What a variable holds; None where there is no such variable."""
    return Variable.get(name, _sync=True)  # type: ignore[call-overload]


def remember(name: str, value: Any, *, tag: str) -> None:
    """Has a variable hold a value, whatever it held before."""
    Variable.set(name, value, tags=[tag], overwrite=True, _sync=True)  # type: ignore[call-arg]


def forget(name: str) -> None:
    """Removes a variable."""
    Variable.unset(name, _sync=True)  # type: ignore[call-arg]
