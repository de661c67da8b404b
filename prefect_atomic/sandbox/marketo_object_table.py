"""Records of a custom object in the sandbox's Marketo."""

from collections.abc import Mapping
from typing import Any

from prefect_atomic.sandbox.marketo_answers import Reason
from prefect_atomic.sandbox.marketo_schema import ObjectType

SHOWN = 5000  # of more, only their number
Record = dict[str, Any]
Key = tuple[str, ...]


class ObjectTable:
    """Records by their marketoGUID, which grow as texts do, and by the fields that tell them apart."""

    def __init__(self, kind: ObjectType) -> None:
        self.kind = kind
        self.records: dict[str, Record] = {}
        self._guids: dict[Key, str] = {}
        self._last = 0

    def key(self, fields: Mapping[str, Any], *, by: str) -> Key:
        """What tells a record, as Marketo compares texts; raises `Reason` if it is not there."""
        names = self.kind.dedupe_fields if by == "dedupeFields" else ("marketoGUID",)
        for name in names:
            if fields.get(name) in (None, ""):
                raise Reason(1002, f"Missing value for required parameter '{name}'")
        return tuple(str(fields[name]).lower() for name in names)

    def find(self, key: Key, *, by: str) -> str | None:
        """The marketoGUID of the record with that key."""
        guid = self._guids.get(key) if by == "dedupeFields" else key[0]
        return guid if guid in self.records else None

    def upsert(self, fields: Mapping[str, Any], *, action: str, dedupe_by: str, at: str) -> tuple[str, str]:
        """Writes a record: its marketoGUID, and `created` or `updated`; raises `Reason` if it is not written."""
        values = {name: self._value(name, given, dedupe_by) for name, given in fields.items()}
        guid = self.find(self.key(values, by=dedupe_by), by=dedupe_by)
        if guid is not None:
            if action == "createOnly":
                raise Reason(1005, "Object already exists")
            self._forget(guid)
            self.records[guid] |= values | {"updatedAt": at}
            self._remember(guid)
            return guid, "updated"
        if action == "updateOnly" or dedupe_by != "dedupeFields":
            raise Reason(1013, "Object not found")
        self._last += 1
        guid = f"dff23271-f996-47d7-984f-{self._last:012x}"
        self.records[guid] = {"marketoGUID": guid, **values, "createdAt": at, "updatedAt": at}
        self._remember(guid)
        return guid, "created"

    def remove(self, guid: str) -> None:
        """Deletes a record."""
        self._forget(guid)
        del self.records[guid]

    def shown(self) -> list[Record] | int:
        """The records, or their number if there are many."""
        return [*self.records.values()] if len(self.records) <= SHOWN else len(self.records)

    def _value(self, name: str, given: object, dedupe_by: str) -> Any:
        field = self.kind.fields.get(name)
        if field is None:
            raise Reason(1006, f"Field '{name}' not found")
        if not field.updateable and not (name == "marketoGUID" and dedupe_by == "idField"):
            raise Reason(1003, f"Field '{name}' cannot be written")
        return field.value(given)

    def _remember(self, guid: str) -> None:
        self._guids[self.key(self.records[guid], by="dedupeFields")] = guid

    def _forget(self, guid: str) -> None:
        self._guids.pop(self.key(self.records[guid], by="dedupeFields"), None)
