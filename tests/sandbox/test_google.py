"""Google, judged by google-auth and PyJWT."""

import time

import google.auth.transport
import jwt
import pytest
from google.oauth2 import service_account

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class Transport(google.auth.transport.Request):
    """google-auth's transport, over the tests' own sender."""

    def __init__(self, send, sandbox):
        self._send = send
        self._root = sandbox.url

    def __call__(self, url, method="GET", body=None, headers=None, timeout=None, **kwargs):
        reply = self._send(method, url.removeprefix(self._root), headers=headers or {}, body=body or b"")
        response = type("Response", (google.auth.transport.Response,), {"status": 0, "headers": {}, "data": b""})()
        response.status, response.headers, response.data = reply.status, reply.headers, reply.body
        return response


@pytest.fixture
def key_file(sandbox):
    account = sandbox.accounts.google
    return {
        "client_email": account.client_email,
        "private_key": account.private_key,
        "private_key_id": account.private_key_id,
        "token_uri": account.token_uri,
    }


@pytest.fixture
def claims(sandbox):
    now = int(time.time())
    account = sandbox.accounts.google
    email = account.client_email
    return {"iss": email, "sub": email, "aud": account.audience, "iat": now, "exp": now + 3600}


@pytest.fixture
def sign(sandbox):
    account = sandbox.accounts.google

    def sign(claims, *, key=account.private_key, key_id=account.private_key_id, algorithm="RS256"):
        headers = {"kid": key_id} if key_id else None
        return jwt.encode(claims, key, algorithm=algorithm, headers=headers)

    return sign


def call(send, token):
    return send("POST", "/verify/google/v4/spreadsheets", headers={"Authorization": f"Bearer {token}"})


def test_google_auth_exchanges_a_jwt_for_an_access_token(key_file, send, sandbox):
    scopes = sandbox.accounts.google.scopes
    credentials = service_account.Credentials.from_service_account_info(key_file, scopes=scopes)

    credentials.refresh(Transport(send, sandbox))

    assert call(send, credentials.token).json()["by"] == "sandbox token registry"


def test_google_auth_may_act_for_another_user_by_exchange(key_file, send, sandbox):
    credentials = service_account.Credentials.from_service_account_info(
        key_file, scopes=sandbox.accounts.google.scopes, subject="someone@sandbox.example"
    )

    credentials.refresh(Transport(send, sandbox))

    assert call(send, credentials.token).status == 200


def test_google_auth_exchanges_a_jwt_for_an_id_token(key_file, send, sandbox):
    credentials = service_account.IDTokenCredentials.from_service_account_info(
        key_file, target_audience="https://run.sandbox.example"
    )

    credentials.refresh(Transport(send, sandbox))

    claims = jwt.decode(credentials.token, options={"verify_signature": False})
    assert claims["aud"] == "https://run.sandbox.example"
    assert call(send, credentials.token).status == 200


@pytest.mark.parametrize("proof", ["scope", "audience"])
def test_google_auth_signs_its_own_tokens(proof, key_file, send, sandbox):
    account = sandbox.accounts.google
    credentials = service_account.Credentials.from_service_account_info(
        key_file, scopes=account.scopes if proof == "scope" else None, always_use_jwt_access=True
    )
    credentials._create_self_signed_jwt(account.audience if proof == "audience" else None)

    credentials.refresh(Transport(send, sandbox))

    assert call(send, credentials.token).json()["by"] == f"PyJWT {jwt.__version__}"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": "another"}, "iss should be"),
        ({"sub": "someone@sandbox.example"}, "sub should be iss"),
        ({"aud": "https://another.example/"}, "aud should be"),
        ({"exp": 4_000_000_000}, "at most 3600 seconds after iat"),
        ({"iat": 1_000_000_000, "exp": 1_000_003_600}, "exp has passed"),
        ({"iat": 4_000_000_000, "exp": 4_000_003_600}, "in the future"),
        ({"exp": None}, 'missing the "exp" claim'),
    ],
)
def test_a_self_signed_jwt_that_google_refuses_is_refused(change, reason, claims, sign, send):
    wrong = {name: value for name, value in {**claims, **change}.items() if value is not None}

    reply = call(send, sign(wrong))

    assert reply.status == 401
    assert reason in reply.json()["reason"]
    assert 'error="invalid_token"' in reply.headers["WWW-Authenticate"]


def test_a_jwt_by_another_key_is_refused(claims, sign, send, sandbox):
    another = sandbox.accounts.key_pair.private_key

    assert "not by the key" in call(send, sign(claims, key=another)).json()["reason"]
    assert "kid should be" in call(send, sign(claims, key_id="another")).json()["reason"]


def test_a_jwt_without_kid_is_tried_with_the_account_s_key(claims, sign, send):
    assert call(send, sign(claims, key_id=None)).status == 200


def test_a_jwt_by_another_algorithm_is_refused(claims, sign, send):
    assert "alg should be" in call(send, sign(claims, algorithm="RS512")).json()["reason"]
    unsigned = jwt.encode(claims, None, algorithm="none")
    assert call(send, unsigned).status == 401


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"aud": "https://another.example/"}, "invalid_grant"),
        ({"iss": "another"}, "invalid_grant"),
        ({"exp": 4_000_000_000}, "invalid_grant"),
        ({"scope": "https://www.googleapis.com/auth/unknown"}, "invalid_scope"),
        ({"scope": ""}, "invalid_scope"),
        ({"target_audience": "x"}, "invalid_request"),
    ],
)
def test_an_assertion_that_google_refuses_is_refused(change, error, claims, sign, send, sandbox):
    account = sandbox.accounts.google
    right = {**claims, "aud": account.token_uri, "scope": account.scopes[0]}
    assert send("POST", "/google/token", form={"grant_type": GRANT, "assertion": sign(right)}).status == 200

    reply = send("POST", "/google/token", form={"grant_type": GRANT, "assertion": sign({**right, **change})})

    assert (reply.status, reply.json()["error"]) == (400, error)


def test_a_revoked_access_token_is_refused(claims, sign, send, sandbox):
    account = sandbox.accounts.google
    assertion = sign({**claims, "aud": account.token_uri, "scope": account.scopes[0]})
    content = send("POST", "/google/token", form={"grant_type": GRANT, "assertion": assertion}).json()
    sandbox.revoke()

    assert call(send, content["access_token"]).status == 401
