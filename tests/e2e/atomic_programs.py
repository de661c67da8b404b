"""Runs our flows again and again in processes that tests may kill: `python -m tests.e2e.atomic_programs`.

Importing Prefect takes longer than a run, so one process imports it and forks a child for each run.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from tests.e2e.prefect_server import PROJECT, PrefectServer


class Runner:
    """Runs flows for as long as the `with` block lasts."""

    def __init__(self, server: PrefectServer, **extra: str) -> None:
        self._environment = server.client_environment(**extra)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.atomic_programs"],
            env=self._environment,
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def run(
        self,
        flow: str,
        *,
        kill_after: float | None = None,
        kill_when: Callable[[], bool] | None = None,
        **parameters: Any,
    ) -> str:
        """What a run came to: `completed`, `failed: ...`, or `killed` where it was before its end.

        Args:
            flow: `export`, `import`, `ingest`, `sync`, `marketo-activities` or `marketo-leads`.
            kill_after: Seconds after which it is killed with SIGKILL.
            kill_when: Says that it has come to where it is to be killed.
            parameters: The flow's.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"flow": flow, **parameters}).encode() + b"\n")
        self._process.stdin.flush()
        child = int(self._process.stdout.readline())
        if kill_when is not None:
            ends = time.monotonic() + 60.0
            while not kill_when() and time.monotonic() < ends:
                time.sleep(0.05)
            kill_after = 0.5  # a request that came in just now is processed
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(child, signal.SIGKILL)  # its parent has not waited for it: the id is still that of the child
        self._process.stdin.write(b"wait\n")
        self._process.stdin.flush()
        return str(json.loads(self._process.stdout.readline()))


def _serve() -> None:
    from flows.export_analytics import export_analytics_flow
    from flows.export_marketo_leads import export_marketo_leads_flow
    from flows.import_csv import import_csv_flow
    from flows.ingest_data_360 import ingest_data_360_flow
    from flows.sync_marketing_cloud import sync_marketing_cloud_flow
    from flows.sync_marketo_activities import sync_marketo_activities_flow

    flows = {
        "export": export_analytics_flow,
        "import": import_csv_flow,
        "ingest": ingest_data_360_flow,
        "sync": sync_marketing_cloud_flow,
        "marketo-activities": _without_waits(sync_marketo_activities_flow),
        "marketo-leads": _without_waits(export_marketo_leads_flow),
    }
    for line in sys.stdin:
        wanted = json.loads(line)
        flow = flows[wanted.pop("flow")]
        for name in ("start", "until"):
            if name in wanted:
                wanted[name] = datetime.fromisoformat(wanted[name])
        outcome, told = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(outcome)
            os.dup2(2, 1)  # what Prefect prints is none of our answers
            os._exit(_run(flow, wanted, told))
        os.close(told)
        _tell(str(child))
        sys.stdin.readline()
        with os.fdopen(outcome) as answer:
            text = answer.read()
        _, status = os.waitpid(child, 0)
        _tell(json.dumps("killed" if os.WIFSIGNALED(status) and not text else text))


def _without_waits(flow: Callable[..., Any]) -> Callable[..., Any]:
    """The flow, which looks again at once where it would look at a job of Marketo's again in a minute."""
    from prefect_atomic import instant_retries

    def run(**parameters: Any) -> Any:
        with instant_retries():
            return flow(**parameters)

    return run


def _run(flow: Any, parameters: dict[str, Any], told: int) -> int:
    try:
        flow(**parameters)
    except BaseException as error:  # noqa: BLE001 - the test wants to know
        traceback.print_exc()
        os.write(told, f"failed: {type(error).__name__}: {error}".encode()[:4000])
        return 1
    os.write(told, b"completed")
    return 0


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _serve()
