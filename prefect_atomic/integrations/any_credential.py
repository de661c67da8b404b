"""The type that takes every credential, those of the integrations too."""

from prefect_atomic.credentials import (
    AWSSignedRequest,
    BasicAuth,
    CustomHeaders,
    GoogleServiceAccount,
    KeyPair,
    OAuthClientCredentials,
)
from prefect_atomic.integrations.atomic import AtomicEnvironment
from prefect_atomic.integrations.data_360 import SalesforceData360
from prefect_atomic.integrations.marketing_cloud import SalesforceMarketingCloud
from prefect_atomic.integrations.marketo import Marketo
from prefect_atomic.integrations.salesforce import Salesforce

AnyCredential = (
    OAuthClientCredentials
    | AWSSignedRequest
    | BasicAuth
    | KeyPair
    | CustomHeaders
    | GoogleServiceAccount
    | SalesforceData360
    | AtomicEnvironment
    | Salesforce
    | SalesforceMarketingCloud
    | Marketo
)
"""The type of a block's field, or a flow's parameter, that takes any credential.

It names every class: Prefect shows the secrets of what a field of the base class holds, and loads it as the base class.
"""
