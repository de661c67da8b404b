"""Calls that are killed at every point at which a process can be: before and after each call, and each note."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from prefect_atomic.integrations.marketo.api import Api


class KilledError(BaseException):
    """What no code catches, as it does not when a process is killed."""


class Store:
    """Notes in memory, which outlive the call."""

    def __init__(self) -> None:
        self.text = "{}"

    def load(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found

    def save(self, notes: dict[str, Any]) -> None:
        self.text = json.dumps(notes)


class Death:
    """Comes at the n-th of the things that `makes_deadly` was told of; each counts before it is done, and after."""

    def __init__(self) -> None:
        self.at = 0
        self._count = 0

    def comes_at(self, number: int) -> None:
        """0 is never."""
        self.at, self._count = number, 0

    def near(self) -> None:
        self._count += 1
        if self._count == self.at:
            raise KilledError

    def makes_deadly(self, patch: pytest.MonkeyPatch, kind: type, *names: str) -> None:
        for name in names:
            patch.setattr(kind, name, self._deadly(getattr(kind, name)))

    def _deadly(self, do: Callable[..., Any]) -> Callable[..., Any]:
        def deadly(*given: Any, **named: Any) -> Any:
            self.near()
            done = do(*given, **named)
            self.near()
            return done

        return deadly


@pytest.fixture
def death(monkeypatch: pytest.MonkeyPatch) -> Death:
    death = Death()
    death.makes_deadly(monkeypatch, Api, "call", "download")
    death.makes_deadly(monkeypatch, Store, "save")
    return death
