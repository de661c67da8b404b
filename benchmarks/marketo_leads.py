"""Marketo: `sync_leads` against the loop that people write, each in a process of its own, in turn.

Both write the same leads to the sandbox, which takes 100 calls in 2 seconds (in place of 20) and answers each 50 ms
late. The loop sends one call after another, waits a window out when it is told 606, and renews its token on 602.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from figure import Figure

PROJECT = Path(__file__).parents[1]
LEADS = 100_000
BATCH = 300
WINDOW = 2.0
TOKEN_SECONDS = 5
LATE_MILLISECONDS = 50
_NOT_PERMITTED = ("606", "615")
_NO_TOKEN = ("601", "602")


def marketo() -> list[Figure]:
    sys.path.insert(0, str(PROJECT))
    from prefect_atomic.sandbox import Sandbox

    seconds: dict[str, float] = {}
    peak = 0.0
    for who in ("naive", "ours"):
        with Sandbox.start() as sandbox:
            sandbox.set_marketo(
                window_milliseconds=int(1000 * WINDOW),
                latency_milliseconds=LATE_MILLISECONDS,
                token_seconds=TOKEN_SECONDS,
                error_every=200,
            )
            seconds[who], peak = _measured(who, sandbox)
            assert sandbox.marketo()["leads"] == LEADS
    return [
        Figure(
            f"{LEADS:,} leads to Marketo: httpx in a loop / ours",
            seconds["naive"] / seconds["ours"],
            "x",
            1.0,
            at_least=True,
        ),
        Figure(f"{LEADS:,} leads to Marketo: peak memory", peak, "MB", 200),
    ]


def _measured(who: str, sandbox: Any) -> tuple[float, float]:
    account = sandbox.accounts.marketo
    access = {
        "rest_endpoint": account.rest_url,
        "identity_endpoint": account.identity_url,
        "client_id": account.client_id,
        "client_secret": account.client_secret,
    }
    with tempfile.TemporaryDirectory(prefix="prefect-atomic-bench-") as folder:
        said = subprocess.run(
            [sys.executable, __file__, who, json.dumps(access)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PREFECT_ATOMIC_LIMITS_PATH": folder},
        )
    seconds, peak = json.loads(said.stdout.splitlines()[-1])
    return seconds, peak


def _leads() -> Iterator[dict[str, Any]]:
    return ({"email": f"lead-{number}@example.com", "leadScore": number % 100} for number in range(LEADS))


def _naive(access: dict[str, str]) -> int:
    import httpx

    leads, done = list(_leads()), 0
    with httpx.Client(timeout=60, trust_env=False) as client:

        def token() -> str:
            query = {"grant_type": "client_credentials"} | {
                name: access[name] for name in ("client_id", "client_secret")
            }
            answer = client.get(f"{access['identity_endpoint']}/oauth/token", params=query).json()
            return str(answer["access_token"])

        bearer = token()
        for first in range(0, LEADS, BATCH):
            body = {"action": "createOrUpdate", "lookupField": "email", "input": leads[first : first + BATCH]}
            while True:
                headers = {"Authorization": f"Bearer {bearer}"}
                answer = client.post(f"{access['rest_endpoint']}/v1/leads.json", json=body, headers=headers).json()
                if answer["success"]:
                    break
                code = answer["errors"][0]["code"]
                if code in _NO_TOKEN:
                    bearer = token()
                elif code in _NOT_PERMITTED:
                    time.sleep(WINDOW)
                else:
                    raise RuntimeError(str(answer["errors"]))
            done += sum(result["status"] in ("created", "updated") for result in answer["result"])
    return done


def _ours(access: dict[str, Any]) -> int:
    from prefect_atomic import Marketo
    from prefect_atomic.integrations.marketo import limits

    limits.WINDOW = WINDOW
    return Marketo(**access).sync_leads(_leads()).succeeded


def _main(who: str, access: str) -> None:
    """Does it, and prints the seconds that it took, and the peak memory in MB."""
    started = time.perf_counter()
    assert (_ours if who == "ours" else _naive)(json.loads(access)) == LEADS
    seconds = time.perf_counter() - started
    with Path("/proc/self/status").open() as status:
        peak = int(next(line for line in status if line.startswith("VmHWM:")).split()[1]) / 1024
    print(json.dumps((seconds, peak)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
