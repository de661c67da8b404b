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
    RequestError,
    ResponseError,
    TransportError,
)
from prefect_atomic.tasks import asend_request, is_transient, send_request
from prefect_atomic.transport import Response, Retry, instant_retries

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
    "DestinationError",
    "GoogleServiceAccount",
    "KeyPair",
    "OAuthClientCredentials",
    "RequestError",
    "Response",
    "ResponseError",
    "Retry",
    "SalesforceData360",
    "TransportError",
    "asend_request",
    "instant_retries",
    "is_transient",
    "send_request",
]
