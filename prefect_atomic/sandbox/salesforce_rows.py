"""Rows of a CSV as records: what each column means, and the write that each row asks for."""

from prefect_atomic.sandbox.salesforce_errors import RecordRefused
from prefect_atomic.sandbox.salesforce_org import Org, writable
from prefect_atomic.sandbox.salesforce_schema import Field, SObject
from prefect_atomic.sandbox.salesforce_table import Row
from prefect_atomic.sandbox.salesforce_values import from_csv

IGNORED = ("sf__",)  # the columns of results, which callers send back as they are


class Writer:
    """Writes the rows of a job; raises `RecordRefused` if a column is nothing that the object has."""

    def __init__(self, org: Org, sobject: SObject, operation: str, columns: list[str], external_id: str | None) -> None:
        self._org = org
        self._sobject = sobject
        self._operation = operation
        self._key_field = sobject.by_name[(external_id or "Id").lower()]
        self._key_column: int | None = None
        self._fields: list[tuple[int, Field]] = []
        self._references: list[tuple[int, Field, str]] = []
        self._refused: RecordRefused | None = None
        for place, column in enumerate(columns):
            self._read_column(place, column)
        if operation != "insert" and self._key_column is None:
            raise RecordRefused("INVALID_FIELD", f"Field name not found : {self._key_field.name}")

    def key(self, row: list[str]) -> str:
        """What names the record of a row, as it is compared."""
        return "" if self._key_column is None else row[self._key_column].strip().casefold()

    def named_id(self, row: list[str]) -> str:
        """The id that a row names, if it names one."""
        by_id = self._key_column is not None and self._key_field.name == "Id"
        return row[self._key_column or 0] if by_id else ""

    def write(self, row: list[str]) -> tuple[str, bool]:
        """Writes a row: the id of its record, and whether that is new."""
        org, sobject = self._org, self._sobject
        key = "" if self._key_column is None else row[self._key_column].strip()
        if self._operation in ("delete", "hardDelete"):
            record_id = org.record_id(sobject, key)
            org.delete(sobject, record_id, hard=self._operation == "hardDelete")
            return record_id, False
        values = self._values(row)
        if self._operation == "insert":
            return org.insert(sobject, values), True
        if self._operation == "upsert":
            return org.upsert(sobject, self._key_field, key, values)
        record_id = org.record_id(sobject, key)
        org.update(sobject, record_id, values)
        return record_id, False

    def _values(self, row: list[str]) -> Row:
        if self._refused:
            raise self._refused
        # an empty cell leaves its field as it is; #N/A empties it
        values = {field.name: from_csv(field, row[place]) for place, field in self._fields if row[place]}
        for place, reference, name in self._references:
            if row[place]:
                values[reference.name] = self._org.referred(reference, name, row[place])
        return values

    def _read_column(self, place: int, column: str) -> None:
        name = column.strip()
        if name.startswith(IGNORED):
            return
        if self._operation != "insert" and name.lower() == self._key_field.name.lower():
            self._key_column = place
            return
        if self._operation in ("delete", "hardDelete"):
            raise RecordRefused("INVALID_FIELD", f"Field name not found : {name}; to delete takes the Id alone")
        relation, dot, last = name.partition(".")
        reference = self._sobject.by_relationship.get(relation.lower()) if dot else None
        if reference:
            self._references.append((place, reference, last))
            return
        if self._sobject.field(name) is None:
            raise RecordRefused("INVALID_FIELD", f"Field name not found : {name}")
        try:
            self._fields.append((place, writable(self._sobject, name)))
        except RecordRefused as refused:
            self._refused = refused
