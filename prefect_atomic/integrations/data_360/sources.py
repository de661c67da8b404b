"""Where the rows of a bulk load come from; see `records.sources`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from prefect_atomic.integrations.records import sources
from prefect_atomic.integrations.records.csv_tables import Table
from prefect_atomic.integrations.records.sources import Records, Shown
from prefect_atomic.integrations.s3 import S3Bucket

__all__ = ["Records", "table_of"]


def table_of(records: Records, fields: Sequence[str] | None, bucket: S3Bucket | None) -> AbstractContextManager[Table]:
    """The rows, for as long as the `with` block lasts.

    Raises:
        RequestError: There are none to be had.
        AtomicError: The bucket failed.
    """
    return sources.table_of(records, fields, bucket, Shown("data-360-bulk-ingest", "Data 360"))
