"""KeyPair: its tokens are verified by PyJWT, whatever the algorithm and the form of the key."""

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.utils import base64url_decode

from prefect_atomic import KeyPair

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
NOW = datetime(2026, 3, 1, 12, 0, 0, 700_000, tzinfo=UTC)


def token_of(credential: KeyPair) -> str:
    with credential.get_client() as client:
        request = client.build_request("GET", "https://crm.example.com")
        flow = client.auth.sync_auth_flow(request)  # type: ignore[union-attr]
        sent = next(flow)
        flow.close()
    return sent.headers["authorization"].removeprefix("Bearer ")


def ed448_pem() -> str:
    return ed448.Ed448PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture(scope="module")
def pairs() -> dict[str, KeyPair]:
    """One of each algorithm; Ed448 too, which shares its name with Ed25519."""
    fields: dict[str, Any] = {
        "key_id": "key-1",
        "issuer": "us",
        "subject": "robot",
        "audience": "them",
        "claims": {"tenant": "acme", "roles": ["a", "b"]},
        "headers": {"x5t": "abc"},
    }
    of_rsa = KeyPair.generate("RS256").private_key.get_secret_value()
    made = {
        name: KeyPair(private_key=of_rsa, algorithm=name, **fields) if name[:2] in ("RS", "PS") else
        KeyPair.generate(name, **fields)
        for name in ALGORITHMS
    }  # fmt: skip
    return {**made, "Ed448": KeyPair(private_key=ed448_pem(), algorithm="EdDSA", **fields)}


@pytest.mark.parametrize("name", [*ALGORITHMS, "Ed448"])
def test_the_public_key_verifies_the_token(pairs: dict[str, KeyPair], name: str) -> None:
    pair = pairs[name]

    claims = jwt.decode(
        token_of(pair), pair.public_key_pem, algorithms=[pair.algorithm], audience="them", issuer="us", subject="robot"
    )

    assert claims["tenant"] == "acme"
    assert claims["roles"] == ["a", "b"]
    assert claims["exp"] - claims["iat"] == 3600


@pytest.mark.parametrize("name", [*ALGORITHMS, "Ed448"])
def test_the_key_set_verifies_the_token(pairs: dict[str, KeyPair], name: str) -> None:
    pair, token = pairs[name], token_of(pairs[name])

    key = jwt.PyJWKSet.from_dict(pair.jwks)[jwt.get_unverified_header(token)["kid"]]

    assert key.algorithm_name == pair.algorithm
    assert jwt.decode(token, key, algorithms=[pair.algorithm], audience="them")["iss"] == "us"


@pytest.mark.parametrize("name", [*ALGORITHMS, "Ed448"])
def test_the_key_set_holds_nothing_of_the_private_key(pairs: dict[str, KeyPair], name: str) -> None:
    (key,) = pairs[name].jwks["keys"]

    assert key["use"] == "sig"
    assert not key.keys() & {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


@pytest.mark.parametrize("name", ["RS256", "RS384", "RS512", "EdDSA", "Ed448"])
def test_a_deterministic_token_is_the_one_that_pyjwt_makes(pairs: dict[str, KeyPair], name: str) -> None:
    pair, token = pairs[name], token_of(pairs[name])
    claims = jwt.decode(token, options={"verify_signature": False})

    theirs = jwt.encode(
        claims,
        pair.private_key.get_secret_value(),
        algorithm=pair.algorithm,
        headers={"x5t": "abc", "kid": "key-1"},
    )

    assert token == theirs


@pytest.mark.parametrize(("algorithm", "octets"), [("ES256", 32), ("ES384", 48), ("ES512", 66)])
def test_the_coordinates_of_a_key_have_their_full_length(algorithm: Any, octets: int) -> None:
    """RFC 7518, section 6.2.1.2: leading zeros are kept, and every second P-521 key has one."""
    for _ in range(12):
        (key,) = KeyPair.generate(algorithm).jwks["keys"]
        assert [len(base64url_decode(key[name])) for name in ("x", "y")] == [octets, octets]


def test_claims_and_headers_that_were_not_entered_are_not_there() -> None:
    token = token_of(KeyPair.generate("EdDSA"))

    assert jwt.decode(token, options={"verify_signature": False}).keys() == {"iat", "exp"}
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "typ": "JWT"}


def test_a_token_is_served_for_nine_tenths_of_its_life(pairs: dict[str, KeyPair]) -> None:
    with time_machine.travel(NOW, tick=False) as clock:
        first = token_of(pairs["RS256"])
        assert pairs["RS256"].check().expires_at == NOW + timedelta(seconds=3240)
        clock.shift(3239)
        assert token_of(pairs["RS256"]) == first
        clock.shift(2)
        assert token_of(pairs["RS256"]) != first


# -- the forms of a key -------------------------------------------------------------------------------------------

RSA = rsa.generate_private_key(65537, 2048)
P256 = ec.generate_private_key(ec.SECP256R1())
EC_PARAMETERS = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
LOCKED = "a pässphrase"


def pem(key: Any, form: PrivateFormat, passphrase: str | None = None) -> str:
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, form, encryption).decode()


FORMS: dict[str, tuple[Any, str, str | None]] = {
    "PKCS#8": (RSA, pem(RSA, PrivateFormat.PKCS8), None),
    "PKCS#8, encrypted": (RSA, pem(RSA, PrivateFormat.PKCS8, LOCKED), LOCKED),
    "PKCS#1": (RSA, pem(RSA, PrivateFormat.TraditionalOpenSSL), None),
    "PKCS#1, encrypted": (RSA, pem(RSA, PrivateFormat.TraditionalOpenSSL, LOCKED), LOCKED),
    "SEC 1": (P256, pem(P256, PrivateFormat.TraditionalOpenSSL), None),
    "SEC 1, encrypted": (P256, pem(P256, PrivateFormat.TraditionalOpenSSL, LOCKED), LOCKED),
    "SEC 1, after its parameters": (P256, EC_PARAMETERS + pem(P256, PrivateFormat.TraditionalOpenSSL), None),
}
PASTED = {
    "as it is": lambda pem: pem,
    "without the last line break": lambda pem: pem.rstrip(),
    "on one line": lambda pem: pem.replace("\n", " "),
    "with nothing in place of line breaks": lambda pem: pem.replace("\n", "") if "Proc-Type" not in pem else pem,
    "with literal \\n": lambda pem: pem.replace("\n", "\\n"),
    "with literal \\r\\n": lambda pem: pem.replace("\n", "\\r\\n"),
    "from Windows": lambda pem: pem.replace("\n", "\r\n"),
    "indented": lambda pem: "".join(f"    {line}\n" for line in pem.splitlines()),
    "with empty lines": lambda pem: pem.replace("\n", "\n\n"),
    "in quotes": lambda pem: f'"{pem}"',
    "after what else a tool printed": lambda pem: f"Bag Attributes\n    friendlyName: key\n{pem}",
}


@pytest.mark.parametrize("pasted", PASTED)
@pytest.mark.parametrize("form", FORMS)
def test_a_key_is_read_in_whatever_form_it_was_pasted(form: str, pasted: str) -> None:
    key, text, passphrase = FORMS[form]

    pair = KeyPair(
        private_key=PASTED[pasted](text),
        private_key_passphrase=passphrase,
        algorithm="RS256" if key is RSA else "ES256",
    )

    assert jwt.decode(token_of(pair), key.public_key(), algorithms=[pair.algorithm])


def test_generate_makes_a_key_that_fits_and_is_new() -> None:
    one, other = KeyPair.generate("ES384", issuer="us"), KeyPair.generate("ES384")

    assert load_pem_private_key(one.private_key.get_secret_value().encode(), None).curve.name == "secp384r1"  # type: ignore[union-attr]
    assert one.public_key_pem != other.public_key_pem
    assert one.issuer == "us"
