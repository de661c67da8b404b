"""Atomic's integration layer for Prefect: credentials, shared tokens and authenticated requests."""

from prefect_atomic.credentials import (
    AnyCredential,
    AWSSignedRequest,
    BasicAuth,
    Credential,
    CredentialCheck,
    CustomHeaders,
    GoogleServiceAccount,
    KeyPair,
    OAuthClientCredentials,
    SalesforceData360,
)
from prefect_atomic.errors import (
    AtomicError,
    CredentialError,
    DestinationError,
    OutboxError,
    RequestError,
    ResponseError,
    SignatureError,
    TransportError,
)
from prefect_atomic.tasks import asend_request, is_transient, send_request
from prefect_atomic.transport import Response, Retry, instant_retries
from prefect_atomic.webhooks import (
    Delivery,
    Redelivery,
    WebhookSubscription,
    awebhook,
    redeliver,
    verify_webhook,
    webhook,
)

__version__ = "0.1.0"

__all__ = [
    "AWSSignedRequest",
    "AnyCredential",
    "AtomicError",
    "BasicAuth",
    "Credential",
    "CredentialCheck",
    "CredentialError",
    "CustomHeaders",
    "Delivery",
    "DestinationError",
    "GoogleServiceAccount",
    "KeyPair",
    "OAuthClientCredentials",
    "OutboxError",
    "Redelivery",
    "RequestError",
    "Response",
    "ResponseError",
    "Retry",
    "SalesforceData360",
    "SignatureError",
    "TransportError",
    "WebhookSubscription",
    "asend_request",
    "awebhook",
    "instant_retries",
    "is_transient",
    "redeliver",
    "send_request",
    "verify_webhook",
    "webhook",
]
