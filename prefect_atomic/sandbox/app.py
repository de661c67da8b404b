"""The ASGI application: finds who serves a path as it was sent, counts the call, misbehaves if told to."""

import asyncio
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from prefect_atomic.sandbox import identity, plain
from prefect_atomic.sandbox.accounts import Accounts
from prefect_atomic.sandbox.atomic import Atomic
from prefect_atomic.sandbox.control import Control, System
from prefect_atomic.sandbox.data_360 import Data360
from prefect_atomic.sandbox.faults import Fault, Faults
from prefect_atomic.sandbox.google import Google
from prefect_atomic.sandbox.marketing_cloud import MarketingCloud
from prefect_atomic.sandbox.marketo import Marketo
from prefect_atomic.sandbox.salesforce import Salesforce
from prefect_atomic.sandbox.tokens import Tokens
from prefect_atomic.sandbox.verify import Verifiers
from prefect_atomic.sandbox.wire import Answer, Received, Refused, Route, Turn

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CUT = "sandbox.cut"  # the key under which the server puts a function that closes the connection
BODYLESS = frozenset({204, 304})


class Application:
    """The third parties of one sandbox, which is at `url`."""

    def __init__(self, url: str) -> None:
        accounts, tokens = Accounts.generate(url), Tokens()
        google = Google(accounts.google, tokens)
        systems: dict[str, System] = {
            "atomic": Atomic(accounts.atomic, accounts.atomic_workbench, tokens),
            "salesforce": Salesforce(accounts.salesforce, accounts.data_360, tokens),
            "data-360": Data360(accounts.data_360, tokens),
            "marketing-cloud": MarketingCloud(accounts.marketing_cloud, tokens),
            "marketo": Marketo(accounts.marketo, tokens),
        }
        self._calls: Counter[str] = Counter()
        self._faults = Faults()
        self._services = _by_path(
            identity.routes(accounts.oauth, tokens)
            + google.routes()
            + [route for system in systems.values() for route in system.routes()]
            + Verifiers(accounts, tokens, google).routes()
            + plain.routes()
        )
        control = Control(accounts, tokens, self._faults, self._calls, self._services, systems)
        self._control = _by_path(control.routes())

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serves one request."""
        method, path = scope["method"], scope["raw_path"].decode("ascii")
        route = self._control.get(path)
        fault = None
        if route is None and (route := _find(self._services, path)):
            self._calls[f"{method} {route.path}"] += 1
            fault = self._faults.next(route.path, method)
        received = await _read(scope, receive)
        if received is None:
            return
        with _around(route, received) as turn:
            done = turn.refusal or (_serve(route, received) if fault and fault.after else None)
            if fault and not await _goes_on(fault, scope, receive):
                return
            if fault and fault.answers:
                done = fault.answer(received)
            elif turn.delay:
                await asyncio.sleep(turn.delay)
            await _answer(done or _serve(route, received), send)


def _by_path(routes: list[Route]) -> dict[str, Route]:
    return {route.path: route for route in routes}


def _find(routes: dict[str, Route], path: str) -> Route | None:
    # on the path as it was sent: `//`, `..` and `%2F` below a route belong to whoever serves it
    if path in routes:
        return routes[path]
    for route in routes.values():
        if route.pattern and route.pattern.fullmatch(path):
            return route
    while "/" in path[1:]:
        path = path.rpartition("/")[0]
        if path in routes and routes[path].below:
            return routes[path]
    return None


def _around(route: Route | None, received: Received) -> AbstractContextManager[Turn]:
    return route.around(received) if route and route.around else nullcontext(Turn())


def _serve(route: Route | None, received: Received) -> Answer:
    if route is None:
        error = f"nothing is served at {received.path}; GET /_sandbox lists what is"
        return Answer.of_json({"error": error}, status=404)
    if route.methods and received.method not in route.methods:
        allowed = ", ".join(sorted(route.methods))
        error = f"{route.path} takes {allowed}, not {received.method}"
        return Answer.of_json({"error": error}, status=405, headers={"Allow": allowed})
    try:
        return route.handler(received)
    except Refused as refusal:
        return refusal.answer
    except Exception as failure:  # noqa: BLE001 - say where it is, and not with what: that may be a secret
        last = traceback.extract_tb(failure.__traceback__)[-1]
        error = f"the sandbox failed: {type(failure).__name__} in {Path(last.filename).name}, line {last.lineno}"
        return Answer.of_json({"error": error}, status=500)


async def _read(scope: MutableMapping[str, Any], receive: Receive) -> Received | None:
    """The whole request, or None if the caller left before it was sent."""
    chunks: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    return Received(
        method=scope["method"],
        path=scope["raw_path"].decode("ascii"),
        query=scope["query_string"].decode("ascii"),
        headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]),
        body=b"".join(chunks),
    )


async def _goes_on(fault: Fault, scope: MutableMapping[str, Any], receive: Receive) -> bool:
    """Waits, and then says whether there is an answer at all."""
    await asyncio.sleep(fault.delay)
    if not (fault.hang or fault.cut):
        return True
    if fault.cut and not fault.hang:
        scope["state"][CUT]()
    while (await receive())["type"] != "http.disconnect":
        pass
    return False


async def _answer(answer: Answer, send: Send) -> None:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    bodyless = answer.status in BODYLESS
    if isinstance(answer.body, bytes) and not bodyless and not any(name == b"content-length" for name, _ in headers):
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if isinstance(answer.body, bytes):
        await send({"type": "http.response.body", "body": b"" if bodyless else answer.body})
    else:
        await _stream(answer.body, send)


async def _stream(chunks: Iterator[bytes], send: Send) -> None:
    for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
