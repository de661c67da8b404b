"""The ways to sign in to an org, and the session that comes of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from prefect_atomic.credentials import provider
from prefect_atomic.credentials.base import now
from prefect_atomic.credentials.private_keys import load_private_key, sign_jwt
from prefect_atomic.credentials.provider import TokenStep
from prefect_atomic.errors import CredentialError
from prefect_atomic.integrations.salesforce.my_domain import base_url, login_url
from prefect_atomic.settings import settings
from prefect_atomic.tokens import Token, served_until
from prefect_atomic.transport.redaction import scrub

if TYPE_CHECKING:
    from prefect_atomic.integrations.salesforce.block import Salesforce

Way = Literal["client credentials", "JWT bearer", "password", "session"]

_NEEDED: Mapping[Way, frozenset[str]] = {
    "client credentials": frozenset({"client_id", "client_secret"}),
    "JWT bearer": frozenset({"client_id", "username", "private_key"}),
    "password": frozenset({"username", "password"}),
    "session": frozenset({"session_id", "instance_url"}),
}
_ALLOWED: Mapping[Way, frozenset[str]] = {
    "JWT bearer": frozenset({"private_key_passphrase"}),
    # Without one the user's address has to be among the org's trusted IP ranges.
    "password": frozenset({"security_token"}),
}
FIELDS = frozenset().union(*_NEEDED.values(), *_ALLOWED.values())
"""The fields of which exactly one set is filled in."""

_ASSERTION_SECONDS = 180  # Salesforce takes at most five minutes


def way_of(given: frozenset[str]) -> Way:
    """The way to sign in that these fields are for.

    Raises:
        ValueError: They are for none, or for more than one; says what fits.
    """
    for way, needed in _NEEDED.items():
        if needed <= given <= needed | _ALLOWED.get(way, frozenset()):
            return way
    sets = "; ".join(f"{way}: {', '.join(sorted(needed))}" for way, needed in _NEEDED.items())
    found = ", ".join(sorted(given)) or "none of them"
    raise ValueError(f"fill in exactly one set of fields ({sets}; security_token goes with password). Given: {found}")


def sign_in(block: Salesforce, way: Way) -> Token:
    """A new session.

    Raises:
        CredentialError: There is none to be had; says which step failed, and how.
    """
    if way == "session":
        return _existing(block)
    if way == "password":
        return _by_soap(block)
    login, issued_at = login_url(block.domain), now()
    step = TokenStep(block.title(), "the Salesforce token request", block.known_secrets(), provider.deadline())
    form = _client_credentials(block) if way == "client credentials" else _jwt_bearer(block, login)
    answer = step.ask(provider.form_post(f"{login}/services/oauth2/token", form))
    return _token(block, step, answer, login, issued_at)


def _client_credentials(block: Salesforce) -> provider.Parameters:
    return [
        ("grant_type", "client_credentials"),
        ("client_id", block.client_id or ""),
        ("client_secret", block.client_secret.get_secret_value() if block.client_secret else ""),
    ]


def _jwt_bearer(block: Salesforce, login: str) -> provider.Parameters:
    passphrase = block.private_key_passphrase.get_secret_value() if block.private_key_passphrase else None
    key = load_private_key(block.private_key.get_secret_value() if block.private_key else "", passphrase)
    claims: dict[str, object] = {
        "iss": block.client_id,
        "sub": block.username,
        "aud": login,
        "exp": int(now()) + _ASSERTION_SECONDS,
    }
    assertion = sign_jwt(key, "RS256", claims, {})
    return [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", assertion)]


def _token(block: Salesforce, step: TokenStep, answer: Mapping[str, Any], login: str, issued_at: float) -> Token:
    base = base_url(answer.get("instance_url"), login, step)
    # Salesforce names no lifetime: it is the org's session timeout, and starts anew with every request.
    return Token(
        value=step.read_token(answer),
        issued_at=issued_at,
        expires_at=served_until(issued_at, block.cache_seconds, provider.expires_in(answer)),
        attributes=_attributes(base, str(answer.get("scope") or "")),
    )


def _by_soap(block: Salesforce) -> Token:
    """By simple-salesforce, which speaks the SOAP of it: Salesforce retires that, and has no other way with these."""
    import requests
    from simple_salesforce.exceptions import SalesforceAuthenticationFailed
    from simple_salesforce.login import SalesforceLogin

    from prefect_atomic.integrations.salesforce.session import TimedSession

    login, issued_at = login_url(block.domain), now()
    step = TokenStep(block.title(), "the Salesforce login", block.known_secrets(), provider.deadline())
    step.where = f"{login}/services/Soap/u"
    failure: CredentialError
    try:
        with TimedSession(settings().token_request_timeout) as session:
            session_id, instance = SalesforceLogin(
                username=block.username,
                password=block.password.get_secret_value() if block.password else "",
                security_token=block.security_token.get_secret_value() if block.security_token else "",
                sf_version=block.api_version,
                session=session,
                scratch_url=login,
            )
    except SalesforceAuthenticationFailed as error:
        told = scrub(f"{error.code}: {error.auth_message}"[:300], block.known_secrets())
        failure = step.error(f"was refused: {told.rstrip('.')}")
    except requests.RequestException as error:
        failure = step.error(f"got no answer: {type(error).__name__}", transient=True)
    except Exception as error:  # noqa: BLE001 - what is no XML fails in many ways, and its text quotes the answer
        failure = step.error(f"answered with something that is no SOAP ({type(error).__name__})")
    else:
        return Token(
            value=session_id,
            issued_at=issued_at,
            expires_at=issued_at + block.cache_seconds,
            attributes=_attributes(base_url(instance, login, step), ""),
        )
    raise failure  # out here, or the one before would be its context: it holds the request, with the password


def _existing(block: Salesforce) -> Token:
    issued_at = now()
    return Token(
        value=block.session_id.get_secret_value() if block.session_id else "",
        issued_at=issued_at,
        expires_at=issued_at + block.cache_seconds,
        attributes=_attributes(login_url(block.instance_url or ""), ""),
    )


def _attributes(base: str, scope: str) -> dict[str, str]:
    return {"base_url": base, "host": base.partition("://")[2], "scope": scope}
