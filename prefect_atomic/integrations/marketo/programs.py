"""Programs: who is a member, and how far along.

Source: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/lead-database/program-members
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prefect_atomic.integrations.marketo.api import Api, check_id, check_name
from prefect_atomic.integrations.marketo.leads import by_ids, filtered
from prefect_atomic.integrations.marketo.sending import Sending
from prefect_atomic.integrations.records import OnError, Outcomes
from prefect_atomic.integrations.records.outcomes import check_on_error

_NOT_A_MEMBER = ("1004", "1013")
_IS_THERE_ALREADY = "1037"


def members(
    api: Api, program_id: int, filter_type: str, values: Iterable[str | int], fields: Sequence[str] | None
) -> Iterator[dict[str, Any]]:
    """Members of a program; see `Marketo.program_members`."""
    path = ("programs", check_id("program_id", program_id), "members")
    return filtered(api, path, check_name("filter_type", filter_type, "statusName"), values, fields)


def set_status(api: Api, program_id: int, status: str, leads: Iterable[Any], on_error: OnError) -> Outcomes:
    """Makes leads members, or moves them on; see `Marketo.set_program_status`."""
    path = ("programs", check_id("program_id", program_id), "members", "status")
    name = json.dumps(check_name("status", status, "Registered"), ensure_ascii=False).encode()
    return by_ids(
        leads,
        "leads to be given a status in a program",
        lambda body: api.call("POST", *path, content=body, repeatable=True),
        id_field="leadId",
        wrap=(b'{"statusName":' + name + b',"input":[', b"]}"),
        in_doubt=[_IS_THERE_ALREADY],
        on_error=on_error,
    )


def sync(api: Api, program_id: int, records: Iterable[Mapping[str, Any]], on_error: OnError) -> Outcomes:
    """Changes the fields of members; see `Marketo.sync_program_members`."""
    check_on_error(on_error)
    path = ("programs", check_id("program_id", program_id), "members")
    sending = Sending(
        what="program members to be changed",
        call=lambda body: api.call("POST", *path, content=body, repeatable=True),
        at_once=api.at_once,
        keys=("leadId",),
    )
    return sending.run(records, check=_fault, on_error=on_error)


def remove(api: Api, program_id: int, leads: Iterable[Any], on_error: OnError) -> Outcomes:
    """Takes leads out of a program; see `Marketo.remove_from_program`."""
    path = ("programs", check_id("program_id", program_id), "members", "delete")
    return by_ids(
        leads,
        "leads to be taken out of a program",
        lambda body: api.call("POST", *path, content=body, repeatable=True),
        id_field="leadId",
        done_before=_NOT_A_MEMBER,
        on_error=on_error,
    )


def _fault(record: Mapping[str, Any]) -> str | None:
    try:
        check_id("leadId", record.get("leadId"))
    except ValueError as error:
        return str(error)
    return None if len(record) > 1 else "has no field to change"
