"""Batches on their way, one after another: what became of each record, and whether it makes sense to go on."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from prefect_atomic.errors import AtomicError, RecordsError, RequestError
from prefect_atomic.integrations.marketing_cloud.failures import Complaint, said_of, verdict
from prefect_atomic.integrations.records import Batch, Outcome, Outcomes, State
from prefect_atomic.tasks.course import Course

Deliver = Callable[[Batch], Course[Sequence[Outcome]]]
"""The course of a batch: what became of its records. It raises where all of them share a fate."""

_LOST_IN_A_ROW = 3
"""Batches of which nothing is known: whoever sends more of them makes it worse."""

_TELLING = 50
"""Records that are all refused for one reason, before any arrived: it is not a matter of single ones."""


_REFUSED_IN_A_ROW = 1000
"""Records that are refused one after another, whatever for: to look for good ones takes two requests for each."""


class Given(Iterator[Mapping[str, Any]]):
    """The records of a caller, and how many of them were read.

    Args:
        argument: What the caller knows them as.
        records: What was given.

    Raises:
        RequestError: It is not an iterable of mappings at all.
    """

    def __init__(self, argument: str, records: Iterable[Mapping[str, Any]]) -> None:
        if isinstance(records, str | bytes | Mapping) or not isinstance(records, Iterable):
            raise RequestError(f"{argument}: takes a list, or another iterable, of mappings.")
        self._records = iter(records)
        self.number = 0

    def __next__(self) -> Mapping[str, Any]:
        record = next(self._records)
        self.number += 1
        return record


class Sending:
    """Sends batches, and notes what became of their records.

    Args:
        outcomes: Where it is noted.
        deliver: Sends one.
        is_repeated: Whether a request is sent again where it may have been processed. Then its last failure does not
            say that it was not.
        halves: Cuts a refused batch in two, so that one bad record does not take the others with it; None = it is
            refused as a whole.
    """

    def __init__(
        self,
        outcomes: Outcomes,
        deliver: Deliver,
        *,
        is_repeated: bool,
        halves: Callable[[Batch], tuple[Batch, Batch]] | None = None,
    ) -> None:
        self._outcomes = outcomes
        self._deliver = deliver
        self._is_repeated = is_repeated
        self._halves = halves
        self._end: str | None = None
        self._lost = 0
        self._arrived = False
        self._is_under_way = False
        self._refused_so_far = 0
        self._same: tuple[Complaint, int] = (Complaint("", ""), 0)

    def run(self, batches: Iterator[Batch], given: Given | None = None) -> Course[None]:
        """Sends them all, unless one shows that the others would fare no better.

        Args:
            batches: What to send.
            given: The records that they are made of.

        Raises:
            AtomicError: Nothing arrived, and nothing can.
            RecordsError: The records could not be read to their end, and some of them were sent already.
        """
        while (batch := self._next(batches, given)) is not None:
            waiting = deque([batch])
            while waiting:
                part = waiting.popleft()
                if self._end is not None:
                    self._note(part, "not sent", Complaint("NOT_SENT", self._end))
                    continue
                try:
                    made = yield from self._deliver(part)
                except AtomicError as error:
                    failure = error
                else:
                    self._is_under_way = True
                    self._take(made)
                    continue
                if verdict(failure) == "refused" and self._halves and len(part.positions) > 1:
                    waiting.extendleft(reversed(self._halves(part)))
                    continue
                self._fail(part, failure)

    def _next(self, batches: Iterator[Batch], given: Given | None) -> Batch | None:
        try:
            return next(batches, None)
        except Exception as error:
            if not self._is_under_way or given is None:
                raise
            kind = type(error).__name__
            told = "it was read, and not sent, as those after it could not be read"
            self._outcomes.add(
                Outcome(position, "not sent", code="NOT_SENT", message=told)
                for position in list(self._outcomes.missing(given.number))
            )
            raise RecordsError(
                f"the records could not be read any further ({kind}) after {given.number}, of which some were sent: "
                f"{self._outcomes!r}",
                outcomes=self._outcomes,
            ) from error

    def _take(self, made: Sequence[Outcome]) -> None:
        self._outcomes.add(made)
        states = {outcome.state for outcome in made}
        self._arrived |= bool(states & {"succeeded", "unknown"})
        self._lost = self._lost + 1 if states == {"unknown"} else 0
        if "succeeded" in states:
            self._refused_so_far = 0
        for outcome in made:
            if outcome.state == "failed":
                self._refused(Complaint(outcome.code or "", outcome.message or ""), 1)
        self._give_up()

    def _fail(self, part: Batch, error: AtomicError) -> None:
        said, judged = said_of(error), verdict(error)
        self._is_under_way |= judged != "stop"
        if judged == "refused":
            self._refused_so_far += len(part.positions)
            self._note(part, "failed", said)
            self._refused(said, len(part.positions))
            self._lost = 0
        elif judged == "unknown":
            self._note(part, "unknown", said)
            self._arrived = True
            self._lost += 1
        else:
            if not self._arrived:
                raise error
            # An attempt whose answer was lost may have come before the one that failed for good.
            self._note(part, "unknown" if self._is_repeated and error.transient else "not sent", said)
            self._end = f"an earlier request shows that none can succeed: {error}"
        self._give_up()

    def _refused(self, said: Complaint, times: int) -> None:
        before, so_far = self._same
        self._same = (said, so_far + times if said == before else times)

    def _give_up(self) -> None:
        said, times = self._same
        if self._end is not None:
            return
        if self._lost >= _LOST_IN_A_ROW:
            self._end = f"of {self._lost} requests in a row it is not known what became of them"
        elif not self._arrived and times >= _TELLING:
            self._end = f"the first {times} were all refused for the same reason: {said.message}"
        elif self._refused_so_far >= _REFUSED_IN_A_ROW:
            self._end = f"{self._refused_so_far} in a row were refused, the last one because of: {said.message}"

    def _note(self, part: Batch, state: State, said: Complaint) -> None:
        self._outcomes.add(
            Outcome(position, state, code=said.code, message=said.message, fields=said.fields)
            for position in part.positions
        )


def halves_within(before: bytes, after: bytes) -> Callable[[Batch], tuple[Batch, Batch]]:
    """Cuts batches whose body is an array with something around it."""

    def halves(batch: Batch) -> tuple[Batch, Batch]:
        items = json.loads(batch.body[len(before) - 1 : len(batch.body) - len(after) + 1])
        middle = len(items) // 2
        return _part(batch.positions[:middle], items[:middle]), _part(batch.positions[middle:], items[middle:])

    def _part(positions: tuple[int, ...], items: list[object]) -> Batch:
        array = json.dumps(items, ensure_ascii=False, separators=(",", ":")).encode()
        return Batch(positions, before[:-1] + array + after[1:])

    return halves
