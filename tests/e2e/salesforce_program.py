"""A process that writes many records with Bulk API 2.0, and says what that took and what came of it."""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main() -> None:
    """Reads what to do as JSON from the arguments, and prints what came of it."""
    wanted = json.loads(sys.argv[1])
    from prefect_atomic import Salesforce

    crm = Salesforce(**wanted["block"])
    outcomes = crm.upsert("Contact", _records(wanted["count"]), external_id="External_Id__c", on_error="return")
    positions = hashlib.sha256()
    for outcome in outcomes:
        positions.update(f"{outcome.position} {outcome.state} {outcome.code} {outcome.fields}\n".encode())
    print(
        json.dumps(
            {
                "succeeded": outcomes.succeeded,
                "failed": outcomes.failed,
                "digest": positions.hexdigest(),
                "ids": len({outcome.id for outcome in outcomes if outcome.success}),
                "peak": _peak(),
            }
        )
    )


def _peak() -> int:
    """The most kilobytes that this process ever had. (What `getrusage` says begins with its parent's.)"""
    with Path("/proc/self/status").open() as status:
        return int(next(line for line in status if line.startswith("VmHWM:")).split()[1])


def _records(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        name = "FAIL" if number % 1000 == 7 else "Name"
        yield {
            "External_Id__c": f"x{number}",
            "LastName": f"{name} {number}",
            "FirstName": 'Ada, "A"',
            "Score__c": number / 2,
            "Active__c": number % 2 == 0,
        }


def expected(count: int) -> str:
    """The digest of the outcomes that should come of it."""
    positions = hashlib.sha256()
    for number in range(count):
        failed = "failed FIELD_CUSTOM_VALIDATION_EXCEPTION ('LastName',)"
        positions.update(f"{number} {failed if number % 1000 == 7 else 'succeeded None ()'}\n".encode())
    return positions.hexdigest()


if __name__ == "__main__":
    main()
