"""The records of one object, with an index for each field by which a record is looked up."""

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

from prefect_atomic.sandbox.salesforce_ids import make_id
from prefect_atomic.sandbox.salesforce_schema import SObject
from prefect_atomic.sandbox.salesforce_values import timestamp

Row = dict[str, Any]


class Table:
    """Records by id. A stored row is never changed but replaced, so that a query's result stays as it was."""

    def __init__(self, sobject: SObject) -> None:
        self.sobject = sobject
        self._empty: Row = {field.name: False if field.type == "boolean" else None for field in sobject.fields}
        self._rows: dict[str, Row] = {}
        self._made = 0
        self._live = 0
        self._indexes: dict[str, dict[str, list[str]]] = {
            field.name: {} for field in sobject.fields if field.id_lookup and field.name != "Id"
        }
        self._journal: list[tuple[str, Row | None]] | None = None

    def __len__(self) -> int:
        return self._live

    def rows(self, *, deleted: bool = False) -> Iterator[Row]:
        """The records that are there; with `deleted` those in the recycle bin too."""
        return (row for row in self._rows.values() if deleted or not row["IsDeleted"])

    def get(self, record_id: str) -> Row | None:
        """A record by its id, deleted or not; None if there never was one."""
        return self._rows.get(record_id)

    def find(self, field: str, value: str) -> list[str]:
        """The ids of the records whose field has this value, in any case."""
        return self._indexes[field].get(value.casefold(), [])

    @property
    def made(self) -> int:
        """How many records were ever made."""
        return self._made

    def insert(self, values: Row) -> str:
        """Makes a record, and says its id."""
        self._made += 1
        record_id = make_id(self.sobject.prefix, self._made)
        now = timestamp()
        row = self._empty | values
        row |= {"Id": record_id, "CreatedDate": now, "LastModifiedDate": now, "SystemModstamp": now}
        self._put(record_id, row)
        return record_id

    def update(self, record_id: str, values: Row) -> None:
        """Changes a record that is there."""
        now = timestamp()
        self._put(record_id, self._rows[record_id] | values | {"LastModifiedDate": now, "SystemModstamp": now})

    def delete(self, record_id: str, *, hard: bool = False) -> None:
        """Puts a record into the recycle bin, or takes it away for good."""
        gone = None if hard else self._rows[record_id] | {"IsDeleted": True, "SystemModstamp": timestamp()}
        self._put(record_id, gone)

    def begin(self) -> None:
        """From here on `roll_back` can undo."""
        self._journal = []

    def commit(self) -> None:
        """What was done since `begin` stays."""
        self._journal = None

    def roll_back(self) -> None:
        """Undoes what was done since `begin`."""
        journal, self._journal = self._journal or [], None
        for record_id, before in reversed(journal):
            self._put(record_id, before)

    def _put(self, record_id: str, row: Row | None) -> None:
        before = self._rows.get(record_id)
        if self._journal is not None:
            self._journal.append((record_id, before))
        was, is_now = _live(before), _live(row)
        self._live += (is_now is not None) - (was is not None)
        for name, index in self._indexes.items():
            old, new = was and was[name], is_now and is_now[name]
            if old != new:
                if old:
                    index[old.casefold()].remove(record_id)
                if new:
                    index.setdefault(new.casefold(), []).append(record_id)
        if row is None:
            self._rows.pop(record_id, None)
        else:
            self._rows[record_id] = row


@contextlib.contextmanager
def many() -> Iterator[None]:
    """For making many records: the garbage collector would look at all of them again and again, and find nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _live(row: Row | None) -> Row | None:
    return None if row is None or row["IsDeleted"] else row
