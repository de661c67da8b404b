"""Records written: up to 200 with one request, and beyond a threshold by Bulk API 2.0 jobs.

Sources: REST API Developer Guide, sObject Collections; Bulk API 2.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, islice
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

from prefect_atomic.errors import AtomicError, RecordsError, RequestError, ResponseError, TransportError
from prefect_atomic.integrations.records.batches import Batch, Check, json_batches
from prefect_atomic.integrations.records.outcomes import OnError, Outcome, Outcomes, check_on_error, settled
from prefect_atomic.integrations.salesforce.bulk import Ingest
from prefect_atomic.integrations.salesforce.org import Org, said

Operation = Literal["insert", "update", "upsert", "delete"]
Record = Mapping[str, Any]

MOST = 200
"""Records of a request, as documented for sObject Collections."""

_MOST_BYTES = 5_000_000
_PAST = {"insert": "created", "update": "updated", "upsert": "upserted", "delete": "deleted"}
_STOP = frozenset({401, 403, 404})
_SAME_FAULTS = 10  # of single records, one after another, before any went through: it is not the records


class Writing(NamedTuple):
    """What is to be done with records.

    Attributes:
        operation: What it is.
        sobject: The API name of the object.
        key: The field that tells the records: `Id`, or an external id; empty for new ones.
    """

    operation: Operation
    sobject: str
    key: str = ""

    @property
    def what(self) -> str:
        """As messages say it."""
        return f"{self.sobject} records to be {_PAST[self.operation]}"


def write(
    org: Org, writing: Writing, records: Iterable[Record], *, bulk_from: int, on_error: OnError, bulk_wait: float
) -> Outcomes:
    """Writes records, read as they are needed.

    Raises:
        RequestError: The arguments make no request.
        RecordsError: Some records were not written, or it is not known; has the outcomes.
        AtomicError: None was written, as none can be.
    """
    check_on_error(on_error)
    check_name("object", writing.sobject)
    if writing.operation == "upsert":
        check_name("external_id", writing.key)
    if isinstance(records, str | bytes | Mapping):
        raise RequestError("records: takes one mapping, or a list or another iterable of them.")
    outcomes, reading = Outcomes(), iter(records)
    first = list(islice(reading, bulk_from))
    try:
        if len(first) < bulk_from:
            _Collections(org, writing, outcomes).write(first)
        else:
            Ingest(org, writing.operation, writing.sobject, writing.key, outcomes, wait=bulk_wait).write(
                chain(first, reading), check_of(writing)
            )
    except AtomicError as error:
        if not len(outcomes):
            raise
        raise RecordsError(
            f"{len(outcomes)} {writing.what} were sent, {outcomes.succeeded} of them with success; then it ended: "
            f"{error}",
            outcomes=outcomes,
        ) from error
    return settled(outcomes, what=writing.what, on_error=on_error)


class _Collections:
    """Up to 200 records with each request."""

    def __init__(self, org: Org, writing: Writing, outcomes: Outcomes) -> None:
        self._org = org
        self._writing = writing
        self._outcomes = outcomes
        self._went_through = False
        self._same: tuple[str | None, str] | None = None
        self._times = 0

    def write(self, records: list[Record]) -> None:
        for batch in _cut(records, self._outcomes, self._writing, 0):
            self._write(batch, records)

    def _write(self, batch: Batch, records: list[Record]) -> None:
        try:
            response = self._ask(batch, records)
            answer = response.json()
            results = answer if isinstance(answer, list) and len(answer) == len(batch.positions) else None
        except (ValueError, RecursionError):
            results = None
        except ResponseError as error:
            self._refused(batch, records, error)
            return
        except TransportError as error:
            if error.reason.startswith("could not connect"):
                raise
            self._note(batch, "unknown", None, error.reason)
            if _is_new(self._writing):
                return  # it was tried once only: the next may well be answered
            raise
        if results is None:
            self._note(batch, "unknown", None, "the answer cannot be read")
            return
        self._went_through = True
        self._outcomes.add(
            _outcome(position, result, repeated=response.attempts > 1 and self._writing.operation == "delete")
            for position, result in zip(batch.positions, results, strict=True)
        )

    def _ask(self, batch: Batch, records: list[Record]) -> Any:
        operation, sobject, key = self._writing
        if operation == "delete":
            ids = ",".join(_id_of(records[position]) for position in batch.positions)
            return self._org.ask("DELETE", "composite/sobjects", params={"ids": ids, "allOrNone": "false"})
        path = f"composite/sobjects/{quote(sobject)}/{quote(key)}" if operation == "upsert" else "composite/sobjects"
        method = "POST" if operation == "insert" else "PATCH"
        return self._org.ask(method, path, body=batch.body, repeatable=not _is_new(self._writing))

    def _refused(self, batch: Batch, records: list[Record], error: ResponseError) -> None:
        status = error.response.status_code
        if status in _STOP:
            raise error
        code, message, fields = said(error)
        if status >= 500 or status == 408:
            self._note(batch, "unknown", code, message)
            if _is_new(self._writing):  # it was tried once only: the next may well be answered
                return
            raise error
        if len(batch.positions) > 1:  # one record can have the request refused; find it, so that the others go through
            middle = len(batch.positions) // 2
            for positions in (batch.positions[:middle], batch.positions[middle:]):
                (half,) = _cut([records[position] for position in positions], Outcomes(), self._writing, 0)
                self._write(Batch(positions, half.body), records)
            return
        self._times = self._times + 1 if self._same == (code, message) else 1
        self._same = (code, message)
        if self._times >= _SAME_FAULTS and not self._went_through:
            raise error
        self._outcomes.add([Outcome(batch.positions[0], "failed", code=code, message=message, fields=fields)])

    def _note(self, batch: Batch, state: Literal["unknown"], code: str | None, message: str) -> None:
        self._outcomes.add(Outcome(position, state, code=code, message=message) for position in batch.positions)


def check_name(argument: str, name: object) -> str:
    """The API name of an object or a field.

    Raises:
        RequestError: It is none.
    """
    parts = name.split("__") if isinstance(name, str) else []
    if not parts or not all(part.replace("_", "a").isalnum() and part.isascii() for part in parts if part) or not name:
        raise RequestError(f"{argument}: is an API name, such as Contact or External_Id__c, not {str(name)[:100]!r}.")
    return str(name)


def check_of(writing: Writing) -> Check | None:
    """What is wrong with a record, as far as its key tells."""
    if writing.operation == "insert":
        return None
    return partial(_lacks_key, writing.key)


def _lacks_key(key: str, record: Record) -> str | None:
    value = next((value for name, value in record.items() if str(name).lower() == key.lower()), None)
    if value is None or str(value).strip() == "":
        return f"has no {key}, which tells Salesforce which record it is"
    return None


def _is_new(writing: Writing) -> bool:
    return writing.operation == "insert"


def _cut(records: list[Record], outcomes: Outcomes, writing: Writing, first: int) -> Iterator[Batch]:
    # In a deletion the body is not sent: the ids stand in the query.
    return json_batches(
        records,
        outcomes,
        most=MOST,
        most_bytes=_MOST_BYTES,
        wrap=(b'{"allOrNone":false,"records":[', b"]}"),
        shape=lambda record: {"attributes": {"type": writing.sobject}, **record},
        check=check_of(writing),
        first=first,
    )


def _id_of(record: Record) -> str:
    return next(str(value) for name, value in record.items() if str(name).lower() == "id")


def _outcome(position: int, result: Any, *, repeated: bool) -> Outcome:
    result = result if isinstance(result, dict) else {}
    errors = result.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    code = first.get("statusCode")
    if result.get("success") is True or (repeated and code == "ENTITY_IS_DELETED"):  # by the attempt before
        created = result.get("created")
        known = created if isinstance(created, bool) else None
        return Outcome(position, "succeeded", id=result.get("id"), created=known)
    return Outcome(
        position,
        "failed",
        id=result.get("id"),
        code=code or "UNKNOWN_EXCEPTION",
        message=first.get("message") or "Salesforce gave no reason",
        fields=tuple(map(str, first.get("fields") or ())),
    )
