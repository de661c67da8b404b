"""Records read from an iterable of the caller's, which may fail in the middle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from prefect_atomic.errors import RecordsError, RequestError
from prefect_atomic.integrations.records.outcomes import Outcomes

T = TypeVar("T")


class Reading(Generic[T]):
    """Records, up to where their own iterator fails: what was read before is sent, and told.

    Args:
        records: The records.
        argument: What they are given as; messages begin with it.

    Raises:
        RequestError: It is no iterable of records.
    """

    def __init__(self, records: Iterable[T], argument: str = "records") -> None:
        if isinstance(records, str | bytes | Mapping) or not isinstance(records, Iterable):
            raise RequestError(f"{argument}: takes a list, or another iterable.")
        self._records = iter(records)
        self._fault: Exception | None = None

    def __iter__(self) -> Iterator[T]:
        while True:
            try:
                record = next(self._records)
            except StopIteration:
                return
            except Exception as error:  # noqa: BLE001 - told when what was read is sent
                self._fault = error
                return
            yield record

    def check(self, outcomes: Outcomes, what: str) -> None:
        """Tells that there was more to read.

        Raises:
            RecordsError: The iterator failed; has the outcomes of what was read before.
        """
        if self._fault is None:
            return
        raise RecordsError(
            f"The {what} could not be read beyond the first {len(outcomes)}, for a {type(self._fault).__name__}; "
            f"{outcomes.succeeded} of these succeeded.",
            outcomes=outcomes,
        ) from self._fault
