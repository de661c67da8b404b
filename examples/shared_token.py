"""Four processes with eight threads each send 64 requests at once. The provider sees one token request."""

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from prefect_atomic import OAuthClientCredentials
from prefect_atomic.sandbox import Sandbox

PROCESSES, THREADS, REQUESTS = 4, 8, 16


def send_many(crm: OAuthClientCredentials, url: str) -> int:
    """Sends some requests from several threads; returns how many were verified."""
    with crm.get_client() as client, ThreadPoolExecutor(THREADS) as threads:
        answers = threads.map(client.get, [url] * REQUESTS)
        return sum(answer.json()["verified"] for answer in answers)


def main() -> None:
    with Sandbox.start() as sandbox:
        account = sandbox.accounts.oauth
        crm = OAuthClientCredentials(
            identity_url=f"{sandbox.url}/oauth/token",
            client_id=account.client_id,
            client_secret=account.client_secret,
        )
        sandbox.misbehave("/oauth/token", delay=0.2)  # a provider that takes its time
        with ProcessPoolExecutor(PROCESSES) as processes:
            work = [processes.submit(send_many, crm, f"{sandbox.url}/verify/oauth") for _ in range(PROCESSES)]
            print(f"verified requests: {sum(each.result() for each in work)}")
        print(f"token requests:    {sandbox.calls()['POST /oauth/token']}")


if __name__ == "__main__":
    main()
