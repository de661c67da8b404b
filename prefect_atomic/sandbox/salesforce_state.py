"""All that requests to core change, and what a test sets of it."""

import secrets
from collections import Counter
from collections.abc import Mapping
from typing import Any

from prefect_atomic.sandbox.salesforce_errors import RecordRefused
from prefect_atomic.sandbox.salesforce_filters import Row2
from prefect_atomic.sandbox.salesforce_jobs import IngestJob, QueryJob
from prefect_atomic.sandbox.salesforce_org import Org
from prefect_atomic.sandbox.salesforce_schema import SObject, find_object
from prefect_atomic.sandbox.salesforce_soql import Query
from prefect_atomic.sandbox.salesforce_table import many

SESSION_ERROR = "INVALID_SESSION_ID"
NUMBERS = {
    "api_limit": 100_000,
    "api_used": 0,
    "query_page": 2_000,
    "bulk_polls": 1,
    "bulk_query_page": 50_000,
    "bulk_upload_limit": 150_000_000,
    "session_calls": None,
}
LOWEST = {"query_page": 1, "bulk_query_page": 1, "session_calls": 1}
OTHERS = frozenset({"client_credentials_refused", "session_error", "records", "generate"})


class SalesforceState:
    """The org's records and jobs, its settings and its use of the API."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """As at the start: no records, no jobs."""
        self.org = Org()
        self.ingest_jobs: dict[str, IngestJob] = {}
        self.query_jobs: dict[str, QueryJob] = {}
        self.bulk_v1: dict[str, Any] = {}
        self.cursors: dict[str, tuple[Query, list[Row2]]] = {}
        self.numbers: dict[str, int | None] = dict(NUMBERS)
        self.calls: Counter[str] = Counter()
        self.session_uses: Counter[bytes] = Counter()
        self.session_error = SESSION_ERROR
        self.client_credentials_refused = False
        self._made = secrets.randbelow(1_000_000)

    def number(self, name: str) -> int:
        """A setting that is a number; 0 if it is switched off."""
        return self.numbers[name] or 0

    def use(self) -> None:
        """Counts a request to the API."""
        self.numbers["api_used"] = self.number("api_used") + 1

    def next_number(self) -> int:
        """A number for an id, which no other job or cursor has."""
        self._made += 1
        return self._made

    def shown(self) -> dict[str, object]:
        """What a test may compare with what it asked for."""
        jobs = [job.summary() for job in self.ingest_jobs.values()]
        jobs += [job.summary() for job in self.query_jobs.values()]
        return {
            "objects": {table.sobject.name: len(table) for table in self.org.tables()},
            "jobs": jobs,
            "api_used": self.number("api_used"),
            "calls": dict(self.calls),
        }

    def set(self, data: Mapping[str, Any]) -> None:
        """Sets what a test wants; raises ValueError with a sentence, and then changes nothing."""
        unknown = data.keys() - NUMBERS.keys() - OTHERS
        if unknown:
            raise ValueError(f"Salesforce has no {', '.join(sorted(unknown))} to set")
        numbers = {name: _number(name, data[name]) for name in NUMBERS if name in data}
        error = data.get("session_error", self.session_error)
        if not isinstance(error, str | None):
            raise ValueError("session_error should be an error code; None for the usual one")
        refused = data.get("client_credentials_refused", self.client_credentials_refused)
        if not isinstance(refused, bool):
            raise ValueError("client_credentials_refused should be true or false")
        generate = _by_object("generate", data.get("generate"))
        if not all(type(count) is int and count >= 0 for _, count in generate):
            raise ValueError('generate should be like {"Contact": 25000}')
        with many():
            self._add(_by_object("records", data.get("records")))
            for sobject, count in generate:
                self._generate(sobject, count)
        self.numbers |= numbers
        if "session_calls" in numbers:
            self.session_uses.clear()  # counted from when it was set
        self.session_error = error or SESSION_ERROR
        self.client_credentials_refused = refused

    def _add(self, records: list[tuple[SObject, Any]]) -> None:
        if not all(isinstance(rows, list) and all(isinstance(row, dict) for row in rows) for _, rows in records):
            raise ValueError('records should be like {"Contact": [{"LastName": "Ada"}]}')
        tables = [self.org.table(sobject) for sobject, _ in records]
        for table in tables:
            table.begin()
        try:
            for sobject, rows in records:
                for row in rows:
                    self.org.insert(sobject, self.org.values(sobject, row))
        except RecordRefused as refused:
            for table in tables:
                table.roll_back()
            raise ValueError(f"a record is refused: {refused.code}: {refused.message}") from None
        for table in tables:
            table.commit()

    def _generate(self, sobject: SObject, count: int) -> None:
        table = self.org.table(sobject)
        for number in range(table.made + 1, table.made + 1 + count):
            values: dict[str, Any] = {"External_Id__c": f"generated-{number}"}
            if sobject.name == "Contact":
                values |= {"FirstName": "Generated", "LastName": f"Contact {number:07}", "Score__c": number / 2}
                values |= {"Email": f"contact{number}@example.com", "Active__c": number % 2 == 0}
            else:
                values |= {"Name": f"{sobject.name} {number:07}", "NumberOfEmployees": number}
            table.insert(values)


def _by_object(name: str, value: object) -> list[tuple[SObject, Any]]:
    if value is None:
        return []
    if not isinstance(value, dict):
        raise ValueError(f"{name} should be an object")
    found = []
    for key, content in value.items():
        sobject = find_object(key)
        if sobject is None:
            raise ValueError(f"the org has no object {key}")
        found.append((sobject, content))
    return found


def _number(name: str, value: object) -> int | None:
    if value is None:
        return NUMBERS[name]
    lowest = LOWEST.get(name, 0)
    if type(value) is not int or value < lowest:
        raise ValueError(f"{name} is a whole number, from {lowest}")
    return value
