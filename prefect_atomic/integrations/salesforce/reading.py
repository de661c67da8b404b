"""Records read: page by page, or by a Bulk API 2.0 job where there are many; the rows are the same."""

from __future__ import annotations

import io
import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import islice
from tempfile import TemporaryFile
from typing import Any, BinaryIO, TextIO, cast
from urllib.parse import quote

from prefect.logging import get_logger

from prefect_atomic.errors import AtomicError, RequestError, ResponseError
from prefect_atomic.integrations.salesforce.bulk import follow
from prefect_atomic.integrations.salesforce.org import Org, as_json
from prefect_atomic.integrations.salesforce.rows import read_csv
from prefect_atomic.integrations.salesforce.soql import Soql, read_soql
from prefect_atomic.integrations.salesforce.types import Convert, Types
from prefect_atomic.integrations.salesforce.writing import check_name
from prefect_atomic.tasks.aside import aside

Row = dict[str, Any]

logger = get_logger("atomic.salesforce")

_MOST_IDS = 200
_LONGEST_QUERY = 14_000
"""Characters of a query with ids in it, as they stand in the URL: Salesforce takes 16 KB of that."""

_PAGE = 50_000
_COUNT = re.compile(r"\s*SELECT\s+COUNT\(\s*\)\s", re.IGNORECASE)
_ID = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?")
_REMOVED = "it was removed, as nobody would read its results"


def query(
    org: Org, soql: str, *, include_deleted: bool, bulk_from: int, bulk_wait: float, limit: int | None = None
) -> Iterator[Row]:
    """The rows of a query, as they are needed."""
    text: object = soql
    if not isinstance(text, str) or not text.strip():
        raise RequestError("soql: is a query, such as SELECT Id, Name FROM Account.")
    most: object = limit
    if most is not None and (not isinstance(most, int) or most < 0):
        raise RequestError("limit: is a whole number of rows, or None for all.")
    return _limited(_rows(org, soql, include_deleted, bulk_from, bulk_wait, limit), limit)


def _limited(rows: Generator[Row], limit: int | None) -> Generator[Row]:
    with closing(rows):
        yield from islice(rows, limit)


def _rows(
    org: Org, soql: str, include_deleted: bool, bulk_from: int, bulk_wait: float, limit: int | None
) -> Generator[Row]:
    asked = read_soql(soql)
    page = org.read("GET", "queryAll" if include_deleted else "query", params={"q": soql})
    total = page.get("totalSize", 0)
    if _COUNT.match(soql):
        yield {"count": total}
        return
    wanted = total if limit is None else min(total, limit)
    if wanted > bulk_from and asked.is_for_bulk and not page.get("done"):
        conversions = _conversions(org, asked)
        job = None if conversions is None else _created(org, asked, include_deleted)
        if job and conversions is not None:
            logger.info("Bulk query %s reads %d rows.", job, total)
            yield from _by_job(org, asked, job, conversions, bulk_wait)
            return
    while True:
        for record in page["records"]:
            yield _row(org, record, asked)
        if page.get("done", True):
            return
        page = org.read("GET", page["nextRecordsUrl"])


def get_one(org: Org, sobject: str, record_id: str, fields: Sequence[str] | None, external_id: str) -> Row:
    """One record by its id, or by an external id."""
    check_name("object", sobject)
    _check_ids([record_id], is_id=not external_id)
    path = f"sobjects/{quote(sobject)}/"
    path += f"{quote(check_name('external_id', external_id))}/" if external_id else ""
    params = {"fields": ",".join(_checked(fields))} if fields else None
    record = org.read("GET", path + quote(record_id, safe=""), params=params)
    return _row(org, record, Soql("", sobject, tuple(fields) if fields else None, (), False))


def get_many(
    org: Org, sobject: str, ids: Iterable[str], fields: Sequence[str] | None, external_id: str
) -> Iterator[Row | None]:
    """Records by their ids, in that order; None for one that is not there."""
    check_name("object", sobject)
    is_id = external_id.lower() in ("", "id")
    key = "Id" if is_id else check_name("external_id", external_id)
    names = _checked(fields) if fields else Types(org).fields(sobject)
    selected = names if any(name.lower() == key.lower() for name in names) else [*names, key]
    room = max(_LONGEST_QUERY - len(quote(",".join(selected))), 1_000)
    for some in _listed(ids, is_id, room):
        listed = ",".join(map(_quoted, some))
        soql = f"SELECT {','.join(selected)} FROM {sobject} WHERE {key} IN ({listed})"  # noqa: S608 - quoted
        exact: dict[str, Row] = {}
        similar: dict[str, Row] = {}
        for row in query(org, soql, include_deleted=False, bulk_from=_PAGE, bulk_wait=0.0):
            value = str(next(value for name, value in row.items() if name.lower() == key.lower()))
            value = value[:15] if is_id else value  # 15 characters say the same as 18
            exact[value] = row
            similar.setdefault(value.lower(), row)
        for each in some:
            wanted = each[:15] if is_id else each
            found = exact.get(wanted) or (None if is_id else similar.get(wanted.lower()))
            yield None if found is None else {name: found[name] for name in names}


def _listed(ids: Iterable[str], is_id: bool, room: int) -> Iterator[list[str]]:
    some: list[str] = []
    length = 0
    for each in ids:
        _check_ids([each], is_id=is_id)
        more = len(quote(_quoted(each))) + 3
        if some and (len(some) == _MOST_IDS or length + more > room):
            yield some
            some, length = [], 0
        some.append(each)
        length += more
    if some:
        yield some


def _checked(fields: object) -> list[str]:
    if isinstance(fields, str) or not isinstance(fields, Iterable):
        raise RequestError("fields: takes a list of names, such as ['Id', 'Account.Name'].")
    names = list(fields)
    for name in names:
        for part in str(name).split("."):
            check_name("fields", part)
    return names


def _conversions(org: Org, asked: Soql) -> dict[str, Convert] | None:
    """How the columns of a job become what the pages have; None where that cannot be told, and pages are read."""
    try:
        return Types(org).conversions(asked.sobject or "", asked.columns or ())
    except ResponseError:
        return None


def _created(org: Org, asked: Soql, include_deleted: bool) -> str | None:
    description = {"operation": "queryAll" if include_deleted else "query", "query": asked.text}
    try:
        return org.made("jobs/query", description, repeatable=True)
    except ResponseError as error:
        if error.response.status_code == 400:  # not every object can be read in bulk; the pages have them all
            return None
        raise


def _by_job(org: Org, asked: Soql, job: str, conversions: Mapping[str, Convert], wait: float) -> Iterator[Row]:
    path = f"jobs/query/{job}"
    try:
        ended = follow(org, path, wait, then=_REMOVED)
        if ended.get("state") != "JobComplete":
            told = org.scrubbed(str(ended.get("errorMessage") or "no reason was given"))
            raise AtomicError(f"The bulk query {job} ended as {ended.get('state')}: {told}")
        by_name = {column.lower(): (column, conversions.get(column)) for column in asked.columns or ()}
        locator: str | None = None
        while locator != "null":
            params: dict[str, str | int] = {"maxRecords": _PAGE, **({"locator": locator} if locator else {})}
            file = cast("BinaryIO", TemporaryFile())  # noqa: SIM115 - closed with the text that is read of it
            with io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
                answer = org.ask("GET", f"{path}/results", params=params, headers={"Accept": "text/csv"}, sink=file)
                locator = answer.headers.get("sforce-locator") or "null"
                file.seek(0)
                yield from _typed(text, by_name)
    finally:
        aside(partial(_remove, org, path))


def _remove(org: Org, path: str) -> None:
    with suppress(AtomicError):  # whoever stopped early does not want the rest; a job that ended is removed
        org.ask("PATCH", path, body=as_json({"state": "Aborted"}), is_exempt=True)
    with suppress(AtomicError):
        org.ask("DELETE", path, is_exempt=True)


def _typed(text: TextIO, by_name: Mapping[str, tuple[str, Convert | None]]) -> Iterator[Row]:
    rows = read_csv(text)
    header = [by_name.get(name.lower(), (name, None)) for name in next(rows, [])]
    for row in rows:
        yield {
            name: None if cell == "" else convert(cell) if convert else cell
            for (name, convert), cell in zip(header, row, strict=True)
        }


def _row(org: Org, record: Mapping[str, Any], asked: Soql) -> Row:
    """A record without what only Salesforce needs; what belongs to a related record is named `Account.Name`."""
    flat = _flat(org, record)
    by_name = {name.lower(): value for name, value in flat.items()}
    if asked.columns is None:
        return _with_related(flat, by_name, asked.related)
    row: Row = {}
    for column in asked.columns:
        if column.lower() not in by_name and not _is_of_nothing(column, by_name):
            return flat  # the query is not understood, and what came is better than nothing
        row[column] = by_name.get(column.lower())
    return row


def _with_related(flat: Row, by_name: Row, related: Iterable[str]) -> Row:
    """The same fields in each row, also where there is no related record."""
    lacking = [name for name in related if name.lower() not in by_name and _is_of_nothing(name, by_name)]
    if not lacking:
        return flat
    empty = {name.partition(".")[0].lower() for name in lacking}
    return {name: value for name, value in flat.items() if name.lower() not in empty} | dict.fromkeys(lacking)


def _is_of_nothing(column: str, by_name: Row) -> bool:
    """Whether a column is of a related record that is not there."""
    parts = column.lower().split(".")
    return any(by_name.get(".".join(parts[:end]), "") is None for end in range(1, len(parts)))


def _flat(org: Org, record: Mapping[str, Any]) -> Row:
    row: Row = {}
    for name, value in record.items():
        if name == "attributes":
            continue
        if isinstance(value, Mapping) and "records" in value:
            row[name] = _children(org, value)
        elif isinstance(value, Mapping) and "attributes" in value:
            row |= {f"{name}.{of}": part for of, part in _flat(org, value).items()}
        else:
            row[name] = value
    return row


def _children(org: Org, page: Mapping[str, Any]) -> list[Row]:
    """What a subquery found, page by page too."""
    children = []
    while True:
        children += [_flat(org, child) for child in page["records"]]
        if page.get("done", True):
            return children
        page = org.read("GET", page["nextRecordsUrl"])


def _check_ids(ids: Iterable[object], *, is_id: bool) -> None:
    for each in ids:
        if not isinstance(each, str) or not each.strip():
            raise RequestError("ids: is the id of a record, as text, or a list of them.")
        if is_id and not _ID.fullmatch(each):
            raise RequestError(f"ids: {each[:40]!r} is no id; one has 15 or 18 letters and digits.")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"
