"""Salesforce Data 360: records in, by streaming and in bulk; rows out, by query."""

from prefect_atomic.integrations.data_360.block import SalesforceData360, resolve
from prefect_atomic.integrations.data_360.bulk import BulkIngest, Rejected
from prefect_atomic.integrations.data_360.jobs import BulkJob

__all__ = ["BulkIngest", "BulkJob", "Rejected", "SalesforceData360", "resolve"]
