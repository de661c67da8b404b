"""What core does with records, whichever API they came by: makes, changes, upserts and deletes them."""

from collections.abc import Iterable
from typing import Any

from prefect_atomic.sandbox.salesforce_errors import RecordRefused
from prefect_atomic.sandbox.salesforce_ids import full_id
from prefect_atomic.sandbox.salesforce_schema import OBJECTS, Field, SObject
from prefect_atomic.sandbox.salesforce_table import Row, Table
from prefect_atomic.sandbox.salesforce_values import from_json

NOT_DATA = frozenset({"attributes"})
REFUSED_NAME = "FAIL"


class Org:
    """The tables of the org, and the rules between them."""

    def __init__(self) -> None:
        self._tables = {sobject.name: Table(sobject) for sobject in OBJECTS.values()}

    def table(self, sobject: SObject) -> Table:
        """The records of an object."""
        return self._tables[sobject.name]

    def tables(self) -> Iterable[Table]:
        """The records of every object."""
        return self._tables.values()

    def insert(self, sobject: SObject, values: Row) -> str:
        """Makes a record, and says its id."""
        missing = [name for name in sobject.required if values.get(name) is None]
        if missing:
            message = f"Required fields are missing: [{', '.join(missing)}]"
            raise RecordRefused("REQUIRED_FIELD_MISSING", message, missing)
        self._check(sobject, values, None)
        return self.table(sobject).insert(values)

    def update(self, sobject: SObject, record_id: str, values: Row) -> None:
        """Changes a record."""
        self.existing(sobject, record_id)
        self._check(sobject, values, record_id)
        self.table(sobject).update(record_id, values)

    def upsert(self, sobject: SObject, field: Field, key: str, values: Row) -> tuple[str, bool]:
        """Changes the record that `key` names or makes it: its id, and whether it is new."""
        if field.name == "Id":
            if not key:
                return self.insert(sobject, values), True
            record_id = self.record_id(sobject, key)
            self.update(sobject, record_id, values)
            return record_id, False
        if not key:
            raise RecordRefused("MISSING_ARGUMENT", f"{field.name} not specified", [field.name])
        found = self.table(sobject).find(field.name, key)
        if len(found) > 1:
            message = f"{field.name}: more than one record found for external id field: {found}"
            raise RecordRefused("DUPLICATE_EXTERNAL_ID", message, [field.name])
        if found:
            self.update(sobject, found[0], values)
            return found[0], False
        return self.insert(sobject, values | {field.name: from_json(field, key)}), True

    def delete(self, sobject: SObject, record_id: str, *, hard: bool = False) -> None:
        """Deletes a record."""
        self.existing(sobject, record_id)
        self.table(sobject).delete(record_id, hard=hard)

    def existing(self, sobject: SObject, record_id: str) -> Row:
        """A record that is there."""
        row = self.table(sobject).get(record_id)
        if row is None:
            raise RecordRefused("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
        if row["IsDeleted"]:
            raise RecordRefused("ENTITY_IS_DELETED", "entity is deleted")
        return row

    def record_id(self, sobject: SObject, text: object, field: str = "Id") -> str:
        """The 18 characters of an id of this object."""
        found = full_id(text) if isinstance(text, str) else None
        if found is None or not found.startswith(sobject.prefix):
            message = f"{sobject.name} ID: id value of incorrect type: {text}"
            raise RecordRefused("MALFORMED_ID", message, [field])
        return found

    def values(self, sobject: SObject, data: dict[str, Any]) -> Row:
        """The fields of a record in JSON."""
        values: Row = {}
        for name, value in data.items():
            if name in NOT_DATA:
                continue
            reference = sobject.by_relationship.get(name.lower())
            if reference and isinstance(value, dict):
                values[reference.name] = self._referred(reference, value)
            else:
                field = writable(sobject, name)
                values[field.name] = from_json(field, value)
        return values

    def referred(self, reference: Field, name: str, key: str) -> str:
        """The id of the record that a foreign key names."""
        target = OBJECTS[(reference.refers_to or "").lower()]
        field = lookup(target, name)
        if field.name == "Id":
            return self.record_id(target, key, reference.name)
        found = self.table(target).find(field.name, key)
        if len(found) != 1:
            message = f"Foreign key external ID: {key} not found for field {field.name} in entity {target.name}"
            raise RecordRefused("INVALID_FIELD", message)
        return found[0]

    def _referred(self, reference: Field, value: dict[str, Any]) -> str:
        keys = {name: key for name, key in value.items() if name not in NOT_DATA}
        if len(keys) != 1:
            raise RecordRefused("INVALID_FIELD", f"{reference.relationship} takes exactly one external id")
        name, key = keys.popitem()
        return self.referred(reference, name, str(key))

    def _check(self, sobject: SObject, values: Row, record_id: str | None) -> None:
        if str(values.get("LastName") or "").startswith(REFUSED_NAME):
            message = f"LastName may not start with {REFUSED_NAME}"
            raise RecordRefused("FIELD_CUSTOM_VALIDATION_EXCEPTION", message, ["LastName"])
        for field in sobject.linked:
            value = values.get(field.name)
            if value and field.refers_to:
                values[field.name] = self._reference(field, value)
            elif value:
                others = [other for other in self.table(sobject).find(field.name, value) if other != record_id]
                if others:
                    message = (
                        f"duplicate value found: {field.name} duplicates value on record with id: {others[0][:15]}"
                    )
                    raise RecordRefused("DUPLICATE_VALUE", message, [])

    def _reference(self, field: Field, value: str) -> str:
        target = OBJECTS[(field.refers_to or "").lower()]
        record_id = self.record_id(target, value, field.name)
        row = self.table(target).get(record_id)
        if row is None or row["IsDeleted"]:
            raise RecordRefused("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", [field.name])
        return record_id


def lookup(sobject: SObject, name: str) -> Field:
    """A field by which records are looked up."""
    field = sobject.field(name)
    if field is None or not field.id_lookup:
        message = f"Provided external ID field does not exist or is not accessible: {name}"
        raise RecordRefused("NOT_FOUND", message)
    return field


def writable(sobject: SObject, name: str) -> Field:
    """A field that a caller may write."""
    field = sobject.field(name)
    if field is None:
        raise RecordRefused("INVALID_FIELD", f"No such column '{name}' on sobject of type {sobject.name}")
    if not field.writable:
        message = f"Unable to create/update fields: {field.name}. Please check the security settings of this field."
        raise RecordRefused("INVALID_FIELD_FOR_INSERT_UPDATE", message, [field.name])
    return field
