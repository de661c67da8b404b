"""What became of activities that got no answer is read from Marketo: each as often as it is there."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_atomic import Marketo
from prefect_atomic.integrations.marketo.added_before import added_before
from prefect_atomic.sandbox import Sandbox
from tests.integrations.marketo.conftest import Instance, says_yes

CARD = 100001
KIND = {"id": CARD, "attributes": [{"name": "Event Id", "apiName": "eventId"}, {"name": "score"}]}


def activity(lead_id: int, **more: Any) -> dict[str, Any]:
    return {
        "leadId": lead_id,
        "activityTypeId": CARD,
        "activityDate": "2026-08-01T12:00:00Z",
        "primaryAttributeValue": "card",
        "attributes": {"eventId": f"event-{lead_id}", "score": 5, "outcome": None},
        **more,
    }


@pytest.fixture
def ids(sandbox: Sandbox, marketo: Marketo) -> list[int]:
    sandbox.set_marketo(generate_leads=70)
    return [lead["id"] for lead in marketo.leads("email", [f"user{number}@example.com" for number in range(70)])]


def test_those_that_are_there_are_found_as_often_as_they_are_there(marketo: Marketo, ids: list[int]) -> None:
    [kind] = [each for each in marketo.activity_types() if each["id"] == CARD]
    wanted = dict(enumerate([activity(lead) for lead in ids] + [activity(ids[0])] * 2, 10))
    marketo.add_activities([activity(lead) for lead in ids[:50]] + [activity(ids[0])])
    assert sorted(added_before(marketo, wanted, kind)) == [*range(10, 60), 80]
    assert added_before(marketo, {}, kind) == []


@pytest.mark.parametrize(
    "other",
    [
        {"activityDate": "2026-08-01T12:00:01Z"},
        {"primaryAttributeValue": "other"},
        {"attributes": {"eventId": "event-0", "score": 5}},
        {"attributes": {"score": 5}},
        {"attributes": {"eventId": f"{1:040}", "score": 5}},
    ],
    ids=["date", "primary attribute", "attribute", "attribute that is missing", "number"],
)
def test_an_activity_that_differs_is_another_one(marketo: Marketo, ids: list[int], other: dict[str, Any]) -> None:
    [kind] = [each for each in marketo.activity_types() if each["id"] == CARD]
    marketo.add_activities([activity(ids[0], **other)])
    assert added_before(marketo, {1: activity(ids[0])}, kind) == []


def test_it_is_recognised_in_the_way_that_marketo_writes_it(instance: Instance) -> None:
    known = {
        "id": 1,
        "leadId": 7,
        "activityTypeId": CARD,
        "activityDate": "2026-08-01T12:00:00+0000",
        "primaryAttributeValue": "card",
        "attributes": [{"name": "Event Id", "value": "event-7"}, {"name": "score", "value": "5.0"}],
    }
    instance.answer = lambda request: says_yes(known, nextPageToken="T", moreResult=False)
    assert added_before(instance.block(), {3: activity(7)}, KIND) == [3]
