"""Atomic's integration layer for Prefect: credentials, shared tokens and authenticated requests."""

import typing as _typing

from prefect_atomic.credentials import (
    AWSSignedRequest,
    BasicAuth,
    Credential,
    CredentialCheck,
    CustomHeaders,
    GoogleServiceAccount,
    KeyPair,
    OAuthClientCredentials,
)
from prefect_atomic.errors import (
    AtomicError,
    BulkIngestError,
    CredentialError,
    DestinationError,
    InvocationError,
    MarketoAccessError,
    MarketoBusyError,
    MarketoError,
    MarketoInputError,
    MarketoQuotaError,
    MarketoTokenError,
    OutboxError,
    QuotaError,
    RecordsError,
    RequestError,
    ResponseError,
    SignatureError,
    StorageError,
    TransportError,
)
from prefect_atomic.integrations.any_credential import AnyCredential
from prefect_atomic.integrations.atomic import (
    AnalyticsHour,
    AtomicEnvironment,
    AtomicWebhook,
    Invocation,
    InvocationOutcome,
)
from prefect_atomic.integrations.data_360 import SalesforceData360
from prefect_atomic.integrations.marketing_cloud import SalesforceMarketingCloud
from prefect_atomic.integrations.marketo import Marketo
from prefect_atomic.integrations.records import Outcome, Outcomes
from prefect_atomic.integrations.s3 import S3Bucket, S3Object
from prefect_atomic.integrations.salesforce import ApiUsage, Salesforce
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

if _typing.TYPE_CHECKING:
    from prefect_atomic.integrations.data_360.tasks import (
        data_360_bulk_ingest,
        data_360_delete_records,
        data_360_ingest,
        data_360_query,
    )
    from prefect_atomic.integrations.marketing_cloud.tasks import (
        marketing_cloud_fire_entry_events,
        marketing_cloud_read_rows,
        marketing_cloud_upsert_rows,
    )
    from prefect_atomic.integrations.marketo.tasks import (
        marketo_add_activities,
        marketo_add_to_list,
        marketo_export_activities,
        marketo_export_leads,
        marketo_get_leads,
        marketo_import_custom_objects,
        marketo_import_leads,
        marketo_import_program_members,
        marketo_remove_from_list,
        marketo_request_campaign,
        marketo_schedule_campaign,
        marketo_sync_custom_objects,
        marketo_sync_leads,
    )
    from prefect_atomic.integrations.s3.tasks import s3_copy, s3_delete, s3_download, s3_list, s3_move, s3_upload
    from prefect_atomic.integrations.salesforce.tasks import (
        salesforce_create,
        salesforce_delete,
        salesforce_get,
        salesforce_query,
        salesforce_update,
        salesforce_upsert,
    )

__version__ = "0.1.0"

_TASKS = ("s3", "salesforce", "marketing_cloud", "marketo", "data_360")

__all__ = [
    "AWSSignedRequest",
    "AnalyticsHour",
    "AnyCredential",
    "ApiUsage",
    "AtomicEnvironment",
    "AtomicError",
    "AtomicWebhook",
    "BasicAuth",
    "BulkIngestError",
    "Credential",
    "CredentialCheck",
    "CredentialError",
    "CustomHeaders",
    "Delivery",
    "DestinationError",
    "GoogleServiceAccount",
    "Invocation",
    "InvocationError",
    "InvocationOutcome",
    "KeyPair",
    "Marketo",
    "MarketoAccessError",
    "MarketoBusyError",
    "MarketoError",
    "MarketoInputError",
    "MarketoQuotaError",
    "MarketoTokenError",
    "OAuthClientCredentials",
    "OutboxError",
    "Outcome",
    "Outcomes",
    "QuotaError",
    "RecordsError",
    "Redelivery",
    "RequestError",
    "Response",
    "ResponseError",
    "Retry",
    "S3Bucket",
    "S3Object",
    "Salesforce",
    "SalesforceData360",
    "SalesforceMarketingCloud",
    "SignatureError",
    "StorageError",
    "TransportError",
    "WebhookSubscription",
    "asend_request",
    "awebhook",
    "data_360_bulk_ingest",
    "data_360_delete_records",
    "data_360_ingest",
    "data_360_query",
    "instant_retries",
    "is_transient",
    "marketing_cloud_fire_entry_events",
    "marketing_cloud_read_rows",
    "marketing_cloud_upsert_rows",
    "marketo_add_activities",
    "marketo_add_to_list",
    "marketo_export_activities",
    "marketo_export_leads",
    "marketo_get_leads",
    "marketo_import_custom_objects",
    "marketo_import_leads",
    "marketo_import_program_members",
    "marketo_remove_from_list",
    "marketo_request_campaign",
    "marketo_schedule_campaign",
    "marketo_sync_custom_objects",
    "marketo_sync_leads",
    "redeliver",
    "s3_copy",
    "s3_delete",
    "s3_download",
    "s3_list",
    "s3_move",
    "s3_upload",
    "salesforce_create",
    "salesforce_delete",
    "salesforce_get",
    "salesforce_query",
    "salesforce_update",
    "salesforce_upsert",
    "send_request",
    "verify_webhook",
    "webhook",
]


def __getattr__(name: str) -> _typing.Any:
    if name in __all__:  # Prefect reads the source of each task: 1 ms that few need
        from importlib import import_module

        system = next(system for system in _TASKS if name.startswith(f"{system}_"))
        return getattr(import_module(f"prefect_atomic.integrations.{system}.tasks"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
