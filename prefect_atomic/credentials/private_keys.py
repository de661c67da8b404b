"""Private keys: read from whatever form they were pasted in, checked against their algorithm, parsed once."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    PrivateKey: TypeAlias = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey | Ed448PrivateKey

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signature algorithms (RFC 7518, section 3.1; RFC 8037)."""

CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
SMALLEST_RSA_KEY = 2048
"""Bits (RFC 7518, section 3.3)."""

_PEM = re.compile(
    # A key that OpenSSL encrypted itself, not as PKCS#8, has two header lines (RFC 1421).
    r"(-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----)\s*(?:(Proc-Type:\s*\S+)\s+(DEK-Info:\s*\S+))?(.*?)"
    r"(-----END [A-Z0-9 ]*PRIVATE KEY-----)",
    re.DOTALL,
)


def load_private_key(pem: str, passphrase: str | None = None) -> PrivateKey:
    """Parses a PEM (PKCS#1, SEC 1 or PKCS#8, encrypted or not).

    Parsing costs 37 ms and signing 0.3 ms, so a key is parsed once per process: blocks are loaded anew by every task.

    Raises:
        ValueError: It is not a private key, or the passphrase does not open it; says which.
    """
    digest = hashlib.sha256(f"{passphrase or ''}\0{pem}".encode()).digest()
    if (key := _parsed.get(digest)) is None:
        key = _parse(pem, passphrase or None)
        while len(_parsed) >= _KEPT_AT_MOST:
            _parsed.pop(next(iter(_parsed), b""), None)
        _parsed[digest] = key
    return key


_parsed: dict[bytes, PrivateKey] = {}
_KEPT_AT_MOST = 64


def _parse(pem: str, passphrase: str | None) -> PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    # The causes are dropped: they may quote what could not be parsed.
    if "PRIVATE KEY-----" not in pem:
        what = "a public key" if "PUBLIC KEY" in pem else "a certificate" if "CERTIFICATE" in pem else "something else"
        raise ValueError(f"must be a PEM that begins with -----BEGIN PRIVATE KEY----- or the like, and this is {what}")
    try:
        key = load_pem_private_key(_with_line_breaks(pem).encode(), passphrase.encode() if passphrase else None)
    except TypeError:
        fault = (
            "is encrypted: enter its passphrase"
            if passphrase is None
            else "is not encrypted: leave the passphrase empty"
        )
        raise ValueError(fault) from None
    except (ValueError, UnsupportedAlgorithm):
        fault = "does not parse; was it pasted whole?" if passphrase is None else "does not open with this passphrase"
        if "OPENSSH" in pem:
            fault = "is in OpenSSH's own format; `ssh-keygen -p -m PKCS8 -f FILE` rewrites it as a PEM"
        raise ValueError(fault) from None
    if not isinstance(
        key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
    ):
        raise ValueError(
            f"is a {type(key).__name__.strip('_')}, and JSON Web Tokens are signed with RSA, EC or Ed keys"
        )
    return key


def check_fit(key: PrivateKey, algorithm: Algorithm) -> None:
    """Refuses a key that its algorithm cannot be used with.

    Raises:
        ValueError: It does not fit; says which algorithms it would fit.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(key, rsa.RSAPrivateKey):
        fits = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
        if key.key_size < SMALLEST_RSA_KEY:
            raise ValueError(f"has {key.key_size} bits, and an RSA key needs at least {SMALLEST_RSA_KEY}")
        kind = "an RSA key"
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        fits = [name for name, curve in CURVES.items() if curve == key.curve.name]
        kind = f"an EC key on {key.curve.name}"
    else:
        fits, kind = ["EdDSA"], "an Ed25519 or Ed448 key"
    if algorithm not in fits:
        raise ValueError(f"is {kind}, which is for {', '.join(fits) or 'none of our algorithms'}, not {algorithm}")


def generate_private_key(algorithm: Algorithm) -> str:
    """A new private key that fits the algorithm, as a PKCS#8 PEM."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key: PrivateKey
    if algorithm == "EdDSA":
        key = ed25519.Ed25519PrivateKey.generate()
    elif algorithm in CURVES:
        curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
        key = ec.generate_private_key(curves[algorithm])
    else:
        key = rsa.generate_private_key(public_exponent=65537, key_size=SMALLEST_RSA_KEY)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def sign_jwt(key: PrivateKey, algorithm: str, claims: dict[str, object], headers: dict[str, object]) -> str:
    """A signed JSON Web Token (RFC 7519)."""
    import jwt

    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)


def _with_line_breaks(pem: str) -> str:
    """Restores the lines that a form or a JSON file's `\\n` has taken, and leaves out what is not the key.

    `openssl ecparam -genkey` puts the parameters before the key, and `openssl pkcs12` its attributes.
    """
    match = _PEM.search(pem.replace("\\r", "").replace("\\n", "\n"))
    if match is None:
        return pem
    begin, *headers, body, end = match.groups()
    body = re.sub(r"\s+", "", body)
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return "\n".join([begin, *([*headers, ""] if all(headers) else []), *lines, end, ""])
