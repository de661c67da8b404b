"""The types of an object's fields: Bulk API 2.0 answers in CSV, where everything is text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from prefect_atomic.integrations.salesforce.org import Org

Convert = Callable[[str], Any]


def _number(text: str) -> float:
    return float(text)


def _whole(text: str) -> int:
    return int(text) if text.lstrip("-").isdigit() else int(Decimal(text))


def _moment(text: str) -> str:
    # The REST API ends the same moment in +0000, and a row should not depend on the way it came.
    return f"{text.removesuffix('Z')}+0000" if text.endswith("Z") else text


_CONVERSIONS: Mapping[str, Convert] = {
    "boolean": lambda text: text == "true",
    "int": _whole,
    "double": _number,
    "currency": _number,
    "percent": _number,
    "long": _whole,
    "datetime": _moment,
}


class Types:
    """Finds how the text of a column becomes what the REST API would have answered.

    Args:
        org: Whom to ask; each object is described once.
    """

    def __init__(self, org: Org) -> None:
        self._org = org
        self._described: dict[str, Mapping[str, Any]] = {}

    def conversions(self, sobject: str, columns: Sequence[str]) -> dict[str, Convert] | None:
        """The conversion of each column that needs one; None where the type of one cannot be told."""
        found: dict[str, Convert] = {}
        for column in columns:
            kind = self._type_of(sobject, column.split("."))
            if kind is None:
                return None
            if convert := _CONVERSIONS.get(kind):
                found[column] = convert
        return found

    def fields(self, sobject: str) -> list[str]:
        """The names of an object's fields, without those that hold several others."""
        described = self._fields(sobject)
        return [str(field["name"]) for field in described if field.get("type") not in ("address", "location", "base64")]

    def key_prefix(self, sobject: str) -> str:
        """What the ids of an object begin with; empty where it has none of its own."""
        prefix = self._described_as(sobject).get("keyPrefix")
        return prefix if isinstance(prefix, str) else ""

    def _type_of(self, sobject: str, path: list[str]) -> str | None:
        """The type at the end of a path; None where it is not one: a reference may lead to several objects."""
        if len(path) == 1:
            kinds = [str(field.get("type")) for field in self._fields(sobject) if _is(field.get("name"), path[0])]
            return kinds[0] if kinds else None
        leads = [field for field in self._fields(sobject) if _is(field.get("relationshipName"), path[0])]
        targets = leads[0].get("referenceTo") if leads else None
        kinds_of_all = {self._type_of(str(target), path[1:]) for target in targets or ()}
        return kinds_of_all.pop() if len(kinds_of_all) == 1 else None

    def _fields(self, sobject: str) -> list[Mapping[str, Any]]:
        fields: list[Mapping[str, Any]] = self._described_as(sobject)["fields"]
        return fields

    def _described_as(self, sobject: str) -> Mapping[str, Any]:
        key = sobject.lower()
        if key not in self._described:
            self._described[key] = self._org.read("GET", f"sobjects/{quote(sobject)}/describe")
        return self._described[key]


def _is(name: object, other: str) -> bool:
    return isinstance(name, str) and name.lower() == other.lower()
