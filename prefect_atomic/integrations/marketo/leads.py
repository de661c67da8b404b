"""Leads: written 300 with each call, read by what they are looked up with, merged, deleted, associated.

Source: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/lead-database/leads
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Literal, TypeVar

from prefect_atomic.errors import AtomicError, MarketoInputError, RequestError, ResponseError
from prefect_atomic.integrations.marketo.answers import Answer
from prefect_atomic.integrations.marketo.api import MOST, Api, check_id, check_name
from prefect_atomic.integrations.marketo.sending import Sending
from prefect_atomic.integrations.records import OnError, Outcomes
from prefect_atomic.integrations.records.outcomes import check_on_error

T = TypeVar("T")
Action = Literal["createOrUpdate", "createOnly", "updateOnly", "createDuplicate"]

_ACTIONS = ("createOrUpdate", "createOnly", "updateOnly", "createDuplicate")
_NOT_FOUND = "1004"
_MOST_MERGED = 25
_MERGE_TIMEOUT = 200.0
"""Seconds: a merge takes up to 180 at Marketo."""


def sync(
    api: Api,
    records: Iterable[Mapping[str, Any]],
    *,
    action: Action,
    lookup_field: str,
    partition: str | None,
    on_error: OnError,
) -> Outcomes:
    """Writes leads; see `Marketo.sync_leads`."""
    check_on_error(on_error)
    if action not in _ACTIONS:
        raise RequestError(f"action: is one of {', '.join(_ACTIONS)}.")
    check_name("lookup_field", lookup_field, "email")
    if lookup_field == "id" and action != "updateOnly":
        raise RequestError(
            "lookup_field: `id` goes with the action updateOnly only, as Marketo gives new leads theirs."
        )
    if partition is not None:
        check_name("partition", partition, "Europe")
    about = {"action": action, "lookupField": lookup_field, "partitionName": partition}
    is_new = action == "createDuplicate"
    sending = Sending(
        what="leads to be synchronised",
        call=lambda body: api.call("POST", "leads", content=body, repeatable=not is_new),
        wrap=wrapped({name: value for name, value in about.items() if value is not None}),
        at_once=api.at_once,
        keys=() if is_new else (lookup_field,),
        in_doubt=frozenset({"1005"}) if action == "createOnly" else frozenset(),
    )
    check = partial(_fault, None if is_new else lookup_field)
    return sending.run(records, argument="leads", check=check, on_error=on_error)


def read(api: Api, filter_type: str, values: Iterable[str | int], fields: Sequence[str] | None) -> Iterator[Any]:
    """Leads by the values of a field; see `Marketo.leads`."""
    check_name("filter_type", filter_type, "email")
    return filtered(api, ("leads",), filter_type, values, fields)


def delete(api: Api, leads: Iterable[Any], on_error: OnError) -> Outcomes:
    """Deletes leads; see `Marketo.delete_leads`."""
    return by_ids(
        leads,
        "leads to be deleted",
        lambda body: api.call("POST", "leads", "delete", content=body, repeatable=True),
        done_before=[_NOT_FOUND],
        on_error=on_error,
    )


def by_ids(
    leads: Iterable[Any],
    what: str,
    call: Callable[[bytes], Answer],
    *,
    id_field: str = "id",
    wrap: tuple[bytes, bytes] = (b'{"input":[', b"]}"),
    done_before: Iterable[str] = (),
    in_doubt: Iterable[str] = (),
    on_error: OnError,
) -> Outcomes:
    """Sends the ids of leads, 300 with each call.

    Args:
        leads: The ids, or leads that have an `id`.
        what: What is to become of them, as messages say it.
        call: Makes a call with a body.
        id_field: What the id is called in the body.
        wrap: What stands before and after the ids in the body.
        done_before: Codes that say, of a call that was sent again, that the first time did it.
        in_doubt: Codes that may say so.
        on_error: `raise`, or `return`.
    """
    check_on_error(on_error)
    sending = Sending(what=what, call=call, wrap=wrap, done_before=frozenset(done_before), in_doubt=frozenset(in_doubt))
    return sending.run(
        as_leads(leads, "leads"),
        argument="leads",
        shape=lambda lead: {id_field: check_id("id", lead["id"])},
        check=id_fault,
        on_error=on_error,
    )


def merge(api: Api, winner: int, losers: Iterable[int], *, in_crm: bool) -> None:
    """Merges leads; see `Marketo.merge_leads`."""
    winner = check_id("winner", winner)
    others = id_list("losers", losers)
    if winner in others:
        raise RequestError("losers: has the winner among them.")
    for start in range(0, len(others), _MOST_MERGED):
        params = {"leadIds": others[start : start + _MOST_MERGED], "mergeInCRM": in_crm or None}
        try:
            api.call("POST", "leads", winner, "merge", params=params, timeout=_MERGE_TIMEOUT)
        except AtomicError as error:
            if start:
                # In the text itself, as a Prefect state has no notes. The same call again would find no such leads.
                told = f"The first {start} of {len(others)} leads, up to {others[start - 1]}, were merged before"
                error.args = (f"{error} {told}; go on with those behind it.",)
                error.transient = False
            raise


def associate(api: Api, lead: int, cookie: str) -> None:
    """Associates a lead with a cookie; see `Marketo.associate_lead`."""
    params = {"cookie": check_name("cookie", cookie, "id:123-ABC-456&token:_mch-example.com-1")}
    api.call("POST", "leads", check_id("lead", lead), "associate", params=params, repeatable=True)


def filtered(
    api: Api,
    path: tuple[str | int, ...],
    filter_type: str,
    values: Iterable[str | int],
    fields: Sequence[str] | None,
    **more: Any,
) -> Iterator[dict[str, Any]]:
    """What has one of these values in a field: 300 values a call, and page by page of each.

    Raises:
        RequestError: An argument cannot be sent.
    """
    names = field_names(fields)
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise RequestError("values: takes a list, or another iterable, of values.")
    return _filtered(api, path, filter_type, values, names, more)


def _filtered(
    api: Api,
    path: tuple[str | int, ...],
    filter_type: str,
    values: Iterable[str | int],
    names: tuple[str, ...] | None,
    more: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    for some in cut(values, MOST):
        texts = list(dict.fromkeys(_value(value) for value in some))
        yield from _of_values(api, path, texts, {"filterType": filter_type, "fields": names, **more})


def _of_values(api: Api, path: tuple[str | int, ...], values: list[str], params: Mapping[str, Any]) -> Iterator[Any]:
    """What has one of these values; by halves where they have more than Marketo gives for one filter."""
    found = pages(api, path, {**params, "filterValues": values})
    try:
        first = next(found, None)
    except MarketoInputError as error:
        if "too many results" not in str(error).lower() or len(values) == 1:
            raise
        for some in (values[: len(values) // 2], values[len(values) // 2 :]):
            yield from _of_values(api, path, some, params)
        return
    if first is not None:
        yield first
        yield from found


def pages(api: Api, path: tuple[str | int, ...], params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The items of all pages, each asked for when it is needed."""
    token = None
    while True:
        answer = api.call("GET", *path, params={**params, "batchSize": MOST, "nextPageToken": token})
        yield from answer.result
        token = next_page(answer, token)
        if token is None:
            return


def next_page(answer: Answer, asked: str | None) -> str | None:
    """The token of the page behind an answer; None where the answer is the last one.

    Args:
        answer: The answer.
        asked: The token that it was asked for with.

    Raises:
        ResponseError: There is more, and the answer leads nowhere: it could be asked for without an end.
    """
    token = answer.next_page_token
    if answer.more_result is False or (token is None and not answer.more_result):
        return None
    if token == asked and not answer.result and answer.more_result is None:  # nothing says that there are more
        return None
    if token is None or token == asked:
        why = "there is more, and no token for it" if token is None else "it names itself next"
        raise ResponseError(f"{answer.response.url} leads nowhere: {why}.", response=answer.response)
    return token


def field_names(fields: Sequence[str] | None) -> tuple[str, ...] | None:
    """The names of fields to read.

    Raises:
        RequestError: They are none.
    """
    if fields is None:
        return None
    if isinstance(fields, str | bytes) or not isinstance(fields, Iterable):
        raise RequestError("fields: is a list of the API names of fields, such as ['id', 'email'].")
    names = tuple(check_name("fields", name, "email") for name in fields)
    if any("," in name for name in names):
        raise RequestError("fields: has a name with a comma; each name is an item of its own.")
    return names or None


def as_leads(leads: Iterable[Any], argument: str) -> Iterator[Mapping[str, Any]]:
    """Leads by their ids; those that have an `id` are as good.

    Raises:
        RequestError: They are no iterable of ids.
    """
    if isinstance(leads, str | bytes | Mapping) or not isinstance(leads, Iterable):
        raise RequestError(f"{argument}: takes a list, or another iterable, of ids of leads.")
    return (each if isinstance(each, Mapping) else {"id": each} for each in leads)


def id_fault(record: Mapping[str, Any]) -> str | None:
    """What is wrong with a lead's id."""
    try:
        check_id("id", record.get("id"))
    except RequestError as error:
        return str(error)
    return None


def id_list(argument: str, ids: Iterable[Any]) -> list[int]:
    """Ids of leads, each once.

    Raises:
        RequestError: Some are none, or there is none.
    """
    found = list(dict.fromkeys(check_id(argument, record.get("id")) for record in as_leads(ids, argument)))
    if not found:
        raise RequestError(f"{argument}: is empty.")
    return found


def wrapped(about: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """What stands before and after the records in a body that says more than them."""
    head = json.dumps(about, ensure_ascii=False, separators=(",", ":")).encode()[:-1]
    return head + b',"input":[', b"]}"


def cut(items: Iterable[T], most: int) -> Iterator[list[T]]:
    """Lists of so many items."""
    left = iter(items)
    while some := list(islice(left, most)):
        yield some


def _value(value: object) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        raise RequestError(f"values: has a {type(value).__name__}; a value is a text, or a whole number.")
    if "," in str(value):
        raise RequestError("values: has one with a comma, which Marketo takes for two values.")
    return str(value)


def _fault(lookup_field: str | None, record: Mapping[str, Any]) -> str | None:
    if not record:
        return "has no fields"
    if lookup_field is not None:
        value = record.get(lookup_field)
        if value is None or (isinstance(value, str) and not value.strip()):
            return f"has no {lookup_field}, which tells Marketo which lead it is"
    for name, value in record.items():
        if not isinstance(name, str):
            return f"has a field whose name is a {type(name).__name__}"
        if isinstance(value, Mapping | list | tuple | set | bytes):
            return f"{name}: is a {type(value).__name__}; a field of a lead has one value"
    email = record.get("email")
    if isinstance(email, str) and not email.isascii():
        return "email: has letters that Marketo does not take in an address (others than ASCII)"
    return None
