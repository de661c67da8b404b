"""The accounts that the sandbox accepts: made up at every start, so that no secret is in a source file."""

import secrets
import string
import uuid
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class OAuthAccount:
    """A client for the three schemes of `/oauth/...`."""

    client_id: str
    client_secret: str = field(repr=False)
    scope: str


@dataclass(frozen=True)
class BasicAccount:
    """A user for `/verify/basic`."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class AWSAccount:
    """An access key for `/verify/aws`; temporary if it has a session token."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(repr=False)
    region: str


@dataclass(frozen=True)
class KeyPairAccount:
    """A private key (RSA-2048, PKCS#8 PEM) whose public half `/verify/key-pair` knows."""

    private_key: str = field(repr=False)
    key_id: str
    issuer: str
    subject: str
    audience: str


@dataclass(frozen=True)
class GoogleAccount:
    """A service account for `/google/token` and `/verify/google`."""

    client_email: str
    private_key: str = field(repr=False)
    private_key_id: str
    scopes: list[str]
    token_uri: str
    audience: str


@dataclass(frozen=True)
class Data360Account:
    """A connected app for `/services/oauth2/token` and `/services/a360/token`."""

    login_url: str
    client_id: str
    client_secret: str = field(repr=False)
    dataspace: str


@dataclass(frozen=True)
class SalesforceAccount:
    """An External Client App, and a user, for each way to sign in to core: all lead to the same org."""

    login_url: str
    instance_url: str
    client_id: str
    client_secret: str = field(repr=False)
    username: str
    password: str = field(repr=False)
    security_token: str = field(repr=False)
    private_key: str = field(repr=False)


@dataclass(frozen=True)
class MarketingCloudAccount:
    """An installed package with a server-to-server integration, for `/marketing-cloud/v2/token`."""

    auth_url: str
    rest_url: str
    client_id: str
    client_secret: str = field(repr=False)
    account_id: str
    scope: str


@dataclass(frozen=True)
class MarketoAccount:
    """A custom service of an instance, for `/marketo/identity/oauth/token`."""

    munchkin_id: str
    identity_url: str
    rest_url: str
    client_id: str
    client_secret: str = field(repr=False)
    partition: str


@dataclass(frozen=True)
class AtomicAccount:
    """A client for `/atomic/oauth2/token`, with one of the roles that Atomic's API knows."""

    organization_id: str
    environment_id: str
    base_url: str
    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    role: str


@dataclass(frozen=True)
class Accounts:
    """One account for each kind of credential, an AWS one that needs its session token, one for each Atomic role."""

    oauth: OAuthAccount
    basic: BasicAccount
    aws: AWSAccount
    aws_session: AWSAccount
    key_pair: KeyPairAccount
    custom_headers: dict[str, str] = field(repr=False)
    google: GoogleAccount
    salesforce: SalesforceAccount
    data_360: Data360Account
    marketing_cloud: MarketingCloudAccount
    marketo: MarketoAccount
    atomic: AtomicAccount
    atomic_workbench: AtomicAccount

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Accounts":
        """Reads what `GET /_sandbox/accounts` answers."""
        return cls(
            oauth=OAuthAccount(**data["oauth"]),
            basic=BasicAccount(**data["basic"]),
            aws=AWSAccount(**data["aws"]),
            aws_session=AWSAccount(**data["aws_session"]),
            key_pair=KeyPairAccount(**data["key_pair"]),
            custom_headers=data["custom_headers"],
            google=GoogleAccount(**data["google"]),
            salesforce=SalesforceAccount(**data["salesforce"]),
            data_360=Data360Account(**data["data_360"]),
            marketing_cloud=MarketingCloudAccount(**data["marketing_cloud"]),
            marketo=MarketoAccount(**data["marketo"]),
            atomic=AtomicAccount(**data["atomic"]),
            atomic_workbench=AtomicAccount(**data["atomic_workbench"]),
        )

    @classmethod
    def generate(cls, url: str) -> "Accounts":
        """Makes up new accounts for a sandbox at `url`."""
        name = secrets.token_hex(4)
        return cls(
            oauth=OAuthAccount(
                client_id=f"client/{name}@sandbox",
                # characters that only arrive when the caller form-encodes them (RFC 6749, appendix B)
                client_secret=f"{secrets.token_urlsafe(24)}+/&=% {secrets.token_urlsafe(4)}",
                scope="leads.read leads.write",
            ),
            basic=BasicAccount(
                username=f"user-{name}",
                # a password may hold colons and, as UTF-8, any letter (RFC 7617)
                password=f"{secrets.token_urlsafe(18)}:é:{secrets.token_urlsafe(4)}",
            ),
            aws=_aws("AKIA", session_token=None),
            aws_session=_aws("ASIA", session_token=f"FwoGZXIvYXdzE/+{secrets.token_urlsafe(120)}=="),
            key_pair=KeyPairAccount(
                private_key=_private_key(),
                key_id=secrets.token_hex(8),
                issuer=f"issuer-{name}",
                subject=f"subject-{name}",
                audience="https://key-pair.sandbox.example",
            ),
            custom_headers={"X-Api-Key": secrets.token_urlsafe(24), "X-Tenant": f"tenant-{secrets.token_hex(8)}"},
            google=GoogleAccount(
                client_email=f"robot-{name}@sandbox.iam.gserviceaccount.com",
                private_key=_private_key(),
                private_key_id=secrets.token_hex(20),
                scopes=[
                    "https://www.googleapis.com/auth/cloud-platform",
                    "https://www.googleapis.com/auth/spreadsheets.readonly",
                ],
                token_uri=f"{url}/google/token",
                audience="https://sheets.googleapis.com/",
            ),
            salesforce=SalesforceAccount(
                login_url=url,
                instance_url=url,
                client_id=f"3MVG9{secrets.token_hex(30)}.{secrets.token_hex(8)}",
                client_secret=secrets.token_hex(32).upper(),
                username=f"integration-{name}@sandbox.example",
                # what must be escaped in XML
                password=f"{secrets.token_urlsafe(12)}<&>'{secrets.token_urlsafe(4)}",
                security_token=secrets.token_urlsafe(18)[:24],
                private_key=_private_key(),
            ),
            data_360=Data360Account(
                login_url=url,
                client_id=f"3MVG9{secrets.token_hex(30)}.{secrets.token_hex(8)}",
                client_secret=secrets.token_hex(32).upper(),
                dataspace="default",
            ),
            marketing_cloud=MarketingCloudAccount(
                auth_url=f"{url}/marketing-cloud",
                rest_url=f"{url}/marketing-cloud/rest/",
                client_id="".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(24)),
                client_secret=secrets.token_urlsafe(18),
                account_id=str(100_000_000 + secrets.randbelow(900_000_000)),
                scope="data_extensions_read data_extensions_write journeys_execute list_and_subscribers_write",
            ),
            marketo=MarketoAccount(
                munchkin_id=f"{secrets.randbelow(1000):03}-{_capitals(3)}-{secrets.randbelow(1000):03}",
                identity_url=f"{url}/marketo/identity",
                rest_url=f"{url}/marketo/rest",
                client_id=str(uuid.uuid4()),
                client_secret="".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(32)),
                partition="Default",
            ),
            atomic=_atomic(url, name, role="events"),
            atomic_workbench=_atomic(url, name, role="workbench"),
        )


def _capitals(count: int) -> str:
    return "".join(secrets.choice(string.ascii_uppercase) for _ in range(count))


def _aws(prefix: str, *, session_token: str | None) -> AWSAccount:
    capitals = string.ascii_uppercase + "234567"
    base64_letters = string.ascii_letters + string.digits + "+/"
    return AWSAccount(
        access_key_id=prefix + "".join(secrets.choice(capitals) for _ in range(16)),
        secret_access_key="".join(secrets.choice(base64_letters) for _ in range(40)),
        session_token=session_token,
        region="us-east-1",
    )


def _atomic(url: str, name: str, *, role: str) -> AtomicAccount:
    # as Amazon Cognito makes them, which issues Atomic's tokens
    letters = string.ascii_lowercase + string.digits
    return AtomicAccount(
        organization_id=f"org-{name}",
        environment_id=f"env-{name}",
        base_url=f"{url}/atomic",
        token_url=f"{url}/atomic/oauth2/token",
        client_id="".join(secrets.choice(letters) for _ in range(26)),
        client_secret="".join(secrets.choice(letters) for _ in range(52)),
        role=role,
    )


def _private_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem.decode()
