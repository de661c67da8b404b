"""A credential in httpx clients of one's own, synchronous and asynchronous. A revoked token is renewed on its own."""

import asyncio

import httpx

from prefect_atomic import OAuthClientCredentials
from prefect_atomic.sandbox import Sandbox


async def fetch(crm: OAuthClientCredentials, base_url: str) -> None:
    async with crm.get_async_client(base_url=base_url) as client:
        answers = await asyncio.gather(*(client.get(f"/contacts/{number}") for number in range(10)))
        print("asynchronous:", {answer.status_code for answer in answers})


def main() -> None:
    with Sandbox.start() as sandbox:
        account = sandbox.accounts.oauth
        crm = OAuthClientCredentials(
            identity_url=f"{sandbox.url}/oauth/token",
            client_id=account.client_id,
            client_secret=account.client_secret,
            allowed_hosts=["127.0.0.1"],
        )
        with httpx.Client(auth=crm.auth(), base_url=f"{sandbox.url}/verify/oauth") as client:
            print("synchronous:", client.get("/contacts").status_code)
            sandbox.revoke()
            print("after the token was revoked:", client.get("/contacts").status_code)
        asyncio.run(fetch(crm, f"{sandbox.url}/verify/oauth"))
        print("token requests:", sandbox.calls()["POST /oauth/token"])


if __name__ == "__main__":
    main()
