"""One credential of each type with secrets that cannot be mistaken, and a server that plays their provider.

The secrets hold the characters that encodings change: a mask that looks for the plain text alone misses them.
"""

from __future__ import annotations

import base64
import functools
import html
import itertools
import json
import re
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus

from prefect_atomic import (
    AtomicEnvironment,
    AWSSignedRequest,
    BasicAuth,
    Credential,
    CustomHeaders,
    GoogleServiceAccount,
    KeyPair,
    Marketo,
    OAuthClientCredentials,
    Salesforce,
    SalesforceData360,
    SalesforceMarketingCloud,
)
from tests.e2e.servers.faulty import Answer, CapturedRequest, FaultServer

OAUTH_SECRET = "oauthSECRET+mno/pqr=%41&stu:vwx\"yz\\'01"
EXTRA_PARAMETER = "extraPARAMETERsecret<>/+77"
PASSWORD = "passwordSECRÉT:ö+/=%2F\"q'&<w>\\88"
API_KEY = "apikeySECRET:/+=?&\"'<>%3D99~"
SECOND_HEADER = "secondHEADERsecret/0123456789+abc="
AWS_SECRET = "awsSECRETaccess/kEy+EXAMPLE/mnopqrSECRET"
AWS_SESSION = "awsSESSIONtoken//////////wEaCXVzLWVhc3QtMSJ+SECRET+/abc=="
DATA_360_SECRET = "data360SECRET+/=abc%7E0123456789"
ATOMIC_SECRET = "atomicSECRET+/=abc%2B0123456789:"
SALESFORCE_SECRET = "salesforceSECRET+/=abc%2B0123456789&"
MARKETO_SECRET = "marketoSECRET+/=abc%2B0123456789&:"
MARKETING_CLOUD_SECRET = 'marketingcloudSECRET"+/=abc%2B0123456789'
PASSPHRASE = 'keypairPASSPHRASE+/=%20"secret"'
PLAIN_SECRETS = {
    "oauth client secret": OAUTH_SECRET,
    "oauth extra parameter": EXTRA_PARAMETER,
    "basic password": PASSWORD,
    "api key": API_KEY,
    "second header": SECOND_HEADER,
    "aws secret access key": AWS_SECRET,
    "aws session token": AWS_SESSION,
    "data 360 client secret": DATA_360_SECRET,
    "atomic client secret": ATOMIC_SECRET,
    "salesforce client secret": SALESFORCE_SECRET,
    "marketing cloud client secret": MARKETING_CLOUD_SECRET,
    "marketo client secret": MARKETO_SECRET,
    "key pair passphrase": PASSPHRASE,
}


@functools.cache
def rsa_pem() -> str:
    return KeyPair.generate("RS256").private_key.get_secret_value()


@functools.cache
def encrypted_pem() -> str:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE.encode())).decode()


def key_secrets() -> dict[str, str]:
    """Every line of the private keys: a part of a key is as good as the key."""
    return {
        f"{name} private key, line {number}": line
        for name, pem in (("google", rsa_pem()), ("key pair", encrypted_pem()))
        for number, line in enumerate(pem.splitlines())
        if not line.startswith("-----") and len(line) > 16
    }


def one_of_each(provider: str, *, step: str = "token") -> dict[str, Credential]:
    """All classes, and the variants that prove themselves differently, by a name to save them under.

    Args:
        provider: The address of the server that plays the provider.
        step: How the provider behaves, see `Provider`.
    """
    google: dict[str, Any] = {
        "client_email": "robot@project.iam.gserviceaccount.com",
        "private_key": rsa_pem(),
        "private_key_id": "the-key-id",
        "token_uri": f"{provider}/{step}",
    }
    aws: dict[str, Any] = {
        "access_key_id": "AKIAEXAMPLE",
        "secret_access_key": AWS_SECRET,
        "region": "us-east-1",
        "session_token": AWS_SESSION,
    }
    oauth: dict[str, Any] = {"identity_url": f"{provider}/{step}", "client_id": "id:+%", "client_secret": OAUTH_SECRET}
    return {
        "oauth": OAuthClientCredentials(**oauth, extra_parameters={"audience": EXTRA_PARAMETER}, scope="a b"),
        "oauth-basic": OAuthClientCredentials(**oauth, client_authentication="basic"),
        "oauth-query": OAuthClientCredentials(**oauth, request_scheme="get_query"),
        "aws": AWSSignedRequest(**aws, service="execute-api"),
        "aws-query": AWSSignedRequest(**aws, service="execute-api", sign_query=True, expires_in=60),
        "basic": BasicAuth(username="user", password=PASSWORD),
        "key-pair": KeyPair(
            private_key=encrypted_pem(), private_key_passphrase=PASSPHRASE, algorithm="ES256", claims={"role": "reader"}
        ),
        "headers": CustomHeaders(headers={"X-Api-Key": API_KEY, "X-Second": SECOND_HEADER, "Accept": "text/csv"}),
        "google": GoogleServiceAccount(**google, scopes=["https://www.googleapis.com/auth/drive"]),
        "google-exchange": GoogleServiceAccount(**google, scopes=["https://mail.google.com/"], exchange=True),
        "data-360": SalesforceData360(
            login_url=provider,
            client_id="id",
            client_secret=DATA_360_SECRET,
            dataspace=step,
            scope=step if step.startswith("first-") else None,
        ),
        "atomic": AtomicEnvironment(
            organization_id="org",
            environment_id="env",
            client_id="id",
            client_secret=ATOMIC_SECRET,
            token_url=f"{provider}/{step}",
        ),
        "salesforce": Salesforce(domain=provider, client_id=step, client_secret=SALESFORCE_SECRET),
        "marketing-cloud": SalesforceMarketingCloud(
            subdomain="mc563885gzs27c5t9-63k636ttgm",
            client_id="id",
            client_secret=MARKETING_CLOUD_SECRET,
            auth_url=f"{provider}/{step}",
        ),
        "marketo": Marketo(
            rest_endpoint=f"{provider}/rest",
            identity_endpoint=f"{provider}/{step}/identity",
            client_id="id",
            client_secret=MARKETO_SECRET,
        ),
    }


EACH_KIND = (
    "oauth",
    "aws",
    "basic",
    "key-pair",
    "headers",
    "google",
    "data-360",
    "atomic",
    "salesforce",
    "marketing-cloud",
    "marketo",
)
ASKS_A_PROVIDER = (
    "oauth",
    "oauth-basic",
    "oauth-query",
    "google-exchange",
    "data-360",
    "atomic",
    "salesforce",
    "marketing-cloud",
    "marketo",
)


@dataclass
class Provider:
    """The handler of a `FaultServer` that gives out tokens, and tells people more than it should.

    `/token` answers as providers do, `/token-400` refuses and echoes what it was sent, `/token-500` the same, and
    `/token-away` redirects with all of it in the address. Salesforce's two steps have paths of their own; there the
    scope (`first-400`), the client's id and the data space say how to behave.
    """

    server: FaultServer

    def __post_init__(self) -> None:
        self.tokens: list[str] = []
        self._numbers = itertools.count(1)

    def __call__(self, request: CapturedRequest) -> Answer | str:
        path, body = request.path, request.body.decode()
        step = path.lstrip("/").removesuffix("/identity/oauth/token")
        if path == "/services/oauth2/token":
            if asked := re.search(r"scope=first-(\d+)", body):
                return too_talkative(request, status=int(asked[1]))
            step = re.findall(r"client_id=([^&]*)", body)[-1]
            if step in ("id", "token"):
                return self._grants(instance_url=self.server.url)
        if path.endswith("/v2/token"):
            step = step.removesuffix("/v2/token")
            if step == "token":
                return self._grants(rest_instance_url=f"{self.server.url}/")
        if path == "/services/a360/token":
            step = re.findall(r"dataspace=([^&]*)", body)[-1] if "dataspace=" in body else "token"
            step = "token" if step == "default" else step
        if step == "token":
            return self._grants(instance_url="tenant.c360a.salesforce.com", expires_in=3600)
        if step == "token-away":
            echoed = quote_plus(body or request.query)
            return Answer(302, [("Location", f"https://elsewhere.invalid/{echoed}?{body or request.query}")])
        if step in ("hang", "close", "garbage", "cut-body", "not-gzip"):
            return step
        return too_talkative(request, status=int(step.rpartition("-")[2]))

    def _grants(self, **more: Any) -> Answer:
        token = f"00Dtoken!{next(self._numbers):04d}~tokenSECRET+/{secrets.token_hex(16)}=="
        self.tokens.append(token)
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": 3600, **more}
        return Answer(200, [("Content-Type", "application/json")], json.dumps(answer).encode())


def echoes(request: CapturedRequest) -> list[str]:
    """What a request held that may be secret: values of headers and of the query, and the body."""
    dull = ("host", "accept", "accept-encoding")
    values = [value for name, value in request.headers if name.lower() not in dull]
    values += [part.partition("=")[2] for part in request.query.split("&")]
    values += [value.partition(" ")[2] for value in request.all("Authorization")]
    return [value for value in (*values, request.body.decode("latin-1")) if len(value) > 7]


def too_talkative(request: CapturedRequest, *, status: int = 200) -> Answer:
    """An answer that echoes all it was sent, in every encoding that a framework somewhere uses."""
    found = echoes(request)
    raw = [value.encode("latin-1") for value in found]
    headers_alone = [value.encode("latin-1") for _, value in request.headers if len(value) > 7]
    body = {
        "error": "invalid_" + " ".join(found),
        "error_description": "; ".join(found),
        "json": found,
        "percent": [quote(value, safe="") for value in raw],
        "percent_lower": [re.sub("%..", lambda e: e[0].lower(), quote(value, safe="")) for value in raw],
        "form": [quote_plus(value) for value in raw],
        "html": [html.escape(value) for value in found],
        "base64": [base64.b64encode(value).decode() for value in headers_alone],
        "base64_shifted": [base64.b64encode(b"ab"[n:] + value).decode() for n in (0, 1) for value in headers_alone],
        "base64_url": [base64.urlsafe_b64encode(value).decode().rstrip("=") for value in headers_alone],
        "base64_headers": base64.b64encode(b"\n".join(headers_alone)).decode(),
        "python": repr(request.headers),
        "twice": json.dumps(json.dumps(found)),
    }
    text = json.dumps(body, ensure_ascii=False)
    if "/php" in request.target:
        text = text.replace("/", "\\/")
    if "/dotnet" in request.target:
        text = re.sub(r"[+'&<>]", lambda match: f"\\u{ord(match[0]):04X}", text)
    headers = [("Content-Type", "application/json"), ("X-Echo-Target", request.target.replace(" ", "%20"))]
    headers += [(f"X-Echo-{number}", value) for number, value in enumerate(found) if "\n" not in value]
    return Answer(status, headers, text.encode("latin-1", "replace"))


@dataclass
class Api:
    """The handler of a `FaultServer` that plays an API: the path says how it goes.

    `/echo` and `/status/NNN` echo what they were sent, `/away` redirects to another origin with it, `/here` within
    the same origin, `/host` to a host that is not there, `/loop` for ever; the names of `FaultServer`'s faults
    do what they do.
    """

    server: FaultServer
    elsewhere: str

    def __call__(self, request: CapturedRequest) -> Answer | str:
        first, _, rest = request.path.lstrip("/").partition("/")
        secret = next((value for value in echoes(request) if not value.startswith("prefect-atomic")), "nothing")
        carried = quote(secret, safe="")
        if first == "status":
            return too_talkative(request, status=int(rest.partition("/")[0]))
        if first == "away":
            return Answer(302, [("Location", f"{self.elsewhere}/echo/{carried}?leak={carried}&{request.query}")])
        if first == "here":
            return Answer(307, [("Location", f"/status/400?leak={carried}&{request.query}#{carried}")])
        if first == "loop":
            return Answer(302, [("Location", f"/loop/{carried}?leak={carried}&{request.query}")])
        if first == "host":
            return Answer(302, [("Location", f"http://user:{carried}@elsewhere.invalid/{carried}#{carried}")])
        if first == "echo":
            return too_talkative(request)
        return first if first in ("hang", "close", "garbage", "cut-body", "cut-headers", "not-gzip") else Answer()
