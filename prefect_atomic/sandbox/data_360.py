"""Data 360: ingestion and queries, on the host that comes with its token, which is the root of the sandbox.

Sources: developer.salesforce.com, data-cloud-ref and c360a_api (streaming and bulk ingestion, query version 2) and
data-cloud-query-guide (query version 3). Where they leave something open, the sandbox is strict; each module says how.
The request rate that a tenant allows is not known, so that a test sets which calls are told to slow down.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from prefect_atomic.sandbox import (
    data_360_jobs,
    data_360_query_v2,
    data_360_query_v3,
    data_360_streaming,
)
from prefect_atomic.sandbox.accounts import Data360Account
from prefect_atomic.sandbox.data_360_request import refuse
from prefect_atomic.sandbox.data_360_state import Data360State
from prefect_atomic.sandbox.sessions import Sessions
from prefect_atomic.sandbox.tokens import TokenRefused, Tokens
from prefect_atomic.sandbox.wire import Answer, Received, Route

Operation = Callable[[Data360State, Received], Answer]


class Data360:
    """One tenant."""

    def __init__(self, account: Data360Account, tokens: Tokens) -> None:
        self._account = account
        self._sessions = Sessions("data-360", tokens)
        self._state = Data360State()

    def routes(self) -> list[Route]:
        """All that it serves."""
        source = "/api/v1/ingest/sources/{connector}/{object}"
        jobs, v2, v3 = "/api/v1/ingest/jobs", "/api/v2/query", "/api/v3/query"
        return [
            self._route(source, data_360_streaming.serve, "streaming ingestion", "POST", "DELETE"),
            self._route(f"{source}/actions/test", data_360_streaming.validate, "validates a request", "POST"),
            self._route(jobs, data_360_jobs.serve, "bulk ingestion", "GET", "POST"),
            self._route(f"{jobs}/{{id}}", data_360_jobs.serve_one, "a bulk job", "GET", "PATCH", "DELETE"),
            self._route(f"{jobs}/{{id}}/batches", data_360_jobs.upload, "a file of a bulk job", "PUT"),
            self._route(v2, data_360_query_v2.start, "a query", "POST"),
            self._route(f"{v2}/{{nextBatchId}}", data_360_query_v2.go_on, "the next batch of a query", "GET"),
            self._route(v3, data_360_query_v3.start, "a query", "POST"),
            self._route(f"{v3}/{{queryId}}", data_360_query_v3.serve, "how far a query is", "GET", "DELETE"),
            self._route(f"{v3}/{{queryId}}/rows", data_360_query_v3.rows, "rows of a query", "GET"),
            self._route(f"{v3}/{{queryId}}/chunks/{{n}}", data_360_query_v3.chunk, "a chunk of a query", "GET"),
            self._route(f"{v3}/{{queryId}}/metadata", data_360_query_v3.metadata, "columns of a query", "GET"),
        ]

    def shown(self) -> dict[str, object]:
        """What it has: records, jobs, and how it was asked."""
        return self._state.shown()

    def set(self, data: Mapping[str, Any]) -> None:
        """Sets what a test wants of it; raises ValueError with a sentence that says what is wrong."""
        self._state.set(data)

    def reset(self) -> None:
        """Forgets all that it has."""
        self._state.reset()
        self._sessions.reset()

    def _route(self, path: str, operation: Operation, about: str, *methods: str) -> Route:
        return Route(path, partial(self._let_in, operation), f"Data 360: {about}", frozenset(methods))

    def _let_in(self, operation: Operation, received: Received) -> Answer:
        settings = self._state.settings
        try:
            self._sessions.admit(received, most=settings.session_calls)
        except TokenRefused as reason:
            challenge = {"WWW-Authenticate": 'Bearer realm="sandbox"'}
            refuse(received, str(reason), status=401, headers=challenge)
        if self._sessions.throttled(settings.throttle_every):
            refuse(received, "too many requests; slow down", status=429, headers={"Retry-After": "1"})
        return operation(self._state, received)
