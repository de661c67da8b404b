"""The contract of a credential: a Prefect block that puts a proof on requests and gives its secrets to nobody else."""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Self

import httpx
from prefect.blocks.abstract import CredentialsBlock
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Secret,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from prefect_atomic.credentials.auth import ProofAuth, TokenAuth, was_sent
from prefect_atomic.errors import DestinationError
from prefect_atomic.tokens import Lookup, Seal, Token, seal_for, shared_cache
from prefect_atomic.transport.clients import tls_context
from prefect_atomic.transport.hosts import host_pattern, is_allowed

AllowedHosts = Annotated[
    list[Annotated[str, AfterValidator(host_pattern)]],
    Field(
        description="The only hosts that requests may go to, such as `api.example.com` or `*.example.com`; none = any."
    ),
]
"""The field every credential has. A host that is not on the list gets neither proof nor request."""

CacheSeconds = Annotated[int, Field(ge=1, le=86_400)]


class CredentialCheck(BaseModel):
    """What a credential got when it was checked; nothing in it is secret.

    Attributes:
        kind: The credential's kind, such as `basic-auth`.
        name: The name it is saved under, if it is.
        expires_at: When the token at hand stops being served; None where there is no token.
        scopes: What the token is good for, where the provider said so.
        host: The host that the token is for, where the provider said so.
        allowed_hosts: Where requests with it may go; empty = anywhere.
    """

    model_config = ConfigDict(frozen=True)

    kind: str
    name: str | None = None
    expires_at: datetime | None = None
    scopes: tuple[str, ...] = ()
    host: str | None = None
    allowed_hosts: tuple[str, ...] = ()


class Credential(CredentialsBlock, ABC):
    """What all credentials have in common. A subclass says how it proves itself, in `_prove`."""

    if TYPE_CHECKING:  # declared by each class, after its own fields: forms show fields in this order
        kind: str
        allowed_hosts: list[str]

    # pydantic quotes the input it refuses, and the input is often a secret in the wrong place.
    model_config = ConfigDict(hide_input_in_errors=True)

    @classmethod
    def __dispatch_key__(cls) -> str | None:
        # The key is the slug. Prefect would make the whole JSON schema to find it, twice, for each class at import.
        return cls.get_block_type_slug()

    @model_validator(mode="before")
    @classmethod
    def _drop_blanks_and_refuse_strangers(cls, values: Any) -> Any:
        if isinstance(values, str):  # the slug, where a flow's parameter is of a credential's type
            raise ValueError(
                'is text, not a credential: give a saved one as {"$ref": {"block_document_slug": "TYPE/NAME"}}'
            )
        if not isinstance(values, dict):
            return values
        kind = cls.model_fields["kind"].default
        if values.get("kind", kind) != kind:  # one line for each class that a union tried in vain
            raise ValueError(f"this is a credential of another kind than {kind}")
        if any(isinstance(value, str) and _is_mask(value) for value in values.values()):
            raise ValueError(_MASKED)  # before anything else is found wrong with it
        strangers = values.keys() - cls.model_fields.keys() - {"block_type_slug"}
        if strangers:  # Prefect keeps unknown fields, in the clear: a misspelt `session_token` would show its secret
            raise ValueError(
                f"{', '.join(sorted(strangers))}: no such field; is it misspelt, or from a newer prefect-atomic?"
            )
        # An empty field of a form means that nothing was entered.
        return {
            name: value
            for name, value in values.items()
            if not (value in ("", None) and name in cls.model_fields and not cls.model_fields[name].is_required())
        }

    @model_validator(mode="after")
    def _refuse_masks(self) -> Self:
        if any(_is_mask(secret) for secret in self._own_secrets()):
            raise ValueError(_MASKED)
        return self

    def __init__(self, *args: Any, **fields: Any) -> None:
        try:
            super().__init__(*args, **fields)
        except ValidationError as error:
            raise _without_input(error) from None

    @abstractmethod
    def _prove(self, request: httpx.Request) -> None:
        """Puts the proof on the request."""

    def _signs_body(self) -> bool:
        """Whether the proof is made of the body too, which is then read before."""
        return False

    def auth(self) -> httpx.Auth:
        """This credential for any httpx client, synchronous or not: `httpx.Client(auth=credential.auth())`."""
        return ProofAuth(self)

    def get_client(self, **options: Any) -> httpx.Client:
        """An `httpx.Client` that proves itself with this credential; close it when done.

        Args:
            options: What `httpx.Client` takes, such as `base_url` or `timeout`.
        """
        return httpx.Client(**{"verify": tls_context(), "timeout": 30.0, **options, "auth": self.auth()})

    def get_async_client(self, **options: Any) -> httpx.AsyncClient:
        """The same as an `httpx.AsyncClient`."""
        return httpx.AsyncClient(**{"verify": tls_context(), "timeout": 30.0, **options, "auth": self.auth()})

    def check(self) -> CredentialCheck:
        """Proves that the credential resolves, and returns what it got, without the secret.

        Raises:
            CredentialError: The provider refused, or could not be reached.
        """
        return self._described(None)

    async def acheck(self) -> CredentialCheck:
        """The same as `check`, for an event loop."""
        return self._described(None)

    def invalidate(self) -> None:
        """Forgets the cached token, here and in every process that shares the token store."""

    def may_prove_at(self, url: httpx.URL) -> bool:
        """Whether `allowed_hosts` names the host of this URL."""
        return bool(self.allowed_hosts) and is_allowed(url.raw_host.decode(), self.allowed_hosts)

    def refuse_destination(self, url: httpx.URL) -> None:
        """Raises DestinationError where `allowed_hosts` does not have the host of this URL."""
        if not self.allowed_hosts:
            return
        host = url.raw_host.decode()
        if not is_allowed(host, self.allowed_hosts):
            raise DestinationError(
                f"{self.title()} may not be used at {host}: its allowed_hosts are {', '.join(self.allowed_hosts)}."
            )

    def known_secrets(self) -> tuple[str, ...]:
        """Everything of this credential that nobody may read, for those who scrub texts."""
        return tuple(part for secret in self._own_secrets() for part in _parts(secret))

    def title(self) -> str:
        """What to call it in a message: its class, and the name it is saved under."""
        name = self._block_document_name
        return f"{type(self).__name__} {name!r}" if name else type(self).__name__

    def _own_secrets(self) -> Iterable[str]:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr | Secret):
                plain = value.get_secret_value()
                yield from (str(item) for item in plain.values()) if isinstance(plain, dict) else (plain,)

    def _described(self, token: Token | None) -> CredentialCheck:
        scope = token.attributes.get("scope", "") if token else ""
        return CredentialCheck(
            kind=self.kind,
            name=self._block_document_name,
            expires_at=datetime.fromtimestamp(token.expires_at, UTC) if token else None,
            scopes=tuple(scope.split()),
            host=token.attributes.get("host") if token else None,
            allowed_hosts=tuple(self.allowed_hosts),
        )


class TokenCredential(Credential, ABC):
    """A credential whose proof is a bearer token that somebody, perhaps itself, mints; everybody shares it."""

    @abstractmethod
    def _mint(self) -> Token:
        """A new token. Runs in one thread of one process at a time; may take as long as a token request may.

        Raises:
            CredentialError: There is none to be had; says which step failed, and how.
        """

    def _rejects(self, response: httpx.Response) -> bool:
        """Whether an answer says that the token is not accepted (any more)."""
        return response.status_code == 401

    def _prove(self, request: httpx.Request) -> None:
        self._prove_with(request, self._token().token)

    def _prove_with(self, request: httpx.Request, token: Token) -> None:
        request.headers["Authorization"] = f"Bearer {token.value}"
        was_sent(request, token.value)

    def auth(self) -> httpx.Auth:
        return TokenAuth(self)

    def check(self) -> CredentialCheck:
        return self._described(self._token().token)

    async def acheck(self) -> CredentialCheck:
        return self._described((await self._atoken()).token)

    def invalidate(self) -> None:
        shared_cache().forget(self._seal())

    def _token(self, rejected: Token | None = None) -> Lookup:
        return shared_cache().get(self._seal(), self._mint, rejected=rejected)

    async def _atoken(self, rejected: Token | None = None) -> Lookup:
        return await shared_cache().aget(self._seal(), self._mint, rejected=rejected)

    def _seal(self) -> Seal:
        # Every field but the destinations: two credentials that differ in anything else get tokens of their own.
        values = map(self.__dict__.__getitem__, _sealed_fields(type(self)))
        return seal_for(tuple([value if type(value) in _SCALARS else _plain(value) for value in values]))


_SCALARS = frozenset({str, int, bool, type(None)})
_SECRETS = (SecretStr, Secret)
_CONTAINERS = (dict, list)


@cache
def _sealed_fields(kind: type[Credential]) -> tuple[str, ...]:
    return tuple(name for name in kind.model_fields if name != "allowed_hosts")


def _is_printable(text: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("may not contain a line break or another control character; was it pasted with one?")
    return text


def _is_printable_secret(secret: SecretStr) -> SecretStr:
    _is_printable(secret.get_secret_value())
    return secret


Printable = Annotated[str, AfterValidator(_is_printable)]
"""Text in one line: what is pasted into a form easily brings a line break along."""

PrintableSecret = Annotated[SecretStr, AfterValidator(_is_printable_secret)]
"""The same for a secret."""


def now() -> float:
    """Seconds since the epoch, on the clock that all hosts share."""
    return time.time()


def _without_input(error: ValidationError) -> ValidationError:
    """The same error without the input: its text hides that, but a flow run's persisted failure is a pickle."""
    lines: list[InitErrorDetails] = [
        {"type": PydanticCustomError(line["type"], line["msg"]), "loc": line["loc"], "input": None}
        for line in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return ValidationError.from_exception_data(error.title, lines, hide_input=True)


_MASKED = (
    "a secret consists of asterisks: Prefect masked it on the way here. Give the credential as its slug, or as "
    '{"$ref": {"block_document_slug": "TYPE/NAME"}}'
)


def _is_mask(secret: str) -> bool:
    return len(secret) >= 8 and not secret.strip("*")


def _plain(value: Any) -> str | int | float | None:
    if isinstance(value, _SECRETS):
        value = value.get_secret_value()
    if isinstance(value, _CONTAINERS):
        return json.dumps(value, sort_keys=True) if value else ""
    return value  # type: ignore[no-any-return]  # fields are scalars, secrets and JSON, nothing else


def _parts(secret: str) -> Iterable[str]:
    """A secret, and the lines of one that is a PEM: a part of a key is as good as the key."""
    yield secret
    if "-----BEGIN" in secret:
        yield from (line for line in secret.split() if len(line) > 16 and not line.startswith("-----"))
