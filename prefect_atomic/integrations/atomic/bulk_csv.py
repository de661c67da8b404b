"""Atomic's CSV of a bulk send, read row by row: what each row starts, or what is wrong with it.

Columns, as Atomic's bulk send names them: `target.attributes.<field>` (several must all match),
`payload.variables.<name>`, `payload.cardOptions.<name>`, `payload.metadata.<name>`,
`payload.notificationDetail.<name>`, `flowInvocationId`; and `payload.target.usersById`, as its test tool does.
Source: https://documentation.atomic.io/guide/tools/action-flow-bulk-send
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from prefect_atomic.errors import RequestError

REJECTED = ("rejected.line", "rejected.reason")
"""The columns that rejects have in front; a file with them can be mended, and imported again."""

_ATTRIBUTE = "target.attributes."
_ATOMIC_ID = "atomic___id"
_USERS = ("target.usersById", "payload.target.usersById")
_INVOCATION_ID = "flowInvocationId"
_PAYLOAD = ("variables", "cardOptions", "metadata", "notificationDetail")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the file.

    Attributes:
        line: The line that it begins in; the header is line 1.
        cells: What stands in it.
        invocation: What it starts, as `start_action_flow` takes it; None where something is wrong with it.
        fault: What that is.
    """

    line: int
    cells: tuple[str, ...]
    invocation: Mapping[str, Any] | None = None
    fault: str | None = None


class BulkCsv:
    """A file in Atomic's format.

    Args:
        file: Its bytes: UTF-8, columns separated by commas. It is closed with this object.

    Raises:
        RequestError: Nothing in it can be used; says why, and how to mend it.
    """

    def __init__(self, file: BinaryIO) -> None:
        start = file.read(4096)
        file.seek(0)
        if not start.strip():
            raise RequestError("the file is empty.")
        if start.startswith(_UTF_16) or b"\0" in start:
            raise RequestError("the file is UTF-16 or no text; save it as CSV in UTF-8.")
        # What is not UTF-8 is the fault of its row, not of the file.
        text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
        self._reader = csv.reader(text, strict=True)
        try:
            self.columns = tuple(next(self._reader, ()))
        except csv.Error as error:
            raise RequestError(f"line 1: is no CSV: {error}.") from None
        _check(self.columns)

    def rows(self) -> Iterator[Row]:
        """The rows, in little memory. What cannot be told apart any more is one row with a fault, the last."""
        seen: dict[str, int] = {}
        while True:
            line = self._reader.line_num + 1
            try:
                cells = tuple(next(self._reader))
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(line, (), fault=f"is no CSV from here on, and nothing after it was read: {error}")
                return
            if not cells:
                continue  # an empty line
            try:
                invocation = self._invocation(cells)
                given = invocation.get(_INVOCATION_ID)
                if given and (before := seen.setdefault(given, line)) != line:
                    raise _FaultError(f"{_INVOCATION_ID}: is that of line {before}")
            except _FaultError as fault:
                yield Row(line, cells, fault=str(fault))
            else:
                yield Row(line, cells, invocation)

    def _invocation(self, cells: tuple[str, ...]) -> dict[str, Any]:
        if len(cells) != len(self.columns):
            raise _FaultError(f"has {len(cells)} cells, and the header has {len(self.columns)}")
        if any("\udc80" <= character <= "\udcff" for cell in cells for character in cell):
            raise _FaultError("is not UTF-8")
        named = dict(zip(self.columns, cells, strict=True))
        invocation: dict[str, Any] = {"target": _target(named)}
        payload: dict[str, dict[str, Any]] = {}
        for column, cell in named.items():
            part, _, name = column.removeprefix("payload.").partition(".")
            if column.startswith("payload.") and part in _PAYLOAD and cell != "":
                payload.setdefault(part, {})[name] = _option(name, cell) if part == "cardOptions" else cell
        if payload:
            invocation["payload"] = payload
        if given := named.get(_INVOCATION_ID):
            invocation[_INVOCATION_ID] = given
        return invocation


class _FaultError(Exception):
    """What is wrong with a row."""


def _target(named: Mapping[str, str]) -> dict[str, Any]:
    users = [named[column] for column in _USERS if named.get(column)]
    attributes = {name.removeprefix(_ATTRIBUTE): cell for name, cell in named.items() if name.startswith(_ATTRIBUTE)}
    empty = [name for name, cell in attributes.items() if cell == ""]
    if users:
        if len(users) > 1 or len(empty) < len(attributes):
            raise _FaultError("has more than one kind of target; fill in usersById, or attributes")
        return {"usersById": _users(users[0])}
    if len(empty) == len(attributes):
        raise _FaultError("has no target: all its target columns are empty")
    if empty:  # without one of them, it would reach more people than was meant
        raise _FaultError(f"{_ATTRIBUTE}{empty[0]}: is empty, and all attributes of a row must match")
    if set(attributes) == {_ATOMIC_ID}:
        return {"usersById": [attributes[_ATOMIC_ID]]}
    return {"attributes": attributes}


def _users(cell: str) -> list[str]:
    if not cell.startswith("["):
        return [cell]
    try:
        users = json.loads(cell)
    except ValueError:
        users = None
    if not isinstance(users, list) or not users or not all(isinstance(user, str) and user for user in users):
        raise _FaultError('usersById: is neither an id nor a list of them, such as ["1", "2"]')
    return users


def _option(name: str, cell: str) -> Any:
    if name == "priority":
        if not (cell.isascii() and cell.isdigit()):
            raise _FaultError("payload.cardOptions.priority: is a whole number from 1 to 10")
        return int(cell)
    if cell.startswith(("[", "{")):
        try:
            return json.loads(cell)
        except ValueError:
            raise _FaultError(f"payload.cardOptions.{name}: begins like JSON, and is none") from None
    return cell


def _check(columns: tuple[str, ...]) -> None:
    repeated = [name for name, count in Counter(columns).items() if count > 1]
    if repeated:
        raise RequestError(f"line 1: the column {repeated[0]!r} is there more than once; remove or rename one of them.")
    if len(columns) == 1 and any(mark in columns[0] for mark in ";\t"):
        raise RequestError("line 1: the columns are separated by semicolons or tabs; save the file with commas.")
    if not any(_is_target(name) for name in columns):
        raise RequestError(f"line 1: there is no target column, such as {_ATTRIBUTE}{_ATOMIC_ID}.")
    for name in columns:
        if not _is_known(name):
            raise RequestError(
                f"line 1: the column {name!r} is none of Atomic's, which are {_ATTRIBUTE}<field>, "
                f"{', '.join(f'payload.{part}.<name>' for part in _PAYLOAD)} and {_INVOCATION_ID}."
            )


def _is_target(name: str) -> bool:
    return name in _USERS or (name.startswith(_ATTRIBUTE) and name != _ATTRIBUTE)


def _is_known(name: str) -> bool:
    if _is_target(name) or name == _INVOCATION_ID or name in REJECTED:
        return True
    return any(name.startswith(f"payload.{part}.") and name != f"payload.{part}." for part in _PAYLOAD)
