"""Requests that are accepted now and processed later: their status, followed to the end, and their results.

A request whose id is not known is answered with 200, and only `resultMessages` say so. The end is called `Complete` or
`Completed`, depending on the version of the documentation.
Sources: getStatusDataExtensionAsync and getResultsDataExtensionAsync of developer.salesforce.com.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect_atomic.errors import AtomicError, ResponseError
from prefect_atomic.integrations.marketing_cloud.api import Api, object_of
from prefect_atomic.integrations.marketing_cloud.failures import NO_CODE, reasons_in
from prefect_atomic.integrations.records import Outcome, State
from prefect_atomic.tasks.course import Course, Wait
from prefect_atomic.transport import Response

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0
_PAGE = 2500
_DONE = frozenset({"complete", "completed"})
_GOOD = frozenset({"ok", "success", "succeeded", "complete", "completed"})
_SCOPE = "data_extensions_write"


def follow(api: Api, accepted: Response, positions: Sequence[int], wait: float) -> Course[list[Outcome]]:
    """What became of the rows of a request that was accepted.

    Args:
        api: The tenant.
        accepted: The answer that accepted it.
        positions: The positions of its rows, in their order.
        wait: The longest to wait for its end, in seconds.

    Returns:
        An outcome for each; where it cannot be learned, `unknown`, with the request's id in the message.
    """
    answer = object_of(accepted)
    request_id = answer.get("requestId")
    if not isinstance(request_id, str) or not request_id:
        said = reasons_in(answer)
        told = "was accepted without a requestId, so nobody can tell more"
        return _all(positions, "unknown", "NO_REQUEST_ID", f"{told}: {said}" if said else told)
    try:
        status = yield from _ended(api, request_id, wait)
        if status is None:
            told = f"request {request_id} was accepted, and is not processed after {wait:g} s of waiting"
            return _all(positions, "unknown", "PENDING", told)
        if _is_clean(status):
            return _all(positions, "succeeded")
        results = yield from _results(api, request_id, len(positions))
    except AtomicError as error:  # what was accepted is processed, whatever befalls a look at it
        return _all(positions, "unknown", "NOT_FOLLOWED", f"request {request_id} was accepted, but: {error}")
    return _joined(request_id, status, results, positions)


def _ended(api: Api, request_id: str, wait: float) -> Course[dict[str, Any] | None]:
    """The status in which a request ended; None where it did not in time.

    What was asked to wait counts, not the clock: that is the same when nobody really waits.
    """
    waited, pause = 0.0, _FIRST_WAIT
    while True:
        response = yield from api.ask("GET", "data", "v1", "async", request_id, "status", scope=_SCOPE)
        answer = object_of(response)
        status = answer.get("status")
        if not isinstance(status, dict):
            raise _unknown_request(response, answer, request_id)
        word = str(status.get("requestStatus", "")).lower()
        if word in _DONE or word == "error":
            return {**status, "resultMessages": answer.get("resultMessages") or status.get("resultMessages") or []}
        if waited >= wait:
            return None
        seconds = min(pause, wait - waited)
        yield Wait(seconds)
        waited, pause = waited + seconds, min(pause * 2, _LONGEST_WAIT)


def _is_clean(status: Mapping[str, Any]) -> bool:
    return (
        str(status["requestStatus"]).lower() in _DONE
        and status.get("hasErrors") is False
        and str(status.get("resultStatus", "OK")).lower() in _GOOD
    )


def _results(api: Api, request_id: str, most: int) -> Course[list[Mapping[str, Any]]]:
    """The results of all rows, from all pages; no further ones where there are more than can be."""
    found: list[Mapping[str, Any]] = []
    page = 1
    while True:
        response = yield from api.ask(
            "GET",
            *("data", "v1", "async", request_id, "results"),
            params={"$page": page, "$pageSize": _PAGE},
            scope=_SCOPE,
        )
        answer = object_of(response)
        items = answer.get("items")
        if not isinstance(items, list):
            raise _unknown_request(response, answer, request_id)
        if answer.get("page", page) != page:
            raise ResponseError(f"{response.url} answered with another page than was asked for.", response=response)
        found += [item if isinstance(item, dict) else {} for item in items]
        count = answer.get("count")
        if not items or not isinstance(count, int) or len(found) >= count or len(found) > most:
            return found
        page += 1


def _unknown_request(response: Response, answer: Mapping[str, Any], request_id: str) -> ResponseError:
    said = reasons_in(answer)
    return ResponseError(
        f"{response.url} answered {response.status_code} without what it was asked for: request {request_id} is not "
        f"known{f' ({said})' if said else ''}.",
        response=response,
    )


def _joined(
    request_id: str, status: Mapping[str, Any], results: Sequence[Mapping[str, Any]], positions: Sequence[int]
) -> list[Outcome]:
    """The outcomes of rows; results have no other name for a row than its place."""
    if len(results) == len(positions):
        return [_outcome(position, result) for position, result in zip(positions, results, strict=True)]
    said = reasons_in(status)
    if str(status["requestStatus"]).lower() == "error" and not results:
        return _all(positions, "failed", "REQUEST_FAILED", said or f"request {request_id} ended with an error")
    told = f"request {request_id} has errors, and results of {len(results)} of {len(positions)} rows"
    return _all(positions, "unknown", "RESULTS_MISSING", f"{told}: {said}" if said else told)


def _outcome(position: int, result: Mapping[str, Any]) -> Outcome:
    code, message = str(result.get("errorCode") or ""), str(result.get("message") or "")
    word = str(result.get("status") or "").lower()
    if code.lower() not in NO_CODE or "error" in word or "fail" in word:
        return Outcome(position, "failed", code=code or word.upper(), message=message or None)
    if word in _GOOD:
        return Outcome(position, "succeeded")
    return Outcome(position, "unknown", code=word.upper() or "NO_STATUS", message=message or None)


def _all(positions: Sequence[int], state: State, code: str | None = None, message: str | None = None) -> list[Outcome]:
    return [Outcome(position, state, code=code, message=message) for position in positions]
