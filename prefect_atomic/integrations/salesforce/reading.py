"""Records read: page by page, or by a Bulk API 2.0 job where there are many; the rows are the same."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from tempfile import TemporaryFile
from typing import Any, BinaryIO, TextIO, cast
from urllib.parse import quote

from prefect.logging import get_logger

from prefect_atomic.errors import AtomicError, RequestError, ResponseError
from prefect_atomic.integrations.salesforce.bulk import follow
from prefect_atomic.integrations.salesforce.org import Org, as_json
from prefect_atomic.integrations.salesforce.soql import Soql, read_soql
from prefect_atomic.integrations.salesforce.types import Types
from prefect_atomic.integrations.salesforce.writing import check_name

Row = dict[str, Any]

logger = get_logger("atomic.salesforce")

_MOST_IDS = 200
_PAGE = 50_000
_LARGEST_CELL = 256 * 1024  # a long text area has 131,072 characters, of up to four bytes in UTF-8


def query(org: Org, soql: str, *, include_deleted: bool, bulk_from: int, bulk_wait: float) -> Iterator[Row]:
    """The rows of a query, as they are needed."""
    if not soql.strip():
        raise RequestError("soql: is a query, such as SELECT Id, Name FROM Account.")
    asked = read_soql(soql)
    page = org.read("GET", "queryAll" if include_deleted else "query", params={"q": soql})
    if page.get("totalSize", 0) > bulk_from and asked.is_for_bulk and not page.get("done"):
        job = _created(org, asked, include_deleted)
        if job:
            logger.info("Bulk query %s reads %d rows.", job, page["totalSize"])
            yield from _by_job(org, asked, job, bulk_wait)
            return
    while True:
        for record in page["records"]:
            yield _row(record, asked.columns)
        if page.get("done", True):
            return
        page = org.read("GET", page["nextRecordsUrl"])


def get_one(org: Org, sobject: str, record_id: str, fields: Sequence[str] | None, external_id: str) -> Row:
    """One record by its id, or by an external id."""
    check_name("object", sobject)
    _check_ids([record_id])
    path = f"sobjects/{quote(sobject)}/"
    path += f"{quote(check_name('external_id', external_id))}/" if external_id else ""
    params = {"fields": ",".join(check_name("fields", field) for field in fields)} if fields else None
    return _row(org.read("GET", path + quote(str(record_id), safe=""), params=params), None)


def get_many(
    org: Org, sobject: str, ids: Iterable[str], fields: Sequence[str] | None, external_id: str
) -> Iterator[Row | None]:
    """Records by their ids, in that order; None for one that is not there."""
    check_name("object", sobject)
    key = check_name("external_id", external_id) if external_id else "Id"
    names = list(fields) if fields else Types(org).fields(sobject)
    for name in names:
        for part in name.split("."):
            check_name("fields", part)
    selected = names if any(name.lower() == key.lower() for name in names) else [*names, key]
    reading = iter(ids)
    while some := list(islice(reading, _MOST_IDS)):
        _check_ids(some)
        listed = ",".join(_quoted(each) for each in some)
        soql = f"SELECT {','.join(selected)} FROM {sobject} WHERE {key} IN ({listed})"  # noqa: S608 - quoted
        found = {
            _known_as(row, key): row for row in query(org, soql, include_deleted=False, bulk_from=_PAGE, bulk_wait=0.0)
        }
        for each in some:
            row = found.get(_same(each, key))
            yield None if row is None else {name: row[name] for name in names}


def _created(org: Org, asked: Soql, include_deleted: bool) -> str | None:
    body = as_json({"operation": "queryAll" if include_deleted else "query", "query": asked.text})
    try:
        return str(org.read("POST", "jobs/query", body=body)["id"])
    except ResponseError as error:
        if error.response.status_code == 400:  # not every object can be read in bulk; the pages have them all
            return None
        raise


def _by_job(org: Org, asked: Soql, job: str, wait: float) -> Iterator[Row]:
    path = f"jobs/query/{job}"
    try:
        ended = follow(org, path, wait)
        if ended.get("state") != "JobComplete":
            told = str(ended.get("errorMessage") or "no reason was given")
            raise AtomicError(f"The bulk query {job} ended as {ended.get('state')}: {told}")
        columns = asked.columns or ()
        types = Types(org).conversions(asked.sobject or "", columns)
        by_name = {column.lower(): (column, types.get(column)) for column in columns}
        locator: str | None = None
        while locator != "null":
            params: dict[str, str | int] = {"maxRecords": _PAGE, **({"locator": locator} if locator else {})}
            file = cast("BinaryIO", TemporaryFile())  # noqa: SIM115 - closed with the text that is read of it
            with io.TextIOWrapper(file, "utf-8", newline="") as text:
                answer = org.ask("GET", f"{path}/results", params=params, headers={"Accept": "text/csv"}, sink=file)
                locator = answer.headers.get("sforce-locator") or "null"
                file.seek(0)
                yield from _typed(text, by_name)
    finally:
        with suppress(AtomicError):  # whoever stopped early does not want the rest; a job that ended is removed
            org.ask("PATCH", path, body=as_json({"state": "Aborted"}))
        with suppress(AtomicError):
            org.ask("DELETE", path)


def _typed(text: TextIO, by_name: Mapping[str, tuple[str, Any]]) -> Iterator[Row]:
    csv.field_size_limit(max(csv.field_size_limit(), _LARGEST_CELL))
    rows = csv.reader(text)
    header = [by_name.get(name.lower(), (name, None)) for name in next(rows, [])]
    for row in rows:
        yield {
            name: None if cell == "" else convert(cell) if convert else cell
            for (name, convert), cell in zip(header, row, strict=True)
        }


def _row(record: Mapping[str, Any], columns: Sequence[str] | None) -> Row:
    """A record without what only Salesforce needs; what belongs to a related record is named `Account.Name`."""
    flat = _flat(record)
    if columns is None:
        return flat
    by_name = {name.lower(): value for name, value in flat.items()}
    return {column: by_name.get(column.lower()) for column in columns}


def _flat(record: Mapping[str, Any]) -> Row:
    row: Row = {}
    for name, value in record.items():
        if name == "attributes":
            continue
        if isinstance(value, Mapping) and "records" in value:  # of a subquery
            row[name] = [_flat(child) for child in value["records"]]
        elif isinstance(value, Mapping) and "attributes" in value:
            row |= {f"{name}.{of}": part for of, part in _flat(value).items()}
        else:
            row[name] = value
    return row


def _check_ids(ids: Iterable[object]) -> None:
    for each in ids:
        if not isinstance(each, str) or not each.strip():
            raise RequestError("id: is the id of a record, as text, or a list of them.")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


def _known_as(row: Row, key: str) -> str:
    return _same(str(next((value for name, value in row.items() if name.lower() == key.lower()), "")), key)


def _same(value: str, key: str) -> str:
    # 15 characters say the same as 18: the last three repeat what is upper case.
    return value[:15] if key == "Id" else value.lower()
