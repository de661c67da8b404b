"""JWTs that callers sign: PyJWT verifies them with the public key."""

from collections.abc import Mapping
from typing import Any, NoReturn

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.exceptions import InvalidSubjectError

BY = f"PyJWT {jwt.__version__}"
RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
GOOGLE_MAXIMUM = 3600


class NotProven(Exception):  # noqa: N818 - an answer, not an error
    """The JWT does not prove what it should; the text says why."""


def public_key(private_key: str) -> RSAPublicKey:
    """The public half of a private key in PEM."""
    key = load_pem_private_key(private_key.encode(), None).public_key()
    if not isinstance(key, RSAPublicKey):
        raise TypeError("the sandbox has RSA keys only")
    return key


def key_id(token: str) -> object:
    """The `kid` that a JWT names, unverified; None if it names none."""
    try:
        return jwt.get_unverified_header(token).get("kid")
    except jwt.InvalidTokenError as error:
        raise NotProven(f"this is not a JWT: {error}") from None


def claims(
    token: str,
    key: RSAPublicKey,
    *,
    algorithms: tuple[str, ...],
    issuer: str,
    subject: str | None = None,
    audience: tuple[str, ...] = (),
) -> Mapping[str, Any]:
    """The claims of a JWT that this key signed; raises `NotProven` for any other.

    Args:
        token: the JWT.
        key: the public key.
        algorithms: those that are accepted.
        issuer: the `iss` that is expected.
        subject: the `sub` that is expected; None for any.
        audience: the `aud` that are accepted; empty for any or none.
    """
    try:
        verified: Mapping[str, Any] = jwt.decode(
            token,
            key,
            algorithms=list(algorithms),
            issuer=issuer,
            subject=subject,
            audience=audience or None,
            options={"require": ["iss", "iat", "exp"], "verify_aud": bool(audience)},
        )
    except jwt.InvalidSignatureError:
        _refuse("the signature is not by the key that was registered, or the token was changed after signing")
    except jwt.InvalidIssuerError:
        _refuse(f"iss should be {issuer}")
    except InvalidSubjectError:
        _refuse(f"sub should be {subject}")
    except jwt.InvalidAudienceError:
        _refuse(f"aud should be {' or '.join(audience)}")
    except jwt.InvalidAlgorithmError:
        _refuse(f"alg should be one of {', '.join(algorithms)}")
    except jwt.ExpiredSignatureError:
        _refuse("exp has passed")
    except jwt.ImmatureSignatureError:
        _refuse("iat or nbf is in the future; is the caller's clock right?")
    except jwt.InvalidTokenError as error:
        _refuse(f"the JWT is not valid: {error}")
    if not all(type(verified[name]) in (int, float) for name in ("iat", "exp")):
        _refuse("iat and exp should be numbers")
    if verified["exp"] <= verified["iat"]:
        _refuse("exp should be after iat")
    return verified


def require_google_lifetime(verified: Mapping[str, Any]) -> None:
    """Google takes no assertion that lives longer than an hour."""
    if verified["exp"] - verified["iat"] > GOOGLE_MAXIMUM:
        _refuse(f"exp should be at most {GOOGLE_MAXIMUM} seconds after iat")


def _refuse(reason: str) -> NoReturn:
    raise NotProven(reason) from None
