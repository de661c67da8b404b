"""`/_sandbox`: what a test or a demo asks of the sandbox itself."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, Protocol

from prefect_atomic.sandbox.accounts import Accounts
from prefect_atomic.sandbox.faults import Fault, Faults
from prefect_atomic.sandbox.tokens import Tokens
from prefect_atomic.sandbox.wire import Answer, Received, Refused, Route, read_json

DONE = Answer(204)


class System(Protocol):
    """A third party that has data: what it serves, and what a test may see and set of it."""

    def routes(self) -> list[Route]: ...

    def shown(self) -> dict[str, object]:
        """What it has."""

    def set(self, data: Mapping[str, Any]) -> None:
        """Sets what a test wants of it; raises ValueError with a sentence that says what is wrong."""

    def reset(self) -> None:
        """Forgets all that it has."""


class Control:
    """The control endpoints. They are neither counted nor made to misbehave."""

    def __init__(
        self,
        accounts: Accounts,
        tokens: Tokens,
        faults: Faults,
        calls: Counter[str],
        services: Mapping[str, Route],
        systems: Mapping[str, System],
    ) -> None:
        self._accounts = accounts
        self._tokens = tokens
        self._faults = faults
        self._calls = calls
        self._services = services
        self._systems = systems

    def routes(self) -> list[Route]:
        """The paths of the control."""
        get, put, post = frozenset({"GET"}), frozenset({"PUT"}), frozenset({"POST"})
        return [
            Route("/_sandbox", self._index, "this index", get),
            Route("/_sandbox/accounts", self._show_accounts, "the accounts that are accepted, with their secrets", get),
            Route("/_sandbox/calls", self._show_calls, "how often each path was called", get),
            Route("/_sandbox/faults", self._set_fault, "makes a path misbehave", put),
            Route("/_sandbox/token", self._set_token, '{"expires_in": 20} is what answers say from now on', put),
            *(
                Route(f"/_sandbox/{name}", partial(self._serve_system, system), "what it has, and is told", get | put)
                for name, system in self._systems.items()
            ),
            Route("/_sandbox/revoke", self._revoke, "refuses all tokens issued so far", post),
            Route("/_sandbox/reset", self._reset, "forgets calls, faults, tokens and what the systems have", post),
        ]

    def _index(self, _: Received) -> Answer:
        lines = ["The sandbox plays the third parties for prefect-atomic. It serves:", ""]
        for route in [*self._services.values(), *self.routes()]:
            methods = ",".join(sorted(route.methods)) if route.methods else "any"
            path = route.path + ("[/...]" if route.below else "")
            lines.append(f"  {methods:<5} {path:<30} {route.about}")
        return Answer.of_text("\n".join(lines) + "\n")

    def _show_accounts(self, _: Received) -> Answer:
        return Answer.of_json(asdict(self._accounts), headers={"Cache-Control": "no-store"})

    def _show_calls(self, _: Received) -> Answer:
        return Answer.of_json(dict(self._calls))

    def _set_fault(self, received: Received) -> Answer:
        data = read_json(received)
        path = str(data.pop("path", ""))
        if path not in self._services:
            known = ", ".join(self._services)
            raise Refused(Answer.of_json({"error": f"path should be one of {known}; got {path!r}"}, status=400))
        try:
            self._faults.add(path, Fault.from_json(data))
        except ValueError as error:
            raise Refused(Answer.of_json({"error": str(error)}, status=400)) from None
        return DONE

    def _set_token(self, received: Received) -> Answer:
        data = read_json(received)
        expires_in = data.get("expires_in")
        if set(data) != {"expires_in"} or not isinstance(expires_in, int | str | None):
            error = '{"expires_in": 20}, {"expires_in": "20"} or {"expires_in": null} was expected'
            raise Refused(Answer.of_json({"error": error}, status=400))
        self._tokens.state_lifetime(expires_in)
        return DONE

    def _serve_system(self, system: System, received: Received) -> Answer:
        if received.method == "GET":
            return Answer.of_json(system.shown(), headers={"Cache-Control": "no-store"})
        try:
            system.set(read_json(received))
        except ValueError as error:
            raise Refused(Answer.of_json({"error": str(error)}, status=400)) from None
        return DONE

    def _revoke(self, _: Received) -> Answer:
        self._tokens.revoke()
        return DONE

    def _reset(self, _: Received) -> Answer:
        self._calls.clear()
        self._faults.reset()
        self._tokens.reset()
        for system in self._systems.values():
            system.reset()
        return DONE
