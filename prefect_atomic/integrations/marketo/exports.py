"""Bulk exports: leads and activities of any time, by a job for each 31 days of it, put together as one file of CSV."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.marketo.api import Api, check_id, check_name
from prefect_atomic.integrations.marketo.export_jobs import Asked, Exporting, ExportResult
from prefect_atomic.integrations.marketo.export_spans import Span, spans
from prefect_atomic.integrations.marketo.export_targets import Target, place
from prefect_atomic.integrations.marketo.job_notes import JobNotes, Notes
from prefect_atomic.integrations.marketo.leads import field_names
from prefect_atomic.integrations.marketo.patience import check_wait
from prefect_atomic.integrations.s3 import S3Bucket


def export_leads(
    api: Api,
    target: Target,
    *,
    fields: Sequence[str],
    created: tuple[Any, Any] | None = None,
    updated: tuple[Any, Any] | None = None,
    static_list: int | str | None = None,
    smart_list: int | str | None = None,
    header_names: Mapping[str, str] | None = None,
    bucket: S3Bucket | None = None,
    state: JobNotes | str | Path | None = None,
    wait: float = 14_400.0,
) -> ExportResult:
    """Writes leads into a file of CSV; see `Marketo.export_leads`."""
    given = {"createdAt": created, "updatedAt": updated, "staticList": static_list, "smartList": smart_list}
    filters = {name: value for name, value in given.items() if value is not None}
    if len(filters) != 1:
        raise RequestError("created, updated, static_list, smart_list: give one of them.")
    ((name, value),) = filters.items()
    if name in ("createdAt", "updatedAt"):
        parts: list[Span | None] = [*_between(name, value)]
        chosen: dict[str, Any] = {}
    else:
        argument = "static_list" if name == "staticList" else "smart_list"
        named = isinstance(value, str) and not value.isdigit()
        chosen = {
            f"{name}{'Name' if named else 'Id'}": check_name(argument, value, "Newsletter")
            if named
            else check_id(argument, value)
        }
        parts, name = [None], ""
    names = field_names(fields)
    if not names:
        raise RequestError("fields: is empty; name the fields of the leads.")
    asked = Asked("leads", names, _header_names(header_names, names), chosen, name, parts)
    return _export(api, asked, target, bucket, state, wait)


def export_activities(
    api: Api,
    target: Target,
    *,
    since: Any,
    until: Any,
    activity_types: Iterable[int] | None = None,
    fields: Sequence[str] | None = None,
    header_names: Mapping[str, str] | None = None,
    bucket: S3Bucket | None = None,
    state: JobNotes | str | Path | None = None,
    wait: float = 14_400.0,
) -> ExportResult:
    """Writes activities into a file of CSV; see `Marketo.export_activities`."""
    names = field_names(fields)
    chosen: dict[str, Any] = {}
    if activity_types is not None:
        if isinstance(activity_types, str | bytes | Mapping) or not isinstance(activity_types, Iterable):
            raise RequestError("activity_types: is a list of the ids of types.")
        chosen["activityTypeIds"] = [check_id("activity_types", each) for each in activity_types]
        if not chosen["activityTypeIds"]:
            raise RequestError("activity_types: is empty; leave it out for all of them.")
    parts = [*spans(since, until)]
    asked = Asked("activities", names, _header_names(header_names, names), chosen, "createdAt", parts)
    return _export(api, asked, target, bucket, state, wait)


def _between(name: str, value: object) -> list[Span]:
    argument = "created" if name == "createdAt" else "updated"
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise RequestError(f"{argument}: is two moments: from when on, and before when.")
    return spans(*value, names=(f"{argument}[0]", f"{argument}[1]"))


def _header_names(given: Mapping[str, str] | None, fields: Sequence[str] | None) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise RequestError("header_names: is a mapping of fields to what their columns are called.")
    if unknown := [name for name in given if fields is not None and name not in fields]:
        raise RequestError(f"header_names: {str(unknown[0])[:100]!r} is none of the fields.")
    return {
        check_name("header_names", name, "email"): check_name("header_names", given[name], "E-mail") for name in given
    }


def _export(
    api: Api,
    asked: Asked,
    target: Target,
    bucket: S3Bucket | None,
    state: JobNotes | str | Path | None,
    wait: float,
) -> ExportResult:
    wait = check_wait(wait)
    about = {
        "export": asked.kind,
        "of": api.bulk,
        "target": str(target) if isinstance(target, str | Path) else "",
        "jobs": [asked.body(span) for span in asked.parts],
    }
    notes = Notes(state, about)
    goes_to = place(target, bucket, len(asked.parts), notes.noted.setdefault("token", secrets.token_hex(4)))
    return Exporting(api, asked, goes_to, notes, wait).run()
