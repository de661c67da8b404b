"""What became of each record: a partial failure is told record by record, never counted as a success."""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from threading import RLock
from typing import Any, Literal, TypeAlias

from prefect_atomic.errors import RecordsError, RequestError

State = Literal["succeeded", "failed", "unknown", "not sent"]

OnError: TypeAlias = Literal["raise", "return"]
"""Whether it is an error if a record did not succeed, or its outcome says so and nothing is raised."""

_STATES: tuple[State, ...] = ("succeeded", "failed", "unknown", "not sent")
_LONGEST_MESSAGE = 1000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a record.

    Attributes:
        position: Where it stood among those that were given, from 0.
        state: `succeeded`; `failed`, which the other system refused; `unknown`, where no answer said whether it was
            processed; or `not sent`.
        id: The id that the other system has it under, where it said so.
        created: Whether it is new there, where it said so.
        code: What the other system calls the reason, such as `REQUIRED_FIELD_MISSING`.
        message: The reason.
        fields: The fields at fault, where they were named.
    """

    position: int
    state: State
    id: str | None = None
    created: bool | None = None
    code: str | None = None
    message: str | None = None
    fields: tuple[str, ...] = ()

    @property
    def success(self) -> bool:
        """Whether it surely arrived."""
        return self.state == "succeeded"

    def __str__(self) -> str:
        reason = ": ".join(part for part in (self.code, self.message) if part)
        named = f" (fields {', '.join(self.fields)})" if self.fields else ""
        return f"records[{self.position}], {self.state}{f': {reason}' if reason else ''}{named}"


class Outcomes:
    """What became of many records, by their position. A million of them take a few megabytes: the rest is on disk.

    It is iterated as often as wanted, in the order of the records, and pickles with all that it has.

    Example:
        Keep what was refused:
        ```python
        outcomes = crm.upsert("Contact", rows, external_id="External_Id__c", on_error="return")
        print(outcomes.succeeded, "arrived")
        for outcome in outcomes.failures():
            print(outcome.position, outcome.code, outcome.message)
        ```
    """

    def __init__(self) -> None:
        import sqlite3  # not before it is needed

        # SQLite's temporary database: it is in memory while it is small, and has no name that others could open.
        self._rows = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._lock = RLock()
        self._process = os.getpid()
        self._rows.execute(
            "CREATE TABLE outcome (position INTEGER PRIMARY KEY, state INTEGER, id, created, code, message, fields)"
        )

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Notes what became of records; what was noted of the same ones before is replaced."""
        if os.getpid() != self._process:
            raise RuntimeError("outcomes are added to by the process that made them; a fork of it may read them only")
        with self._lock:
            self._rows.execute("BEGIN")
            try:
                self._rows.executemany("INSERT OR REPLACE INTO outcome VALUES (?,?,?,?,?,?,?)", map(_row, outcomes))
            except BaseException:
                self._rows.execute("ROLLBACK")
                raise
            self._rows.execute("COMMIT")

    def missing(self, count: int) -> Iterator[int]:
        """The positions below `count` that nothing was noted of."""
        expected = 0
        for position in self._positions():
            yield from range(expected, min(position, count))
            expected = position + 1
        yield from range(expected, count)

    def __len__(self) -> int:
        with self._lock:
            return int(self._rows.execute("SELECT count(*) FROM outcome").fetchone()[0])

    def __iter__(self) -> Iterator[Outcome]:
        return self._selected("")

    def __getitem__(self, position: int) -> Outcome:
        """What became of the record at this position."""
        with self._lock:
            row = self._rows.execute("SELECT * FROM outcome WHERE position = ?", (position,)).fetchone()
        if row is None:
            raise IndexError(f"there is no record at position {position}")
        return _outcome(row)

    def failures(self) -> Iterator[Outcome]:
        """Those that did not surely arrive."""
        return self._selected("AND state != 0")

    @property
    def succeeded(self) -> int:
        """How many arrived."""
        return self._count("succeeded")

    @property
    def failed(self) -> int:
        """How many were refused."""
        return self._count("failed")

    @property
    def unknown(self) -> int:
        """How many may have arrived, or not."""
        return self._count("unknown")

    @property
    def not_sent(self) -> int:
        """How many were not sent."""
        return self._count("not sent")

    def __repr__(self) -> str:
        counts = ((state, self._count(state)) for state in _STATES)
        return f"<Outcomes of {len(self)} records: {', '.join(f'{n} {state}' for state, n in counts if n) or 'none'}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Outcomes) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # they may still be added to

    def __reduce__(self) -> tuple[object, ...]:
        compress = zlib.compressobj()
        lines = (json.dumps(astuple(outcome), separators=(",", ":")).encode() + b"\n" for outcome in self)
        packed = b"".join([*filter(None, map(compress.compress, lines)), compress.flush()])
        return _restored, (packed,)

    def _count(self, state: State) -> int:
        with self._lock:
            query = "SELECT count(*) FROM outcome WHERE state = ?"
            return int(self._rows.execute(query, (_STATES.index(state),)).fetchone()[0])

    def _positions(self) -> Iterator[int]:
        last = -1
        while True:
            query = "SELECT position FROM outcome WHERE position > ? ORDER BY position LIMIT 10000"
            with self._lock:
                rows = self._rows.execute(query, (last,)).fetchall()
            if not rows:
                return
            yield from (row[0] for row in rows)
            last = rows[-1][0]

    def _selected(self, condition: str) -> Iterator[Outcome]:
        last = -1
        while True:  # in pieces, so that others may add, and no cursor is left open by who stops early
            query = f"SELECT * FROM outcome WHERE position > ? {condition} ORDER BY position LIMIT 1000"  # noqa: S608
            with self._lock:
                rows = self._rows.execute(query, (last,)).fetchall()
            if not rows:
                return
            yield from map(_outcome, rows)
            last = rows[-1][0]


def settled(outcomes: Outcomes, *, what: str, on_error: OnError) -> Outcomes:
    """The outcomes, or the error for those of which some are no success.

    Args:
        outcomes: What became of each.
        what: What was to be done, as messages say it, such as `Contact records upserted`.
        on_error: `return` never raises.

    Raises:
        RecordsError: Some did not surely arrive; has the outcomes.
    """
    first = next(outcomes.failures(), None)
    if on_error == "return" or first is None:
        return outcomes
    counts = {"failed": outcomes.failed, "unknown": outcomes.unknown, "not sent": outcomes.not_sent}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    raise RecordsError(
        f"{sum(counts.values())} of {len(outcomes)} {what} are in doubt or were refused: {told}. The first is {first}",
        outcomes=outcomes,
    )


def check_on_error(on_error: object) -> None:
    """Refuses what `on_error` cannot be, before anything is sent.

    Raises:
        RequestError: It is neither `raise` nor `return`.
    """
    if on_error not in ("raise", "return"):
        raise RequestError("on_error: is 'raise' or 'return'.")


def _row(outcome: Outcome) -> tuple[object, ...]:
    return (
        outcome.position,
        _STATES.index(outcome.state),
        _text(outcome.id),
        outcome.created,
        _text(outcome.code),
        _text(outcome.message),
        _text("\n".join(map(str, outcome.fields)) or None),
    )


def _text(value: object) -> str | None:
    """Whatever another system answered, as text that can be stored: half characters are none."""
    if value is None:
        return None
    return str(value)[:_LONGEST_MESSAGE].encode("utf-8", "replace").decode()


def _outcome(row: tuple[int, int, str | None, int | None, str | None, str | None, str | None]) -> Outcome:
    position, state, record_id, created, code, message, fields = row
    return Outcome(
        position=position,
        state=_STATES[state],
        id=record_id,
        created=None if created is None else bool(created),
        code=code,
        message=message,
        fields=tuple(fields.split("\n")) if fields else (),
    )


def _restored(packed: bytes) -> Outcomes:
    outcomes = Outcomes()
    lines = io.BytesIO(zlib.decompress(packed))
    kept: Iterator[list[Any]] = map(json.loads, lines)
    outcomes.add(Outcome(*row[:-1], fields=tuple(row[-1])) for row in kept)  # type: ignore[misc]  # the rest, in order
    return outcomes
