"""Smart campaigns: batch campaigns are scheduled, and trigger campaigns requested. Neither is to be done twice.

Source: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/assets/smart-campaigns
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.marketo.api import MOST_BYTES, Api, check_id, check_name
from prefect_atomic.integrations.marketo.leads import as_leads, id_fault
from prefect_atomic.integrations.marketo.moments import moment, written
from prefect_atomic.integrations.marketo.sending import Sending
from prefect_atomic.integrations.records import OnError, Outcomes
from prefect_atomic.integrations.records.batches import encoded
from prefect_atomic.integrations.records.outcomes import check_on_error

MOST_LEADS = 100
MOST_TOKENS = 100
_MOST_TOKEN_BYTES = MOST_BYTES - 10_000
"""Of a call, which has room for the leads then."""

_LATEST = timedelta(days=730)
_JUST_PAST = timedelta(minutes=5)
"""What a clock may be off, and a flow late: Marketo runs no campaign sooner than five minutes after the call."""


def request(
    api: Api, campaign_id: int, leads: Iterable[Any], tokens: Mapping[str, str] | None, on_error: OnError
) -> Outcomes:
    """Has leads run through a trigger campaign; see `Marketo.request_campaign`."""
    check_on_error(on_error)
    path = ("campaigns", check_id("campaign_id", campaign_id), "trigger")
    listed = encoded(_tokens(tokens))
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
    run_at: datetime | str | None,
    tokens: Mapping[str, str] | None,
    clone_to_program: str | None,
) -> int:
    """Schedules a batch campaign; see `Marketo.schedule_campaign`."""
    path = ("campaigns", check_id("campaign_id", campaign_id), "schedule")
    about: dict[str, Any] = {}
    if run_at is not None:
        ahead = moment("run_at", run_at) - datetime.now(UTC)
        if ahead < -_JUST_PAST:
            raise RequestError("run_at: is past; leave it out to have the campaign run in five minutes.")
        if ahead > _LATEST:
            raise RequestError("run_at: is more than two years ahead, which is the most that Marketo takes.")
        about["runAt"] = written("run_at", run_at)
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
    listed: list[dict[str, str]] = []
    size = 0
    for name, value in given.items():
        bare = name.strip().removeprefix("{{").removesuffix("}}").strip() if isinstance(name, str) else ""
        if not bare.startswith("my.") or not isinstance(value, str):
            raise RequestError(f"tokens: {str(name)[:100]!r}: is a My Token such as `my.offer`, and its value a text.")
        listed.append({"name": f"{{{{{bare}}}}}", "value": value})
        try:
            size += len(encoded(listed[-1])) + 1
        except TypeError as error:
            raise RequestError(f"tokens: {name[:100]!r}: {error}.") from None
    if size > _MOST_TOKEN_BYTES:
        raise RequestError(f"tokens: take {size:,} bytes, and a call takes {_MOST_TOKEN_BYTES:,} of them.")
    return listed
