"""What the sandbox's Marketo is made of: fields, a custom object, lists, programs, campaigns, types of activities."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from prefect_atomic.sandbox.marketo_answers import Reason

LENGTHS = {"string": 255, "email": 255, "phone": 255, "text": 65_535}
DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
ADDRESS = re.compile(r"[!-?A-~]+@[!-?A-~]+\.[!-?A-~]+")  # printable ASCII, and one @
NUMBER = re.compile(r"[+-]?\d{1,10}", re.ASCII)
MOST_INTEGER = 2_147_483_647
TRUTHS = {"true": True, "false": False}


@dataclass(frozen=True)
class Field:
    """A field of a lead or of a custom object."""

    id: int
    name: str
    shown_as: str
    type: str
    updateable: bool = True

    def value(self, given: object) -> Any:
        """The value as it is kept; raises `Reason` for one that does not fit. An empty text empties a field."""
        if given is None or given == "":
            return None
        match self.type:
            case "integer":
                return _integer(given)
            case "boolean":
                return _boolean(given)
            case "date":
                return _date(given)
            case _:
                return self._text(given)

    def _text(self, given: object) -> str:
        if not isinstance(given, str | int | float):
            raise _wrong_type(given, self.type)
        text = str(given)
        if len(text) > LENGTHS[self.type]:
            raise Reason(1003, f"Value of field '{self.name}' has more than {LENGTHS[self.type]} characters")
        if self.type == "email" and not ADDRESS.fullmatch(text):
            raise Reason(1003, f"Invalid email address '{text}'")
        return text


@dataclass(frozen=True)
class ObjectType:
    """A custom object."""

    name: str
    shown_as: str
    plural: str
    dedupe_fields: tuple[str, ...]
    searchable: tuple[str, ...]
    fields: Mapping[str, Field]


@dataclass(frozen=True)
class Program:
    """A program, with the statuses that its members may have, in their order."""

    id: int
    name: str
    statuses: tuple[str, ...]


@dataclass(frozen=True)
class Campaign:
    """A smart campaign: it runs at a time, or for whom it is requested."""

    id: int
    name: str
    type: str


@dataclass(frozen=True)
class ActivityType:
    """A type of activity; a custom one has an API name, and may be added."""

    id: int
    name: str
    primary: tuple[str, str]  # the name of the primary attribute, and its type
    attributes: Mapping[str, str] = field(default_factory=dict)
    api_name: str = ""


def _fields(*fields: Field) -> dict[str, Field]:
    return {each.name: each for each in fields}


LEAD = _fields(
    Field(1, "id", "Id", "integer", updateable=False),
    Field(2, "email", "Email Address", "email"),
    Field(3, "firstName", "First Name", "string"),
    Field(4, "lastName", "Last Name", "string"),
    Field(5, "company", "Company Name", "string"),
    Field(6, "title", "Job Title", "string"),
    Field(7, "phone", "Phone Number", "phone"),
    Field(8, "leadScore", "Lead Score", "integer"),
    Field(9, "unsubscribed", "Unsubscribed", "boolean"),
    Field(10, "createdAt", "Created At", "datetime", updateable=False),
    Field(11, "updatedAt", "Updated At", "datetime", updateable=False),
    Field(12, "externalId", "External Id", "string"),
    Field(13, "birthday", "Date of Birth", "date"),
    Field(14, "notes", "Notes", "text"),
    Field(15, "cookies", "Cookies", "string"),
    Field(16, "leadPartitionId", "Lead Partition Id", "integer", updateable=False),
)
# what tells leads apart, and what may be filtered by
LOOKUPS = ("id", "email", "externalId", "cookies")
FILTERS = (*LOOKUPS, "leadPartitionId")
OBJECTS = {
    "car_c": ObjectType(
        "car_c",
        "Car",
        "Cars",
        dedupe_fields=("vin",),
        searchable=("vin", "marketoGUID", "leadId"),
        fields=_fields(
            Field(1, "marketoGUID", "Marketo GUID", "string", updateable=False),
            Field(2, "vin", "VIN", "string"),
            Field(3, "model", "Model", "string"),
            Field(4, "year", "Year", "integer"),
            Field(5, "leadId", "Lead Id", "integer"),
            Field(6, "createdAt", "Created At", "datetime", updateable=False),
            Field(7, "updatedAt", "Updated At", "datetime", updateable=False),
        ),
    )
}
LISTS = {1001: "Newsletter", 1002: "Trial"}
PROGRAMS = {
    2001: Program(2001, "Webinar", ("Invited", "Registered", "Attended")),
    2002: Program(2002, "Trade Show", ("Invited", "Visited Booth")),
}
# besides the status; all are texts
MEMBER_FIELDS = ("registrationCode", "webinarUrl")
CAMPAIGNS = {3001: Campaign(3001, "Welcome", "trigger"), 3002: Campaign(3002, "Digest", "batch")}
PARTITIONS = {"Default": 1, "Europe": 2, "Secret": 3}
FORBIDDEN = frozenset({"Secret"})  # to the API user
VISIT, SEND, NEW_LEAD, CHANGE, DELETE = 1, 6, 12, 13, 37
ACTIVITY_TYPES = {
    each.id: each
    for each in (
        ActivityType(VISIT, "Visit Webpage", ("Webpage ID", "integer"), {"Webpage URL": "string"}),
        ActivityType(SEND, "Send Email", ("Mailing ID", "integer"), {"Campaign Run ID": "integer"}),
        ActivityType(NEW_LEAD, "New Lead", ("Source Type", "string"), {"Created Date": "date"}),
        ActivityType(
            CHANGE,
            "Change Data Value",
            ("Attribute Name", "integer"),
            {"New Value": "string", "Old Value": "string", "Source": "string"},
        ),
        ActivityType(DELETE, "Delete Lead", ("Lead ID", "integer"), {"Merged": "boolean"}),
        ActivityType(
            100001,
            "Atomic Card",
            ("cardId", "string"),
            {
                "event": "string",
                "cardTitle": "string",
                "instanceId": "string",
                "outcome": "string",
                "score": "integer",
                "eventId": "string",
            },
            api_name="atomicCard_c",
        ),
        ActivityType(
            100002, "Attended Webinar", ("webinar", "string"), {"minutes": "integer"}, api_name="attendedWebinar_c"
        ),
    )
}


def _wrong_type(given: object, kind: str) -> Reason:
    return Reason(1001, f"Invalid value '{given}'. Required of type '{kind}'")


def _integer(given: object) -> int:
    text = str(given)
    if isinstance(given, bool) or not isinstance(given, int | str) or not NUMBER.fullmatch(text):
        raise _wrong_type(given, "integer")
    if abs(int(text)) > MOST_INTEGER:
        raise _wrong_type(given, "integer")
    return int(text)


def _boolean(given: object) -> bool:
    text = str(given).lower()
    if not isinstance(given, bool | str) or text not in TRUTHS:
        raise _wrong_type(given, "boolean")
    return TRUTHS[text]


def _date(given: object) -> str:
    if isinstance(given, str) and DAY.fullmatch(given):
        try:
            return date.fromisoformat(given).isoformat()
        except ValueError:
            pass
    raise _wrong_type(given, "date")
