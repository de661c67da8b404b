"""What is noted of bulk jobs, so that a call that was killed is taken up where it was, and no job is started twice."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Protocol

from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.marketo.local_files import file_path, writing


class JobNotes(Protocol):
    """Where notes are kept: as JSON, 200 bytes for each job or so. Each import, and each export, has its own."""

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
        self._path = file_path("state", path)

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
        folder, name = self._path.parent, self._path.name
        with writing(self._path), NamedTemporaryFile("w", dir=folder, prefix=f"{name}.", delete=False) as file:
            try:
                json.dump(notes, file)
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, self._path)
            except BaseException:
                os.unlink(file.name)
                raise


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
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        found = self._store.load()
        if not isinstance(found, dict):
            raise RequestError("state: what it loads is no mapping.")
        if found and found.get("about") != digest:
            raise RequestError("state: has the notes of a call that was to do something else; give each its own.")
        self.noted: dict[str, Any] = json.loads(json.dumps(found)) if found else {"about": digest}

    @property
    def are_kept(self) -> bool:
        """Whether a later call will find them."""
        return not isinstance(self._store, _Forgotten)

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
