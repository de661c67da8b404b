"""Records written: up to 200 with one request, and beyond a threshold by Bulk API 2.0 jobs.

Sources: REST API Developer Guide, sObject Collections; Bulk API 2.0.
"""

from __future__ import annotations

import re
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
from prefect_atomic.integrations.salesforce.types import Types
from prefect_atomic.transport import Response, Retry
from prefect_atomic.transport.retry import TRANSIENT, sleep

Operation = Literal["insert", "update", "upsert", "delete"]
Record = Mapping[str, Any]

MOST = 200
"""Records of a request, as documented for sObject Collections."""

_MOST_BYTES = 5_000_000
_PAST = {"insert": "created", "update": "updated", "upsert": "upserted", "delete": "deleted"}
_STOP = frozenset({401, 403, 404, 429})
_PERHAPS_ONE_RECORD = frozenset({400, 413})
_NEVER_ARRIVED = ("could not connect", "waited too long for a free connection")
_ONCE = Retry(attempts=1)
_RETRY = Retry(attempts=4, backoff=1.0, max_wait=60.0)
_ID = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?")
_SAME_FAULTS = 10  # of single records, one after another, before any went through: it is not the records


class Writing(NamedTuple):
    """What is to be done with records.

    Attributes:
        operation: What it is.
        sobject: The API name of the object.
        key: The field that tells the records: `Id`, or an external id; empty for new ones.
        prefix: What the ids of the object begin with, where that is to be checked.
    """

    operation: Operation
    sobject: str
    key: str = ""
    prefix: str = ""

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
    least: object = bulk_from
    if not isinstance(least, int) or isinstance(least, bool) or least < 1:
        raise RequestError("bulk_from: is a whole number of records, 1 or more.")
    if isinstance(records, str | bytes | Mapping) or not hasattr(records, "__iter__"):
        raise RequestError("records: takes one mapping, or a list or another iterable of them.")
    outcomes, reading = Outcomes(), iter(records)
    first = list(islice(reading, bulk_from))
    if first and writing.operation == "delete":  # Salesforce would delete what the id is of, whatever was named
        writing = writing._replace(prefix=Types(org).key_prefix(writing.sobject))
    ingest = None
    try:
        if len(first) < bulk_from:
            _Collections(org, writing, outcomes).write(first)
        else:
            ingest = Ingest(org, writing.operation, writing.sobject, writing.key, outcomes, wait=bulk_wait)
            ingest.write(chain(first, reading), check_of(writing))
    except AtomicError as error:
        if not len(outcomes):
            raise
        told = str(error)
        outcomes.add(
            Outcome(position, "not sent", message=f"it ended before: {told}")
            for position in outcomes.missing(ingest.read if ingest else len(first))
        )
        raise RecordsError(
            f"{outcomes.succeeded} of the {len(outcomes)} {writing.what} that were read succeeded; then it ended: "
            f"{told}",
            outcomes=outcomes,
        ) from error
    if ingest and ingest.broken is not None:
        raise RecordsError(
            f"The records could not be read beyond position {ingest.read - 1}, for a {type(ingest.broken).__name__}; "
            f"{outcomes.succeeded} of the {len(outcomes)} {writing.what} before succeeded.",
            outcomes=outcomes,
        ) from ingest.broken
    return settled(outcomes, what=writing.what, on_error=on_error)


class _Collections:
    """Up to 200 records with each request."""

    def __init__(self, org: Org, writing: Writing, outcomes: Outcomes) -> None:
        self._org = org
        self._writing = writing
        self._outcomes = outcomes
        self._is_new = writing.operation == "insert"
        self._went_through = False
        self._same: tuple[str | None, str] | None = None
        self._times = 0

    def write(self, records: list[Record]) -> None:
        for batch in _cut(records, self._outcomes, self._writing):
            self._write(batch, records)

    def _write(self, batch: Batch, records: list[Record]) -> None:
        try:
            response, was_lost = self._answered(batch, records)
        except ResponseError as error:
            self._refused(batch, records, error)
            return
        except TransportError as error:
            if error.reason.startswith(_NEVER_ARRIVED):
                raise
            self._note(batch, "unknown", None, error.reason)
            if self._is_new:
                return  # it was tried once only: the next may well be answered
            raise
        try:
            results = response.json()
        except (ValueError, RecursionError):
            results = None
        if not isinstance(results, list) or len(results) != len(batch.positions):
            self._note(batch, "unknown", None, "the answer cannot be read")
            return
        self._went_through = True
        self._outcomes.add(
            self._outcome(position, result, was_lost) for position, result in zip(batch.positions, results, strict=True)
        )

    def _answered(self, batch: Batch, records: list[Record]) -> tuple[Response, bool]:
        """The answer, and whether the one to an attempt before may have been lost on the way."""
        was_lost = False
        attempt = 1
        while True:
            try:
                return self._ask(batch, records), was_lost
            except (TransportError, ResponseError) as error:
                surely_not = _was_surely_not_processed(error)
                if attempt >= _RETRY.attempts or not (surely_not or (not self._is_new and _may_pass(error))):
                    raise
                was_lost = was_lost or not surely_not
                sleep(_RETRY.wait(attempt, error.retry_after))
                attempt += 1

    def _ask(self, batch: Batch, records: list[Record]) -> Response:
        operation, sobject, key, _ = self._writing
        if operation == "delete":
            ids = ",".join(_id_of(records[position]) for position in batch.positions)
            params = {"ids": ids, "allOrNone": "false"}
            return self._org.ask("DELETE", "composite/sobjects", params=params, retry=_ONCE)
        path = f"composite/sobjects/{quote(sobject)}/{quote(key)}" if operation == "upsert" else "composite/sobjects"
        return self._org.ask("POST" if self._is_new else "PATCH", path, body=batch.body, retry=_ONCE)

    def _refused(self, batch: Batch, records: list[Record], error: ResponseError) -> None:
        status = error.response.status_code
        if status in _STOP:
            raise error
        code, message, fields = said(error, self._org)
        if status >= 500 or status == 408:
            self._note(batch, "unknown", code, message)
            if self._is_new:
                return  # it was tried once only: the next may well be answered
            raise error
        if status < 400:  # it says yes, and how cannot be read
            self._note(batch, "unknown", code, message)
            return
        if status in _PERHAPS_ONE_RECORD and len(batch.positions) > 1:  # find it, so that the others go through
            middle = len(batch.positions) // 2
            for positions in (batch.positions[:middle], batch.positions[middle:]):
                (half,) = _cut([records[position] for position in positions], Outcomes(), self._writing)
                self._write(Batch(positions, half.body), records)
            return
        self._times = self._times + 1 if self._same == (code, message) else 1
        self._same = (code, message)
        if self._times >= _SAME_FAULTS and not self._went_through:
            raise error
        self._outcomes.add(
            Outcome(position, "failed", code=code, message=message, fields=fields) for position in batch.positions
        )

    def _note(self, batch: Batch, state: Literal["unknown"], code: str | None, message: str) -> None:
        self._outcomes.add(Outcome(position, state, code=code, message=message) for position in batch.positions)

    def _outcome(self, position: int, result: Any, was_lost: bool) -> Outcome:
        result = result if isinstance(result, dict) else {}
        errors = result.get("errors")
        first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
        code, fields = first.get("statusCode"), first.get("fields")
        record_id = result.get("id")
        # The attempt whose answer was lost may have deleted it, or created it.
        if result.get("success") is True or (was_lost and code == "ENTITY_IS_DELETED"):
            created = result.get("created")
            known = created if isinstance(created, bool) and not was_lost else None
            return Outcome(position, "succeeded", id=record_id, created=known)
        return Outcome(
            position,
            "failed",
            id=record_id,
            code=str(code or "UNKNOWN_EXCEPTION"),
            message=self._org.scrubbed(str(first.get("message") or "Salesforce gave no reason")),
            fields=tuple(map(str, fields)) if isinstance(fields, list) else (),
        )


def check_name(argument: str, name: object) -> str:
    """The API name of an object or a field.

    Raises:
        RequestError: It is none.
    """
    parts = name.split("__") if isinstance(name, str) else []
    if not parts or not all(part.replace("_", "a").isalnum() and part.isascii() for part in parts if part) or not name:
        raise RequestError(f"{argument}: is an API name, such as Contact or External_Id__c, not {str(name)[:100]!r}.")
    return str(name)


def check_of(writing: Writing) -> Check:
    """What is wrong with a record, as far as its names and its key tell."""
    return partial(_fault, writing)


def _fault(writing: Writing, record: Record) -> str | None:
    names = [str(name).lower() for name in record if name != "attributes"]
    if not names:
        return "has no fields"
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        return f"has the field {twice} twice, in different letters"
    if not writing.key:
        return None
    value = _of(record, writing.key)
    if value is None or str(value).strip() == "":
        return f"has no {writing.key}, which tells Salesforce which record it is"
    if isinstance(value, Mapping | list | tuple | set):
        return f"{writing.key}: is a {type(value).__name__}; give the value itself"
    if writing.key == "Id" and not _ID.fullmatch(str(value)):
        return "Id: is no id; one has 15 or 18 letters and digits"
    if writing.prefix and not str(value).startswith(writing.prefix):
        return f"Id: is of another object; those of {writing.sobject} begin with {writing.prefix}"
    return None


def _of(record: Record, key: str) -> Any:
    return next((value for name, value in record.items() if str(name).lower() == key.lower()), None)


def _id_of(record: Record) -> str:
    return str(_of(record, "Id"))


def _cut(records: list[Record], outcomes: Outcomes, writing: Writing) -> Iterator[Batch]:
    # In a deletion the body is not sent: the ids stand in the query.
    return json_batches(
        records,
        outcomes,
        most=MOST,
        most_bytes=_MOST_BYTES,
        wrap=(b'{"allOrNone":false,"records":[', b"]}"),
        shape=partial(_shaped, writing.sobject),
        check=check_of(writing),
    )


def _shaped(sobject: str, record: Record) -> dict[str, Any]:
    """As the REST API takes it: `Account.External_Id__c` is nested, and the object is the one that was named."""
    shaped: dict[str, Any] = {}
    for name, value in record.items():
        relation, dot, of = str(name).partition(".")
        if dot:
            nested = shaped.setdefault(relation, {})
            if isinstance(nested, dict):
                nested[of] = value
        else:
            shaped[name] = value
    return {**shaped, "attributes": {"type": sobject}}


def _was_surely_not_processed(error: TransportError | ResponseError) -> bool:
    if isinstance(error, ResponseError):
        return error.response.status_code == 429
    return error.reason.startswith(_NEVER_ARRIVED)


def _may_pass(error: TransportError | ResponseError) -> bool:
    if isinstance(error, ResponseError):
        return error.response.status_code in TRANSIENT
    return error.transient
