"""What it costs, as ratios and differences from one run: `make bench`.

Each figure has a limit; the exit status is 1 when one is passed. The machine may be shared and noisy, so every
comparison runs both sides in turn, many times over, and takes the best of each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from statistics import median

_HOME = tempfile.TemporaryDirectory(prefix="prefect-atomic-bench-")
os.environ |= {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_HOME": _HOME.name,
    "PYTHONDONTWRITEBYTECODE": "",
}

import httpx  # noqa: E402 - Prefect reads its settings when it is imported
from bulk import bulk  # noqa: E402
from figure import Figure  # noqa: E402
from marketo_leads import marketo  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from transfers import transfers  # noqa: E402

from prefect_atomic import (  # noqa: E402
    AWSSignedRequest,
    BasicAuth,
    Credential,
    CustomHeaders,
    GoogleServiceAccount,
    KeyPair,
    OAuthClientCredentials,
    SalesforceData360,
    WebhookSubscription,
    redeliver,
    send_request,
)
from prefect_atomic.sandbox import Sandbox  # noqa: E402
from prefect_atomic.webhooks.delivery import outbox_of  # noqa: E402
from prefect_atomic.webhooks.entry import Entry  # noqa: E402

ROUNDS = 15
SHORT_ROUNDS = 1000
"""For what takes microseconds: many short batches, of which some are not disturbed."""
WAITING = 10_500
LAZY = ("boto3", "botocore", "awscrt", "simple_salesforce", "redis", "fastapi", "jwt")


Clock = Callable[[], float]


def mean(act: Callable[[], object], times: int, clock: Clock) -> float:
    """Seconds for one call of a batch."""
    started = clock()
    for _ in range(times):
        act()
    return (clock() - started) / times


def compared(
    first: Callable[[], object],
    second: Callable[[], object],
    times: int,
    clock: Clock = time.perf_counter,
    rounds: int = ROUNDS,
) -> tuple[float, float]:
    """The best batch of each, the two taking turns."""
    pairs = [(mean(first, times, clock), mean(second, times, clock)) for _ in range(rounds)]
    return min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)


def cost_of_a_proof(credential: Credential) -> float:
    """Microseconds that a proof with a warm token adds to a request, without the wire, on the clock of this thread."""
    transport = httpx.MockTransport(lambda _: httpx.Response(204))
    auth = credential.auth()
    with httpx.Client(transport=transport) as client:

        def plain() -> None:
            client.send(client.build_request("GET", "https://api.example.com/contacts?page=2"), auth=None)

        def proved() -> None:
            client.send(client.build_request("GET", "https://api.example.com/contacts?page=2"), auth=auth)

        proved()
        without, with_ = compared(plain, proved, 4, time.thread_time, SHORT_ROUNDS)
    return (with_ - without) * 1e6


def proofs(sandbox: Sandbox) -> list[Figure]:
    known = sandbox.accounts
    aws, google = known.aws, known.google
    credentials: list[Credential] = [
        OAuthClientCredentials(
            identity_url=f"{sandbox.url}/oauth/token",
            client_id=known.oauth.client_id,
            client_secret=known.oauth.client_secret,
        ),
        BasicAuth(username=known.basic.username, password=known.basic.password),
        KeyPair.generate(issuer="bench"),
        CustomHeaders(headers=known.custom_headers),
        GoogleServiceAccount(client_email=google.client_email, private_key=google.private_key, scopes=google.scopes),
        SalesforceData360(
            login_url=sandbox.url, client_id=known.data_360.client_id, client_secret=known.data_360.client_secret
        ),
        AWSSignedRequest(
            access_key_id=aws.access_key_id,
            secret_access_key=aws.secret_access_key,
            service="execute-api",
            region=aws.region,
        ),
    ]
    return [
        Figure(
            f"proof of {type(credential).__name__}, token warm",
            cost_of_a_proof(credential),
            "us",
            40 if isinstance(credential, AWSSignedRequest) else 30,
        )
        for credential in credentials
    ]


def requests(sandbox: Sandbox) -> list[Figure]:
    url = f"{sandbox.url}/status/200"
    with httpx.Client() as client:
        ours, bare = compared(lambda: send_request.fn("GET", url), lambda: client.get(url), 40)
    ours_again, per_call = compared(lambda: send_request.fn("GET", url), lambda: httpx.get(url), 5)
    return [
        Figure("send_request.fn / reused httpx.Client", ours / bare, "x", 1.25),
        Figure("httpx.get per call / send_request.fn", per_call / ours_again, "x", 15, at_least=True),
    ]


def webhooks(sandbox: Sandbox) -> list[Figure]:
    """What the outbox costs on this disk, and the memory that a long queue takes while it is redelivered."""
    subscription = WebhookSubscription(url=f"{sandbox.url}/status/200")
    outbox, spent = outbox_of(subscription), list[float]()
    for number in range(WAITING):
        moment = time.time()
        event = {"type": "bench", "id": f"evt_{number}", "data": "x" * 1000}
        started = time.perf_counter()
        held = outbox.put(Entry(event=event, stored_at=moment, due=moment))
        if number < 500:
            held.remove()
            spent.append(time.perf_counter() - started)
        held.release()
    tracemalloc.start()
    result = redeliver(subscription)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.delivered == WAITING - 500
    return [
        Figure("an event into the outbox and out of it, median", median(spent) * 1000, "ms", 1),
        Figure(f"peak memory, {result.delivered} events redelivered", peak / 1e6, "MB", 5),
    ]


def imports() -> list[Figure]:
    measure = (
        "import sys, time, prefect; started = time.perf_counter(); import prefect_atomic; "
        f"print(1000 * (time.perf_counter() - started), *[name for name in {LAZY} if name in sys.modules])"
    )
    said = [
        subprocess.run([sys.executable, "-c", measure], capture_output=True, text=True, check=True) for _ in range(7)
    ]
    answers = [process.stdout.split() for process in said]
    return [
        Figure("import prefect_atomic after import prefect", min(float(answer[0]) for answer in answers[1:]), "ms", 60),
        Figure("heavy libraries imported with it", median(len(answer) - 1 for answer in answers), "", 0),
    ]


def main() -> int:
    with Sandbox.start() as sandbox:
        figures = [*imports(), *requests(sandbox), *proofs(sandbox), *webhooks(sandbox)]
    figures += transfers()
    figures += bulk()
    figures += marketo()
    table = Table(title="the best of many rounds, the two sides of a comparison in turn")
    for heading in ("what", "measured", "limit"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for figure in figures:
        colour = "green" if figure.holds else "red"
        table.add_row(
            figure.what,
            f"[{colour}]{figure.value:.2f} {figure.unit}[/]",
            f"{'>=' if figure.at_least else '<='} {figure.limit:g} {figure.unit}",
        )
    Console(width=100).print(table)
    return int(not all(figure.holds for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
