"""What the sandbox's Marketo has: leads, lists, members of programs, custom objects, activities; and its settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect_atomic.sandbox import marketo_samples, settable
from prefect_atomic.sandbox.marketo_activity_log import Activity, ActivityLog
from prefect_atomic.sandbox.marketo_answers import Reason
from prefect_atomic.sandbox.marketo_bulk_state import BulkState
from prefect_atomic.sandbox.marketo_lead_table import Lead, LeadTable
from prefect_atomic.sandbox.marketo_moments import Clock
from prefect_atomic.sandbox.marketo_object_table import ObjectTable
from prefect_atomic.sandbox.marketo_schema import (
    CAMPAIGNS,
    CHANGE,
    DELETE,
    FORBIDDEN,
    LEAD,
    LISTS,
    NEW_LEAD,
    OBJECTS,
    PARTITIONS,
    PROGRAMS,
)
from prefect_atomic.sandbox.marketo_settings import MarketoSettings

__all__ = ["MarketoSettings", "MarketoState"]

SHOWN_LEADS = 1000  # of more, only their number
SHOWN_ACTIVITIES = 5000
SAMPLES = ("generate_leads", "generate_activities")


class MarketoState:
    """All that calls change, and what a test sets; `reset` forgets it."""

    programs = PROGRAMS
    campaigns = CAMPAIGNS
    partitions = PARTITIONS

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """As at the start: nobody is there."""
        self.settings = MarketoSettings()
        self.clock = Clock()
        self.table = LeadTable()
        self.log = ActivityLog()
        self.lists: dict[int, set[int]] = {list_id: set() for list_id in LISTS}
        self.members: dict[int, dict[int, str]] = {program_id: {} for program_id in PROGRAMS}
        self.member_fields: dict[tuple[int, int], dict[str, Any]] = {}
        self.custom_objects = {name: ObjectTable(kind) for name, kind in OBJECTS.items()}
        self.requested: list[dict[str, Any]] = []
        self.schedules: list[dict[str, Any]] = []
        self.merges: list[dict[str, Any]] = []
        self.bulk = BulkState()

    @property
    def leads(self) -> dict[int, Lead]:
        """All leads by their ids."""
        return self.table.leads

    @property
    def activities(self) -> list[Activity]:
        """All activities, by when they were."""
        return self.log.all

    def upsert_lead(
        self,
        fields: Mapping[str, Any],
        *,
        lookup: str = "email",
        action: str = "createOrUpdate",
        partition: str | None = None,
    ) -> tuple[int, str]:
        """Writes a lead: its id, and whether it is `created` or `updated`; raises `Reason` if it is not written."""
        values = _lead_values(fields, lookup)
        skipped = self.settings.skip_email
        if skipped and skipped in (values.get("email") or ""):
            raise Reason(1003, "The sandbox was told to skip this lead")
        if partition in FORBIDDEN:
            raise Reason(1008, f"Access to partition '{partition}' denied")
        found = () if action == "createDuplicate" else self._looked_up(lookup, values.get(lookup))
        if found:
            return self._update(found[0], values, action, partition), "updated"
        if action == "updateOnly" or lookup == "id":
            raise Reason(1004, f"Lead '{values.get(lookup)}' not found")
        at = self.clock.now()
        lead_id = self.table.add(values, partition=PARTITIONS[partition or "Default"], at=at)
        self.log.note(lead_id, NEW_LEAD, at=at, value="API", attributes={"Created Date": at[:10]})
        return lead_id, "created"

    def delete_lead(self, lead_id: int, *, merged: bool = False) -> None:
        """Deletes a lead, from lists and programs too; raises `Reason` if there is none."""
        self.require_lead(lead_id)
        self.table.remove(lead_id)
        for members in self.lists.values():
            members.discard(lead_id)
        for program_id in self.members:
            self.remove_member(program_id, lead_id)
        self.log.note(lead_id, DELETE, at=self.clock.now(), value_id=lead_id, attributes={"Merged": merged})

    def require_lead(self, lead_id: int) -> None:
        """Raises `Reason` if there is no such lead."""
        if lead_id not in self.leads:
            raise Reason(1004, f"Lead '{lead_id}' not found")

    def set_member(self, program_id: int, lead_id: int, status: str) -> None:
        """Makes a lead a member of a program, or gives a member another status; raises `Reason` if that cannot be."""
        if program_id not in PROGRAMS:
            raise Reason(1013, f"Program '{program_id}' not found")
        self.require_lead(lead_id)
        if status not in PROGRAMS[program_id].statuses:
            raise Reason(1025, f"Program status '{status}' not found")
        self.members[program_id][lead_id] = status
        self.member_fields.setdefault((program_id, lead_id), {"membershipDate": self.clock.now()})

    def remove_member(self, program_id: int, lead_id: int) -> bool:
        """Takes a lead out of a program; says whether it was in."""
        self.member_fields.pop((program_id, lead_id), None)
        return self.members[program_id].pop(lead_id, None) is not None

    def upsert_object(
        self,
        api_name: str,
        fields: Mapping[str, Any],
        *,
        action: str = "createOrUpdate",
        dedupe_by: str = "dedupeFields",
    ) -> tuple[str, str]:
        """Writes a custom object: its marketoGUID, and `created` or `updated`; raises `Reason` if it is not written."""
        if api_name not in self.custom_objects:
            raise Reason(1013, f"Object '{api_name}' not found")
        table = self.custom_objects[api_name]
        return table.upsert(fields, action=action, dedupe_by=dedupe_by, at=self.clock.now())

    def failure(self, reason: Reason) -> dict[str, list[dict[str, str]]]:
        """What a result says of a record that was not taken, beside its status."""
        return {self.settings.fail_field_under: [reason.as_json()]}

    def shown(self) -> dict[str, object]:
        """What a test may compare with what it asked for."""
        leads = [*self.leads.values()]
        return {
            "leads": len(leads),
            **({"lead_list": leads} if len(leads) <= SHOWN_LEADS else {}),
            "activities": len(self.activities),
            "custom_activities": self.log.custom[-SHOWN_ACTIVITIES:],
            "lists": {list_id: sorted(members) for list_id, members in self.lists.items()},
            "members": self.members,
            "campaigns": self.requested,
            "schedules": self.schedules,
            "merges": self.merges,
            "custom_objects": {name: table.shown() for name, table in self.custom_objects.items()},
            **self.bulk.shown(),
        }

    def set(self, data: Mapping[str, Any]) -> None:
        """Sets what a test wants; raises ValueError with a sentence, and then changes nothing."""
        counts = {name: data[name] for name in SAMPLES if data.get(name) is not None}
        for name, count in counts.items():
            if type(count) is not int or count < 0:
                raise ValueError(f"{name} is a whole number from 0")
        others = {name: value for name, value in data.items() if name not in SAMPLES}
        self.settings = settable.change(self.settings, others, of="Marketo")
        marketo_samples.add_leads(self.table, counts.get("generate_leads", 0))
        marketo_samples.add_activities(self.log, [*self.leads], counts.get("generate_activities", 0))

    def _looked_up(self, lookup: str, value: object) -> Sequence[int]:
        if value is None:
            raise Reason(1002, f"Missing value for required parameter '{lookup}'")
        found = self.table.find(lookup, value)
        if len(found) > 1:
            raise Reason(1007, "Multiple leads match lookup criteria")
        return found

    def _update(self, lead_id: int, values: Mapping[str, Any], action: str, partition: str | None) -> int:
        if action == "createOnly":
            raise Reason(1005, "Lead already exists")
        lead, at = self.leads[lead_id], self.clock.now()
        if partition is not None and PARTITIONS[partition] != lead["leadPartitionId"]:
            raise Reason(1010, "Partition update is not allowed")
        changes = {name: value for name, value in values.items() if value != lead.get(name)}
        for name, value in changes.items():
            attributes = {"New Value": _text(value), "Old Value": _text(lead.get(name)), "Source": "Web service API"}
            shown_as, field_id = LEAD[name].shown_as, LEAD[name].id
            self.log.note(lead_id, CHANGE, at=at, value=shown_as, value_id=field_id, attributes=attributes)
        self.table.change(lead_id, changes, at=at)
        return lead_id


def _lead_values(fields: Mapping[str, Any], lookup: str) -> dict[str, Any]:
    values = {}
    for name, given in fields.items():
        field = LEAD.get(name)
        if field is None:
            raise Reason(1006, f"Field '{name}' not found")
        if not field.updateable and name != lookup:
            raise Reason(1003, f"Field '{name}' cannot be written")
        values[name] = field.value(given)
    return values


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)
