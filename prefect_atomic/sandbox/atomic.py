"""Atomic's own API: tokens by role, and behind them flows, cards, users, webhooks and analytics.

Sources: documentation.atomic.io, api/auth, api/action-flow-api, api/card-api, api/users-api, api/webhooks and
guide/analytics/overview. Where they leave something open, the sandbox is strict, and says what it expects.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NoReturn

from prefect_atomic.sandbox import (
    atomic_analytics,
    atomic_cards,
    atomic_flows,
    atomic_users,
    atomic_webhooks,
    oauth,
)
from prefect_atomic.sandbox.accounts import AtomicAccount
from prefect_atomic.sandbox.atomic_request import query, refuse
from prefect_atomic.sandbox.atomic_state import AtomicState
from prefect_atomic.sandbox.tokens import ATOMIC, Kind, TokenRefused, Tokens
from prefect_atomic.sandbox.wire import Answer, Received, Route

LIFETIME = 3600
EVENTS: tuple[Kind, ...] = ("atomic-events",)
WORKBENCH: tuple[Kind, ...] = ("atomic-workbench",)

Operation = Callable[[AtomicState, Received], Answer]


class Atomic:
    """One environment of Atomic, with a client for each role."""

    def __init__(self, events: AtomicAccount, workbench: AtomicAccount, tokens: Tokens) -> None:
        self._clients: dict[str, tuple[AtomicAccount, Kind]] = {
            events.client_id: (events, "atomic-events"),
            workbench.client_id: (workbench, "atomic-workbench"),
        }
        self._environment_id = events.environment_id
        self._base_url = events.base_url
        self._tokens = tokens
        self._state = AtomicState()

    def routes(self) -> list[Route]:
        """The token endpoint, the operations of the environment, and the data of its analytics."""
        environment = f"/atomic/v1/{self._environment_id}"
        batched = partial(atomic_analytics.batched, self._base_url)
        data = partial(atomic_analytics.data, self._state)
        return [
            Route("/atomic/oauth2/token", self._token, "Atomic: client credentials for a token", frozenset({"POST"})),
            self._route("/atomic/v1", _nowhere, "what there is not", ATOMIC, below=True),
            self._route("/atomic/v1/environments", self._environments, "its environments", ATOMIC, "GET"),
            self._route(
                f"{environment}/action-flow", atomic_flows.run, "/{id}/start and /{id}/test", EVENTS, "POST", below=True
            ),
            self._route(f"{environment}/cards", atomic_cards.find, "cards by filters", EVENTS, "GET"),
            self._route(f"{environment}/cards/cancel", atomic_cards.cancel, "cancels by filters", EVENTS, "PUT"),
            self._route(f"{environment}/users", atomic_users.serve, "users", ATOMIC, "GET", "POST"),
            self._route(
                f"{environment}/webhook",
                atomic_webhooks.serve,
                "subscriptions",
                WORKBENCH,
                *("GET", "POST", "DELETE"),
                below=True,
            ),
            self._route(f"{environment}/analytics/batched", batched, "events by the hour", ATOMIC, "GET"),
            Route("/atomic/data", data, "Atomic: events behind pre-signed URLs", frozenset({"GET"}), below=True),
        ]

    def shown(self) -> dict[str, object]:
        """What Atomic has: its invocations, users, cards and webhooks."""
        return self._state.shown()

    def set(self, data: Mapping[str, Any]) -> None:
        """Sets what a test wants of it; raises ValueError with a sentence that says what is wrong."""
        self._state.set(data)

    def reset(self) -> None:
        """Forgets all that it has."""
        self._state.reset()

    def _route(
        self, path: str, operation: Operation, about: str, kinds: tuple[Kind, ...], *methods: str, below: bool = False
    ) -> Route:
        handler = partial(self._let_in, kinds, operation)
        return Route(path, handler, f"Atomic: {about}", frozenset(methods) or None, below)

    def _token(self, received: Received) -> Answer:
        given = oauth.parameters(received.query_pairs + received.form_pairs)
        oauth.require_grant(given, "client_credentials")
        # Atomic has the client_id among the parameters as well
        named = given.pop("client_id", None)
        if received.header("authorization") is None:
            oauth.refuse("invalid_client", "the client authenticates with HTTP Basic", status=401)
        client_id, client_secret = oauth.client(received, given)
        if named is None:
            oauth.refuse("invalid_request", "client_id is missing among the parameters")
        if named != client_id:
            oauth.refuse("invalid_client", "client_id is not the one in HTTP Basic", status=401)
        if client_id not in self._clients:
            oauth.refuse("invalid_client", "nobody knows this client_id", status=401)
        account, kind = self._clients[client_id]
        oauth.require_client(
            (client_id, client_secret), client_id=account.client_id, client_secret=account.client_secret
        )
        token = self._tokens.issue(kind, lifetime=LIFETIME)
        content = {"access_token": token, "token_type": "Bearer", **self._tokens.expiry(LIFETIME)}
        return Answer.of_json(content, headers=oauth.NO_STORE)

    def _let_in(self, kinds: tuple[Kind, ...], operation: Operation, received: Received) -> Answer:
        if not (received.header("user-agent") or "").strip():
            refuse("the User-Agent header is missing or empty; Atomic requires one", status=403)
        values = received.header_values("authorization")
        if len(values) != 1:
            _challenge("there is more than one Authorization header" if values else "send Authorization: Bearer TOKEN")
        scheme, _, token = values[0].partition(" ")
        if scheme.lower() != "bearer":
            _challenge("the Authorization header should start with Bearer")
        try:
            issued = self._tokens.accept(ATOMIC, token.strip())
        except TokenRefused as reason:
            _challenge(str(reason))
        if issued.kind not in kinds:
            role, needed = _role(issued.kind), " or ".join(map(_role, kinds))
            refuse(f"this needs the role {needed}; the token is for the role {role}", status=403)
        return operation(self._state, received)

    def _environments(self, _: AtomicState, received: Received) -> Answer:
        query(received, ())
        return Answer.of_json({"data": {"environments": [{"id": self._environment_id, "name": "Sandbox"}]}})


def _nowhere(_: AtomicState, received: Received) -> Answer:
    refuse(f"there is no environment or no operation at {received.path}", status=404)


def _role(kind: Kind) -> str:
    return kind.removeprefix("atomic-")


def _challenge(reason: str) -> NoReturn:
    refuse(reason, status=401, headers={"WWW-Authenticate": 'Bearer realm="sandbox"'})
