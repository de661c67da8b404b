"""Atomic's own API: Action Flows, cards, users, webhooks and analytics, behind one block."""

from prefect_atomic.integrations.atomic.analytics_hour import AnalyticsHour
from prefect_atomic.integrations.atomic.environment import AtomicEnvironment
from prefect_atomic.integrations.atomic.invocation import Invocation, InvocationOutcome
from prefect_atomic.integrations.atomic.webhooks import AtomicWebhook

__all__ = ["AnalyticsHour", "AtomicEnvironment", "AtomicWebhook", "Invocation", "InvocationOutcome"]
