"""Plays the demo against the server and the sandbox that are up: saves one credential of each type, and uses them."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass

import prefect
from prefect import flow
from prefect.settings import get_current_settings
from rich.console import Console
from rich.table import Table

from prefect_atomic import (
    AtomicEnvironment,
    AtomicError,
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
    send_request,
)
from prefect_atomic.sandbox import Sandbox

REQUESTS = 8
"""Sent with each credential, all at once, so that sharing a token shows."""

MARKETING_CLOUD = "mc563885gzs27c5t9-63k636ttgm"
"""A subdomain as Marketing Cloud gives them out; the sandbox has none."""


@dataclass(frozen=True, slots=True)
class Act:
    """A credential, and where it proves itself."""

    credential: Credential
    proof: str
    url: str
    lifetime: str
    token_endpoints: tuple[str, ...] = ()

    @property
    def slug(self) -> str:
        return f"{self.credential.get_block_type_slug()}/demo"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an act."""

    verified_by: str
    token_requests: str
    seconds: float
    problem: str = ""


def acts(sandbox: Sandbox) -> list[Act]:
    """One act for each credential type, with the sandbox's accounts."""
    known = sandbox.accounts
    oauth, basic, aws, pair, google, data_360 = (
        known.oauth,
        known.basic,
        known.aws,
        known.key_pair,
        known.google,
        known.data_360,
    )
    verify = f"{sandbox.url}/verify"
    atomic, salesforce = known.atomic, known.salesforce
    marketing_cloud, marketo = known.marketing_cloud, known.marketo
    return [
        Act(
            OAuthClientCredentials(
                identity_url=f"{sandbox.url}/oauth/token",
                client_id=oauth.client_id,
                client_secret=oauth.client_secret,
                scope=oauth.scope,
            ),
            "bearer token",
            f"{verify}/oauth",
            "45 s",
            ("POST /oauth/token",),
        ),
        Act(
            AWSSignedRequest(
                access_key_id=aws.access_key_id,
                secret_access_key=aws.secret_access_key,
                service="execute-api",
                region=aws.region,
            ),
            "SigV4 header",
            f"{verify}/aws",
            "none",
        ),
        Act(
            BasicAuth(username=basic.username, password=basic.password),
            "username and password",
            f"{verify}/basic",
            "none",
        ),
        Act(
            KeyPair(
                private_key=pair.private_key,
                key_id=pair.key_id,
                issuer=pair.issuer,
                subject=pair.subject,
                audience=pair.audience,
            ),
            "JWT, RS256",
            f"{verify}/key-pair",
            "3240 s (90 %)",
        ),
        Act(CustomHeaders(headers=known.custom_headers), "headers", f"{verify}/custom-headers", "none"),
        Act(
            GoogleServiceAccount(
                client_email=google.client_email,
                private_key=google.private_key,
                private_key_id=google.private_key_id,
                scopes=google.scopes,
                token_uri=google.token_uri,
                exchange=True,
            ),
            "token for a JWT",
            f"{verify}/google",
            "300 s",
            ("POST /google/token",),
        ),
        Act(
            SalesforceData360(
                login_url=data_360.login_url,
                client_id=data_360.client_id,
                client_secret=data_360.client_secret,
                dataspace=data_360.dataspace,
            ),
            "token, two steps",
            f"{verify}/data-360",
            "300 s",
            ("POST /services/oauth2/token", "POST /services/a360/token"),
        ),
        Act(
            AtomicEnvironment(
                organization_id=atomic.organization_id,
                environment_id=atomic.environment_id,
                client_id=atomic.client_id,
                client_secret=atomic.client_secret,
                base_url=atomic.base_url,
                token_url=atomic.token_url,
            ),
            "bearer token",
            f"{verify}/atomic",
            "3600 s",
            ("POST /atomic/oauth2/token",),
        ),
        Act(
            Salesforce(
                domain=salesforce.login_url, client_id=salesforce.client_id, client_secret=salesforce.client_secret
            ),
            "session",
            f"{verify}/salesforce",
            "3600 s",
            ("POST /services/oauth2/token",),
        ),
        Act(
            SalesforceMarketingCloud(
                subdomain=MARKETING_CLOUD,
                client_id=marketing_cloud.client_id,
                client_secret=marketing_cloud.client_secret,
                account_id=marketing_cloud.account_id,
                auth_url=marketing_cloud.auth_url,
            ),
            "bearer token",
            f"{verify}/marketing-cloud",
            "1200 s",
            ("POST /marketing-cloud/v2/token",),
        ),
        Act(
            Marketo(
                rest_endpoint=marketo.rest_url,
                identity_endpoint=marketo.identity_url,
                client_id=marketo.client_id,
                client_secret=marketo.client_secret,
            ),
            "bearer token",
            f"{verify}/marketo",
            "its life",
            ("POST /marketo/identity/oauth/token",),
        ),
    ]


@flow(name="prefect-atomic-demo")
def verify_all(sandbox_url: str) -> list[Outcome]:
    """Sends requests with each saved credential to an endpoint that verifies the proof with another implementation."""
    sandbox = Sandbox.connect(sandbox_url)
    return [_verify(act, sandbox) for act in acts(sandbox)]


def _verify(act: Act, sandbox: Sandbox) -> Outcome:
    started = time.perf_counter()
    urls = [f"{act.url}/{number}" for number in range(REQUESTS)]
    before = sandbox.calls()
    futures = send_request.map("GET", urls, credential=act.slug)
    try:
        answers = [future.result().json() for future in futures]
    except AtomicError as error:
        return Outcome("", "", time.perf_counter() - started, str(error))
    calls = sandbox.calls()
    counts = [calls.get(endpoint, 0) - before.get(endpoint, 0) for endpoint in act.token_endpoints]
    problem = "" if all(answer["verified"] for answer in answers) else "not every proof was verified"
    if any(count != 1 for count in counts):
        problem = f"the provider saw {counts} token requests"
    asked = " + ".join(str(count) for count in counts) or "none"
    return Outcome(answers[0]["by"], asked, time.perf_counter() - started, problem)


@flow(name="prefect-atomic-demo-own-api")
def call_own_api(api_url: str) -> Outcome:
    """Calls the Prefect server itself, which refuses whoever does not prove himself."""
    started = time.perf_counter()
    url = f"{api_url}/admin/version"
    refused = send_request("GET", url, raise_for_status=False).status_code
    try:
        version = send_request("GET", url, credential="atomic-basic-auth/prefect-api").json()
    except AtomicError as error:
        return Outcome("", "", time.perf_counter() - started, str(error))
    problem = "" if refused == 401 else f"without a credential it answered {refused}, not 401"
    if version != prefect.__version__:
        problem = f"it said {version!r}"
    return Outcome(f"Prefect {version} REST API", "none", time.perf_counter() - started, problem)


def main(sandbox_url: str) -> int:
    """Plays it all and prints the table; returns 0 only if everything was verified."""
    settings = get_current_settings()
    api_url, login = str(settings.api.url), settings.api.auth_string
    username, _, password = (login.get_secret_value() if login else "").partition(":")
    own_api = BasicAuth(username=username, password=password, allowed_hosts=["127.0.0.1"])
    sandbox = Sandbox.connect(sandbox_url)
    console = Console()
    console.width = max(console.width, 124)  # narrower, and the names do not fit
    with console.status("Registering the blocks, and saving one of each type ..."):
        register = [sys.executable, "-m", "prefect", "block", "register", "-m", "prefect_atomic"]
        subprocess.run(register, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own interpreter
        played = acts(sandbox)
        for act in played:
            act.credential.save("demo", overwrite=True)
        own_api.save("prefect-api", overwrite=True)
    with console.status(f"Sending {REQUESTS} requests at once with each of them ..."):
        outcomes = [*verify_all(sandbox_url), call_own_api(api_url)]
    played.append(Act(own_api, "username and password", api_url, "none"))
    console.print(_table(played, outcomes))
    for act, outcome in zip(played, outcomes, strict=True):
        if outcome.problem:
            console.print(f"[red]{type(act.credential).__name__}: {outcome.problem}[/]", highlight=False)
    return int(any(outcome.problem for outcome in outcomes))


def _table(played: list[Act], outcomes: list[Outcome]) -> Table:
    table = Table(title=f"{REQUESTS} requests at once with each credential, loaded by its slug")
    for heading in ("credential", "proof", "verified by", "token requests", "cache lifetime"):
        table.add_column(heading)
    table.add_column("time", justify="right")
    for act, outcome in zip(played, outcomes, strict=True):
        verified = f"[red]not verified[/] {outcome.verified_by}" if outcome.problem else outcome.verified_by
        name = type(act.credential).__name__
        table.add_row(name, act.proof, verified, outcome.token_requests, act.lifetime, f"{outcome.seconds:.2f} s")
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
