"""Salesforce's Bulk API 2.0: `Salesforce` against simple-salesforce, each in a process of its own, in turn.

Both write the same rows to the sandbox, fetch what became of each, and read them all again. The time of the sandbox is
in both; what is ours shows as the ratio, and in the memory.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from figure import Figure

PROJECT = Path(__file__).parents[1]
ROWS = 100_000
ROUNDS = 2


def bulk() -> list[Figure]:
    sys.path.insert(0, str(PROJECT))
    from prefect_atomic.sandbox import Sandbox

    best: dict[str, float] = {}
    peaks: dict[str, float] = {}
    for _ in range(ROUNDS):
        for who in ("bare", "ours"):
            with Sandbox.start() as sandbox:
                account = sandbox.accounts.salesforce
                access = {"url": sandbox.url, "id": account.client_id, "secret": account.client_secret}
                for what, (seconds, peak) in _measured(who, access).items():
                    key = f"{who}-{what}"
                    best[key] = min(best.get(key, seconds), seconds)
                    peaks[who] = max(peaks.get(who, 0.0), peak)
    rows = f"{ROWS:,} rows"
    return [
        Figure(
            f"{rows} upserted: simple-salesforce / ours", best["bare-up"] / best["ours-up"], "x", 1.0, at_least=True
        ),
        Figure(
            f"{rows} read: simple-salesforce / ours", best["bare-down"] / best["ours-down"], "x", 1.0, at_least=True
        ),
        Figure(f"{rows} up and down: peak memory (bare: {peaks['bare']:.0f} MB)", peaks["ours"], "MB", 200),
    ]


def _measured(who: str, access: dict[str, str]) -> dict[str, tuple[float, float]]:
    said = subprocess.run(
        [sys.executable, __file__, who, json.dumps(access)], capture_output=True, text=True, check=True
    )
    measured: dict[str, tuple[float, float]] = json.loads(said.stdout.splitlines()[-1])
    return measured


def _rows() -> Any:
    for number in range(ROWS):
        name = "FAIL" if number % 1000 == 7 else "Name"
        yield {"External_Id__c": f"x{number}", "LastName": f"{name} {number}", "Score__c": number / 2}


def _bare(access: dict[str, str]) -> tuple[Callable[[], int], Callable[[], int]]:
    import csv
    import io

    import requests
    from requests.adapters import HTTPAdapter
    from simple_salesforce.api import Salesforce

    class Plain(HTTPAdapter):
        """simple-salesforce always says https, and the sandbox has no certificate."""

        def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
            request.url = str(request.url).replace("https://", "http://", 1)
            return super().send(request, *args, **options)

    session = requests.Session()
    session.trust_env = False
    session.mount("https://", Plain())
    form = {"grant_type": "client_credentials", "client_id": access["id"], "client_secret": access["secret"]}
    token = session.post(f"{access['url']}/services/oauth2/token", data=form).json()["access_token"]
    client: Any = Salesforce(instance_url=access["url"], session_id=token, session=session)

    def up() -> int:
        job = client.bulk2.Contact.upsert(records=list(_rows()), external_id_field="External_Id__c")[0]["job_id"]
        good = csv.DictReader(io.StringIO(str(client.bulk2.Contact.get_successful_records(str(job)))))
        bad = csv.DictReader(io.StringIO(str(client.bulk2.Contact.get_failed_records(str(job)))))
        return sum(1 for _ in good) + sum(1 for _ in bad)

    def down() -> int:
        pages = client.bulk2.Contact.query("SELECT Id, LastName, Score__c FROM Contact")
        return sum(1 for page in pages for _ in csv.DictReader(io.StringIO(page)))

    return up, down


def _ours(access: dict[str, str]) -> tuple[Callable[[], int], Callable[[], int]]:
    from prefect_atomic import Salesforce

    crm = Salesforce.model_validate(
        {"domain": access["url"], "client_id": access["id"], "client_secret": access["secret"]}
    )
    return (
        lambda: sum(1 for _ in crm.upsert("Contact", _rows(), external_id="External_Id__c", on_error="return")),
        lambda: sum(1 for _ in crm.query("SELECT Id, LastName, Score__c FROM Contact")),
    )


def _main(who: str, access: str) -> None:
    """Does both, and prints the seconds that each took, and the peak memory in MB."""
    up, down = (_ours if who == "ours" else _bare)(json.loads(access))
    measured = {}
    for what, act, expected in (("up", up, ROWS), ("down", down, ROWS - ROWS // 1000)):
        started = time.perf_counter()
        assert act() == expected
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        measured[what] = (time.perf_counter() - started, peak)
    print(json.dumps(measured))


if __name__ == "__main__":
    _main(*sys.argv[1:])
