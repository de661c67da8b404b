"""Streaming ingestion: a few records a request, no word on each. So what is refused is cut until the culprit is alone.

Upserts replace a whole record by its primary key, and deletes name it: both may be sent twice, and are retried.
Source: https://developer.salesforce.com/docs/data/data-cloud-ref/guide/c360a-api-insert-records.htm
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeGuard

import httpx

from prefect_atomic.errors import (
    AtomicError,
    CredentialError,
    DestinationError,
    RequestError,
    ResponseError,
)
from prefect_atomic.integrations.data_360.api import INGEST, Api, check_target, object_of, reason_of
from prefect_atomic.integrations.records import Batch, OnError, Outcome, Outcomes, Reading, json_batches, settled
from prefect_atomic.integrations.records.outcomes import check_on_error
from prefect_atomic.integrations.records.values import moment
from prefect_atomic.transport import Proof

MOST_BYTES = 199_999
"""Data 360 documents less than 200 KB, which we take for 200,000 bytes."""

MOST_IDS = 200

_REFUSED = frozenset({400, 413, 422})
"""What is the fault of what was sent, and perhaps of one record only."""

_TELLING = 20
"""Of so many records, all refused: it is no longer a matter of single ones."""

_REFUSED_IN_A_ROW = 200
"""Records, whatever requests they were in: each costs two requests or so to be told apart."""


def ingest(
    api: Api,
    target: tuple[str, str],
    records: Iterable[Mapping[str, Any]],
    *,
    fields: Sequence[str] | None,
    batch_size: int,
    on_error: OnError,
    is_test: bool = False,
) -> Outcomes:
    """Upserts records, or has them validated; see `SalesforceData360.ingest`."""
    source, name = check_target(*target)
    check_on_error(on_error)
    if isinstance(records, str | bytes | Mapping) or not isinstance(records, Iterable):
        raise RequestError("records: takes a list, or another iterable, of mappings.")
    outcomes, schema, reading = Outcomes(), _Schema(fields), Reading(records)
    batches = json_batches(
        reading,
        outcomes,
        most=batch_size,
        most_bytes=MOST_BYTES,
        wrap=(b'{"data":[', b"]}"),
        shape=schema.shape,
        check=schema.check,
    )
    path = (*INGEST, "sources", source, name, *(("actions", "test") if is_test else ()))
    _Delivery(api, "POST", path, "data", outcomes, is_test=is_test).run(batches)
    what = "records validated" if is_test else f"records for {name}"
    reading.check(outcomes, what)
    return settled(outcomes, what=what, on_error=on_error)


def delete_records(api: Api, target: tuple[str, str], ids: Iterable[str | int], *, on_error: OnError) -> Outcomes:
    """Deletes records by their ids; see `SalesforceData360.delete_records`."""
    source, name = check_target(*target)
    check_on_error(on_error)
    if isinstance(ids, str | bytes | Mapping) or not isinstance(ids, Iterable):
        raise RequestError("ids: takes a list, or another iterable, of ids.")
    outcomes, reading = Outcomes(), Reading(ids, "ids")
    _Delivery(api, "DELETE", (*INGEST, "sources", source, name), "ids", outcomes).run(_id_batches(reading, outcomes))
    what = f"ids of {name}, to delete,"
    reading.check(outcomes, what)
    return settled(outcomes, what=what, on_error=on_error)


class _Counting:
    """A proof that counts the attempts of a request: after the first one, nobody knows what became of those before."""

    def __init__(self, proof: Proof) -> None:
        self._proof = proof
        self.attempts = 0

    def auth(self) -> httpx.Auth:
        self.attempts += 1
        return self._proof.auth()

    def may_prove_at(self, url: httpx.URL) -> bool:
        return self._proof.may_prove_at(url)

    def refuse_destination(self, url: httpx.URL) -> None:
        self._proof.refuse_destination(url)

    def known_secrets(self) -> Iterable[str]:
        return self._proof.known_secrets()


class _Schema:
    """The fields that every record has to have: those that were given, or those of the first record."""

    def __init__(self, fields: Sequence[str] | None) -> None:
        names: tuple[str, ...] = () if fields is None else self._names(fields)
        self._fields = None if fields is None else frozenset(names)
        self._blank = dict.fromkeys(names)

    @staticmethod
    def _names(fields: object) -> tuple[str, ...]:
        names: tuple[Any, ...] = ()
        if isinstance(fields, Iterable) and not isinstance(fields, str | bytes | Mapping):
            names = tuple(fields)
        if not names or not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
            raise RequestError("fields: is a list of the schema's fields, each once.")
        return names

    def check(self, record: Mapping[str, Any]) -> str | None:
        names = record.keys()
        if self._fields is None:
            self._fields = frozenset(names)
        if names == self._fields:
            return None
        unknown = sorted(map(str, names - self._fields))
        missing = [] if self._blank else sorted(map(str, self._fields - names))
        if not unknown and not missing:
            return None
        whose = "fields" if self._blank else "the first record"
        told = [f"has {', '.join(unknown)}, which {whose} has not"] if unknown else []
        told += [f"lacks {', '.join(missing)}, which {whose} has"] if missing else []
        return " and ".join(told) + "; Data 360 wants every field of the schema in each record: `fields` names them"

    def shape(self, record: Mapping[str, Any]) -> dict[str, Any]:
        return {
            **self._blank,
            **{name: moment(value) if isinstance(value, datetime) else value for name, value in record.items()},
        }


def _id_batches(ids: Iterable[str | int], outcomes: Outcomes) -> Iterator[Batch]:
    positions: list[int] = []
    good: list[str] = []
    size = 0
    for position, given in enumerate(ids):
        record_id = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
        length = _length(record_id)
        if not isinstance(record_id, str) or not 0 < length <= MOST_BYTES - 10:
            fault = "is no id: ids are texts or whole numbers, not empty, and of less than 200 KB"
            outcomes.add([Outcome(position, "not sent", code="INVALID_RECORD", message=fault)])
            continue
        if len(good) == MOST_IDS or size + length > MOST_BYTES - 10:
            yield _batch("ids", positions, good)
            positions, good, size = [], [], 0
        positions.append(position)
        good.append(record_id)
        size += length
    if good:
        yield _batch("ids", positions, good)


def _length(record_id: object) -> int:
    """The bytes of an id in a list of them; 0 for what is none."""
    if not isinstance(record_id, str) or not record_id:
        return 0
    try:
        return len(json.dumps(record_id, ensure_ascii=False).encode()) + 1
    except UnicodeEncodeError:  # half of a character
        return 0


def _batch(key: str, positions: Sequence[int], items: Sequence[Any]) -> Batch:
    # Escaped, a text that is not ASCII would take more bytes than it was given room for.
    body = json.dumps({key: items}, ensure_ascii=False, separators=(",", ":"))
    return Batch(tuple(positions), body.encode())


class _Delivery:
    """Sends batches, and notes what became of what is in them."""

    def __init__(
        self, api: Api, method: str, path: tuple[str, ...], key: str, outcomes: Outcomes, *, is_test: bool = False
    ) -> None:
        self._api = api
        self._method = method
        self._path = path
        self._key = key
        self._outcomes = outcomes
        self._is_test = is_test
        self._began = False
        self._attempts = 0
        self._in_a_row = 0
        self._end: str | None = None

    def run(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            if self._end is None:
                self._deliver(batch)
            else:
                self._note(batch, "not sent", message=self._end)

    def _deliver(self, batch: Batch) -> None:
        refused = 0
        parts = [batch]
        while parts:
            part = parts.pop()
            if self._end is not None:
                self._note(part, "not sent", message=self._end)
                continue
            try:
                self._send(part)
            except AtomicError as error:
                if not _is_refusal(error):
                    self._stop(part, error)
                elif len(part.positions) > 1:
                    parts += reversed(self._halves(part))
                else:
                    code, message = reason_of(error)
                    self._note(part, "failed", code=code, message=message)
                    refused += 1
                    self._count_refusal()
            else:
                self._began = True
                self._in_a_row = 0
                self._note(part, "succeeded")
        if refused == len(batch.positions) >= _TELLING and not self._is_test:
            self._end = f"all {refused} records of a request were refused, so no more were tried"

    def _count_refusal(self) -> None:
        self._in_a_row += 1
        if self._in_a_row >= _REFUSED_IN_A_ROW and not self._is_test:
            self._end = f"{self._in_a_row} records in a row were refused, so no more were tried"

    def _send(self, part: Batch) -> None:
        counting = _Counting(self._api.proof)
        try:
            self._ask(replace(self._api, proof=counting), part)
        finally:
            self._attempts = counting.attempts

    def _ask(self, api: Api, part: Batch) -> None:
        response = api.ask(self._method, *self._path, content=part.body, repeatable=True)
        if self._is_test and not response.content:
            return
        if object_of(response).get("accepted", self._is_test) is not True:
            raise ResponseError(f"{response.url} answered without accepting anything.", response=response)

    def _stop(self, part: Batch, error: AtomicError) -> None:
        """Nothing more is sent: the next requests would fare no better."""
        status = error.response.status_code if isinstance(error, ResponseError) else 0
        if self._attempts > 1:
            state = "unknown"  # an earlier attempt, whose answer was lost, may have got through
        elif isinstance(error, CredentialError | DestinationError | RequestError):
            state = "not sent"
        elif 400 <= status < 500 and status not in (408, 429):
            state = "failed"
        else:
            state = "unknown"  # an attempt whose answer was lost may have been the one that got through
        if state != "unknown" and not self._began:
            raise error
        self._began = True
        self._end = "an earlier request failed for a reason that is not a record's"
        self._note(part, state, code=str(status) if status else None, message=str(error))

    def _halves(self, part: Batch) -> list[Batch]:
        items = json.loads(part.body)[self._key]
        middle = len(items) // 2
        positions = part.positions
        return [
            _batch(self._key, positions[:middle], items[:middle]),
            _batch(self._key, positions[middle:], items[middle:]),
        ]

    def _note(self, part: Batch, state: Any, *, code: str | None = None, message: str | None = None) -> None:
        self._outcomes.add(Outcome(position, state, code=code, message=message) for position in part.positions)


def _is_refusal(error: AtomicError) -> TypeGuard[ResponseError]:
    return isinstance(error, ResponseError) and error.response.status_code in _REFUSED
