"""Smart campaigns: batch campaigns are scheduled, and trigger campaigns requested. Neither is to be done twice.

Source: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/assets/smart-campaigns
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.marketo.api import Api, check_id, check_name
from prefect_atomic.integrations.marketo.leads import as_leads, id_fault
from prefect_atomic.integrations.marketo.moments import written
from prefect_atomic.integrations.marketo.sending import Sending
from prefect_atomic.integrations.records import OnError, Outcomes
from prefect_atomic.integrations.records.outcomes import check_on_error

MOST_LEADS = 100
MOST_TOKENS = 100
_LATEST = timedelta(days=730)


def request(
    api: Api, campaign_id: int, leads: Iterable[Any], tokens: Mapping[str, str] | None, on_error: OnError
) -> Outcomes:
    """Has leads run through a trigger campaign; see `Marketo.request_campaign`."""
    check_on_error(on_error)
    path = ("campaigns", check_id("campaign_id", campaign_id), "trigger")
    listed = json.dumps(_tokens(tokens), ensure_ascii=False).encode()
    sending = Sending(
        what="leads to run through a campaign",
        call=lambda body: api.call("POST", *path, content=body, repeatable=False),
        wrap=(b'{"input":{"leads":[', b'],"tokens":' + listed + b"}}" if tokens else b"]}}"),
        most=MOST_LEADS,
        is_told_each=False,
    )
    return sending.run(
        as_leads(leads, "leads"),
        argument="leads",
        shape=lambda lead: {"id": check_id("id", lead["id"])},
        check=id_fault,
        on_error=on_error,
    )


def schedule(
    api: Api,
    campaign_id: int,
    run_at: datetime | None,
    tokens: Mapping[str, str] | None,
    clone_to_program: str | None,
) -> int:
    """Schedules a batch campaign; see `Marketo.schedule_campaign`."""
    path = ("campaigns", check_id("campaign_id", campaign_id), "schedule")
    about: dict[str, Any] = {}
    if run_at is not None:
        about["runAt"] = written("run_at", run_at)
        if not datetime.now(UTC) - timedelta(minutes=5) <= run_at <= datetime.now(UTC) + _LATEST:
            raise RequestError("run_at: is past, or more than two years ahead.")
    if tokens:
        about["tokens"] = _tokens(tokens)
    if clone_to_program is not None:
        about["cloneToProgramName"] = check_name("clone_to_program", clone_to_program, "Webinar of May")
    answer = api.call("POST", *path, json={"input": about}, repeatable=False)
    first = answer.result[0] if answer.result else {}
    scheduled = first.get("id")
    return scheduled if isinstance(scheduled, int) else check_id("campaign_id", campaign_id)


def _tokens(tokens: Mapping[str, str] | None) -> list[dict[str, str]]:
    given: object = tokens or {}
    if not isinstance(given, Mapping) or len(given) > MOST_TOKENS:
        raise RequestError(f"tokens: is a mapping of up to {MOST_TOKENS} My Tokens to texts.")
    listed = []
    for name, value in given.items():
        bare = name.strip().removeprefix("{{").removesuffix("}}").strip() if isinstance(name, str) else ""
        if not bare.startswith("my.") or not isinstance(value, str):
            raise RequestError(f"tokens: {str(name)[:100]!r}: is a My Token such as `my.offer`, and its value a text.")
        listed.append({"name": f"{{{{{bare}}}}}", "value": value})
    return listed
