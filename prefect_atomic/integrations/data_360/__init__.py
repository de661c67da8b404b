"""Salesforce Data 360: records in, by streaming and in bulk; rows out, by query."""

from prefect_atomic.integrations.data_360.block import SalesforceData360, resolve

__all__ = ["SalesforceData360", "resolve"]
