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
    StorageError,
    TransportError,
)
from prefect_atomic.integrations.s3 import S3Bucket, S3Object
from prefect_atomic.integrations.s3.tasks import s3_copy, s3_delete, s3_download, s3_list, s3_move, s3_upload
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
    "S3Bucket",
    "S3Object",
    "SalesforceData360",
    "SignatureError",
    "StorageError",
    "TransportError",
    "WebhookSubscription",
    "asend_request",
    "awebhook",
    "instant_retries",
    "is_transient",
    "redeliver",
    "s3_copy",
    "s3_delete",
    "s3_download",
    "s3_list",
    "s3_move",
    "s3_upload",
    "send_request",
    "verify_webhook",
    "webhook",
]
