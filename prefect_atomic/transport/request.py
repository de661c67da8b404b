"""What is asked for, checked before anything is sent, and built anew for every attempt and every hop.

The path and query that the caller wrote are what is sent. httpx would fold `.` and `..` away, which are legal in an S3
key, and would drop the URL's query wherever `params` is given.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import TIMEOUT_MAX
from typing import Any, BinaryIO, TypeAlias
from urllib.parse import quote

import httpx

from prefect_atomic.errors import RequestError
from prefect_atomic.transport.hosts import can_be_asked

Scalar: TypeAlias = str | int | float | bool | None
Params: TypeAlias = Mapping[str, Scalar | list[Scalar] | tuple[Scalar, ...]] | Sequence[tuple[str, Scalar]]
HeaderFields: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]]
Content: TypeAlias = str | bytes | BinaryIO | Iterable[bytes] | AsyncIterable[bytes]
Timeout: TypeAlias = float | httpx.Timeout | None

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""A method or a header name (RFC 9110, section 5.6.2)."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?", re.DOTALL)
_UNSENDABLE_IN_PATH = re.compile(rb"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9\-._~!$&'()*+,;=:@/%]")
_UNSENDABLE_IN_QUERY = re.compile(rb"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9\-._~!$&'()*+,;=:@/?%]")
_SENDABLE = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@/?]*")
_DEFAULT_HEADERS = (("accept", "*/*"), ("accept-encoding", "gzip, deflate"), ("user-agent", "prefect-atomic"))
_OF_A_BODY = frozenset({"content-length", "content-type", "content-encoding", "transfer-encoding"})

_LONGEST_TARGET = 60_000
"""httpx refuses URLs of more than 65536 characters."""

_FILE_CHUNK = 256 * 1024

REPLAYABLE = "prefect_atomic.replayable"
"""The extension that says whether the body can be sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A request in the making. `build()` gives a fresh `httpx.Request` each time, with no proof on it yet."""

    method: str
    url: httpx.URL
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    stream: httpx.SyncByteStream | httpx.AsyncByteStream
    is_replayable: bool
    timeout: Mapping[str, float | None]

    def build(self) -> httpx.Request:
        extensions: dict[str, Any] = {"timeout": self.timeout, REPLAYABLE: self.is_replayable}
        request = httpx.Request(
            self.method, self.url, headers=list(self.headers), stream=self.stream, extensions=extensions
        )
        set_target(request, self.target)
        return request


def outgoing(
    method: str,
    url: str,
    *,
    params: Params | None = None,
    headers: HeaderFields | None = None,
    json: Any = None,
    data: Mapping[str, Any] | None = None,
    content: Content | None = None,
    files: Any = None,
    timeout: Timeout = 30.0,
) -> Outgoing:
    """Checks the arguments of a request and encodes its body.

    Raises:
        RequestError: They make no request; says which argument, and how to mend it.
    """
    if not _is_method(method):
        raise RequestError(f"method: {str(method)[:16]!r} is no method to send; write one word such as GET or POST.")
    location, target = _located(url, params)
    given = [name for name, value in (("json", json), ("data", data), ("content", content)) if value is not None]
    if len(given) > 1 or (files and given not in ([], ["data"])):
        raise RequestError(
            f"{' and '.join(given + ['files'] * bool(files))}: a request has one body; give only one of them "
            "(`data` and `files` together make a multipart form)."
        )
    if data is not None:
        _refuse_unless_form(data)
    pairs = _checked(headers)
    named = {name.lower() for name, _ in pairs}
    pairs += [(name, value) for name, value in _DEFAULT_HEADERS if name not in named]
    file = _file(content)
    if file:
        pairs = [(name, value) for name, value in pairs if name.lower() != "content-length"]
        pairs.append(("Content-Length", str(file.length)))
        content = None
    try:
        request = httpx.Request(
            method.upper(), location, headers=pairs, json=json, data=data, content=content, files=files
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise RequestError(f"{given[0] if given else 'files'}: cannot be sent: {error}") from None
    if isinstance(request.stream, httpx.ByteStream) and "content-length" in named:
        _refuse_wrong_length(request)
    return Outgoing(
        method=request.method,
        url=location,
        target=target,
        headers=tuple(request.headers.raw),
        stream=file or request.stream,
        is_replayable=bool(file) or isinstance(request.stream, httpx.ByteStream) or bool(files and _can_rewind(files)),
        timeout=_timeouts(timeout),
    )


class _FileStream(httpx.SyncByteStream):
    """What is left of an open file, read anew for every attempt."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start = file.tell()
        self.length = file.seek(0, 2) - self._start

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(self._start)
        left = self.length  # what is appended meanwhile was not declared
        while left and (chunk := self._file.read(min(_FILE_CHUNK, left))):
            left -= len(chunk)
            yield chunk


def _file(content: object) -> _FileStream | None:
    """The stream of a file that can be rewound; None for any other content, such as a pipe."""
    if not (hasattr(content, "read") and hasattr(content, "seekable")) or hasattr(content, "__aiter__"):
        return None
    try:
        if hasattr(content, "encoding") or not content.readable():  # type: ignore[attr-defined]
            raise RequestError("content: is a file of text, or one to write; open it as open(path, 'rb').")
        return _FileStream(content) if content.seekable() else None  # type: ignore[arg-type]
    except (ValueError, OSError, AttributeError) as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError(f"content: is a file that cannot be read: {error}.") from None


def redirected(previous: Outgoing, method: str, url: httpx.URL, headers: Iterable[tuple[bytes, bytes]]) -> Outgoing:
    """The request for the next hop. Without a body where the redirect made a GET of it."""
    keeps_body = method == previous.method
    return Outgoing(
        method=method,
        url=url,
        target=url.raw_path,
        headers=tuple(pair for pair in headers if keeps_body or pair[0].lower().decode() not in _OF_A_BODY),
        stream=previous.stream if keeps_body else httpx.ByteStream(b""),
        is_replayable=previous.is_replayable or not keeps_body,
        timeout=previous.timeout,
    )


def target_of(request: httpx.Request) -> bytes:
    """The path and query as they go over the wire."""
    target: bytes = request.extensions.get("target") or request.url.raw_path
    return target


def set_target(request: httpx.Request, target: bytes) -> None:
    """Has exactly these bytes sent as path and query, whatever httpx makes of them in its URL."""
    if request.url.raw_path != target:
        request.url = request.url.copy_with(raw_path=target)
    if request.url.raw_path == target:
        request.extensions.pop("target", None)
    else:
        request.extensions["target"] = target


def url_of(request: httpx.Request) -> str:
    """The URL as it was sent, for people to read; not yet redacted."""
    return f"{request.url.scheme}://{request.url.netloc.decode()}{target_of(request).decode()}"


def is_replayable(request: httpx.Request) -> bool:
    """Whether the body can be sent a second time."""
    return bool(request.extensions.get(REPLAYABLE, isinstance(request.stream, httpx.ByteStream)))


def _is_method(method: object) -> bool:
    # CONNECT is for proxies: what follows it is no HTTP.
    return isinstance(method, str) and bool(TOKEN.fullmatch(method)) and method.upper() != "CONNECT"


def _located(url: object, params: Params | None) -> tuple[httpx.URL, bytes]:
    """The URL as httpx reads it, and the path and query that are sent."""
    text = str(url)
    if text != text.strip() or any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise RequestError("url: begins or ends with a space, or holds a line break or another control character.")
    parts = _URL.fullmatch(text)
    if parts is None or parts[1].lower() not in ("http", "https"):
        raise RequestError("url: must begin with https:// or http://, such as https://api.example.com/contacts.")
    scheme, authority, path, query = parts[1], parts[2], parts[3] or "/", parts[4] or ""
    if "@" in authority:
        raise RequestError("url: holds a user name or password; save them in a BasicAuth credential instead.")
    target = _escaped(_UNSENDABLE_IN_PATH, path) + (b"?" + _escaped(_UNSENDABLE_IN_QUERY, query[1:]) if query else b"")
    if params:
        target += (b"&" if query else b"?") + _encoded(params)
    if len(target) > _LONGEST_TARGET:
        raise RequestError(f"url: path and query are longer than {_LONGEST_TARGET} bytes; send them as content.")
    try:
        location = httpx.URL(f"{scheme}://{authority}{target.decode()}")
    except (httpx.InvalidURL, UnicodeError):
        location = httpx.URL()
    if not can_be_asked(location):
        raise RequestError("url: has no valid host, or no valid port, between :// and the path.")
    return location, target


def _escaped(unsendable: re.Pattern[bytes], text: str) -> bytes:
    if text.isascii() and _SENDABLE.fullmatch(text):
        return text.encode()
    try:
        return unsendable.sub(lambda match: b"%%%02X" % match[0][0], text.encode())
    except UnicodeEncodeError:
        raise RequestError("url: holds a half of a character (a lone surrogate).") from None


def _encoded(params: Params) -> bytes:
    pairs: list[tuple[str, object]] = []
    for name, value in _as_pairs("params", params):
        pairs.extend((name, item) for item in (value if isinstance(value, list | tuple) else (value,)))
    return "&".join(f"{_query_text(name)}={_query_text(value, of=name)}" for name, value in pairs).encode()


def _query_text(value: object, of: object = "a name") -> str:
    _refuse_unless_scalar("params", of, value)
    if isinstance(value, bool):
        value = "true" if value else "false"
    try:
        return quote("" if value is None else str(value), safe="")
    except UnicodeEncodeError:
        raise RequestError(f"params: {of} holds a half of a character (a lone surrogate).") from None


def _refuse_unless_scalar(argument: str, name: object, value: object) -> None:
    # A SecretStr would be sent as asterisks, and bytes as b'...'.
    if value is not None and not isinstance(value, str | int | float):
        raise RequestError(f"{argument}: {name} is neither text nor a number but {type(value).__name__}.")


def _refuse_unless_form(data: object) -> None:
    if not isinstance(data, Mapping):
        raise RequestError("data: takes the fields of a form, as a mapping; give text or bytes as `content`.")
    for name, value in data.items():
        for item in value if isinstance(value, list | tuple) else (value,):
            _refuse_unless_scalar("data", name, item)


def _refuse_wrong_length(request: httpx.Request) -> None:
    length = len(request.read())
    if request.headers["content-length"] != str(length):
        raise RequestError(f"headers: Content-Length is not the {length} bytes that the body has; leave it out.")


def _as_pairs(argument: str, fields: Any) -> list[tuple[Any, Any]]:
    try:
        return [(name, value) for name, value in (fields.items() if isinstance(fields, Mapping) else fields)]
    except (TypeError, ValueError):
        raise RequestError(f"{argument}: takes a mapping, or a list of pairs of a name and a value.") from None


def _checked(headers: HeaderFields | None) -> list[tuple[str, str]]:
    pairs = _as_pairs("headers", headers) if headers else []
    for name, value in pairs:
        if fault := header_fault(name, value):
            raise RequestError(f"headers: {fault}")
    return pairs


def header_fault(name: object, value: object) -> str | None:
    """What is wrong with a header field, in words that hold no part of its value; None if nothing is."""
    if not isinstance(name, str) or not TOKEN.fullmatch(name):
        return "a name holds something other than letters, digits and -; a name has no space and no colon."
    if not isinstance(value, str):
        return f"the value of {name} is not text but {type(value).__name__}; write it in quotes."
    if not value.isascii() or not (value.isprintable() or value.replace("\t", "").isprintable()):
        return f"the value of {name} holds a line break or another character that a header cannot carry."
    if value != value.strip():
        return f"the value of {name} begins or ends with a space; was it pasted with one?"
    return None


def _can_rewind(files: Any) -> bool:
    can_rewind = True
    for _, entry in _as_pairs("files", files):
        body = entry[1] if isinstance(entry, tuple) else entry
        if not isinstance(body, str | bytes):
            if not hasattr(body, "read"):
                raise RequestError("files: takes text, bytes, open files, or tuples as httpx takes them.")
            can_rewind = can_rewind and hasattr(body, "seekable") and body.seekable()
    return can_rewind


def _timeouts(timeout: object) -> Mapping[str, float | None]:
    timeouts: Mapping[str, Any] = (
        timeout.as_dict()
        if isinstance(timeout, httpx.Timeout)
        else dict.fromkeys(("connect", "read", "write", "pool"), timeout)
    )
    for seconds in timeouts.values():
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if seconds is not None and not (is_number and 0 < seconds <= TIMEOUT_MAX):
            raise RequestError(
                "timeout: is a number of seconds above zero, an httpx.Timeout, or None to wait for ever."
            )
    return timeouts
