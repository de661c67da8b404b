"""The names a user may import, and what importing them costs."""

from __future__ import annotations

import json
import subprocess
import sys

import prefect_atomic

PUBLIC = [
    "AWSSignedRequest",
    "AnalyticsHour",
    "AnyCredential",
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
    "ApiUsage",
    "Salesforce",
    "SalesforceData360",
    "SalesforceMarketingCloud",
    "data_360_bulk_ingest",
    "data_360_delete_records",
    "data_360_ingest",
    "data_360_query",
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
    "salesforce_create",
    "salesforce_delete",
    "salesforce_get",
    "salesforce_query",
    "salesforce_update",
    "salesforce_upsert",
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


def test_these_names_are_public() -> None:
    assert sorted(prefect_atomic.__all__) == sorted(PUBLIC)
    for name in PUBLIC:
        assert getattr(prefect_atomic, name) is not None


def test_nothing_else_is_public() -> None:
    """Submodules are importable by their path; whatever else stands in the package is a leftover."""
    loaded = {name for name in vars(prefect_atomic) if not name.startswith("_")}
    modules = {name for name in loaded if f"prefect_atomic.{name}" in sys.modules}
    systems = ("s3_", "salesforce_", "marketing_cloud_", "marketo_", "data_360_")
    late = {name for name in PUBLIC if name.startswith(systems)}  # loaded when they are asked for
    assert loaded - modules == set(PUBLIC) - late


def test_importing_is_cheap_and_offline() -> None:
    """What is only used by some credentials, or only by the sandbox, is not loaded; nor is a socket opened."""
    program = """
import json, sys, socket
def refuse(*args, **kwargs): raise AssertionError("importing opened a socket")
import prefect
before = set(sys.modules)
socket.socket.connect = refuse
import prefect_atomic
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    loaded = set(json.loads(ran.stdout.splitlines()[-1]))
    assert not loaded & {"boto3", "botocore", "awscrt", "simple_salesforce", "redis", "fastapi", "filelock", "jwt"}
