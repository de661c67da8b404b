"""The seven credential types of Atomic's integration layer, as Prefect blocks."""

from prefect_atomic.credentials.aws_signed_request import AWSSignedRequest
from prefect_atomic.credentials.base import Credential, CredentialCheck
from prefect_atomic.credentials.basic_auth import BasicAuth
from prefect_atomic.credentials.custom_headers import CustomHeaders
from prefect_atomic.credentials.google_service_account import GoogleServiceAccount
from prefect_atomic.credentials.key_pair import KeyPair
from prefect_atomic.credentials.oauth_client_credentials import OAuthClientCredentials
from prefect_atomic.credentials.salesforce_data_360 import SalesforceData360

AnyCredential = (
    OAuthClientCredentials
    | AWSSignedRequest
    | BasicAuth
    | KeyPair
    | CustomHeaders
    | GoogleServiceAccount
    | SalesforceData360
)
"""The type of a block's field, or a flow's parameter, that takes any credential.

It names every class: Prefect shows the secrets of what a field of the base class holds, and loads it as the base class.
"""

__all__ = [
    "AWSSignedRequest",
    "AnyCredential",
    "BasicAuth",
    "Credential",
    "CredentialCheck",
    "CustomHeaders",
    "GoogleServiceAccount",
    "KeyPair",
    "OAuthClientCredentials",
    "SalesforceData360",
]
