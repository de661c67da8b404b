"""Smart campaigns: batch campaigns are scheduled, and trigger campaigns requested for leads.

Source: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/assets/smart-campaigns

Not known, and so here: a request that names a lead that there is not is refused for all of its leads. A campaign runs
five minutes later at the earliest; one that is asked for sooner is not refused.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect_atomic.sandbox.marketo_answers import Reason, fail, ok
from prefect_atomic.sandbox.marketo_leads import PAGED, require
from prefect_atomic.sandbox.marketo_lists import MADE_AT, WORKSPACE
from prefect_atomic.sandbox.marketo_moments import read
from prefect_atomic.sandbox.marketo_pages import page
from prefect_atomic.sandbox.marketo_request import Query, json_object, number, number_in, one_of, records
from prefect_atomic.sandbox.marketo_schema import CAMPAIGNS, Campaign
from prefect_atomic.sandbox.marketo_state import MarketoState
from prefect_atomic.sandbox.wire import Answer, Received

MOST_LEADS = 100
MOST_TOKENS = 100
MOST_CLONES = 20
MOST_AHEAD = timedelta(days=730)
TOKEN = re.compile(r"\{\{my\.[^{}]+\}\}")


def all_campaigns(_: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/campaigns.json`."""
    query = Query(received, ("isTriggerable", *PAGED), several=("id", "name", "programName", "workspaceName"))
    ids, names, workspaces = query.numbers("id"), query.texts("name"), query.texts("workspaceName")
    triggerable = one_of(query.text("isTriggerable") or "false", "isTriggerable", ("true", "false")) == "true"
    found = [
        campaign
        for campaign in CAMPAIGNS.values()
        if (not ids or campaign.id in ids)
        and (not names or campaign.name in names)
        and not query.texts("programName")
        and (not workspaces or WORKSPACE in workspaces)
        and (not triggerable or campaign.type == "trigger")
    ]
    shown, token = page(found, query, key=lambda campaign: campaign.id)
    return ok([_told(campaign) for campaign in shown], nextPageToken=token)


def one(_: MarketoState, received: Received) -> Answer:
    """`GET /rest/v1/campaigns/{campaignId}.json`."""
    Query(received, ())
    return ok([_told(_campaign(received))])


def trigger(state: MarketoState, received: Received) -> Answer:
    """`POST /rest/v1/campaigns/{campaignId}/trigger.json`."""
    Query(received, ())
    campaign = _campaign(received)
    content = _input(received, ("leads", "tokens"))
    if "leads" not in content:
        fail(1002, "Missing value for required parameter 'leads'")
    leads = [number(record.get("id", "")) for record in records(content, "leads", most=MOST_LEADS)]
    tokens = _tokens(content)
    if campaign.type != "trigger":
        fail(1003, f"Campaign '{campaign.id}' is a batch campaign, and cannot be requested")
    require(state, *leads)
    state.requested.append({"id": campaign.id, "leads": leads, "tokens": tokens})
    return ok([{"id": campaign.id}])


def schedule(state: MarketoState, received: Received) -> Answer:
    """`POST /rest/v1/campaigns/{campaignId}/schedule.json`."""
    Query(received, ())
    campaign = _campaign(received)
    content = _input(received, ("runAt", "tokens", "cloneToProgramName")) if received.body else {}
    run_at, clone = content.get("runAt"), content.get("cloneToProgramName")
    if run_at is not None:
        _check_run_at(run_at)
    tokens = _tokens(content)
    if campaign.type != "batch":
        fail(1003, f"Campaign '{campaign.id}' is a trigger campaign, and cannot be scheduled")
    clones = sum(1 for each in state.schedules if each["cloneToProgramName"])
    if clone is not None and clones >= MOST_CLONES:
        fail(1020, f"More than {MOST_CLONES} clones a day")
    state.schedules.append({"id": campaign.id, "runAt": run_at, "tokens": tokens, "cloneToProgramName": clone})
    return ok([{"id": campaign.id}])


def _campaign(received: Received) -> Campaign:
    campaign_id = number_in(received, 1)
    return CAMPAIGNS.get(campaign_id) or fail(1013, f"Campaign '{campaign_id}' not found")


def _input(received: Received, known: tuple[str, ...]) -> Mapping[str, Any]:
    content = json_object(received, required=("input",))["input"]
    if not isinstance(content, dict):
        fail(1001, "Invalid value for 'input'. Required of type 'object'")
    unknown = content.keys() - set(known)
    if unknown:
        fail(1003, f"Invalid parameter '{min(unknown)}'")
    return content


def _tokens(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not content.get("tokens"):
        return []
    tokens = records(content, "tokens", most=MOST_TOKENS)
    for each in tokens:
        if each.keys() != {"name", "value"} or not TOKEN.fullmatch(str(each["name"])):
            fail(1003, "Invalid value for 'tokens', each of which has a name such as {{my.offer}} and a value")
        if not isinstance(each["value"], str):
            fail(1001, "Invalid value for 'tokens'. Required of type 'String'")
    return tokens


def _check_run_at(run_at: object) -> None:
    try:
        moment = read(run_at)
    except Reason as reason:
        fail(reason.code, reason.message)
    if moment > datetime.now(UTC) + MOST_AHEAD:
        fail(1042, "Invalid runAt date: it is more than two years ahead")


def _told(campaign: Campaign) -> dict[str, Any]:
    told = {"id": campaign.id, "name": campaign.name, "type": campaign.type, "workspaceName": WORKSPACE}
    return {**told, "createdAt": MADE_AT, "updatedAt": MADE_AT, "active": campaign.type == "trigger"}
