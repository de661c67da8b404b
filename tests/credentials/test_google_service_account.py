"""GoogleServiceAccount: the claims that google-auth makes, and the exchange as Google's endpoint sees it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import google.auth.jwt
import jwt
import pytest
import time_machine
from cryptography.hazmat.primitives import serialization
from google.oauth2 import service_account

from prefect_atomic import CredentialError, GoogleServiceAccount
from tests.e2e.servers.faulty import Answer, FaultServer

EMAIL = "robot@example.iam.gserviceaccount.com"
NOW = datetime(2026, 3, 1, 12, 0, 0, 300_000, tzinfo=UTC)


@pytest.fixture
def key_file(rsa_pem: str) -> dict[str, str]:
    return {
        "type": "service_account",
        "client_email": EMAIL,
        "private_key": rsa_pem,
        "private_key_id": "key-1",
        "token_uri": "https://oauth2.googleapis.com/token",
        "project_id": "example",
    }


@pytest.fixture
def account(rsa_pem: str) -> Any:
    def account(**fields: Any) -> GoogleServiceAccount:
        given = {"client_email": EMAIL, "private_key": rsa_pem, "private_key_id": "key-1"}
        return GoogleServiceAccount(**{**given, **fields})

    return account


@pytest.fixture
def public_pem(rsa_pem: str) -> str:
    key = serialization.load_pem_private_key(rsa_pem.encode(), None).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form).decode()


def read(token: str | bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    text = token.decode() if isinstance(token, bytes) else token
    return jwt.get_unverified_header(text), jwt.decode(text, options={"verify_signature": False})


# -- signed by the account itself ---------------------------------------------------------------------------------


@time_machine.travel(NOW, tick=False)
def test_for_an_audience_the_token_says_what_google_auth_says(
    account: Any, key_file: dict[str, str], sent_with: Any
) -> None:
    audience = "https://pubsub.googleapis.com/"
    theirs = google.auth.jwt.Credentials.from_service_account_info(key_file, audience=audience)
    theirs.refresh(None)

    ours = sent_with(account(audience=audience)).headers["authorization"].removeprefix("Bearer ")

    assert read(ours) == read(theirs.token)


@time_machine.travel(NOW, tick=False)
def test_for_scopes_the_token_says_what_google_auth_says(
    account: Any, key_file: dict[str, str], sent_with: Any
) -> None:
    scopes = ["https://www.googleapis.com/auth/pubsub", "https://www.googleapis.com/auth/cloud-platform"]
    theirs = service_account.Credentials.from_service_account_info(key_file, scopes=scopes, always_use_jwt_access=True)
    theirs._create_self_signed_jwt(None)
    theirs._jwt_credentials.refresh(None)

    ours = sent_with(account(scopes=scopes)).headers["authorization"].removeprefix("Bearer ")

    assert read(ours) == read(theirs._jwt_credentials.token)


def test_google_auth_verifies_the_token(account: Any, public_pem: str, sent_with: Any) -> None:
    token = sent_with(account(audience="https://a.example")).headers["authorization"].removeprefix("Bearer ")

    claims = google.auth.jwt.decode(token, certs={"key-1": public_pem}, audience="https://a.example")

    assert claims["iss"] == claims["sub"] == EMAIL


@time_machine.travel(NOW, tick=False)
def test_a_token_is_served_for_five_minutes(account: Any, sent_with: Any) -> None:
    credential = account(scopes=["a"])

    assert (credential.check().expires_at - NOW).total_seconds() == 300


# -- exchanged ----------------------------------------------------------------------------------------------------


@pytest.fixture
def google_server(provider: FaultServer) -> FaultServer:
    """It answers as Google does: an access token for scopes, an identity token and nothing else for an audience."""

    def answer(sent: Any) -> Answer:
        _, claims = read(parse_qs(sent.body.decode())["assertion"][0])
        body = {"access_token": "ya29.token", "token_type": "Bearer", "expires_in": 3599}
        if "target_audience" in claims:
            body = {"id_token": "identity-token"}
        return Answer(headers=[("Content-Type", "application/json")], body=json.dumps(body).encode())

    provider.handler = answer
    return provider


def assertion(server: FaultServer) -> str:
    (request,) = server.requests
    form = parse_qs(request.body.decode(), strict_parsing=True)
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    assert form.keys() == {"grant_type", "assertion"}
    return form["assertion"][0]


def exchanging(account: Any, server: FaultServer, **fields: Any) -> GoogleServiceAccount:
    return account(exchange=True, token_uri=f"http://127.0.0.1:{server.port}/token", **fields)  # type: ignore[no-any-return]


@pytest.mark.parametrize("subject", [None, "someone@example.com"])
@time_machine.travel(NOW, tick=False)
def test_the_assertion_for_scopes_says_what_google_auth_says(
    account: Any, key_file: dict[str, str], google_server: FaultServer, sent_with: Any, subject: str | None
) -> None:
    theirs = service_account.Credentials.from_service_account_info(key_file, scopes=["a", "b"], subject=subject)
    header, claims = read(theirs._make_authorization_grant_assertion())

    sent = sent_with(exchanging(account, google_server, scopes=["a", "b"], subject=subject))

    claims["aud"] = f"http://127.0.0.1:{google_server.port}/token"  # ours is wherever the token_uri points
    assert read(assertion(google_server)) == (header, claims)
    assert sent.headers["authorization"] == "Bearer ya29.token"


@time_machine.travel(NOW, tick=False)
def test_the_assertion_for_an_audience_says_what_google_auth_says(
    account: Any, key_file: dict[str, str], google_server: FaultServer, sent_with: Any
) -> None:
    theirs = service_account.IDTokenCredentials.from_service_account_info(key_file, target_audience="https://run.app")
    header, claims = read(theirs._make_authorization_grant_assertion())

    sent = sent_with(exchanging(account, google_server, audience="https://run.app"))

    claims["aud"] = f"http://127.0.0.1:{google_server.port}/token"
    assert read(assertion(google_server)) == (header, claims)
    assert sent.headers["authorization"] == "Bearer identity-token"


def test_the_assertion_is_signed_with_the_accounts_key(
    account: Any, google_server: FaultServer, public_pem: str
) -> None:
    exchanging(account, google_server, scopes=["a"]).check()

    assert google.auth.jwt.decode(assertion(google_server), certs={"key-1": public_pem})["iss"] == EMAIL


def test_a_refused_exchange_says_why_and_shows_no_assertion(account: Any, google_server: FaultServer) -> None:
    seen: list[str] = []

    def refuse(sent: Any) -> Answer:
        seen.append(parse_qs(sent.body.decode())["assertion"][0])
        body = {"error": "invalid_grant", "error_description": f"Invalid JWT Signature: {seen[0]}"}
        return Answer(400, body=json.dumps(body).encode())

    google_server.handler = refuse

    with pytest.raises(CredentialError, match=r"the exchange of the JWT at .* answered 400 invalid_grant") as refusal:
        exchanging(account, google_server, scopes=["a"]).check()

    assert seen[0] not in str(refusal.value)
    assert seen[0].rpartition(".")[2] not in str(refusal.value)


# -- the key file -------------------------------------------------------------------------------------------------


def test_a_key_file_fills_in_the_account(tmp_path: Path, key_file: dict[str, str]) -> None:
    path = tmp_path / "key.json"
    path.write_text(json.dumps(key_file))

    account = GoogleServiceAccount.from_key_file(path, scopes=["a"], cache_seconds=60)

    assert (account.client_email, account.private_key_id, account.cache_seconds) == (EMAIL, "key-1", 60)
    assert account.private_key.get_secret_value() == key_file["private_key"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("not JSON: s3cret", "is not JSON"),
        ("[]", "is of type 'list'"),
        ('{"type": "authorized_user", "refresh_token": "s3cret"}', "is of type 'authorized_user'"),
        ('{"type": "service_account", "client_email": "a@b"}', "has no private_key; is it a whole key file"),
        ("{}", "is of type 'None'"),
    ],
)
def test_what_is_not_a_key_file_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(content)

    with pytest.raises(ValueError, match=said) as refusal:
        GoogleServiceAccount.from_key_file(path, scopes=["a"])

    assert "s3cret" not in str(refusal.value)
