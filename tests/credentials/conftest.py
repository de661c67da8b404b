"""A recording server for one test, and one credential of each kind."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from prefect_atomic import (
    AtomicEnvironment,
    AWSSignedRequest,
    BasicAuth,
    CustomHeaders,
    GoogleServiceAccount,
    KeyPair,
    Marketo,
    OAuthClientCredentials,
    Salesforce,
    SalesforceData360,
    SalesforceMarketingCloud,
)
from prefect_atomic.credentials import Credential
from tests.e2e.servers.faulty import FaultServer

Make = Callable[..., Credential]


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """A server that records every byte it is sent and answers as it is told: an identity provider, or any other."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    with FaultServer() as server:
        server.ok_body = b'{"access_token": "t0ken-of-the-provider", "token_type": "Bearer", "expires_in": 3600}'
        yield server


@pytest.fixture(scope="session")
def rsa_pem() -> str:
    return KeyPair.generate("RS256").private_key.get_secret_value()


@pytest.fixture(scope="session")
def make(rsa_pem: str) -> dict[str, Make]:
    """Makes a credential of each kind, the least of it filled in, with `secret` as its secret where it may be any."""

    def oauth(secret: str = "s3cret-of-the-client", **fields: object) -> Credential:
        given = {"identity_url": "https://id.example.com/token", "client_id": "client", "client_secret": secret}
        return OAuthClientCredentials(**{**given, **fields})

    def aws(secret: str = "s3cret-of-the-key", **fields: object) -> Credential:
        given = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": secret, "service": "sts", "region": "eu-west-1"}
        return AWSSignedRequest(**{**given, **fields})

    def basic(secret: str = "s3cret-of-the-user", **fields: object) -> Credential:
        return BasicAuth(**{"username": "me", "password": secret, **fields})

    def headers(secret: str = "s3cret-of-the-header", **fields: object) -> Credential:
        return CustomHeaders(**{"headers": {"X-Api-Key": secret}, **fields})

    def key_pair(secret: str | None = None, **fields: object) -> Credential:
        return KeyPair(**{"private_key": secret or rsa_pem, "issuer": "us", **fields})

    def google(secret: str | None = None, **fields: object) -> Credential:
        given = {"client_email": "robot@example.iam.gserviceaccount.com", "private_key": secret or rsa_pem}
        return GoogleServiceAccount(**{**given, **({} if "audience" in fields else {"scopes": ["a"]}), **fields})

    def data_360(secret: str = "s3cret-of-the-app", **fields: object) -> Credential:
        given = {"login_url": "https://acme.my.salesforce.com", "client_id": "app", "client_secret": secret}
        return SalesforceData360(**{**given, **fields})

    def atomic(secret: str = "s3cret-of-the-client", **fields: object) -> Credential:
        given = {"organization_id": "01", "environment_id": "e", "client_id": "client", "client_secret": secret}
        return AtomicEnvironment(**{**given, **fields})

    def salesforce(secret: str = "s3cret-of-the-app", **fields: object) -> Credential:
        return Salesforce(**{"domain": "acme.my", "client_id": "app", "client_secret": secret, **fields})

    def marketing_cloud(secret: str = "s3cret-of-the-package", **fields: object) -> Credential:
        given = {"subdomain": "mc563885gzs27c5t9-63k636ttgm", "client_id": "package", "client_secret": secret}
        return SalesforceMarketingCloud(**{**given, **fields})

    def marketo(secret: str = "s3cret-of-the-service", **fields: object) -> Credential:
        return Marketo(**{"munchkin_id": "123-ABC-456", "client_id": "service", "client_secret": secret, **fields})

    return {
        "oauth-client-credentials": oauth,
        "aws-signed-request": aws,
        "basic-auth": basic,
        "key-pair": key_pair,
        "custom-headers": headers,
        "google-service-account": google,
        "salesforce-data-360": data_360,
        "atomic-environment": atomic,
        "salesforce": salesforce,
        "marketing-cloud": marketing_cloud,
        "marketo": marketo,
    }


@pytest.fixture
def sent_with() -> Callable[[Credential, str], httpx.Request]:
    """The request that reaches a server when a user's own client carries the credential."""

    def sent_with(credential: Credential, url: str = "https://crm.example.com/contacts") -> httpx.Request:
        seen: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return httpx.Response(204)

        with httpx.Client(transport=httpx.MockTransport(answer), auth=credential.auth()) as client:
            client.get(url)
        return seen[0]

    return sent_with
