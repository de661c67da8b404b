"""Salesforce core: a session for everyone, records in and out, and simple-salesforce for all else."""

from prefect_atomic.integrations.salesforce.block import Salesforce
from prefect_atomic.integrations.salesforce.usage import ApiUsage

__all__ = ["ApiUsage", "Salesforce"]
