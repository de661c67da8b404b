"""One process of a storm: takes orders as JSON lines on stdin, and reports as JSON lines on stdout."""

import asyncio
import json
import multiprocessing
import os
import sys
import threading
from contextlib import nullcontext

import httpx
import time_machine

from prefect_atomic import (
    KeyPair,
    Marketo,
    OAuthClientCredentials,
    Salesforce,
    SalesforceData360,
    SalesforceMarketingCloud,
)
from prefect_atomic.settings import settings
from prefect_atomic.tokens import shared_cache

KINDS = {
    kind.__name__: kind
    for kind in (OAuthClientCredentials, SalesforceData360, KeyPair, Salesforce, SalesforceMarketingCloud, Marketo)
}
DESTINATION = "https://api.example.com/contacts"

_telling = threading.Lock()


def tell(event, **what):
    with _telling:
        os.write(1, json.dumps({"event": event, "pid": os.getpid(), **what}).encode() + b"\n")


def announce_mints(kind):
    mint = kind._mint

    def announced(credential):
        tell("minting")
        return mint(credential)

    kind._mint = announced


class Api:
    """What the token is for: refuses one that was withdrawn."""

    def __init__(self, withdrawn):
        self.withdrawn = withdrawn

    def __call__(self, request):
        return httpx.Response(401 if request.headers["authorization"] == f"Bearer {self.withdrawn}" else 200)


def outcome_of(response):
    token = response.request.headers["authorization"].removeprefix("Bearer ")
    return ["token" if response.is_success else "refused", token]


def call(order):
    # A credential of its own for each caller, as each task of a flow loads one.
    credential = KINDS[order["kind"]](**order["fields"])
    try:
        with httpx.Client(transport=httpx.MockTransport(Api(order.get("withdrawn"))), auth=credential.auth()) as client:
            return outcome_of(client.get(DESTINATION))
    except Exception as error:  # noqa: BLE001 - whatever it is, the test wants to know
        return ["error", type(error).__name__, str(error)]


async def acall(order):
    credential = KINDS[order["kind"]](**order["fields"])
    transport = httpx.MockTransport(Api(order.get("withdrawn")))
    try:
        async with httpx.AsyncClient(transport=transport, auth=credential.auth()) as client:
            return outcome_of(await client.get(DESTINATION))
    except Exception as error:  # noqa: BLE001 - whatever it is, the test wants to know
        return ["error", type(error).__name__, str(error)]


def storm(order, ready=lambda: None):
    """Everybody at once: `threads` callers, and `loops` event loops of `tasks` callers each."""
    threads, loops, tasks = order.get("threads", 0), order.get("loops", 0), order.get("tasks", 0)
    barrier = threading.Barrier(threads + loops + 1)
    outcomes = []

    def caller():
        barrier.wait()
        outcomes.append(call(order))

    def loop():
        async def together():
            return await asyncio.gather(*(acall(order) for _ in range(tasks)))

        barrier.wait()
        outcomes.extend(asyncio.run(together()))

    callers = [threading.Thread(target=caller) for _ in range(threads)]
    callers += [threading.Thread(target=loop) for _ in range(loops)]
    for thread in callers:
        thread.start()
    ready()
    barrier.wait()
    for thread in callers:
        thread.join()
    return outcomes


def forked(order):
    """The same in children that are forked from a process which has used its cache."""
    context = multiprocessing.get_context("fork")
    pipes = []
    for _ in range(order["children"]):
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=lambda sender=sender: sender.send(storm(order)))
        child.start()
        pipes.append((receiver, child))
    outcomes = []
    for receiver, child in pipes:
        outcomes += receiver.recv()
        child.join()
    return outcomes


def forked_in_flight(order):
    """A child that is forked while a thread of its parent waits for the provider."""
    ahead = threading.Thread(target=storm, args=[{**order, "threads": 1}])
    ahead.start()
    sys.stdin.readline()
    outcomes = forked({**order, "children": 1})
    ahead.join()
    return outcomes


def obey(order):
    if environment := order.get("environment"):
        os.environ.update(environment)
        settings.cache_clear()
        shared_cache.cache_clear()
    clock = time_machine.travel(order["at"], tick=False) if order.get("at") else nullcontext()
    with clock:
        match order["do"]:
            case "storm":

                def ready():
                    tell("ready")
                    sys.stdin.readline()

                outcomes = storm(order, ready)
            case "fork":
                tell("ready")
                sys.stdin.readline()
                outcomes = forked(order)
            case "fork in flight":
                tell("ready")
                sys.stdin.readline()
                outcomes = forked_in_flight(order)
            case "invalidate":
                tell("ready")
                sys.stdin.readline()
                KINDS[order["kind"]](**order["fields"]).invalidate()
                outcomes = []
    tell("done", outcomes=outcomes)


if __name__ == "__main__":
    announce_mints(OAuthClientCredentials)
    announce_mints(SalesforceData360)
    tell("started")
    for line in sys.stdin:
        obey(json.loads(line))
