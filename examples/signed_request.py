"""AWS Signature Version 4, in a header and in the query. The sandbox verifies both with botocore."""

from prefect_atomic import AWSSignedRequest
from prefect_atomic.sandbox import Sandbox


def main() -> None:
    with Sandbox.start() as sandbox:
        account, url = sandbox.accounts.aws, f"{sandbox.url}/verify/aws/contacts"
        for sign_query in (False, True):
            aws = AWSSignedRequest(
                access_key_id=account.access_key_id,
                secret_access_key=account.secret_access_key,
                service="execute-api",
                region=account.region,
                sign_query=sign_query,
                expires_in=60,
                allowed_hosts=["127.0.0.1"],
            )
            with aws.get_client() as client:
                answer = client.post(url, params={"page": 1}, json={"name": "Ada"})
            print(f"{'query ' if sign_query else 'header'}: verified by {answer.json()['by']}")


if __name__ == "__main__":
    main()
