"""Custom objects.

Source: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/lead-database/custom-objects
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from prefect_atomic.errors import RequestError, ResponseError
from prefect_atomic.integrations.marketo.api import MOST, Api, check_name
from prefect_atomic.integrations.marketo.leads import cut, field_names, filtered, next_page, wrapped
from prefect_atomic.integrations.marketo.sending import Sending
from prefect_atomic.integrations.records import OnError, Outcomes
from prefect_atomic.integrations.records.batches import encoded
from prefect_atomic.integrations.records.outcomes import check_on_error

Action = Literal["createOrUpdate", "createOnly", "updateOnly"]
By = Literal["dedupeFields", "idField"]

_ACTIONS = ("createOrUpdate", "createOnly", "updateOnly")
_BY = ("dedupeFields", "idField")
_NOT_FOUND = "1013"
_EXISTS = frozenset({"1005", "1017"})


def describe(api: Api, name: str) -> dict[str, Any]:
    """What a custom object is made of; see `Marketo.describe_custom_object`."""
    answer = api.call("GET", "customobjects", check_object(name), "describe")
    if not answer.result:
        raise ResponseError(f"{answer.response.url} says nothing of {name}.", response=answer.response)
    return answer.result[0]


def sync(
    api: Api, name: str, records: Iterable[Mapping[str, Any]], *, action: Action, dedupe_by: By, on_error: OnError
) -> Outcomes:
    """Writes records; see `Marketo.sync_custom_objects`."""
    check_on_error(on_error)
    check_object(name)
    if action not in _ACTIONS:
        raise RequestError(f"action: is one of {', '.join(_ACTIONS)}.")
    _check_by("dedupe_by", dedupe_by)
    if dedupe_by == "idField" and action != "updateOnly":
        raise RequestError("dedupe_by: `idField` goes with the action updateOnly only.")
    about = describe(api, name)
    sending = Sending(
        what=f"{name} records to be synchronised",
        call=lambda body: api.call("POST", "customobjects", name, content=body, repeatable=True),
        wrap=wrapped({"action": action, "dedupeBy": dedupe_by}),
        at_once=api.at_once,
        keys=_keys(about, dedupe_by),
        in_doubt=_EXISTS if action == "createOnly" else frozenset(),
    )
    return sending.run(records, check=partial(_fault, about, dedupe_by), on_error=on_error)


def delete(api: Api, name: str, records: Iterable[Any], *, delete_by: By, on_error: OnError) -> Outcomes:
    """Deletes records; see `Marketo.delete_custom_objects`."""
    check_on_error(on_error)
    check_object(name)
    _check_by("delete_by", delete_by)
    about = describe(api, name)
    sending = Sending(
        what=f"{name} records to be deleted",
        call=lambda body: api.call("POST", "customobjects", name, "delete", content=body, repeatable=True),
        wrap=wrapped({"deleteBy": delete_by}),
        done_before=frozenset({_NOT_FOUND}),
    )
    keys = _keys(about, delete_by)
    # The keys alone are sent, so that records may be as they were read, with `seq` and what else Marketo adds.
    return sending.run(
        records,
        shape=lambda record: {key: record[key] for key in keys},
        check=partial(_fault_of_keys, keys),
        on_error=on_error,
    )


def read(
    api: Api, name: str, filter_type: str, values: Iterable[Any], fields: Sequence[str] | None
) -> Iterator[dict[str, Any]]:
    """Records by the values of a field, or by all fields that tell them; see `Marketo.custom_objects`."""
    path = ("customobjects", check_object(name))
    check_name("filter_type", filter_type, "vin")
    if filter_type != "dedupeFields":
        return filtered(api, path, filter_type, values, fields)
    names = field_names(fields)
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise RequestError("values: takes a list, or another iterable, of mappings of the fields that tell records.")
    return _by_several(api, path, values, names)


def _by_several(
    api: Api, path: tuple[str, str], values: Iterable[Any], fields: tuple[str, ...] | None
) -> Iterator[dict[str, Any]]:
    for some in cut((_told_by(position, each) for position, each in enumerate(values)), MOST):
        asked = {"filterType": "dedupeFields", "fields": fields, "batchSize": MOST}
        token: str | None = None
        while True:
            more = {**asked, "nextPageToken": token}
            before, after = wrapped({field: value for field, value in more.items() if value is not None})
            params = {"_method": "GET", "filterType": "dedupeFields"}
            body = before + b",".join(some) + after
            answer = api.call("POST", *path, params=params, content=body, repeatable=True)
            yield from answer.result
            token = next_page(answer, token)
            if token is None:
                break


def _told_by(position: int, fields: object) -> bytes:
    """What tells a record, as calls have it."""
    if not isinstance(fields, Mapping) or not fields:
        what = "empty" if isinstance(fields, Mapping) else f"a {type(fields).__name__}"
        raise RequestError(f"values[{position}]: is {what}; each is a mapping of the fields that tell records.")
    if wrong := [name for name in fields if not isinstance(name, str)]:
        raise RequestError(f"values[{position}]: has a field whose name is a {type(wrong[0]).__name__}.")
    try:
        return encoded(fields)
    except TypeError as error:
        raise RequestError(f"values[{position}]: {error}.") from None


def check_object(name: object) -> str:
    """The API name of a custom object.

    Raises:
        RequestError: It is none.
    """
    return check_name("name", name, "car_c")


def _check_by(argument: str, by: object) -> None:
    if by not in _BY:
        raise RequestError(f"{argument}: is dedupeFields or idField.")


def _keys(about: Mapping[str, Any], by: By) -> tuple[str, ...]:
    if by == "idField":
        return (str(about.get("idField") or "marketoGUID"),)
    named = about.get("dedupeFields")
    return tuple(map(str, named)) if isinstance(named, list) else ()


def _fault_of_keys(keys: tuple[str, ...], record: Mapping[str, Any]) -> str | None:
    missing = next((key for key in keys if record.get(key) in (None, "")), None)
    return f"has no {missing}, which tells Marketo which record it is" if missing is not None else None


def _fault(about: Mapping[str, Any], by: By, record: Mapping[str, Any]) -> str | None:
    if fault := _fault_of_keys(_keys(about, by), record):
        return fault
    described = about.get("fields")
    fields = [each for each in described if isinstance(each, dict)] if isinstance(described, list) else []
    known = {str(field.get("name")) for field in fields} | set(_keys(about, "idField"))
    unknown = [str(name) for name in record if name not in known]
    return f"has the field {unknown[0]}, which the custom object has not" if fields and unknown else None
