"""Batches of records on their way, several at once: what became of each record, and whether it makes sense to go on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

from prefect_atomic.errors import (
    AtomicError,
    MarketoAccessError,
    MarketoError,
    MarketoInputError,
    MarketoQuotaError,
    MarketoTokenError,
    RecordsError,
    ResponseError,
    TransportError,
)
from prefect_atomic.integrations.marketo.answers import NOT_DONE, Answer, reasons_in
from prefect_atomic.integrations.marketo.api import MOST, MOST_BYTES, was_not_done
from prefect_atomic.integrations.records import Batch, OnError, Outcome, Outcomes, Reading, State, json_batches, settled
from prefect_atomic.integrations.records.batches import Check

Record = Mapping[str, Any]

_LOST_IN_A_ROW = 3
"""Calls of which nothing is known: whoever makes more of them makes it worse."""

_TELLING = 3
"""Records that are refused alone, before any arrived: it is not a matter of single ones."""

_OF_THE_CALL = frozenset({"605", "610", "612", "613", "616"})
"""Codes of what is no matter of any record: no such method, path, type of content, or subscription."""

_REFUSED_IN_A_ROW = 1000
"""Records that are refused one after another: to look for good ones takes two calls for each."""

_DONE = frozenset({"created", "updated", "deleted", "added", "removed"})
_FIELD = re.compile(r"[Ff]ield '([^']{1,255})'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How records of one kind are sent.

    Attributes:
        what: What is to become of them, as messages say it, such as `leads to be synchronised`.
        call: Makes a call with a body.
        wrap: What stands before and after the records in the body; they are an array.
        most: The most records of a call.
        at_once: The most calls at the same time.
        keys: The fields that tell records: no two calls that are under way have the same values of them.
        done_before: Codes that say, of a call that was sent again, that the first time did it.
        in_doubt: Codes that may say so.
        is_told_each: Whether the answer has a word on each record; else all of them share its fate.
    """

    what: str
    call: Callable[[bytes], Answer]
    wrap: tuple[bytes, bytes] = (b'{"input":[', b"]}")
    most: int = MOST
    at_once: int = 1
    keys: tuple[str, ...] = ()
    done_before: frozenset[str] = frozenset()
    in_doubt: frozenset[str] = frozenset()
    is_told_each: bool = True

    def run(
        self,
        records: Iterable[Any],
        *,
        argument: str = "records",
        shape: Callable[[Any], Any] | None = None,
        check: Check | None = None,
        on_error: OnError,
    ) -> Outcomes:
        """Sends records, read as they are needed.

        Args:
            records: The records.
            argument: What they are given as.
            shape: Makes a record what stands in the body.
            check: What is wrong with a record, as far as that is known before it is sent.
            on_error: `raise`, or `return` the outcomes also where some are no success.

        Raises:
            RequestError: `records` are none.
            RecordsError: Some did not surely succeed; has the outcomes.
            AtomicError: None did, as none can.
        """
        outcomes, reading = Outcomes(), Reading(records, argument)
        batches = json_batches(
            reading, outcomes, most=self.most, most_bytes=MOST_BYTES, wrap=self.wrap, shape=shape, check=check
        )
        delivery = _Delivery(self, outcomes)
        delivery.run(batches)
        reading.check(outcomes, self.what)
        if delivery.end is not None and on_error == "raise":
            raise RecordsError(
                f"{outcomes.succeeded} of {len(outcomes)} {self.what} succeeded; then it ended: {delivery.end}",
                outcomes=outcomes,
            ) from delivery.end
        return settled(outcomes, what=self.what, on_error=on_error)


@dataclass(slots=True)
class _Made:
    """What became of a batch.

    Attributes:
        outcomes: Of its records.
        was_lost: Whether a call got no answer.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    was_lost: bool = False


class _Delivery:
    """The batches of a run."""

    def __init__(self, sending: Sending, outcomes: Outcomes) -> None:
        self.end: AtomicError | None = None
        self._sending = sending
        self._outcomes = outcomes
        self._was_answered = False
        self._lost = 0
        self._refused = 0
        self._under_way: dict[Future[_Made], frozenset[str]] = {}

    def run(self, batches: Iterator[Batch]) -> None:
        """Sends them all, unless one shows that the others would fare no better.

        Raises:
            AtomicError: Nothing arrived, and nothing can.
        """
        with ThreadPoolExecutor(self._sending.at_once, "marketo") as threads:
            try:
                for batch in batches:
                    keys = self._keys(batch) if self._sending.at_once > 1 else frozenset[str]()
                    while len(self._under_way) >= self._sending.at_once or any(
                        keys & others for others in self._under_way.values()
                    ):
                        self._settle()
                    if self.end is not None:
                        self._note(batch, "not sent", self.end)
                        continue
                    self._under_way[threads.submit(copy_context().run, self._deliver, batch)] = keys
            finally:
                while self._under_way:
                    self._settle()
        if self.end is not None and not self._was_answered:
            raise self.end

    def _settle(self) -> None:
        """Waits until a call that is under way is over, and notes what became of its records."""
        done, _ = wait(self._under_way, return_when=FIRST_COMPLETED)
        for future in done:
            del self._under_way[future]
            made = future.result()
            self._outcomes.add(made.outcomes)
            self._lost = self._lost + 1 if made.was_lost else 0
            if self._lost >= _LOST_IN_A_ROW and self.end is None:
                self.end = AtomicError(f"of {self._lost} calls in a row it is not known what became of them.")

    def _deliver(self, batch: Batch) -> _Made:
        """Sends a batch; one that is refused as a whole is cut, so that the others of it go through."""
        made, waiting = _Made(), [batch]
        while waiting:
            part = waiting.pop()
            if self.end is not None:  # another one may have found it out
                made.outcomes += _all(part, "not sent", self.end)
                continue
            try:
                answer = self._sending.call(part.body)
            except MarketoInputError as error:
                if error.code in _OF_THE_CALL:
                    made.outcomes += _all(part, "failed", error)
                    self._stop(error)
                    continue
                if len(part.positions) > 1:
                    waiting += reversed(self._halves(part))
                    continue
                made.outcomes += _all(part, "failed", error)
                self._refused += 1
                if self._refused >= (_REFUSED_IN_A_ROW if self._was_answered else _TELLING):
                    self._stop(error)
            except AtomicError as error:
                self._fail(part, error, made)
            else:
                made.outcomes += self._read(part, answer)
                self._was_answered = True
                self._refused = 0
        return made

    def _fail(self, part: Batch, error: AtomicError, made: _Made) -> None:
        if isinstance(error, ResponseError | TransportError) and not was_not_done(error):
            made.outcomes += _all(part, "unknown", error)
            made.was_lost = self._was_answered = True
            return
        # A Marketo that is busy or broken, and did not say that it did nothing, may have done it.
        is_told = isinstance(error, MarketoAccessError | MarketoQuotaError | MarketoTokenError)
        in_doubt = isinstance(error, MarketoError) and not is_told and error.code not in NOT_DONE
        in_doubt |= error._may_be_done
        made.outcomes += _all(part, "unknown" if in_doubt else "not sent", error)
        self._stop(error)
        self._was_answered |= in_doubt

    def _stop(self, error: AtomicError) -> None:
        self.end = self.end or error

    def _read(self, part: Batch, answer: Answer) -> Iterator[Outcome]:
        if not self._sending.is_told_each:
            for position in part.positions:
                yield Outcome(position, "succeeded")
            return
        results = _in_order(answer.result, len(part.positions))
        for position, result in zip(part.positions, results, strict=True):
            yield self._outcome(position, result, answer)

    def _outcome(self, position: int, result: Mapping[str, Any], answer: Answer) -> Outcome:
        status = str(result.get("status") or "").lower()
        named = (result.get(name) for name in ("id", "leadId", "marketoGUID"))
        record_id = next((str(value) for value in named if value not in (None, "")), None)
        reasons = reasons_in(result, "reasons", "errors", "reason")
        if status in _DONE or (not status and not reasons and record_id is not None):
            created = {"created": True, "updated": False}.get(status)
            return Outcome(position, "succeeded", id=record_id, created=None if answer.may_be_second else created)
        if not status and not reasons:
            return Outcome(position, "unknown", message="the answer does not say what became of it")
        code = reasons[0].code if reasons else status or None
        if answer.may_be_second and code in self._sending.done_before:
            return Outcome(position, "succeeded", id=record_id)
        told = "; ".join(reason.message for reason in reasons if reason.message) or f"Marketo says {status or code}"
        fields = tuple(dict.fromkeys(_FIELD.findall(told)))
        state: State = "unknown" if answer.may_be_second and code in self._sending.in_doubt else "failed"
        return Outcome(position, state, id=record_id, code=code, message=told, fields=fields)

    def _keys(self, batch: Batch) -> frozenset[str]:
        records = self._items(batch) if self._sending.keys else ()
        return frozenset(
            json.dumps([str(record.get(name)).strip().lower() for name in self._sending.keys]) for record in records
        )

    def _items(self, batch: Batch) -> list[Any]:
        before, after = self._sending.wrap
        items: list[Any] = json.loads(batch.body[len(before) - 1 : len(batch.body) - len(after) + 1])
        return items

    def _halves(self, batch: Batch) -> list[Batch]:
        items, (before, after) = self._items(batch), self._sending.wrap
        middle = len(items) // 2
        return [
            Batch(
                batch.positions[part],
                before[:-1] + json.dumps(items[part], ensure_ascii=False, separators=(",", ":")).encode() + after[1:],
            )
            for part in (slice(middle), slice(middle, None))
        ]

    def _note(self, batch: Batch, state: State, error: AtomicError) -> None:
        self._outcomes.add(_all(batch, state, error))


def _all(batch: Batch, state: State, error: AtomicError) -> Iterator[Outcome]:
    code = error.code if isinstance(error, MarketoError) else None
    for position in batch.positions:
        yield Outcome(position, state, code=code, message=str(error))


def _in_order(results: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """A result for each record: by its `seq` where it has one, else by its place; an empty one where there is none."""
    named = [result.get("seq") for result in results]
    if len(results) == count and sorted(each for each in named if isinstance(each, int)) != list(range(count)):
        return results
    placed: list[dict[str, Any]] = [{}] * count
    for result in results:
        seq = result.get("seq")
        if isinstance(seq, int) and 0 <= seq < count:
            placed[seq] = result
    return placed
