"""A JSON Web Token signed with a private key (RFC 7519): the receiver holds the public key."""

import json
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, SecretStr, model_validator

from prefect_atomic.credentials.base import AllowedHosts, TokenCredential, now
from prefect_atomic.credentials.private_keys import (
    Algorithm,
    check_fit,
    generate_private_key,
    load_private_key,
    sign_jwt,
)
from prefect_atomic.tokens import Token

if TYPE_CHECKING:
    from prefect_atomic.credentials.private_keys import PrivateKey

CACHED_SHARE = 0.9
"""The part of a token's life for which it is served, as Atomic documents."""

_SET_BY_FIELDS = {"iss": "issuer", "sub": "subject", "aud": "audience", "iat": "expires_in", "exp": "expires_in"}
_SET_BY_SIGNING = {"alg": "algorithm", "kid": "key_id"}


class KeyPair(TokenCredential):
    """Signs a JSON Web Token with a private key, and sends it as `Authorization: Bearer`.

    A token is shared by all processes for 90 % of `expires_in`, as Atomic documents.

    Example:
        Call an API with a saved credential:
        ```python
        from prefect import flow
        from prefect_atomic import KeyPair, send_request

        crm = KeyPair.load("BLOCK_NAME")

        @flow
        def contacts():
            return send_request("GET", "https://crm.example.com/contacts", credential=crm).json()
        ```
    """

    _block_type_name = "Atomic Key Pair"
    _block_type_slug = "atomic-key-pair"
    _documentation_url = "https://www.rfc-editor.org/rfc/rfc7519"  # type: ignore[assignment]

    private_key: SecretStr = Field(description="The private key as a PEM: PKCS#8, PKCS#1 or SEC 1.")
    private_key_passphrase: SecretStr | None = Field(
        None, description="What opens the private key, if it is encrypted."
    )
    algorithm: Algorithm = Field("RS256", description="The signature algorithm; it must fit the key.")
    key_id: str | None = Field(None, description="Which public key verifies the token (the kid header).")
    issuer: str | None = Field(None, description="Who made the token (the iss claim).")
    subject: str | None = Field(None, description="Whom the token speaks for (the sub claim).")
    audience: str | None = Field(None, description="Whom the token is for (the aud claim).")
    expires_in: int = Field(
        3600, ge=10, le=31_536_000, description="How long a token is valid, in seconds; 10 or more."
    )
    claims: dict[str, Any] = Field({}, description="Further claims of the token; they are not secret.")
    headers: dict[str, Any] = Field({}, description="Further headers of the token; they are not secret.")
    allowed_hosts: AllowedHosts = []
    kind: Literal["key-pair"] = Field("key-pair", description="Tells saved credentials apart; leave as it is.")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        try:
            check_fit(self._key(), self.algorithm)
        except ValueError as error:
            raise ValueError(f"private_key: {error}") from None
        for name, taken in (("claims", _SET_BY_FIELDS), ("headers", _SET_BY_SIGNING)):
            value = getattr(self, name)
            if doubles := value.keys() & taken.keys():
                double = min(doubles)
                raise ValueError(f"{name}: {double!r} is made from the field {taken[double]!r}; set it there")
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError):
                raise ValueError(f"{name}: must be JSON") from None
        return self

    @classmethod
    def generate(cls, algorithm: Algorithm = "RS256", **fields: Any) -> Self:
        """A credential with a new key pair; hand `public_key_pem` or `jwks` to the receiver.

        Args:
            algorithm: What the key is for. RSA keys have 2048 bits; EdDSA means Ed25519.
            fields: The other fields, such as `issuer`.
        """
        return cls(private_key=SecretStr(generate_private_key(algorithm)), algorithm=algorithm, **fields)

    @property
    def public_key_pem(self) -> str:
        """The public key as a PEM (SubjectPublicKeyInfo)."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return self._key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The public key as a JSON Web Key Set (RFC 7517)."""
        from jwt.algorithms import get_default_algorithms

        key = get_default_algorithms()[self.algorithm].to_jwk(self._key().public_key(), as_dict=True)
        key.pop("key_ops", None)  # "use" says the same, and only one of them should be given
        key |= {"use": "sig", "alg": self.algorithm}
        if self.key_id:
            key["kid"] = self.key_id
        return {"keys": [key]}

    def _key(self) -> "PrivateKey":
        passphrase = self.private_key_passphrase.get_secret_value() if self.private_key_passphrase else None
        return load_private_key(self.private_key.get_secret_value(), passphrase)

    def _mint(self) -> Token:
        issued_at = now()
        claims = {"iss": self.issuer, "sub": self.subject, "aud": self.audience}
        claims = {name: value for name, value in claims.items() if value is not None}
        times = {"iat": int(issued_at), "exp": int(issued_at) + self.expires_in}
        headers = {**self.headers, **({"kid": self.key_id} if self.key_id else {})}
        return Token(
            value=sign_jwt(self._key(), self.algorithm, {**claims, **times, **self.claims}, headers),
            issued_at=issued_at,
            expires_at=issued_at + CACHED_SHARE * self.expires_in,
        )
