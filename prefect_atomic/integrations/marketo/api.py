"""Calls to an instance: sent, waited with where Marketo asks for it, and told in its own kinds of errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal
from urllib.parse import quote, urlencode

from prefect_atomic.errors import (
    AtomicError,
    CredentialError,
    MarketoError,
    MarketoInputError,
    RequestError,
    ResponseError,
    TransportError,
)
from prefect_atomic.integrations.marketo.answers import (
    NOT_DONE,
    TOKEN,
    Answer,
    Reason,
    meaning,
    object_of,
    read,
    reasons_in,
    refusal,
)
from prefect_atomic.transport import Policy, Response, Retry, Sink, outgoing, send
from prefect_atomic.transport.logs import hidden_answers
from prefect_atomic.transport.redaction import scrub_content
from prefect_atomic.transport.retry import sleep

PATIENT = Retry(attempts=8, backoff=2.0, max_wait=30.0)
"""A window of 20 seconds is over by then several times."""

MOST = 300
"""Records, or values, of a call."""

MOST_BYTES = 1_000_000
"""Of the body of a call: Marketo takes 1 MB."""

LONGEST_URI = 7_500
"""Bytes of a path and its query: Marketo takes 8 KB."""

_TIMEOUT = 120.0
"""Seconds to wait for each part of an answer; most calls end within 90 at Marketo."""
_ONCE = Retry(attempts=1)
_TOO_MANY = 429
_TOKENS = 3
"""Attempts with a new token: one that has hardly any life left may end on the way."""

Base = Literal["rest", "bulk"]
Params = Mapping[str, str | int | bool | Sequence[str | int] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """An instance, ready to be called.

    Attributes:
        proof: What proves who calls, and keeps the calls within the limits.
        rest: Where the REST API is, such as `https://123-abc-456.mktorest.com/rest`.
        bulk: Where the bulk API is.
        at_once: The most calls at the same time of one method.
    """

    proof: Any
    rest: str
    bulk: str
    at_once: int = 1

    def call(
        self,
        method: str,
        *path: str | int,
        base: Base = "rest",
        params: Params | None = None,
        json: Any = None,
        content: bytes | None = None,
        files: Mapping[str, tuple[str, BinaryIO, str]] | None = None,
        repeatable: bool | None = None,
        retry: Retry = PATIENT,
        but: frozenset[str] = frozenset(),
        timeout: float = _TIMEOUT,
    ) -> Answer:
        """Makes a call. A query that is too long for a URL goes into the body (`_method=GET`).

        Args:
            method: The HTTP method.
            path: The parts of the path behind `v1`, each of which may hold any character; `.json` is added.
            base: Which of the two APIs.
            params: The query; what is None is left out.
            json: The body.
            content: The body, as JSON that is ready to be sent.
            files: The parts of a form, with their name, content and type.
            repeatable: Whether doing it twice does no harm; None = as the method says.
            retry: How often, and how long, to wait where Marketo is busy, or does not answer.
            but: Codes that are not waited for, as the caller does.
            timeout: Seconds to wait for each part of the answer.

        Raises:
            MarketoError: Marketo refused; its kind says what to do about it.
            ResponseError: Something else answered.
            CredentialError, DestinationError, TransportError: There is no answer.
        """
        url = self._url(base, path)
        query = [(name, _written(value)) for name, value in (params or {}).items() if value is not None]
        repeatable = method in ("GET", "DELETE") if repeatable is None else repeatable
        headers = {"Accept": "application/json"}
        if method == "GET" and json is None and len(url) + len(urlencode(query, doseq=True)) > LONGEST_URI:
            method, url, content = "POST", f"{url}?_method=GET", urlencode(query, doseq=True).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            query = []
        elif content is not None:
            headers["Content-Type"] = "application/json"
        may_be_second, tokens = False, 0
        for attempt in range(1, retry.attempts + 1):
            request = outgoing(
                method, url, params=query, headers=headers, json=json, content=content, files=files, timeout=timeout
            )
            try:
                # One attempt: what surely was not done is judged here, and by no status that a proxy may have made up.
                response = self._send(request, Policy(retry=_ONCE))
                found = object_of(response)
                reasons = [] if found["success"] else reasons_in(found, "errors")
                if reasons and reasons[0].code in TOKEN:
                    tokens += 1
                if (
                    attempt == retry.attempts
                    or (reasons and reasons[0].code in but)
                    or not self._may_repeat(reasons, tokens, repeatable=repeatable)
                ):
                    return read(response, may_be_second=may_be_second)
                may_be_second |= reasons[0].code not in NOT_DONE
                seconds = _wait(retry, attempt, reasons[0].code)
            except AtomicError as error:
                error._may_be_done = may_be_second
                not_done = was_not_done(error)
                if attempt == retry.attempts or not error.transient or not (repeatable or not_done):
                    raise
                if isinstance(error, MarketoError | CredentialError):  # it was judged above, or is of no single call
                    raise
                may_be_second |= not not_done
                seconds = retry.wait(attempt, error.retry_after)
            sleep(seconds)
        raise AssertionError("the last attempt returns, or raises")

    def download(
        self, *path: str | int, sink: Sink, first: int = 0, retry: Retry = PATIENT, timeout: float = _TIMEOUT
    ) -> Response:
        """Writes a file of the bulk API into a sink.

        Args:
            path: The parts of its path behind `v1`.
            sink: Where to.
            first: The byte to begin with; Marketo may begin with 0 all the same, and says so with a status of 200.
            retry: How often to begin again where a connection is cut.
            timeout: Seconds to wait for each part of the answer.

        Raises:
            MarketoError: Marketo refused.
            ResponseError: There is no such file, or not yet.
        """
        # Parts of a file that is packed on the way could not be put together.
        headers = {"Accept": "text/csv, */*", "Accept-Encoding": "identity"}
        tokens = 0
        if first:
            headers["Range"] = f"bytes={first}-"
        for attempt in range(1, PATIENT.attempts + 1):
            request = outgoing("GET", self._url("bulk", path), headers=headers, timeout=timeout)
            start = sink.tell()
            policy = Policy(retry=retry, sink=sink, max_response_bytes=2**63, patience=None)
            response = self._send(request, policy)
            if "json" not in response.headers.get("content-type", ""):
                return response
            # A refusal, which is a 200 too, is in the sink now.
            response = self._refused(response, sink, start)
            reasons = reasons_in(object_of(response), "errors")
            tokens += bool(reasons and reasons[0].code in TOKEN)
            if attempt == PATIENT.attempts or not self._may_repeat(reasons, tokens, repeatable=True):
                break
            sleep(_wait(PATIENT, attempt, reasons[0].code))
        raise refusal(response, reasons)

    def _refused(self, response: Response, sink: Sink, start: int) -> Response:
        sink.seek(start)
        content = b""
        with suppress(AttributeError, OSError):
            content = sink.read(MOST_BYTES)  # type: ignore[attr-defined]  # a file that can be read too
        sink.seek(start)
        sink.truncate()
        return response.model_copy(update={"content": self._scrubbed(content)})

    def _send(self, request: Any, policy: Policy) -> Response:
        try:
            with hidden_answers():
                response = send(request, self.proof, policy)
        except ResponseError as error:
            status = error.response.status_code
            if status not in (413, 414):
                raise
            told = "is too large for a call" if status == 413 else "has too long a URL"
            refused = error.response
        else:
            content = self._scrubbed(response.content)
            return response if content == response.content else response.model_copy(update={"content": content})
        raise MarketoInputError(
            f"{refused.url} was refused with {status}, as it {told}.", code=f"HTTP {status}", response=refused
        )

    def _scrubbed(self, content: bytes) -> bytes:
        """Without those secrets, too, that this request did not send: texts of answers become those of outcomes."""
        return scrub_content(content, self.proof.known_secrets())

    def _may_repeat(self, reasons: list[Reason], tokens: int, *, repeatable: bool) -> bool:
        if not reasons:
            return False
        first = reasons[0]
        if first.code in TOKEN:
            self.proof.invalidate()
            return tokens < _TOKENS
        return meaning(first) == "busy" and (repeatable or first.code in NOT_DONE)

    def _url(self, base: Base, path: tuple[str | int, ...]) -> str:
        return "/".join((getattr(self, base), "v1", *(quote(str(part), safe="") for part in path))) + ".json"


def _wait(retry: Retry, attempt: int, code: str) -> float:
    return 1.0 if code in TOKEN else retry.wait(attempt, None)


def _written(value: Any) -> Any:
    """As Marketo's pages have it: texts are joined by commas, and ids are parameters of their own."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(value) if all(isinstance(each, str) for each in value) else list(value)
    return value


def never_arrived(error: TransportError) -> bool:
    """Whether a call surely did not reach Marketo."""
    return error.reason.startswith(("could not connect", "waited too long for a free connection"))


def was_not_done(error: AtomicError) -> bool:
    """Whether a failure shows that Marketo did nothing. (A 503 does not: something in between may have said it.)"""
    if isinstance(error, TransportError):
        return never_arrived(error)
    return isinstance(error, ResponseError) and error.response.status_code == _TOO_MANY


def check_id(argument: str, value: object) -> int:
    """An id of Marketo's.

    Raises:
        RequestError: It is none.
    """
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63:
        return value
    raise RequestError(f"{argument}: is an id of Marketo's, a whole number above zero.")


def check_name(argument: str, value: object, example: str) -> str:
    """A name that goes into a path or a query.

    Raises:
        RequestError: It cannot.
    """
    if isinstance(value, str) and value.strip() and value not in (".", "..") and value.isprintable():
        with suppress(UnicodeEncodeError):
            value.encode()
            return value
    raise RequestError(f"{argument}: is a name such as {example}, as text.")
