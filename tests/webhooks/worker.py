"""A process of its own at an outbox: says when it began, and goes on as it is told, or until it is killed."""

import json
import sys
from pathlib import Path

from prefect_atomic.webhooks import WebhookSubscription, redeliver
from prefect_atomic.webhooks.outbox import FolderOutbox

ROUNDS = 300


def hold(folder: str) -> None:
    outbox = FolderOutbox(Path(folder))
    kept = [outbox.claim(name) for name in outbox.waiting()]
    print(len(kept), flush=True)
    sys.stdin.readline()


def rewrite(folder: str) -> None:
    """Replaces the one entry again and again, with more in it and with less, holding it now and then."""
    outbox = FolderOutbox(Path(folder))
    (name,) = outbox.waiting()
    print("began", flush=True)
    rounds = 0
    while rounds < ROUNDS:
        if held := outbox.claim(name):
            rounds += 1
            for length in (100_000, 1, 50_000):
                held.keep(held.entry.model_copy(update={"event": {**held.entry.event, "data": "x" * length}}))
            held.leave(held.entry)


def deliver(fields: str) -> None:
    to = WebhookSubscription(**json.loads(fields))
    print("ready", flush=True)
    sys.stdin.readline()
    done = [redeliver(to) for _ in range(3)]
    print(sum(each.delivered for each in done), flush=True)


if __name__ == "__main__":
    {"hold": hold, "rewrite": rewrite, "deliver": deliver}[sys.argv[1]](sys.argv[2])
