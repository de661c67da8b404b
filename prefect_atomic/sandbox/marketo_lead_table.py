"""The leads of the sandbox's Marketo, by what they are looked up with."""

from collections.abc import Iterable, Mapping
from typing import Any

from prefect_atomic.sandbox.marketo_schema import LOOKUPS

Lead = dict[str, Any]  # without what is empty


class LeadTable:
    """Leads by their ids, which grow. Texts are looked up in any case, as Marketo compares them."""

    def __init__(self) -> None:
        self.leads: dict[int, Lead] = {}
        self._last = 0
        # most values belong to one lead: a table of that many lists would be large
        self._ids: dict[str, dict[str, int | tuple[int, ...]]] = {name: {} for name in LOOKUPS if name != "id"}

    def find(self, name: str, value: object) -> tuple[int, ...]:
        """The ids of the leads with a value in one of the fields that leads are looked up with."""
        if name == "id":
            text = str(value)
            lead_id = int(text) if text.isascii() and text.isdigit() else 0
            return (lead_id,) if lead_id in self.leads else ()
        found = self._ids[name].get(str(value).lower(), ())
        return found if isinstance(found, tuple) else (found,)

    def filter(self, name: str, values: Iterable[str]) -> list[int]:
        """The ids of the leads that have one of these values, in their order."""
        if name == "leadPartitionId":
            wanted = set(values)
            return [lead_id for lead_id, lead in self.leads.items() if str(lead[name]) in wanted]
        return sorted({lead_id for value in values for lead_id in self.find(name, value)})

    def add(self, values: Mapping[str, Any], *, partition: int, at: str) -> int:
        """A new lead."""
        self._last += 1
        lead: Lead = {"id": self._last, "createdAt": at, "updatedAt": at, "leadPartitionId": partition}
        self.leads[self._last] = lead
        self.change(self._last, values, at=at)
        return self._last

    def change(self, lead_id: int, values: Mapping[str, Any], *, at: str) -> None:
        """Gives a lead other values; None empties a field."""
        lead = self.leads[lead_id]
        for name, value in values.items():
            if name in self._ids:
                self._note(name, lead.get(name), value, lead_id)
            if value is None:
                lead.pop(name, None)
            else:
                lead[name] = value
        lead["updatedAt"] = at

    def remove(self, lead_id: int) -> None:
        """Deletes a lead."""
        lead = self.leads.pop(lead_id)
        for name in self._ids:
            self._note(name, lead.get(name), None, lead_id)

    def _note(self, name: str, old: object, new: object, lead_id: int) -> None:
        ids = self._ids[name]
        if old is not None:
            left = tuple(each for each in self.find(name, old) if each != lead_id)
            key = str(old).lower()
            if left:
                ids[key] = left
            else:
                del ids[key]
        if new is not None:
            others = self.find(name, new)
            ids[str(new).lower()] = (*others, lead_id) if others else lead_id
