"""Starts Action Flows in batches, so that one bad invocation does not take the others with it."""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger

from prefect_atomic.errors import AtomicError, ResponseError, TransportError
from prefect_atomic.integrations.atomic.api import Api
from prefect_atomic.integrations.atomic.invocation import InvocationOutcome, Numbered
from prefect_atomic.tasks.course import Course, Wait
from prefect_atomic.transport import Response, Retry

_MOST_BULK = 5
"""Bulk targets that Atomic has running at once; of a request with more, or one that would be too many, nothing is."""

_TOO_MANY = 429
_BUSY = frozenset({_TOO_MANY, 503})
_REFUSED = frozenset({400, 413, 422})
_NEVER_ARRIVED = ("could not connect", "did not trust", "waited too long for a free connection")
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0

Batch = Sequence[Numbered]
Verdict = Literal["started", "some refused", "refused", "unknown", "stop"]


def start(
    api: Api, action_flow_id: str, given: Sequence[Numbered], *, bulk_wait: float
) -> Course[list[InvocationOutcome]]:
    """Starts all that can be started; returns what became of each, in the order in which they were given.

    Raises:
        AtomicError: Nothing was started, and nothing will be.
    """
    waiting, patience = deque(_batches(given, api.batch_size)), _Patience(bulk_wait)
    outcomes: dict[int, InvocationOutcome] = {}
    while waiting:
        batch = waiting.popleft()
        try:
            response: Response = yield from _sent(api, action_flow_id, batch, patience)
        except AtomicError as error:
            verdict = _verdict(error, is_bulk=batch[0].invocation.is_bulk)
            if verdict == "some refused" and len(batch) > 1:  # nothing was processed; halves tell which of them it is
                middle = len(batch) // 2
                waiting.extendleft((batch[middle:], batch[:middle]))
                continue
            if verdict == "stop":
                if all(outcome.state == "refused" for outcome in outcomes.values()):
                    raise
                for rest in (batch, *waiting):
                    outcomes |= _outcomes(rest, "not sent", str(error))
                break
            state = "refused" if verdict == "some refused" else verdict
            outcomes |= _outcomes(batch, state, None if state == "started" else str(error))
        else:
            instances = _instances(response)
            for each in batch:
                outcomes[each.position] = InvocationOutcome(
                    position=each.position,
                    flow_invocation_id=each.id,
                    state="started",
                    flow_instance_ids=instances.get(each.id, ()),
                )
    return [outcomes[each.position] for each in given]


def _batches(given: Sequence[Numbered], size: int) -> Iterator[Batch]:
    for is_bulk, most in ((False, size), (True, min(size, _MOST_BULK))):
        these = [each for each in given if each.invocation.is_bulk == is_bulk]
        for first in range(0, len(these), most):
            yield these[first : first + most]


def _sent(api: Api, action_flow_id: str, batch: Batch, patience: _Patience) -> Course[Response]:
    body = {"flows": [_entry(each, api.target_in_payload) for each in batch]}
    if not batch[0].invocation.is_bulk:
        answer: Response = yield api.ask(id=action_flow_id, json=body)
        return answer
    step = api.ask(id=action_flow_id, json=body, retry=Retry(attempts=1))
    attempt = 0
    while True:
        try:
            answer = yield step
        except ResponseError as error:
            if error.response.status_code not in _BUSY or not patience.left:
                raise
            seconds = patience.take(_next_wait(attempt, error.retry_after))
        else:
            patience.renew()
            return answer
        _logger().info("Atomic runs as many bulk targets as it may; the next %d wait for %.0f s.", len(batch), seconds)
        attempt += 1
        yield Wait(seconds)


class _Patience:
    """How long to wait until another bulk target is started.

    What was asked to wait counts, not the clock: that is the same when nobody really waits.
    """

    def __init__(self, seconds: float) -> None:
        self._most = self.left = seconds

    def take(self, seconds: float) -> float:
        taken = min(seconds, self.left)
        self.left -= taken
        return taken

    def renew(self) -> None:
        self.left = self._most


def _logger() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("atomic.action_flows")


def _next_wait(attempt: int, asked: float | None) -> float:
    if asked:
        return max(asked, _FIRST_WAIT)
    return min(_FIRST_WAIT * 2.0 ** min(attempt, 16), _LONGEST_WAIT) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


def _entry(each: Numbered, target_in_payload: bool) -> dict[str, Any]:
    target, payload = each.invocation.target, each.invocation.payload
    if target_in_payload:
        return {"payload": {**payload, "target": target}, "flowInvocationId": each.id}
    return {"target": target, **({"payload": payload} if payload else {}), "flowInvocationId": each.id}


def _verdict(error: AtomicError, *, is_bulk: bool) -> Verdict:
    """What an error says of a batch; `stop` where it says the same of all others."""
    if isinstance(error, ResponseError):
        status = error.response.status_code
        if 200 <= status < 300:  # it says yes, at a length that is not read
            return "started"
        if status in _REFUSED:
            return "some refused"
        if is_bulk and status == _TOO_MANY:
            return "refused"
        return "unknown" if status >= 500 or status == 408 else "stop"
    if isinstance(error, TransportError) and not error.reason.startswith(_NEVER_ARRIVED):
        return "unknown"
    return "stop"


def _outcomes(
    batch: Batch, state: Literal["started", "refused", "unknown", "not sent"], reason: str | None
) -> dict[int, InvocationOutcome]:
    return {
        each.position: InvocationOutcome(position=each.position, flow_invocation_id=each.id, state=state, reason=reason)
        for each in batch
    }


def _instances(response: Response) -> dict[str, tuple[str, ...]]:
    """The instances by invocation, as far as the answer has them: its status alone says that all were started."""
    try:
        flows = response.json()["data"]["flows"]
        return {flow["flowInvocationId"]: _ids(flow) for flow in flows}
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}


def _ids(flow: Any) -> tuple[str, ...]:
    ids = flow.get("flowInstanceIds", flow.get("flowInstanceId", ()))
    return tuple(map(str, ids)) if isinstance(ids, list) else (str(ids),) if isinstance(ids, str | int) else ()
