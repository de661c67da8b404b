"""What is noted of bulk jobs, so that a call that was killed is taken up where it was, and no job is started twice."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Protocol

from prefect_atomic.errors import RequestError


class JobNotes(Protocol):
    """Where notes are kept: as JSON, in a few kilobytes. Each import, and each export, has its own."""

    def load(self) -> dict[str, Any]:
        """What was saved last; nothing at first."""
        ...

    def save(self, notes: dict[str, Any]) -> None:
        """Replaces what was saved before, as a whole."""
        ...


class FileNotes:
    """Notes in a file.

    Args:
        path: The file, which need not be there yet; its folder must.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).expanduser()
        if not self._path.parent.is_dir():
            raise RequestError(f"state: {str(self._path.parent)!r} is no folder.")

    def load(self) -> dict[str, Any]:
        try:
            found = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise RequestError(f"state: {str(self._path)!r} cannot be read: {error.strerror}.") from None
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise RequestError(f"state: {str(self._path)!r} holds no notes.")
        return found

    def save(self, notes: dict[str, Any]) -> None:
        new = self._path.with_name(f"{self._path.name}.new")
        with new.open("w") as file:
            json.dump(notes, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)


class _Forgotten:
    """Notes that nobody keeps."""

    def load(self) -> dict[str, Any]:
        return {}

    def save(self, notes: dict[str, Any]) -> None:
        """Keeps nothing."""


class Notes:
    """The notes of one call.

    Args:
        state: Where they are kept; a path is a file; None = nowhere.
        about: What the call is to do: notes of another one are refused.
    """

    def __init__(self, state: JobNotes | str | Path | None, about: dict[str, Any]) -> None:
        self._store = _store(state)
        # A digest alone: a Prefect variable, where notes may be kept, has 5,000 characters.
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        found = self._store.load()
        if not isinstance(found, dict):
            raise RequestError("state: what it loads is no mapping.")
        if found and found.get("about") != digest:
            raise RequestError("state: has the notes of a call that was to do something else; give each its own.")
        self.noted: dict[str, Any] = json.loads(json.dumps(found)) if found else {"about": digest}

    def forget(self) -> None:
        """Forgets what was noted of a call that is over."""
        self.noted = {"about": self.noted["about"]}
        self.save()

    def save(self) -> None:
        """Keeps what is noted by now."""
        self._store.save(json.loads(json.dumps(self.noted)))  # a store may keep what it is given


def _store(state: object) -> JobNotes:
    if state is None:
        return _Forgotten()
    if isinstance(state, str | Path):
        return FileNotes(state)
    if callable(getattr(state, "load", None)) and callable(getattr(state, "save", None)):
        return state  # type: ignore[return-value]  # as far as can be seen
    raise RequestError("state: is a path, or has the methods load() and save(notes).")
