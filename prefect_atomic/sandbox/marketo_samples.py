"""Leads and activities that a test has made up, so that there are many: those of 90 days from a fixed one on."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from prefect_atomic.sandbox.marketo_activity_log import ActivityLog
from prefect_atomic.sandbox.marketo_lead_table import LeadTable
from prefect_atomic.sandbox.marketo_moments import written

DAYS = [written(datetime(2026, 8, 1, tzinfo=UTC) + timedelta(days=day)) for day in range(90)]
TYPES = (1, 6, 13, 100001)


def add_leads(table: LeadTable, count: int) -> None:
    """Leads `user{n}@example.com`, where n goes on from how many leads there were, a day later each."""
    start = len(table.leads)
    for number in range(start, start + count):
        values = {"email": f"user{number}@example.com", "firstName": "User", "lastName": str(number)}
        table.add({**values, "leadScore": number % 100}, partition=1, at=DAYS[number % 90])


def add_activities(log: ActivityLog, leads: Sequence[int], count: int) -> None:
    """Activities of one type after the other, of one lead after the other, as many on each day."""
    for number in range(count):
        lead_id = leads[number % len(leads)] if leads else number + 1
        at = DAYS[number * 90 // count]
        match TYPES[number % 4]:
            case 1:
                log.add(
                    lead_id,
                    1,
                    at=at,
                    value="/pricing",
                    value_id=number % 7 + 1,
                    attributes=_listed("Webpage URL", "/pricing"),
                )
            case 6:
                log.add(
                    lead_id,
                    6,
                    at=at,
                    value="Digest",
                    value_id=number % 5 + 1,
                    attributes=_listed("Campaign Run ID", number),
                )
            case 13:
                attributes = (
                    _listed("New Value", str(number)) + _listed("Old Value", None) + _listed("Source", "Sandbox")
                )
                log.add(lead_id, 13, at=at, value="Lead Score", value_id=8, attributes=attributes)
            case other:
                attributes = _listed("event", "card.completed") + _listed("cardTitle", "Welcome")
                log.add(lead_id, other, at=at, value=f"card-{number % 10}", attributes=attributes)


def _listed(name: str, value: object) -> list[dict[str, object]]:
    return [{"name": name, "value": value}]
