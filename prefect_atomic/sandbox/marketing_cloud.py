"""Marketing Cloud Engagement: its tokens, data extensions, journeys and contacts.

Sources: developer.salesforce.com, marketing-cloud (access-token-s2s, mc_rest_data_extensions, mc_rest_interaction,
error-handling, rate-limiting-errors) and help.salesforce.com, mc_overview_limits_api. Where they leave something open,
the sandbox is strict; each module says how.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from prefect_atomic.sandbox import (
    marketing_cloud_async,
    marketing_cloud_contacts,
    marketing_cloud_journeys,
    marketing_cloud_read,
    marketing_cloud_rows,
    marketing_cloud_token,
)
from prefect_atomic.sandbox.accounts import MarketingCloudAccount
from prefect_atomic.sandbox.marketing_cloud_request import refuse
from prefect_atomic.sandbox.marketing_cloud_state import MarketingCloudState
from prefect_atomic.sandbox.sessions import Sessions
from prefect_atomic.sandbox.tokens import TokenRefused, Tokens
from prefect_atomic.sandbox.wire import Answer, Received, Route

REST = "/marketing-cloud/rest"
Operation = Callable[[MarketingCloudState, Received], Answer]


class MarketingCloud:
    """One tenant."""

    def __init__(self, account: MarketingCloudAccount, tokens: Tokens) -> None:
        self._account = account
        self._tokens = tokens
        self._sessions = Sessions("marketing-cloud", tokens)
        self._state = MarketingCloudState()

    def routes(self) -> list[Route]:
        """All that it serves."""
        token = partial(marketing_cloud_token.issue, self._account, self._tokens)
        events, later = "/hub/v1/dataevents/{key}", "/data/v1/async"
        journeys, contacts = "/interaction/v1", "/contacts/v1/contacts"
        read = "/data/v1/customobjectdata/key/{key}/rowset"
        return [
            Route("/marketing-cloud/v2/token", token, "Marketing Cloud: a token", frozenset({"POST"})),
            self._route(f"{events}/rowset", marketing_cloud_rows.rowset, "writes rows", "POST"),
            self._route(f"{events}/rows/{{row}}", marketing_cloud_rows.one, "writes a row", "PUT"),
            self._route(
                f"{later}/dataextensions/{{key}}/rows", marketing_cloud_async.rows, "accepts rows", "POST", "PUT"
            ),
            self._route(f"{later}/{{requestId}}/status", marketing_cloud_async.status, "whether rows are there", "GET"),
            self._route(f"{later}/{{requestId}}/results", marketing_cloud_async.results, "what became of rows", "GET"),
            self._route(read, marketing_cloud_read.rowset, "rows", "GET"),
            self._route(f"{journeys}/events", marketing_cloud_journeys.one, "a contact enters a journey", "POST"),
            self._route(f"{journeys}/async/events", marketing_cloud_journeys.batch, "contacts enter a journey", "POST"),
            self._route(contacts, marketing_cloud_contacts.upsert, "creates or changes a contact", "POST"),
            self._route(f"{contacts}/actions/delete", marketing_cloud_contacts.delete, "deletes contacts", "POST"),
        ]

    def shown(self) -> dict[str, object]:
        """What it has: rows, requests, journey entries and contacts."""
        return self._state.shown()

    def set(self, data: Mapping[str, Any]) -> None:
        """Sets what a test wants of it; raises ValueError with a sentence that says what is wrong."""
        self._state.set(data)

    def reset(self) -> None:
        """Forgets all that it has."""
        self._state.reset()
        self._sessions.reset()

    def _route(self, path: str, operation: Operation, about: str, *methods: str) -> Route:
        handler = partial(self._let_in, operation)
        return Route(f"{REST}{path}", handler, f"Marketing Cloud: {about}", frozenset(methods))

    def _let_in(self, operation: Operation, received: Received) -> Answer:
        settings = self._state.settings
        try:
            self._sessions.admit(received, most=settings.session_calls)
        except TokenRefused:
            # Marketing Cloud does not say why
            refuse("Not Authorized", 0, status=401)
        if self._sessions.throttled(settings.throttle_every):
            if settings.throttle_code == 50100:
                refuse("Rate limit exceeded", 50100, status=429, headers={"Retry-After": "5"}, retryAfter=5)
            refuse("temporarily blocked", settings.throttle_code, status=429)
        return operation(self._state, received)
