"""The types of an object's fields: Bulk API 2.0 answers in CSV, where everything is text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from prefect_atomic.integrations.salesforce.org import Org

Convert = Callable[[str], Any]


def _number(text: str) -> float:
    return float(text)


def _moment(text: str) -> str:
    # The REST API ends the same moment in +0000, and a row should not depend on the way it came.
    return f"{text.removesuffix('Z')}+0000" if text.endswith("Z") else text


_CONVERSIONS: Mapping[str, Convert] = {
    "boolean": lambda text: text == "true",
    "int": lambda text: int(float(text)),
    "double": _number,
    "currency": _number,
    "percent": _number,
    "long": lambda text: int(float(text)),
    "datetime": _moment,
}


class Types:
    """Finds how the text of a column becomes what the REST API would have answered.

    Args:
        org: Whom to ask; each object is described once.
    """

    def __init__(self, org: Org) -> None:
        self._org = org
        self._described: dict[str, list[Mapping[str, Any]]] = {}

    def conversions(self, sobject: str, columns: Sequence[str]) -> dict[str, Convert]:
        """The conversion of each column that needs one; a column by the way of several objects stays text."""
        found: dict[str, Convert] = {}
        for column in columns:
            if convert := _CONVERSIONS.get(self._type_of(sobject, column.split("."))):
                found[column] = convert
        return found

    def fields(self, sobject: str) -> list[str]:
        """The names of an object's fields, without those that hold several others."""
        described = self._fields(sobject)
        return [str(field["name"]) for field in described if field.get("type") not in ("address", "location", "base64")]

    def _type_of(self, sobject: str, path: list[str]) -> str:
        *relations, last = path
        for relation in relations:
            leads = [field for field in self._fields(sobject) if _is(field.get("relationshipName"), relation)]
            targets = leads[0].get("referenceTo") if leads else None
            if not targets or len(targets) != 1:
                return ""
            sobject = str(targets[0])
        return next((str(field.get("type")) for field in self._fields(sobject) if _is(field.get("name"), last)), "")

    def _fields(self, sobject: str) -> list[Mapping[str, Any]]:
        key = sobject.lower()
        if key not in self._described:
            answer = self._org.read("GET", f"sobjects/{quote(sobject)}/describe")
            self._described[key] = answer["fields"]
        return self._described[key]


def _is(name: object, other: str) -> bool:
    return isinstance(name, str) and name.lower() == other.lower()
