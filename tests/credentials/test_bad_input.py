"""Bad input is refused when a credential is made: in a sentence that says which field and how to mend it."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from pydantic import TypeAdapter, ValidationError

from prefect_atomic import AnyCredential
from tests.credentials.conftest import Make

HUNTER = "hunter2-hunter2"
"""The secret that no refusal may show."""


def pem(key: Any, form: PrivateFormat = PrivateFormat.PKCS8, passphrase: str | None = None) -> str:
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, form, encryption).decode()


def public_pem(key: Any) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


RSA = rsa.generate_private_key(65537, 2048)
SMALL_RSA = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
P256 = ec.generate_private_key(ec.SECP256R1())
LOCKED = pem(RSA, passphrase=HUNTER)

OAUTH, AWS, BASIC, HEADERS = "oauth-client-credentials", "aws-signed-request", "basic-auth", "custom-headers"
PAIR, GOOGLE, DATA_360 = "key-pair", "google-service-account", "salesforce-data-360"

TABLE: list[tuple[str, dict[str, Any], str, str]] = [
    # what was entered, the field that the refusal names, and how it says to mend it
    (OAUTH, {"identity_url": "id.example.com"}, "identity_url", "must begin with https://"),
    (OAUTH, {"identity_url": f"https://me:{HUNTER}@id.example.com"}, "identity_url", "BasicAuth credential instead"),
    (OAUTH, {"identity_url": "https://id.example.com/token\n"}, "identity_url", "line break"),
    (OAUTH, {"identity_url": f"https:///token?k={HUNTER}"}, "identity_url", "no valid host"),
    (OAUTH, {"client_id": ""}, "client_id", "at least 1 character"),
    (OAUTH, {"client_id": "client\n"}, "client_id", "was it pasted with one?"),
    (OAUTH, {"client_secret": f"{HUNTER}\n"}, "client_secret", "was it pasted with one?"),
    (DATA_360, {"client_secret": f"{HUNTER}\r\n"}, "client_secret", "was it pasted with one?"),
    (OAUTH, {"client_secret": ""}, "client_secret", "at least 1 item"),
    (OAUTH, {"client_secret": "**********"}, "secret consists of asterisks", "as its slug"),
    (OAUTH, {"extra_parameters": {"audience": "********"}}, "secret consists of asterisks", "as its slug"),
    (OAUTH, {"request_scheme": "get_body"}, "request_scheme", "'post_body', 'post_query' or 'get_query'"),
    (OAUTH, {"client_authentication": HUNTER}, "client_authentication", "'parameters' or 'basic'"),
    (OAUTH, {"extra_parameters": {"claims": {"a": HUNTER}}}, "extra_parameters", "text, a number, or a list"),
    (OAUTH, {"cache_seconds": 0}, "cache_seconds", "greater than or equal to 1"),
    (OAUTH, {"cache_seconds": 86_401}, "cache_seconds", "less than or equal to 86400"),
    (OAUTH, {"client_sekret": HUNTER}, "client_sekret", "no such field; is it misspelt"),
    (AWS, {"access_key_id": " AKID"}, "access_key_id", "pasted with one"),
    (AWS, {"access_key_id": "AKID/x"}, "access_key_id", "nor a slash"),
    (AWS, {"service": "execute api"}, "service", "neither a space"),
    (AWS, {"region": "eu-west-1/s3"}, "region", "nor a slash"),
    (AWS, {"region": "eu\u2013west\u20131"}, "region", "only ASCII"),
    (AWS, {"secret_access_key": f"{HUNTER}\n"}, "secret_access_key", "pasted with one"),
    (AWS, {"session_token": f"{HUNTER}\r\n"}, "session_token", "pasted with one"),
    (AWS, {"secret_access_key": "********"}, "secret consists of asterisks", "as its slug"),
    (AWS, {"expires_in": 0}, "expires_in", "greater than or equal to 1"),
    (AWS, {"expires_in": 604_801}, "expires_in", "less than or equal to 604800"),
    (AWS, {"sesion_token": HUNTER}, "sesion_token", "no such field; is it misspelt"),
    (BASIC, {"username": f"me:{HUNTER}"}, "username", "may not contain a colon; is the password in it?"),
    (BASIC, {"username": "me\n"}, "username", "line break"),
    (BASIC, {"password": f"{HUNTER}\n"}, "password", "line break"),
    (BASIC, {"password": "********"}, "secret consists of asterisks", "as its slug"),
    (HEADERS, {"headers": {}}, "headers", "enter at least one header"),
    (HEADERS, {"headers": {"X Api Key": HUNTER}}, "headers", "no space or colon"),
    (HEADERS, {"headers": {f"X-Api-Key: {HUNTER}": ""}}, "headers", "no space or colon"),
    (
        HEADERS,
        {"headers": {"X-Api-Key": f"{HUNTER}\nX-Other: 1"}},
        "headers",
        "the value of X-Api-Key holds a line break",
    ),
    (HEADERS, {"headers": {"X-Api-Key": f"{HUNTER} "}}, "headers", "begins or ends with a space"),
    (HEADERS, {"headers": {"X-Api-Key": [HUNTER]}}, "headers", "not text but list"),
    (HEADERS, {"headers": {"Host": HUNTER}}, "headers", "Host is set by the HTTP client"),
    (HEADERS, {"headers": {"X-Api-Key": "********"}}, "secret consists of asterisks", "as its slug"),
    (PAIR, {"private_key": HUNTER}, "private_key", "begins with -----BEGIN PRIVATE KEY-----"),
    (PAIR, {"private_key": pem(RSA)[:900]}, "private_key", "was it pasted whole?"),
    (PAIR, {"private_key": public_pem(RSA)}, "private_key", "this is a public key"),
    (PAIR, {"private_key": pem(SMALL_RSA)}, "private_key", "has 1024 bits, and an RSA key needs at least 2048"),
    (PAIR, {"private_key": pem(P256)}, "private_key", "for ES256, not RS256"),
    (PAIR, {"private_key": pem(P256), "algorithm": "ES384"}, "private_key", "for ES256, not ES384"),
    (PAIR, {"private_key": pem(ec.generate_private_key(ec.SECP256K1()))}, "private_key", "none of our algorithms"),
    (PAIR, {"private_key": pem(ed25519.Ed25519PrivateKey.generate())}, "private_key", "for EdDSA, not RS256"),
    (PAIR, {"private_key": pem(dsa.generate_private_key(2048))}, "private_key", "signed with RSA, EC or Ed keys"),
    (PAIR, {"private_key": pem(P256, PrivateFormat.OpenSSH)}, "private_key", "ssh-keygen -p -m PKCS8"),
    (PAIR, {"private_key": LOCKED}, "private_key", "is encrypted: enter its passphrase"),
    (PAIR, {"private_key": LOCKED, "private_key_passphrase": "wrong"}, "private_key", "with this passphrase"),
    (PAIR, {"private_key": pem(RSA), "private_key_passphrase": HUNTER}, "private_key", "leave the passphrase empty"),
    (PAIR, {"private_key": "********"}, "secret consists of asterisks", "as its slug"),
    (PAIR, {"algorithm": "HS256"}, "algorithm", "'RS256'"),
    (PAIR, {"expires_in": 9}, "expires_in", "greater than or equal to 10"),
    (PAIR, {"claims": {"iss": "x"}}, "claims", "made from the field 'issuer'; set it there"),
    (PAIR, {"headers": {"alg": "none"}}, "headers", "made from the field 'algorithm'; set it there"),
    (PAIR, {"claims": {"a": float("nan")}}, "claims", "must be JSON"),
    (GOOGLE, {"client_email": "robot"}, "client_email", "String should match pattern"),
    (GOOGLE, {"private_key": pem(P256)}, "private_key", "not RS256"),
    (GOOGLE, {"private_key": HUNTER}, "private_key", "begins with -----BEGIN PRIVATE KEY-----"),
    (GOOGLE, {"scopes": []}, "scopes, audience", "give one of them"),
    (GOOGLE, {"scopes": ["a"], "audience": "b"}, "scopes, audience", "give one of them"),
    (GOOGLE, {"scopes": [""]}, "scopes", "at least 1 character"),
    (GOOGLE, {"cache_seconds": 3600}, "cache_seconds", "must be below 3600"),
    (GOOGLE, {"token_uri": "ftp://example.com"}, "token_uri", "must begin with https://"),
    (DATA_360, {"login_url": "https://login.salesforce.com"}, "login_url", "COMPANY.my.salesforce.com"),
    (DATA_360, {"login_url": "https://test.salesforce.com/"}, "login_url", "COMPANY.my.salesforce.com"),
    (DATA_360, {"login_url": "http://acme.my.salesforce.com"}, "login_url", "must be an https My Domain"),
    (DATA_360, {"login_url": "https://acme.my.salesforce.com.evil.example"}, "login_url", "must be an https My Domain"),
    (DATA_360, {"login_url": f"https://acme.my.salesforce.com/?s={HUNTER}"}, "login_url", "must end with the host"),
    (DATA_360, {"login_url": "https://acme.my.salesforce.com/services"}, "login_url", "without /services"),
    (DATA_360, {"cache_seconds": 0}, "cache_seconds", "greater than or equal to 1"),
    *(
        (kind, {"allowed_hosts": [host]}, "allowed_hosts", "without scheme, port or path")
        for kind in (OAUTH, AWS, BASIC, HEADERS, PAIR, GOOGLE, DATA_360)
        for host in ("https://api.example.com", "api.example.com:443", "api.example.com/v1", "*", "a.*.com", "")
    ),
]


@pytest.mark.parametrize(("kind", "entered", "field", "remedy"), TABLE)
def test_a_refusal_names_the_field_and_the_remedy_and_no_secret(
    make: dict[str, Make], kind: str, entered: dict[str, Any], field: str, remedy: str
) -> None:
    given = {**entered} if kind != GOOGLE else {"scopes": ["a"], **entered}

    with pytest.raises(ValueError, match=r".") as refusal:
        make[kind](**given)

    for told in (str(refusal.value), repr(refusal.value)):
        assert field in told
        assert HUNTER not in told
        assert "MII" not in told
    assert remedy in str(refusal.value)


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (OAUTH, "scope"),
        (AWS, "session_token"),
        (PAIR, "private_key_passphrase"),
        (PAIR, "key_id"),
        (PAIR, "issuer"),
        (PAIR, "subject"),
        (PAIR, "audience"),
        (GOOGLE, "private_key_id"),
        (GOOGLE, "subject"),
        (DATA_360, "scope"),
    ],
)
def test_an_optional_field_that_a_form_left_blank_was_not_entered(make: dict[str, Make], kind: str, field: str) -> None:
    assert getattr(make[kind](**{field: ""}), field) is None


def test_a_slug_where_a_credential_belongs_is_refused_with_the_form_that_is_taken() -> None:
    with pytest.raises(ValidationError, match=r'"\$ref": \{"block_document_slug"'):
        TypeAdapter(AnyCredential).validate_python("atomic-basic-auth/crm")


@pytest.mark.parametrize("nothing", ["", None])
def test_a_field_with_a_default_that_a_form_sends_without_a_value_has_its_default(
    make: dict[str, Make], nothing: Any
) -> None:
    credential = make[OAUTH](
        extra_parameters=nothing, cache_seconds=nothing, request_scheme=nothing, allowed_hosts=nothing
    )

    assert credential == make[OAUTH]()
