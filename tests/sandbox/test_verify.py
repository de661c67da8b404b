"""Basic, key pair and custom headers; what every verifier answers."""

import base64
import hashlib
import time

import httpx
import jwt
import pytest


def basic(text: str, encoding: str = "utf-8") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode(encoding)).decode()}


def test_an_answer_says_what_arrived_and_who_verified_it(sandbox, send):
    account = sandbox.accounts.basic
    headers = basic(f"{account.username}:{account.password}")

    reply = send("PATCH", "/verify/basic//a/../%2F%20x?b=1&a=2&b=3", headers=headers, body=b"body")

    assert reply.json() == {
        "verified": True,
        "credential": "basic",
        "by": "base64 and hmac.compare_digest",
        "method": "PATCH",
        "path": "/verify/basic//a/../%2F%20x",
        "query_keys": ["b", "a", "b"],
        "body_sha256": hashlib.sha256(b"body").hexdigest(),
    }


def test_httpx_proves_basic_credentials(sandbox):
    account = sandbox.accounts.basic

    assert httpx.get(f"{sandbox.url}/verify/basic", auth=(account.username, account.password)).status_code == 200


def test_basic_credentials_that_are_wrong_are_refused_with_a_reason(sandbox, send):
    account = sandbox.accounts.basic
    reasons = {
        "the Authorization header is missing": {},
        "should start with Basic": {"Authorization": "Bearer x"},
        "not base64": {"Authorization": "Basic *"},
        "no colon": basic(account.username),
        "not UTF-8": basic(f"{account.username}:{account.password}", "latin-1"),
        "nobody knows this username": basic(f"another:{account.password}"),
        "the password is wrong": basic(f"{account.username}:wrong"),
    }
    for reason, headers in reasons.items():
        reply = send("GET", "/verify/basic", headers=headers)
        assert reply.status == 401
        assert reply.headers["WWW-Authenticate"].startswith("Basic realm=")
        assert reason in reply.json()["reason"]


def test_two_authorization_headers_are_one_too_many(send):
    reply = send("GET", "/verify/oauth", headers=[("Authorization", "Bearer a"), ("Authorization", "Bearer b")])

    assert reply.json()["reason"] == "there is more than one Authorization header"


def test_custom_headers_are_compared(sandbox, send):
    right = sandbox.accounts.custom_headers

    assert send("GET", "/verify/custom-headers", headers=right).json()["verified"] is True
    for name in right:
        missing = {other: value for other, value in right.items() if other != name}
        assert send("GET", "/verify/custom-headers", headers=missing).json()["reason"] == f"{name} is missing"
        wrong = send("GET", "/verify/custom-headers", headers={**right, name: "wrong"})
        assert wrong.json() == {"verified": False, "reason": f"the value of {name} is wrong"}
        twice = send("GET", "/verify/custom-headers", headers=[*right.items(), (name, right[name])])
        assert twice.json()["reason"] == f"{name} is there more than once"


@pytest.fixture
def key_pair_jwt(sandbox):
    account = sandbox.accounts.key_pair
    now = int(time.time())
    right = {
        "iss": account.issuer,
        "sub": account.subject,
        "aud": account.audience,
        "iat": now,
        "exp": now + 60,
    }

    def mint(*, key=account.private_key, key_id=account.key_id, algorithm="RS256", **change):
        return jwt.encode({**right, **change}, key, algorithm=algorithm, headers={"kid": key_id})

    return mint


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256"])
def test_a_jwt_by_the_key_pair_is_accepted(algorithm, key_pair_jwt, send):
    reply = send("GET", "/verify/key-pair", headers={"Authorization": f"Bearer {key_pair_jwt(algorithm=algorithm)}"})

    assert reply.json()["by"] == f"PyJWT {jwt.__version__}"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": "another"}, "iss should be"),
        ({"sub": "another"}, "sub should be"),
        ({"aud": "another"}, "aud should be"),
        ({"iat": 1_000_000_000, "exp": 1_000_000_060}, "exp has passed"),
        ({"exp": "4000000000"}, "should be numbers"),
        ({"iat": 1_000_000_060, "exp": 1_000_000_000}, "exp has passed"),
        ({"key_id": "another"}, "kid should be"),
    ],
)
def test_a_jwt_that_claims_something_else_is_refused(change, reason, key_pair_jwt, send):
    token = key_pair_jwt(**change)

    reply = send("GET", "/verify/key-pair", headers={"Authorization": f"Bearer {token}"})

    assert reply.status == 401
    assert reason in reply.json()["reason"]
    assert token not in reply.body.decode()


def test_a_jwt_by_another_key_or_no_key_is_refused(key_pair_jwt, send, sandbox):
    another = key_pair_jwt(key=sandbox.accounts.google.private_key)
    unsigned = key_pair_jwt(key=None, algorithm="none")
    secret_is_the_public_key = key_pair_jwt(key="0" * 64, algorithm="HS256")

    for token in (another, unsigned, secret_is_the_public_key, "not.a.jwt", "opaque"):
        assert send("GET", "/verify/key-pair", headers={"Authorization": f"Bearer {token}"}).status == 401
