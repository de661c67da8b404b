"""The credential types of Atomic's integration layer that are nothing else, as Prefect blocks."""

from prefect_atomic.credentials.aws_signed_request import AWSSignedRequest
from prefect_atomic.credentials.base import Credential, CredentialCheck
from prefect_atomic.credentials.basic_auth import BasicAuth
from prefect_atomic.credentials.custom_headers import CustomHeaders
from prefect_atomic.credentials.google_service_account import GoogleServiceAccount
from prefect_atomic.credentials.key_pair import KeyPair
from prefect_atomic.credentials.oauth_client_credentials import OAuthClientCredentials

__all__ = [
    "AWSSignedRequest",
    "BasicAuth",
    "Credential",
    "CredentialCheck",
    "CustomHeaders",
    "GoogleServiceAccount",
    "KeyPair",
    "OAuthClientCredentials",
]
