"""`/_sandbox`: what a test or a demo asks of the sandbox itself."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict

from prefect_atomic.sandbox.accounts import Accounts
from prefect_atomic.sandbox.atomic import Atomic
from prefect_atomic.sandbox.faults import Fault, Faults
from prefect_atomic.sandbox.tokens import Tokens
from prefect_atomic.sandbox.wire import Answer, Received, Refused, Route, read_json

DONE = Answer(204)


class Control:
    """The control endpoints. They are neither counted nor made to misbehave."""

    def __init__(
        self,
        accounts: Accounts,
        tokens: Tokens,
        faults: Faults,
        calls: Counter[str],
        services: Mapping[str, Route],
        atomic: Atomic,
    ) -> None:
        self._accounts = accounts
        self._tokens = tokens
        self._faults = faults
        self._calls = calls
        self._services = services
        self._atomic = atomic

    def routes(self) -> list[Route]:
        """The paths of the control."""
        get, put, post = frozenset({"GET"}), frozenset({"PUT"}), frozenset({"POST"})
        atomic = "what Atomic has, and what it is told"
        return [
            Route("/_sandbox", self._index, "this index", get),
            Route("/_sandbox/accounts", self._show_accounts, "the accounts that are accepted, with their secrets", get),
            Route("/_sandbox/calls", self._show_calls, "how often each path was called", get),
            Route("/_sandbox/faults", self._set_fault, "makes a path misbehave", put),
            Route("/_sandbox/token", self._set_token, '{"expires_in": 20} is what answers say from now on', put),
            Route("/_sandbox/atomic", self._serve_atomic, atomic, get | put),
            Route("/_sandbox/revoke", self._revoke, "refuses all tokens issued so far", post),
            Route("/_sandbox/reset", self._reset, "forgets calls, faults, tokens and what Atomic has", post),
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

    def _serve_atomic(self, received: Received) -> Answer:
        if received.method == "GET":
            return Answer.of_json(self._atomic.shown(), headers={"Cache-Control": "no-store"})
        try:
            self._atomic.set(read_json(received))
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
        self._atomic.reset()
        return DONE
