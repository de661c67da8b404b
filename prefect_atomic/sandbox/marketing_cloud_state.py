"""What the sandbox's Marketing Cloud has: rows, asynchronous requests, journey entries, contacts; and its settings."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from prefect_atomic.sandbox import settable
from prefect_atomic.sandbox.marketing_cloud_request import refuse
from prefect_atomic.sandbox.marketing_cloud_schema import EXTENSIONS, Extension, named

SHOWN = 5000  # rows of a data extension; of more, only their number
Key = tuple[str, ...]


@dataclass(frozen=True)
class MarketingCloudSettings:
    """How the tenant behaves. Of what happens every so often or after so many, 0 is never."""

    throttle_every: int = 0
    throttle_code: int = 50100
    session_calls: int = 0
    max_async_bytes: int = 5_900_000
    async_polls: int = 1
    completed_word: str = "Complete"
    fail_next_async: str = ""

    def __post_init__(self) -> None:
        if self.throttle_code not in (50100, 50200):
            raise ValueError("throttle_code is 50100 or 50200")
        if self.completed_word not in ("Complete", "Completed"):
            raise ValueError("completed_word is Complete or Completed")


@dataclass
class AsyncRequest:
    """Rows that were accepted: what became of each, in their order, and how often that was asked."""

    request_id: str
    operation: str
    key: str
    called_at: str
    outcomes: list[dict[str, str]]
    failure: str = ""
    polls: int = 0

    @property
    def has_errors(self) -> bool:
        """Whether a row was not taken."""
        return bool(self.failure) or any(outcome["status"] == "Error" for outcome in self.outcomes)


class MarketingCloudState:
    """All that requests change, and what a test sets; `reset` forgets it."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """As at the start: data extensions without rows."""
        self.settings = MarketingCloudSettings()
        self.rows: dict[str, dict[Key, dict[str, Any]]] = {key: {} for key in EXTENSIONS}
        self.requests: dict[str, AsyncRequest] = {}
        self.events: list[dict[str, Any]] = []
        self.contacts: dict[str, dict[str, Any]] = {}

    def upsert(self, key: str, row: Mapping[str, Any]) -> bool:
        """Writes the columns that are there, and leaves the others as they are; says whether the row is new."""
        extension = EXTENSIONS[key]
        spelled = named(extension.columns, row)
        identity = self.identity(key, row)
        new = identity not in self.rows[key]
        blank = dict.fromkeys(extension.columns) if new else self.rows[key][identity]
        self.rows[key][identity] = blank | spelled
        return new

    def identity(self, key: str, row: Mapping[str, Any]) -> Key:
        """The values of the primary key of a row that fits."""
        spelled = named(EXTENSIONS[key].columns, row)
        # as a database of Marketing Cloud compares texts
        return tuple(str(spelled[name]).lower() for name in EXTENSIONS[key].keys)

    def shown(self) -> dict[str, object]:
        """What a test may compare with what it asked for."""
        extensions = {
            key: [*rows.values()] if len(rows) <= SHOWN else len(rows)  # a number in place of rows
            for key, rows in self.rows.items()
        }
        requests = [{**asdict(request), "hasErrors": request.has_errors} for request in self.requests.values()]
        for request in requests:
            request["rows"] = len(request.pop("outcomes"))
        contacts = list(self.contacts.values())
        return {"data_extensions": extensions, "events": self.events, "async": requests, "contacts": contacts}

    def set(self, data: Mapping[str, Any]) -> None:
        """Sets what a test wants; raises ValueError with a sentence, and then changes nothing."""
        self.settings = settable.change(self.settings, data, of="Marketing Cloud")


def extension_of(key: str) -> Extension:
    """The data extension with this external key; refuses one that there is not."""
    if key not in EXTENSIONS:
        refuse(f"there is no data extension with the key {key}; there are {', '.join(EXTENSIONS)}", status=404)
    return EXTENSIONS[key]
