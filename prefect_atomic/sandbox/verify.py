"""Services that verify the proof on a request, each kind with another implementation than the one that made it."""

import base64
import binascii
import hmac
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from prefect_atomic.sandbox import assertions, aws
from prefect_atomic.sandbox.accounts import Accounts
from prefect_atomic.sandbox.assertions import NotProven
from prefect_atomic.sandbox.google import Google
from prefect_atomic.sandbox.tokens import ATOMIC, Kind, TokenRefused, Tokens
from prefect_atomic.sandbox.wire import Answer, Received, Refused, Route

REGISTRY = "sandbox token registry"
COMPARED = "hmac.compare_digest"


class Verifiers:
    """One verifier for each credential type: it returns who verified the proof, or refuses the request."""

    def __init__(self, accounts: Accounts, tokens: Tokens, google: Google) -> None:
        self._accounts = accounts
        self._tokens = tokens
        self._google_account = google
        self._key_pair_key = assertions.public_key(accounts.key_pair.private_key)

    def routes(self) -> list[Route]:
        """`/verify/<kind>`, and all that is below."""
        kinds: dict[str, Callable[[Received], str]] = {
            "oauth": partial(self._issued, "oauth"),
            "basic": self._basic,
            "aws": self._aws,
            "key-pair": self._key_pair,
            "custom-headers": self._custom_headers,
            "google": self._google,
            "salesforce": partial(self._issued, "salesforce-core"),
            "data-360": partial(self._issued, "data-360"),
            "marketing-cloud": partial(self._issued, "marketing-cloud"),
            "marketo": partial(self._issued, "marketo"),
            "atomic": partial(self._issued, ATOMIC),
        }
        return [
            Route(f"/verify/{kind}", partial(_verified, kind, verifier), f"verifies the {kind} proof", below=True)
            for kind, verifier in kinds.items()
        ]

    def _issued(self, kinds: Kind | tuple[Kind, ...], received: Received) -> str:
        token = _bearer(received)
        try:
            self._tokens.accept(kinds, token)
        except TokenRefused as reason:
            _refuse_token(str(reason))
        return REGISTRY

    def _basic(self, received: Received) -> str:
        proof = _authorization(received, "Basic")
        try:
            decoded = base64.b64decode(proof, validate=True)
        except binascii.Error:
            _refuse_basic("what follows Basic is not base64")
        try:
            username, colon, password = decoded.decode().partition(":")
        except UnicodeDecodeError:
            _refuse_basic("username and password are not UTF-8 (RFC 7617)")
        if not colon:
            _refuse_basic("there is no colon between username and password")
        account = self._accounts.basic
        known = hmac.compare_digest(username.encode(), account.username.encode())
        right = hmac.compare_digest(password.encode(), account.password.encode())
        if not (known and right):
            _refuse_basic("the password is wrong" if known else "nobody knows this username")
        return f"base64 and {COMPARED}"

    def _aws(self, received: Received) -> str:
        try:
            return aws.verify(received, [self._accounts.aws, self._accounts.aws_session])
        except aws.NotSigned as refusal:
            raise Refused(_unverified(str(refusal), status=403, **refusal.details)) from None

    def _key_pair(self, received: Received) -> str:
        token = _bearer(received)
        account = self._accounts.key_pair
        try:
            if assertions.key_id(token) != account.key_id:
                raise NotProven(f"kid should be {account.key_id}")
            assertions.claims(
                token,
                self._key_pair_key,
                algorithms=assertions.RSA,
                issuer=account.issuer,
                subject=account.subject,
                audience=(account.audience,),
            )
        except NotProven as reason:
            _refuse_token(str(reason))
        return assertions.BY

    def _custom_headers(self, received: Received) -> str:
        for name, expected in self._accounts.custom_headers.items():
            sent = received.header_values(name.lower())
            if len(sent) != 1:
                _refuse(f"{name} is {'there more than once' if sent else 'missing'}")
            if not hmac.compare_digest(sent[0].encode(), expected.encode()):
                _refuse(f"the value of {name} is wrong")
        return COMPARED

    def _google(self, received: Received) -> str:
        token = _bearer(received)
        try:
            return self._google_account.verify(token)
        except (NotProven, TokenRefused) as reason:
            _refuse_token(str(reason))


def _verified(kind: str, verifier: Callable[[Received], str], received: Received) -> Answer:
    return Answer.of_json(
        {
            "verified": True,
            "credential": kind,
            "by": verifier(received),
            "method": received.method,
            "path": received.path,
            "query_keys": [name for name, _ in received.query_pairs],
            "body_sha256": received.body_sha256,
        }
    )


def _authorization(received: Received, scheme: str) -> str:
    """What follows the scheme in the one Authorization header."""
    values = received.header_values("authorization")
    if len(values) != 1:
        reason = "there is more than one Authorization header" if values else "the Authorization header is missing"
        _refuse(reason, challenge=f'{scheme} realm="sandbox"')
    sent, _, proof = values[0].partition(" ")
    if sent.lower() != scheme.lower():
        _refuse(f"the Authorization header should start with {scheme}", challenge=f'{scheme} realm="sandbox"')
    return proof.strip()


def _bearer(received: Received) -> str:
    return _authorization(received, "Bearer")


def _refuse(reason: str, *, challenge: str | None = None) -> NoReturn:
    raise Refused(_unverified(reason, status=401, challenge=challenge))


def _refuse_basic(reason: str) -> NoReturn:
    _refuse(reason, challenge='Basic realm="sandbox", charset="UTF-8"')


def _refuse_token(reason: str) -> NoReturn:
    quotable = reason.replace('"', "'").replace("\\", "/").encode("ascii", "replace").decode()
    _refuse(reason, challenge=f'Bearer realm="sandbox", error="invalid_token", error_description="{quotable}"')


def _unverified(reason: str, *, status: int, challenge: str | None = None, **details: str) -> Answer:
    headers = {"WWW-Authenticate": challenge} if challenge else None
    return Answer.of_json({"verified": False, "reason": reason, **details}, status=status, headers=headers)
