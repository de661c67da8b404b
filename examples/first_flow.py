"""A flow that calls an API with a saved credential. Parameters and results hold its slug, never its secret."""

from prefect import flow

from prefect_atomic import BasicAuth, send_request
from prefect_atomic.sandbox import Sandbox


@flow
def contacts(url: str, credential: str) -> dict[str, object]:
    response = send_request("GET", url, credential=credential)
    print(f"{response.status_code} after {response.attempts} attempt in {response.elapsed:.3f} s")
    answer: dict[str, object] = response.json()
    return answer


def main() -> None:
    with Sandbox.start() as sandbox:  # a service on localhost that checks the password
        account = sandbox.accounts.basic
        crm = BasicAuth(username=account.username, password=account.password, allowed_hosts=["127.0.0.1"])
        crm.save("example-crm", overwrite=True)
        answer = contacts(f"{sandbox.url}/verify/basic/contacts", credential="atomic-basic-auth/example-crm")
        print(f"verified: {answer['verified']}, by {answer['by']}")


if __name__ == "__main__":
    main()
