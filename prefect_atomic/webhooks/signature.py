"""Signatures after Standard Webhooks 1.0: over the id, the moment of the attempt, and the very bytes that are sent.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import SecretStr

from prefect_atomic.credentials.base import now
from prefect_atomic.credentials.private_keys import load_private_key
from prefect_atomic.errors import SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

TOLERANCE = 300.0
"""Seconds that the clocks of sender and receiver may be apart, delivery included."""

_SECRETS = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----|\S+", re.DOTALL)
_SHORTEST, _LONGEST = 24, 64
_ED25519_SEED_BYTES = 32


class SigningKeys(NamedTuple):
    """What a webhook is signed or verified with, in the order in which it was entered."""

    symmetric: tuple[bytes, ...]
    private: tuple[Ed25519PrivateKey, ...]
    public: tuple[Ed25519PublicKey, ...]


def sign(identifier: str, timestamp: int, body: bytes, secret: str) -> str:
    """The value of `webhook-signature`: a signature for each of the secrets.

    Args:
        identifier: The `webhook-id`.
        timestamp: The `webhook-timestamp`: seconds since the epoch, of this attempt.
        body: What is sent.
        secret: One secret or several, see `read_secrets`.
    """
    keys, content = read_secrets(secret), _signed(identifier, str(timestamp), body)
    signatures = [f"v1,{_encode(hmac.digest(key, content, 'sha256'))}" for key in keys.symmetric]
    signatures += [f"v1a,{_encode(key.sign(content))}" for key in keys.private]
    return " ".join(signatures)


def verify_webhook(
    headers: Mapping[str, str], body: bytes | str, secret: str | SecretStr, *, tolerance: float = TOLERANCE
) -> Any:
    """Verifies a webhook that was received, in constant time, and returns its body as JSON.

    Args:
        headers: Of the request; `webhook-id`, `webhook-timestamp` and `webhook-signature` in any case.
        body: The bytes that were received, before anything parsed them.
        secret: What the sender signs with: `whsec_...`, or an Ed25519 key (`whpk_...`, or a PEM). Several, separated by
            spaces, while a secret is rotated.
        tolerance: Seconds that the timestamp may be away from now, in either direction.

    Raises:
        SignatureError: It is not the sender's, or it was changed, or it is too old.
        ValueError: The secret is none.
    """
    keys = read_secrets(secret.get_secret_value() if isinstance(secret, SecretStr) else secret)
    given = {name.lower(): value for name, value in headers.items()}
    missing = [f"webhook-{name}" for name in ("id", "timestamp", "signature") if not given.get(f"webhook-{name}")]
    if missing:
        raise SignatureError(f"The webhook was not signed: it has no {' and no '.join(missing)}.")
    identifier, timestamp = given["webhook-id"], given["webhook-timestamp"]
    if not (timestamp.isascii() and timestamp.isdigit()) or len(timestamp) > 15:
        raise SignatureError("The webhook-timestamp is no number of seconds since the epoch.")
    apart = now() - int(timestamp)
    if abs(apart) > tolerance:
        which = f"{apart:.0f} s old" if apart > 0 else f"{-apart:.0f} s in the future; are both clocks right?"
        raise SignatureError(f"The webhook is {which}, and {tolerance:g} s are the most.")
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body)
    content = _signed(identifier, timestamp, raw)
    if not any(_matches(signature, content, keys) for signature in given["webhook-signature"].split()):
        raise SignatureError(
            "No signature of the webhook fits: another secret, or the body is not the bytes that were sent."
        )
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise SignatureError("The webhook is signed, but its body is not JSON that can be read.") from None


def read_secrets(secret: str) -> SigningKeys:
    """Reads secrets, separated by spaces or line breaks.

    `whsec_` and the base64 of 24 to 64 bytes is a secret for HMAC-SHA256; `whsk_` and the base64 of an Ed25519 private
    key (its seed, or seed and public key), or that key as a PEM, signs; `whpk_` and the base64 of the public key, or
    its PEM, verifies.

    Raises:
        ValueError: It is none of these, or of the wrong length; says which, and quotes nothing of it.
    """
    keys = _read(secret)
    if not any(keys):
        raise ValueError("is empty; enter whsec_ and the base64 of 24 to 64 random bytes")
    return keys


@lru_cache(maxsize=256)
def _read(secret: str) -> SigningKeys:
    symmetric: list[bytes] = []
    private: list[Ed25519PrivateKey] = []
    public: list[Ed25519PublicKey] = []
    # A form turns the line breaks of a PEM into spaces, a JSON file into \n.
    for match in _SECRETS.finditer(secret.replace("\\r", "").replace("\\n", "\n")):
        text = match[0]
        if text.startswith("whsec_"):
            symmetric.append(_symmetric(_decoded(text, "whsec_")))
        elif text.startswith("whsk_") or "PRIVATE KEY-----" in text:
            key = _private(text)
            private.append(key)
            public.append(key.public_key())
        elif text.startswith("whpk_") or "PUBLIC KEY-----" in text:
            public.append(_public(text))
        else:
            raise ValueError(
                "is no signing secret: enter whsec_ and the base64 of 24 to 64 random bytes, or an Ed25519 private key "
                "(whsk_..., or a PEM)"
            )
    return SigningKeys(tuple(symmetric), tuple(private), tuple(public))


def _symmetric(key: bytes) -> bytes:
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise ValueError(f"has a secret of {len(key)} bytes after whsec_, and {_SHORTEST} to {_LONGEST} are allowed")
    return key


def _private(text: str) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not text.startswith("whsk_"):
        if "ENCRYPTED" in text:
            raise ValueError("has an encrypted private key; enter it without its passphrase: `openssl pkey -in FILE`")
        key = load_private_key(text)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("has a private key of another kind, and webhooks are signed with Ed25519")
        return key
    raw = _decoded(text, "whsk_")
    if len(raw) not in (_ED25519_SEED_BYTES, 2 * _ED25519_SEED_BYTES):
        raise ValueError(f"has a key of {len(raw)} bytes after whsk_, and an Ed25519 private key has 32, or 64")
    key = Ed25519PrivateKey.from_private_bytes(raw[:_ED25519_SEED_BYTES])
    if raw[_ED25519_SEED_BYTES:] not in (b"", key.public_key().public_bytes_raw()):
        raise ValueError("has a key after whsk_ whose two halves do not belong together; was it pasted whole?")
    return key


def _public(text: str) -> Ed25519PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if text.startswith("whpk_"):
        raw = _decoded(text, "whpk_")
        if len(raw) != _ED25519_SEED_BYTES:
            raise ValueError(f"has a key of {len(raw)} bytes after whpk_, and an Ed25519 public key has 32")
        return Ed25519PublicKey.from_public_bytes(raw)
    begin, lines, end = re.split(r"(?<=KEY-----)|(?=-----END)", text, maxsplit=2)
    try:
        key = load_pem_public_key(f"{begin}\n{''.join(lines.split())}\n{end}\n".encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("has a public key that does not parse; was it pasted whole?") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("has a public key of another kind, and webhooks are signed with Ed25519")
    return key


def _decoded(text: str, prefix: str) -> bytes:
    encoded = text.removeprefix(prefix)
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"has something other than base64 after {prefix}; was it pasted whole?") from None


def _signed(identifier: str, timestamp: str, body: bytes) -> bytes:
    return b".".join((identifier.encode("utf-8", "surrogatepass"), timestamp.encode(), body))


def _matches(signature: str, content: bytes, keys: SigningKeys) -> bool:
    from cryptography.exceptions import InvalidSignature

    version, _, encoded = signature.partition(",")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False
    if version == "v1":
        return any(hmac.compare_digest(hmac.digest(key, content, hashlib.sha256), raw) for key in keys.symmetric)
    if version == "v1a":
        for key in keys.public:
            try:
                key.verify(raw, content)
            except InvalidSignature:
                continue
            return True
    return False


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
