"""Prefect tasks that send requests with a credential."""

from prefect_atomic.tasks.send_request import aresolve, asend_request, request_name, resolve, send_request
from prefect_atomic.tasks.transient import is_transient

__all__ = ["aresolve", "asend_request", "is_transient", "request_name", "resolve", "send_request"]
