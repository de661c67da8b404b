"""Marketo Engage: leads, activities, lists, programs, campaigns, custom objects, and all of them in bulk."""

from prefect_atomic.integrations.marketo.block import Marketo, resolve

__all__ = ["Marketo", "resolve"]
