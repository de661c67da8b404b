"""Salesforce Marketing Cloud Engagement: rows into and out of data extensions, and contacts into journeys."""

from prefect_atomic.integrations.marketing_cloud.block import SalesforceMarketingCloud, resolve

__all__ = ["SalesforceMarketingCloud", "resolve"]
