"""The wire: pooled clients, requests and responses, retries, redirects, destinations and redaction."""

from prefect_atomic.transport.exchange import MAX_RESPONSE_BYTES, SENT_SECRETS, Policy, Proof, Sink, asend, send
from prefect_atomic.transport.request import Outgoing, is_replayable, outgoing, set_target, target_of
from prefect_atomic.transport.response import Headers, Response
from prefect_atomic.transport.retry import Retry, instant_retries

__all__ = [
    "MAX_RESPONSE_BYTES",
    "SENT_SECRETS",
    "Headers",
    "Outgoing",
    "Policy",
    "Proof",
    "Response",
    "Retry",
    "Sink",
    "asend",
    "instant_retries",
    "is_replayable",
    "outgoing",
    "send",
    "set_target",
    "target_of",
]
