"""Atomic's analytics: events by the hour, behind pre-signed URLs that are good for a while."""

import csv
import hashlib
import io
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from prefect_atomic.sandbox.atomic_request import query, refuse
from prefect_atomic.sandbox.atomic_state import HOUR, AtomicState, SignedFile
from prefect_atomic.sandbox.wire import Answer, Received, Refused

LONGEST = timedelta(days=30)
TYPES = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
LINES = 100  # of a chunk
TWO_PROOFS = (
    "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or "
    "the Authorization header should be specified"
)


def batched(base_url: str, state: AtomicState, received: Received) -> Answer:
    """`GET /analytics/batched`: the files of each hour that ended in the range, as far as it is processed."""
    given = query(received, ("from", "to", "format"))
    after, until = _floor(_instant(given, "from")), _ceil(_instant(given, "to"))
    if after > until:
        refuse("from should not be after to")
    if until - after > LONGEST:
        refuse(f"from and to, rounded to the hour, should be at most {LONGEST.days} days apart")
    wanted = given.get("format", "ndjson")
    if wanted not in TYPES:
        refuse(f"format should be one of {', '.join(TYPES)}; the sandbox has no {wanted}")
    return Answer.of_json(
        {
            "data": {
                hour: [
                    _signed_url(base_url, state, f"{hour}-{number}.{wanted}", events)
                    for number, events in enumerate(state.hours[hour])
                ]
                for hour in sorted(state.hours)
                if after < _ended(hour) <= until
            }
        }
    )


def data(state: AtomicState, received: Received) -> Answer:
    """What a pre-signed URL leads to; it answers as S3 does."""
    if received.header("authorization") is not None:
        _refuse_as_s3("InvalidArgument", TWO_PROOFS, status=400)
    signed = state.signed.get(_digest(f"{received.path}?{received.query}"))
    if signed is None:
        if "X-Amz-Signature" not in dict(received.query_pairs):
            _refuse_as_s3("AccessDenied", "Access Denied")
        _refuse_as_s3("SignatureDoesNotMatch", "nobody here signed this URL; was the sandbox reset or started anew?")
    if time.time() >= signed.made_at + signed.lives:
        _refuse_as_s3("AccessDenied", "Request has expired")
    suffix = received.path.rpartition(".")[2]
    lines = _csv(signed.events) if suffix == "csv" else [json.dumps(event) + "\n" for event in signed.events]
    return Answer(200, _chunks(lines), (("Content-Type", TYPES[suffix]),))


def _instant(given: Mapping[str, str], name: str) -> datetime:
    sent = given.get(name)
    if sent is None:
        refuse(f"{name} is missing; it is an instant such as 2026-01-31T09:00:00Z")
    try:
        instant = datetime.fromisoformat(sent)
        if instant.tzinfo is None:
            refuse(f"{name} should say its offset from UTC, as in 2026-01-31T09:00:00Z")
        return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        refuse(f"{name} is not an instant in ISO 8601, such as 2026-01-31T09:00:00Z; was a + sent as it is?")


def _floor(instant: datetime) -> datetime:
    return instant.replace(minute=0, second=0, microsecond=0)


def _ceil(instant: datetime) -> datetime:
    floor = _floor(instant)
    return floor if floor == instant else floor + timedelta(hours=1)


def _ended(hour: str) -> datetime:
    return datetime.strptime(hour, HOUR).replace(tzinfo=UTC)


def _signed_url(base_url: str, state: AtomicState, name: str, events: list[dict[str, Any]]) -> str:
    made_at = time.time()
    date = datetime.fromtimestamp(made_at, UTC).strftime("%Y%m%dT%H%M%SZ")
    signature = secrets.token_hex(32)
    query = f"X-Amz-Expires={state.url_seconds:.0f}&X-Amz-Date={date}&X-Amz-Signature={signature}"
    state.signed[_digest(f"/atomic/data/{name}?{query}")] = SignedFile(events, made_at, state.url_seconds)
    return f"{base_url}/data/{name}?{query}"


def _digest(target: str) -> str:
    # a lookup by digest takes as long for a near miss as for a far one
    return hashlib.sha256(target.encode()).hexdigest()


def _refuse_as_s3(code: str, message: str, *, status: int = 403) -> NoReturn:
    xml = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    raise Refused(Answer.of_text(xml, status=status, content_type="application/xml"))


def _csv(events: list[dict[str, Any]]) -> list[str]:
    # a simple rendering: how Atomic flattens an event is not known
    columns = list(dict.fromkeys(name for event in events for name in event))
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([[_cell(event.get(name)) for name in columns] for event in events])
    return text.getvalue().splitlines(keepends=True)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _chunks(lines: list[str]) -> Iterator[bytes]:
    for start in range(0, len(lines), LINES):
        yield "".join(lines[start : start + LINES]).encode()
