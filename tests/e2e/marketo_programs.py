"""What processes of their own do with the sandbox's Marketo; each says as JSON what came of it."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COLUMNS = ("email", "firstName", "lastName", "company", "title", "leadScore")


def main() -> None:
    """Reads what to do as JSON from the arguments, and prints what came of it."""
    wanted = json.loads(sys.argv[1])
    from prefect_atomic import Marketo
    from prefect_atomic.integrations.marketo import limits

    limits.WINDOW = wanted.get("window", limits.WINDOW)
    print(json.dumps(globals()[wanted["do"]](Marketo(**wanted["block"]), wanted)))


def sync(marketo: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    """Synchronises leads that nobody else has."""
    outcomes = marketo.sync_leads(some_leads(wanted["first"], wanted["count"]), on_error="return")
    return {
        "states": Counter(outcome.state for outcome in outcomes),
        "ids": len({outcome.id for outcome in outcomes}),
        "in_order": [outcome.position for outcome in outcomes] == list(range(wanted["count"])),
    }


def imported(marketo: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    """Imports leads in bulk."""
    before = peak()
    outcomes = marketo.import_leads(rows(wanted["count"]), columns=COLUMNS, on_error="return")
    digest = hashlib.sha256()
    for outcome in outcomes:
        digest.update(f"{outcome.position} {outcome.state} {outcome.message}\n".encode())
    return {"states": Counter(outcome.state for outcome in outcomes), "digest": digest.hexdigest(), "peak": peak()} | {
        "before": before
    }


def called(marketo: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    """Makes single calls from many threads."""
    from concurrent.futures import ThreadPoolExecutor

    url = f"{marketo.rest_url()}/v1/leads/describe2.json"
    with ThreadPoolExecutor(wanted["threads"]) as threads, marketo.get_client() as client:
        answers = list(threads.map(lambda _: client.get(url).json(), range(wanted["count"])))
    return {"succeeded": sum(answer["success"] for answer in answers)}


def holding(marketo: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    """Takes all permits, says so, and never gives them back."""
    limits = marketo.auth()._limits
    permits = [limits.permit() for _ in range(wanted["count"])]
    for permit in permits:
        permit.acquire()
    print("held", flush=True)
    time.sleep(600)
    return {}


def some_leads(first: int, count: int) -> Iterator[dict[str, Any]]:
    """Leads with numbers of their own."""
    return (
        {"email": f"lead-{number}@example.com", "leadScore": number % 100} for number in range(first, first + count)
    )


def rows(count: int) -> Iterator[dict[str, Any]]:
    """Rows of six columns; some have what CSV has to quote."""
    for number in range(count):
        yield {
            "email": f"row-{number}@example.com",
            "firstName": 'Ada, "A"' if number % 7 == 0 else "Ada",
            "lastName": f"Number {number}",
            "company": "Line\nbreaks" if number % 11 == 0 else "Analytical Engines",
            "title": "Señora",
            "leadScore": number % 100,
        }


def expected(count: int, *, fail_every: int, warn_every: int, failure: str, warning: str) -> str:
    """The digest of the outcomes that should come of an import, where rows fail and are warned of every so often."""
    digest = hashlib.sha256()
    for number in range(count):
        place = number + 1
        state, message = "succeeded", "None"
        if place % fail_every == 0:
            state, message = "failed", failure
        elif place % warn_every == 0:
            message = warning
        digest.update(f"{number} {state} {message}\n".encode())
    return digest.hexdigest()


def peak() -> int:
    """The most kilobytes that this process ever had. (What `getrusage` says begins with its parent's.)"""
    with Path("/proc/self/status").open() as status:
        return int(next(line for line in status if line.startswith("VmHWM:")).split()[1])


if __name__ == "__main__":
    main()
