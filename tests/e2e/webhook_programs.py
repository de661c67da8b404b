"""What tests run in processes of their own, some of which they kill: `python -m tests.e2e.webhook_programs ...`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from prefect import flow, unmapped
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from prefect_atomic import WebhookSubscription, redeliver, webhook
from prefect_atomic.credentials.base import now
from prefect_atomic.webhooks.delivery import outbox_of
from prefect_atomic.webhooks.entry import Entry
from prefect_atomic.webhooks.event import complete
from prefect_atomic.webhooks.subscription import resolve
from tests.e2e import file_systems_for_tests  # noqa: F401 - Prefect finds blocks of classes that were imported
from tests.e2e.prefect_server import PROJECT, PrefectServer


def deliver(slug: str, notes: str, threads: str) -> None:
    """Delivers events with the ids on standard input, and notes each that `webhook` returned for."""
    ids = json.loads(sys.stdin.readline())
    subscription = WebhookSubscription.load(slug.partition("/")[2])
    file = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def one(identifier: str) -> None:
        event = {"id": identifier, "type": "card-completed", "data": {"card": identifier}}
        assert webhook.fn(event, subscription).delivered
        os.write(file, f"{identifier}\n".encode())

    with ThreadPoolExecutor(int(threads)) as pool:
        list(pool.map(one, ids))


def put(slug: str, prefix: str, number: str) -> None:
    """Stores events for redelivery."""
    outbox = outbox_of(resolve(slug))
    for each in range(int(number)):
        event = complete({"id": f"{prefix}-{each}", "type": "card-completed"}, fallback_id="")
        held = outbox.put(Entry(event=event, stored_at=now(), due=now()))
        held.leave(held.entry)


def hold(slug: str) -> None:
    """Redelivers, for as long as standard input is open."""
    with outbox_of(resolve(slug)).redelivering() as is_ours:
        tell(str(is_ours))
        sys.stdin.read()


def redelivered(slug: str) -> None:
    tell(redeliver(slug).model_dump_json())


def runs(subscriptions: list[Any]) -> list[bool]:
    """Delivers four events to each, in every way to run a task; whether each was delivered."""
    done = []
    for subscription in subscriptions:
        first, *others = ({"id": f"evt_{number}", "type": "card-completed"} for number in range(4))
        done += [webhook(first, subscription), webhook.submit(others[0], subscription).result()]
        done += webhook.map(others[1:], unmapped(subscription)).result()
    return [each.delivered for each in done]


in_threads = flow(name="in-threads", task_runner=ThreadPoolTaskRunner(max_workers=4))(runs)
in_processes = flow(name="in-processes", task_runner=ProcessPoolTaskRunner(max_workers=2))(runs)  # type: ignore[arg-type]


def tell(line: str) -> None:
    os.write(1, line.encode() + b"\n")


class Running:
    """One of these as a process, for as long as the `with` block lasts."""

    def __init__(self, server: PrefectServer, outbox: Path, *arguments: str) -> None:
        environment = server.client_environment(
            PREFECT_ATOMIC_OUTBOX_PATH=str(outbox), PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW="ignore"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.webhook_programs", *arguments],
            env=environment,
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            with suppress(BrokenPipeError):
                pipe.close()

    def write(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def next_line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def ended(self) -> int:
        """Closes its input and waits for its end; how it ended."""
        assert self._process.stdin
        self._process.stdin.close()
        return self._process.wait(300)

    def kill(self) -> None:
        """SIGKILL: it can do nothing about it."""
        self._process.kill()
        self._process.wait()


if __name__ == "__main__":
    {"deliver": deliver, "put": put, "hold": hold, "redeliver": redelivered}[sys.argv[1]](*sys.argv[2:])
    if sys.argv[1] == "put":
        tell("stored")
        sys.stdin.read()  # its lane stays its own
