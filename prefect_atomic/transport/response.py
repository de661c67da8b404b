"""What comes back: the answer without the request, and so without anything secret."""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer


class Headers(Mapping[str, str]):
    """Header fields by name, in any case. A field that came several times reads as one, joined with commas."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: Any = ()) -> None:
        self.pairs: tuple[tuple[str, str], ...] = tuple((str(name), str(value)) for name, value in pairs)

    def __getitem__(self, name: str) -> str:
        if values := self.get_list(name):
            return ", ".join(values)
        raise KeyError(name)

    def get_list(self, name: str) -> list[str]:
        """Every value of a field, in order; `Set-Cookie` cannot be joined."""
        name = name.lower()
        return [value for key, value in self.pairs if key.lower() == name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key.lower() for key, _ in self.pairs))

    def __len__(self) -> int:
        return len({key.lower() for key, _ in self.pairs})

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.get_list(name))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self.pairs == other.pairs

    def __hash__(self) -> int:
        return hash(self.pairs)

    def __repr__(self) -> str:
        return f"Headers({list(self.pairs)!r})"


def _as_headers(value: Any) -> Headers:
    if isinstance(value, Headers):
        return value
    return Headers(value.items() if isinstance(value, Mapping) else value)


def _as_bytes(value: Any) -> bytes:
    return base64.b64decode(value) if isinstance(value, str) else bytes(value)


class Response(BaseModel):
    """An answer: small, immutable, and fit to be a task's result. It holds no request, and no secret that was sent.

    Attributes:
        status_code: The HTTP status.
        headers: The header fields.
        content: The body, decoded from its content encoding.
        url: Where the answer came from, with the values of the query masked.
        elapsed: Seconds from the first attempt to the end of the last, waits included.
        attempts: How often the request was sent.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    status_code: int
    headers: Annotated[
        Headers, BeforeValidator(_as_headers), PlainSerializer(lambda headers: headers.pairs, when_used="json")
    ]
    content: Annotated[
        bytes,
        BeforeValidator(_as_bytes),
        PlainSerializer(lambda content: base64.b64encode(content).decode(), when_used="json"),
    ]
    url: str
    elapsed: float
    attempts: int

    @property
    def text(self) -> str:
        """The body as text, in the charset it declares, or UTF-8; what does not decode is replaced."""
        charset = _charset(self.headers.get("content-type", ""))
        try:
            return self.content.decode(charset, "replace")
        except (LookupError, ValueError):  # no such charset, or one that is not for reading, such as `idna`
            return self.content.decode("utf-8-sig", "replace")

    def json(self) -> Any:  # type: ignore[override]
        """The body as JSON.

        Raises:
            ValueError: It is not JSON; the message says what it claims to be.
        """
        try:
            return json.loads(self.content)
        except ValueError as error:
            kind = self.headers.get("content-type", "no content type")
            raise ValueError(f"The answer of {self.url} ({self.status_code}, {kind}) is not JSON: {error}") from None

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300

    def __repr__(self) -> str:
        return f"<Response {self.status_code}, {len(self.content)} bytes from {self.url}>"

    __str__ = __repr__


def _charset(content_type: str) -> str:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip("\"'").lower()
            return "utf-8-sig" if charset in ("", "utf-8", "utf8") else charset
    return "utf-8-sig"  # a byte order mark is no part of the text
