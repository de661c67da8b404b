"""What leads did and what was done to them, in the order of time."""

from bisect import bisect_left, insort
from typing import Any

Activity = dict[str, Any]
MOST_NOTED = 20_000  # activities that Marketo notes by itself: a table of many leads is not to be a larger one of those


class ActivityLog:
    """Activities, sorted by when they were, and by their ids."""

    def __init__(self) -> None:
        self.all: list[Activity] = []
        self.custom: list[Activity] = []  # in the order in which they were added through the API
        self._last = 0
        self._noted = 0

    def add(
        self,
        lead_id: int,
        type_id: int,
        *,
        at: str,
        value: str | None = None,
        value_id: int | None = None,
        attributes: list[dict[str, Any]],
    ) -> Activity:
        """An activity."""
        self._last += 1
        activity: Activity = {
            "id": self._last,
            "marketoGUID": str(self._last),
            "leadId": lead_id,
            "activityDate": at,
            "activityTypeId": type_id,
        }
        if value_id is not None:
            activity["primaryAttributeValueId"] = value_id
        if value is not None:
            activity["primaryAttributeValue"] = value
        activity["attributes"] = attributes
        # nearly always the last one, but the date of a custom activity is its sender's
        if self.all and _key(activity) < _key(self.all[-1]):
            insort(self.all, activity, key=_key)
        else:
            self.all.append(activity)
        return activity

    def note(self, lead_id: int, type_id: int, *, at: str, attributes: dict[str, Any], **primary: Any) -> None:
        """An activity that Marketo notes by itself."""
        if self._noted < MOST_NOTED:
            self._noted += 1
            listed = [{"name": name, "value": value} for name, value in attributes.items()]
            self.add(lead_id, type_id, at=at, attributes=listed, **primary)

    def position(self, at: str, after_id: int) -> int:
        """Where those begin that were later, or at the same time with a higher id."""
        return bisect_left(self.all, (at, after_id + 1), key=_key)


def _key(activity: Activity) -> tuple[str, int]:
    return activity["activityDate"], activity["id"]
