"""Contacts into journeys. Whoever enters twice is written to twice, so nothing is sent again that may have arrived.

Sources: postEvent and enterContactsIntoJourneyInBatches of developer.salesforce.com.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prefect_atomic.errors import AtomicError, RecordsError, RequestError
from prefect_atomic.integrations.marketing_cloud.api import PATIENT, Api, check_key, object_of, unusable
from prefect_atomic.integrations.marketing_cloud.failures import (
    NO_CODE,
    is_throttled,
    never_arrived,
    reasons_in,
    said_of,
    verdict,
)
from prefect_atomic.integrations.marketing_cloud.sending import Given, Sending
from prefect_atomic.integrations.records import Batch, OnError, Outcome, Outcomes, State, json_batches, settled
from prefect_atomic.integrations.records.outcomes import check_on_error
from prefect_atomic.tasks.course import Course, Wait
from prefect_atomic.transport import Response, Retry

_MOST = 100
"""Members of one request, as documented."""

_SCOPE = "journeys_execute"
_ONCE = Retry(attempts=1)
_NAMES = {"contact_key": "contactKey", "contactKey": "contactKey", "ContactKey": "contactKey"} | dict.fromkeys(
    ("data", "Data"), "data"
)

Member = Mapping[str, Any]


def fire_one(api: Api, contact_key: str, event_definition_key: str, data: Member | None) -> Course[str]:
    """Has a contact enter; see `SalesforceMarketingCloud.fire_entry_event`."""
    _check_definition(event_definition_key)
    member = {"contact_key": contact_key, "data": {} if data is None else data}
    if fault := _fault(member):
        raise RequestError(f"{fault}.")

    def single(member: Member) -> dict[str, Any]:
        # The names of the single call begin with capitals, unlike those of the batch.
        return {
            "ContactKey": member["contact_key"],
            "EventDefinitionKey": event_definition_key,
            "Data": dict(member["data"]),
        }

    outcomes = Outcomes()
    batches = json_batches([member], outcomes, most=1, most_bytes=api.max_bytes, wrap=(b"", b""), shape=single)
    batch = next(batches, None)
    if batch is None:
        told = outcomes[0].message or ""
        raise RequestError(f"{told}." if told.startswith("data.") else f"data: {told}.")
    try:
        response = yield from _sent(api, batch.body, "events")
        entry = object_of(response).get("eventInstanceId")
        if isinstance(entry, str) and entry:
            return entry
        raise unusable(response, "an eventInstanceId")  # what is in its place may be a refusal
    except AtomicError as error:
        if verdict(error) != "unknown":
            raise
        lost = error
    said = said_of(lost)
    outcomes.add([Outcome(0, "unknown", code=said.code, message=said.message)])
    raise RecordsError(
        f"it is not known whether the contact entered {event_definition_key}, so it was not tried again: {lost}",
        outcomes=outcomes,
    )


def fire_many(api: Api, event_definition_key: str, members: Iterable[Member], *, on_error: OnError) -> Course[Outcomes]:
    """Has contacts enter; see `SalesforceMarketingCloud.fire_entry_events`."""
    _check_definition(event_definition_key)
    check_on_error(on_error)
    outcomes, given = Outcomes(), Given("members", members)

    def deliver(batch: Batch) -> Course[list[Outcome]]:
        response = yield from _sent(api, batch.body, "async", "events")
        return _told(response, batch)

    batches = json_batches(
        given,
        outcomes,
        most=_MOST,
        most_bytes=api.max_bytes,
        wrap=(b'{"eventDefinitionKey":%b,"members":[' % _encoded(event_definition_key), b"]}"),
        shape=_as_member,
        check=_fault,
    )
    # Not cut into halves where it is refused: nobody documents that none of a refused request has entered.
    yield from Sending(outcomes, deliver, is_repeated=False).run(batches, given)
    return settled(outcomes, what=f"entries into {event_definition_key}", on_error=on_error)


def _sent(api: Api, body: bytes, *path: str) -> Course[Response]:
    """Sends it, and again only where it surely was not processed: no connection was made, or 429."""
    attempt = 0
    while True:
        attempt += 1
        try:
            response = yield from api.ask(
                "POST", "interaction", "v1", *path, content=body, repeatable=False, retry=_ONCE, scope=_SCOPE
            )
        except AtomicError as error:
            passes = is_throttled(error) or (never_arrived(error) and error.transient)
            if not passes or attempt >= PATIENT.attempts:
                raise
            seconds = PATIENT.wait(attempt, error.retry_after)
        else:
            return response
        yield Wait(seconds)


def _told(response: Response, batch: Batch) -> list[Outcome]:
    """What an answer says of each member; members that did not enter stand in an answer that says yes."""
    answer, positions = object_of(response), batch.positions
    left_out, count = _number(answer.get("notQueuedCount")), _number(answer.get("count"))
    members = answer.get("members")
    listed: list[object] = members if isinstance(members, list) else []
    is_joined = len(listed) == len(positions) and _is_in_order(listed, batch)
    told = listed if is_joined else [{}] * len(positions)
    refused = {at: said for at, member in enumerate(told) if (said := _said_of(member))}
    if left_out == len(positions):
        refused = {at: refused.get(at, ("NOT_QUEUED", "was not queued")) for at in range(len(positions))}
    if left_out is None:
        is_known = is_joined and not _code_in(answer) and not reasons_in(answer)
    else:
        # Where more were left out than are named, it may have been any of the others. A count is of all, or of those
        # that were let in.
        is_known = left_out <= len(refused) and (count is None or count + left_out >= len(positions))
        is_known &= is_joined or not any(map(_said_of, listed))
    # Who is named, and was not left out, may have entered all the same.
    refusal: State = "failed" if left_out is None or len(refused) <= left_out else "unknown"
    outcomes = []
    for at, position in enumerate(positions):
        if at in refused:
            code, message = refused[at]
            outcomes.append(Outcome(position, refusal, code=code, message=message))
        elif is_known:
            outcomes.append(Outcome(position, "succeeded", id=_id_of(told[at])))
        else:
            number = "some" if left_out is None else left_out
            message = f"{number} of {len(positions)} were not queued, and the answer does not say which"
            outcomes.append(Outcome(position, "unknown", code="NOT_QUEUED", message=message))
    return outcomes


def _is_in_order(members: Sequence[object], batch: Batch) -> bool:
    """Whether members stand where they stood in the request, as far as they are named."""
    asked = [member["contactKey"] for member in json.loads(batch.body)["members"]]
    named = [_lower(member).get("contactkey") for member in members]
    return all(name is None or name == key for name, key in zip(named, asked, strict=True))


def _said_of(member: object) -> tuple[str, str] | None:
    """The reason why a member did not enter, under any of the names that the API's pages have for it."""
    found = _lower(member)
    code, word = _code_in(found), str(found.get("status") or "").upper()
    if code is None and ("ERROR" in word or "FAIL" in word):
        code = word
    message = next((found[name] for name in ("errormessage", "message") if found.get(name)), None)
    if code is None and not found.get("errormessage"):
        return None
    return code or "NOT_QUEUED", str(message or code)


def _code_in(found: Mapping[str, Any]) -> str | None:
    named = _lower(found)
    codes = (str(named.get(name) or "") for name in ("errorcode", "error"))
    return next((code for code in codes if code.lower() not in NO_CODE), None)


def _lower(found: object) -> dict[str, Any]:
    return {str(name).lower(): value for name, value in found.items()} if isinstance(found, Mapping) else {}


def _number(found: object) -> int | None:
    """A count, which may be text."""
    if isinstance(found, str) and found.isascii() and found.isdigit():
        return int(found[:9])
    return int(found) if isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found < 1e9 else None


def _id_of(member: object) -> str | None:
    found = member.get("eventInstanceId") if isinstance(member, Mapping) else None
    return found if isinstance(found, str) else None


def _fault(member: Member) -> str | None:
    named = {_NAMES.get(str(name), ""): value for name, value in member.items()}
    if "" in named or len(named) != len(member):
        return 'has contact_key and data, each once, such as {"contact_key": "123", "data": {"Name": "Ada"}}'
    key, data = named.get("contactKey"), named.get("data", {})
    if not isinstance(key, str) or not key.strip():
        return "contact_key: is missing or empty, or is not text"
    if data is not None and not isinstance(data, Mapping):
        return f"data: is a mapping of attributes to values, not a {type(data).__name__}"
    return None


def _as_member(member: Member) -> dict[str, Any]:
    named = {_NAMES[name]: value for name, value in member.items()}
    return {"contactKey": named["contactKey"], "data": named.get("data") or {}}


def _check_definition(key: object) -> None:
    check_key("event_definition_key", key)
    if "." in str(key):
        raise RequestError("event_definition_key: may not contain a full stop, as Marketing Cloud documents.")


def _encoded(text: str) -> bytes:
    return json.dumps(text).encode()
