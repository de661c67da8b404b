"""The pieces of RFC 6749 that every token endpoint here shares."""

import base64
import binascii
import hmac
import re
from typing import NoReturn
from urllib.parse import unquote_plus

from prefect_atomic.sandbox.wire import Answer, Received, Refused

PARAMETERS = frozenset(
    {"grant_type", "client_id", "client_secret", "scope", "assertion", "client_assertion", "client_assertion_type"}
    | {"code", "redirect_uri", "username", "password", "refresh_token", "code_verifier"}
)
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
FORM_ENCODED = re.compile(r"(?:[A-Za-z0-9._~*!'()+-]|%[0-9A-Fa-f]{2})*")


def refuse(error: str, description: str, *, status: int = 400) -> NoReturn:
    """Refuses a token request as section 5.2 says."""
    headers = dict(NO_STORE)
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="sandbox"'
    raise Refused(Answer.of_json({"error": error, "error_description": description}, status=status, headers=headers))


def form(received: Received) -> dict[str, str]:
    """The parameters in the body, which is where a token request has them."""
    if not received.is_form:
        refuse("invalid_request", "send the parameters as application/x-www-form-urlencoded in the body")
    stray = named(received.query_pairs)
    if stray:
        refuse("invalid_request", f"credentials belong in the body; the query has {', '.join(stray)}")
    return parameters(received.form_pairs)


def named(pairs: list[tuple[str, str]]) -> list[str]:
    """The OAuth parameters among these pairs."""
    return sorted({name for name, _ in pairs if name in PARAMETERS})


def parameters(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """The parameters by name. An OAuth one may come once only, and counts as left out when empty (section 3.2)."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in PARAMETERS and name in found:
            refuse("invalid_request", f"{name} is there more than once")
        if value or name not in PARAMETERS:
            found[name] = value
    return found


def require_grant(given: dict[str, str], expected: str) -> None:
    """Refuses any grant type but the expected one."""
    grant_type = given.get("grant_type")
    if grant_type is None:
        refuse("invalid_request", f"grant_type is missing; it should be {expected}")
    if grant_type != expected:
        refuse("unsupported_grant_type", f"grant_type should be {expected}")


def client(received: Received, given: dict[str, str]) -> tuple[str, str]:
    """The client's id and secret, from the parameters or from HTTP Basic (section 2.3.1), never from both."""
    authorization = received.header("authorization")
    if authorization is None:
        for name in ("client_id", "client_secret"):
            if name not in given:
                refuse("invalid_client", f"{name} is missing", status=401)
        return given["client_id"], given["client_secret"]
    if "client_id" in given or "client_secret" in given:
        refuse("invalid_request", "the client authenticates twice: with HTTP Basic and with parameters")
    return _basic(authorization)


def require_client(sent: tuple[str, str], *, client_id: str, client_secret: str, status: int = 401) -> None:
    """Refuses any client but this one."""
    known = hmac.compare_digest(sent[0].encode(), client_id.encode())
    right = hmac.compare_digest(sent[1].encode(), client_secret.encode())
    if not known:
        refuse("invalid_client", "nobody knows this client_id", status=status)
    if not right:
        refuse(
            "invalid_client",
            "the client_secret is wrong; was it encoded as a form (RFC 6749 appendix B)?",
            status=status,
        )


def granted_scope(given: dict[str, str], available: str) -> str:
    """The scope asked for, or all there is; refuses one that is not available."""
    asked = given.get("scope", available).split()
    unknown = sorted(set(asked) - set(available.split()))
    if unknown:
        refuse("invalid_scope", f"this client may have {available}, not {' '.join(unknown)}")
    return " ".join(asked)


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, proof = authorization.partition(" ")
    if scheme.lower() != "basic":
        refuse("invalid_client", "a client authenticates with HTTP Basic or with parameters", status=401)
    try:
        decoded = base64.b64decode(proof, validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        refuse("invalid_request", "the Basic proof is not the base64 of form-encoded text")
    client_id, colon, client_secret = decoded.partition(":")
    if not colon or not FORM_ENCODED.fullmatch(client_id) or not FORM_ENCODED.fullmatch(client_secret):
        refuse("invalid_request", "client_id and client_secret in HTTP Basic are form-encoded first (RFC 6749, 2.3.1)")
    return unquote_plus(client_id), unquote_plus(client_secret)
