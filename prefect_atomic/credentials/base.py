"""The contract of a credential: a Prefect block that puts a proof on requests and gives its secrets to nobody else."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import httpx
from prefect.blocks.abstract import CredentialsBlock
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from prefect_atomic.credentials.auth import ProofAuth, TokenAuth, was_sent
from prefect_atomic.credentials.guarded_block import GuardedBlock, plain
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


class Credential(GuardedBlock, CredentialsBlock, ABC):
    """What all credentials have in common. A subclass says how it proves itself, in `_prove`."""

    if TYPE_CHECKING:  # declared by each class, after its own fields: forms show fields in this order
        kind: str
        allowed_hosts: list[str]

    _noun: ClassVar[str] = "a credential"

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

    _not_of_the_token: ClassVar[frozenset[str]] = frozenset({"allowed_hosts"})
    """Fields that do not change which token is minted. Whatever else differs, it is a token of its own."""

    @abstractmethod
    def _mint(self) -> Token:
        """A new token. Runs in one thread of one process at a time; may take as long as a token request may.

        Raises:
            CredentialError: There is none to be had; says which step failed, and how.
        """

    def _rejects(self, response: httpx.Response) -> bool:
        """Whether an answer says that the token is not accepted (any more)."""
        return response.status_code == 401

    def _is_judged_by_body(self, response: httpx.Response) -> bool:  # noqa: ARG002 - for those who look
        """Whether `_rejects` looks at the body of this answer, which is read before."""
        return False

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
        values = map(self.__dict__.__getitem__, _sealed_fields(type(self)))
        return seal_for(tuple([value if type(value) in _SCALARS else plain(value) for value in values]))


_SCALARS = frozenset({str, int, bool, type(None)})


@cache
def _sealed_fields(kind: type[TokenCredential]) -> tuple[str, ...]:
    return tuple(name for name in kind.model_fields if name not in kind._not_of_the_token)


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

OptionalSecret = Annotated[
    SecretStr | None, AfterValidator(lambda secret: _is_printable_secret(secret) if secret else secret)
]
"""The same for one that may be left out. Prefect masks what it stores of a union that has an annotation inside."""


def now() -> float:
    """Seconds since the epoch, on the clock that all hosts share."""
    return time.time()


def _parts(secret: str) -> Iterable[str]:
    """A secret, and the lines of one that is a PEM: a part of a key is as good as the key."""
    yield secret
    if "-----BEGIN" in secret:
        yield from (line for line in secret.split() if len(line) > 16 and not line.startswith("-----"))
