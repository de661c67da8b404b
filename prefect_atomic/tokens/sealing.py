"""A token at rest is readable only to who holds the credential it came from.

The name of an entry and the key that seals it are derived (HKDF, RFC 5869) from every field of the credential, its
secrets included, under different labels. A rotated secret is another name; an entry that was changed, copied to
another name or sealed by somebody else does not open.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import lru_cache

_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Seal:
    """Names and protects the entries of one credential.

    Attributes:
        name: Where its token is kept; tells nothing about the credential.
    """

    name: str
    _key: bytes = field(repr=False)

    def close(self, content: bytes, name: str) -> bytes:
        """Encrypts and authenticates what is to be stored under `name`."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self._key).encrypt(nonce, content, name.encode())

    def open(self, sealed: bytes, name: str) -> bytes | None:
        """What was stored under `name`; None unless this very seal closed it for that name."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            return AESGCM(self._key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError):
            return None


@lru_cache(maxsize=1024)
def seal_for(identity: tuple[object, ...]) -> Seal:
    """The seal of a credential.

    Args:
        identity: Every value that decides which token the credential gets, secrets included; JSON scalars.
    """
    material = json.dumps(identity, ensure_ascii=True).encode()
    return Seal(
        name=_derive(material, b"prefect-atomic token name v1").hex(),
        _key=_derive(material, b"prefect-atomic token seal v1"),
    )


def _derive(material: bytes, label: bytes) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=label).derive(material)
