"""How often the sandbox's Marketo was called today and in the last seven days, and what it refused.

Source: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/usage

A day is one of US Central time. Today is all since the last reset, and the days before had no calls.
"""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from prefect_atomic.sandbox.marketo_answers import ok
from prefect_atomic.sandbox.marketo_meter import Meter
from prefect_atomic.sandbox.marketo_request import Query
from prefect_atomic.sandbox.wire import Answer, Received

CENTRAL = ZoneInfo("America/Chicago")
USER = "api.user@sandbox.example"


def calls(meter: Meter, received: Received) -> Answer:
    """`GET /rest/v1/stats/usage.json` and `…/usage/last7days.json`."""
    return ok(
        [{"date": day, "total": count, "users": _of_user(count)} for day, count in _days(received, meter.counted)]
    )


def errors(meter: Meter, received: Received) -> Answer:
    """`GET /rest/v1/stats/errors.json` and `…/errors/last7days.json`."""
    counts = [{"errorCode": code, "count": count} for code, count in sorted(meter.refused.items())]
    return ok(
        [
            {"date": day, "total": total, "errors": counts if total else []}
            for day, total in _days(received, meter.refused.total())
        ]
    )


def _days(received: Received, today: int) -> list[tuple[str, int]]:
    Query(received, ())
    days = 7 if received.path.endswith("/last7days.json") else 1
    now = datetime.now(CENTRAL)
    return [((now - timedelta(days=ago)).date().isoformat(), 0 if ago else today) for ago in range(days)]


def _of_user(count: int) -> list[dict[str, object]]:
    return [{"userId": USER, "count": count}] if count else []
