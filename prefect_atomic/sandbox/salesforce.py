"""Salesforce's core: sign-in, REST, Bulk API, and the exchange that leads on to Data 360.

Sources: developer.salesforce.com, api-rest, api-asynch and api-soap; where they leave something open, the sandbox is
strict, and says what it expects.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from prefect_atomic.sandbox.accounts import Data360Account, SalesforceAccount
from prefect_atomic.sandbox.salesforce_bulk_v1 import bulk_v1
from prefect_atomic.sandbox.salesforce_collections import collections
from prefect_atomic.sandbox.salesforce_door import Call, Door, segments
from prefect_atomic.sandbox.salesforce_errors import RecordRefused, not_found
from prefect_atomic.sandbox.salesforce_exchange import exchange
from prefect_atomic.sandbox.salesforce_extract import extract
from prefect_atomic.sandbox.salesforce_ingest import ingest
from prefect_atomic.sandbox.salesforce_records import limits, query, sobjects
from prefect_atomic.sandbox.salesforce_sign_in import SignIn
from prefect_atomic.sandbox.salesforce_soap import login
from prefect_atomic.sandbox.salesforce_state import SalesforceState
from prefect_atomic.sandbox.tokens import Tokens
from prefect_atomic.sandbox.wire import Answer, Received, Refused, Route

DATA = "/services/data"
ASYNC = "/services/async"
VERSION = re.compile(r"v(\d\d)\.0")
VERSIONS = range(31, 67)

# by which faults are set and calls are counted; all of them have the same handler, for a version may be wrong anywhere
PATHS = {
    "sobjects": "objects",
    "sobjects/{object}": "a new record",
    "sobjects/{object}/": "a new record, as simple-salesforce asks",
    "sobjects/{object}/describe": "the fields of an object",
    "sobjects/{object}/{id}": "a record",
    "sobjects/{object}/{field}/{value}": "a record by an external id",
    "query": "SOQL",
    "query/": "SOQL, as simple-salesforce asks",
    "query/{cursor}": "the next page of a query",
    "queryAll": "SOQL, deleted records too",
    "queryAll/": "SOQL, deleted records too, as simple-salesforce asks",
    "composite/sobjects": "sObject Collections",
    "composite/sobjects/{object}/{field}": "sObject Collections, upsert",
    "jobs/ingest": "Bulk API 2.0",
    "jobs/ingest/{id}": "an ingest job",
    "jobs/ingest/{id}/batches": "the upload of a job",
    "jobs/ingest/{id}/{results}": "results of a job",
    "jobs/query": "Bulk API 2.0",
    "jobs/query/{id}": "a query job",
    "jobs/query/{id}/results": "results of a query job",
}
RESOURCES: dict[tuple[str, ...], Callable[[SalesforceState, Call], Answer]] = {
    ("sobjects",): sobjects,
    ("query",): query,
    ("queryall",): query,
    ("limits",): limits,
    ("composite", "sobjects"): collections,
    ("jobs", "ingest"): ingest,
    ("jobs", "query"): extract,
}


class Salesforce:
    """One org: who signs in, what it has, and with Data 360 beside it, the exchange of its tokens."""

    def __init__(self, account: SalesforceAccount, data_360: Data360Account, tokens: Tokens) -> None:
        self._state = SalesforceState()
        self._door = Door(tokens, self._state)
        self._sign_in = SignIn(account, data_360, tokens, self._state)
        self._login = partial(login, account, self._sign_in)
        self._exchange = partial(exchange, data_360, tokens)

    def routes(self) -> list[Route]:
        """All that it serves."""
        post = frozenset({"POST"})
        return [
            Route("/services/oauth2/token", self._sign_in.answer, "Salesforce: a core session", post),
            Route("/services/Soap/u", self._login, "Salesforce: /{version}, login", post, below=True),
            Route("/services/a360/token", self._exchange, "Salesforce: a core token for a Data 360 token, once", post),
            *(Route(f"{DATA}/{{version}}/{path}", self._data, f"Salesforce: {about}") for path, about in PATHS.items()),
            Route(DATA, self._data, "Salesforce: the versions, and whatever else is below", below=True),
            Route(ASYNC, self._async, "Salesforce: Bulk API 1.0, JSON batches", below=True),
        ]

    def shown(self) -> dict[str, object]:
        """What it has: the number of records of each object, the jobs, and the use of the API."""
        return self._state.shown()

    def set(self, data: Mapping[str, Any]) -> None:
        """Sets what a test wants of it; raises ValueError with a sentence that says what is wrong."""
        self._state.set(data)

    def reset(self) -> None:
        """Forgets all that it has."""
        self._state.reset()

    def _data(self, received: Received) -> Answer:
        parts = segments(received, DATA)
        if not parts:
            versions = [{"label": f"{each}.0", "url": f"{DATA}/v{each}.0", "version": f"{each}.0"} for each in VERSIONS]
            return Answer.of_json(versions)
        self._door.let_in(received)
        return self._door.counted(lambda: self._resource(Call(received, parts[0], parts[1:])))

    def _resource(self, call: Call) -> Answer:
        found = VERSION.fullmatch(call.version)
        if not found or int(found[1]) not in VERSIONS:
            not_found()
        if not call.parts:
            names = sorted({path[0] for path in RESOURCES})
            return Answer.of_json({name: f"{call.base}/{name}" for name in names})
        for path, serve in RESOURCES.items():
            if tuple(part.lower() for part in call.parts[: len(path)]) == path:
                self._state.calls[f"{call.method} {'/'.join(path)}"] += 1
                try:
                    return serve(self._state, call)
                except RecordRefused as refused:
                    raise refused.refusal() from None
        return not_found()

    def _async(self, received: Received) -> Answer:
        version, *parts = segments(received, ASYNC) or ("",)
        try:
            return bulk_v1(self._door, self._state, Call(received, f"v{version}", tuple(parts)))
        except RecordRefused as refused:
            content = {"exceptionCode": "InvalidJob", "exceptionMessage": refused.message}
            raise Refused(Answer.of_json(content, status=400)) from None
