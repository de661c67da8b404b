"""Contacts into journeys. Whoever enters twice is written to twice, so nothing is sent again that may have arrived.

Sources: postEvent and enterContactsIntoJourneyInBatches of developer.salesforce.com.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prefect_atomic.errors import AtomicError, RecordsError, RequestError
from prefect_atomic.integrations.marketing_cloud.api import PATIENT, Api, check_key, object_of
from prefect_atomic.integrations.marketing_cloud.failures import is_throttled, never_arrived, said_of, verdict
from prefect_atomic.integrations.marketing_cloud.sending import Sending
from prefect_atomic.integrations.records import Batch, OnError, Outcome, Outcomes, json_batches, settled
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
        raise RequestError(f"data: {outcomes[0].message}.")
    try:
        response = yield from _sent(api, batch.body, "events")
        return str(object_of(response).get("eventInstanceId") or "")
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
    outcomes = Outcomes()

    def deliver(batch: Batch) -> Course[list[Outcome]]:
        response = yield from _sent(api, batch.body, "async", "events")
        return _told(response, batch.positions)

    batches = json_batches(
        members,
        outcomes,
        most=_MOST,
        most_bytes=api.max_bytes,
        wrap=(b'{"eventDefinitionKey":%b,"members":[' % _encoded(event_definition_key), b"]}"),
        shape=_as_member,
        check=_fault,
    )
    # Not cut into halves where it is refused: nobody documents that none of a refused request has entered.
    yield from Sending(outcomes, deliver, is_repeated=False).run(batches)
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


def _told(response: Response, positions: Sequence[int]) -> list[Outcome]:
    """What an answer says of each member; members that did not enter stand in an answer that says yes."""
    answer = object_of(response)
    members, left_out = answer.get("members"), answer.get("notQueuedCount")
    told = members if isinstance(members, list) and len(members) == len(positions) else [{}] * len(positions)
    refused = {at: said for at, member in enumerate(told) if (said := _said_of(member))}
    if left_out == len(positions):
        refused = {at: refused.get(at, ("NOT_QUEUED", "was not queued")) for at in range(len(positions))}
    # Where more were left out than are named, it may have been any of the others.
    is_known = len(refused) >= left_out if isinstance(left_out, int) else told is members
    outcomes = []
    for at, position in enumerate(positions):
        if at in refused:
            code, message = refused[at]
            outcomes.append(Outcome(position, "failed", code=code, message=message))
        elif is_known:
            outcomes.append(Outcome(position, "succeeded", id=_id_of(told[at])))
        else:
            number = left_out if isinstance(left_out, int) else "some"
            message = f"{number} of {len(positions)} were not queued, and the answer does not say which"
            outcomes.append(Outcome(position, "unknown", code="NOT_QUEUED", message=message))
    return outcomes


def _said_of(member: object) -> tuple[str, str] | None:
    """The reason why a member did not enter, under any of the names that the API's pages have for it."""
    if not isinstance(member, Mapping):
        return None
    found = {str(name).lower(): value for name, value in member.items()}
    code = next((found[name] for name in ("errorcode", "error") if found.get(name)), None)
    message = next((found[name] for name in ("errormessage", "message") if found.get(name)), None)
    if code is None and not found.get("errormessage"):
        return None
    return str(code or "NOT_QUEUED"), str(message or code)


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
