"""Asking a provider for a token (RFC 6749, sections 4.4 and 5), and telling what went wrong when it gives none."""

from __future__ import annotations

import base64
import json
import math
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote_plus, urlencode

import httpx

from prefect_atomic.errors import CredentialError
from prefect_atomic.settings import settings
from prefect_atomic.transport import Outgoing, outgoing
from prefect_atomic.transport.clients import pooled_client
from prefect_atomic.transport.logs import hidden_queries, hide_in_logs
from prefect_atomic.transport.redaction import excerpt, redact_url, scrub
from prefect_atomic.transport.retry import TRANSIENT, is_tls_refusal, retry_after

_MAX_ANSWER_BYTES = 1024 * 1024

Parameters = list[tuple[str, str]]


def basic(client_id: str, client_secret: str) -> str:
    """What authenticates a client by HTTP Basic: the value of `Authorization`."""
    # Both are form-encoded first (RFC 6749, section 2.3.1), or a colon in the id would end it.
    pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def form_post(url: str, parameters: Parameters, *, headers: Mapping[str, str] | None = None) -> Outgoing:
    """A POST with the parameters as a form; order and duplicates are kept."""
    return outgoing(
        "POST",
        url,
        content=urlencode(parameters).encode(),
        headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json", **(headers or {})},
    )


class TokenStep:
    """One request on the way to a token.

    Args:
        who: The credential, as messages name it.
        what: The step, as messages name it, such as `the token request`.
        secrets: What no message may hold.
        deadline: On the monotonic clock; all steps of a token share one.
    """

    def __init__(self, who: str, what: str, secrets: Iterable[str], deadline: float) -> None:
        self._who = who
        self._what = what
        self._secrets = tuple(secrets)
        self._deadline = deadline
        self.where = ""
        """Where it is asked for, as messages name it."""

    def ask(self, request: Outgoing) -> dict[str, Any]:
        """Sends the request and returns the JSON object that came back.

        Raises:
            CredentialError: Anything else came back, or nothing; says what, without a secret.
        """
        hide_in_logs(self._secrets)
        self.where = redact_url(request.url)
        try:
            with hidden_queries():
                response, content = self._exchange(request)
        except httpx.HTTPError as error:
            raise self._unanswered(error) from None  # the cause may quote the URL, and secrets may stand in it
        if not response.is_success:
            raise self._refused(response, content)
        return self._object(response, content)

    def read_token(self, answer: Mapping[str, Any], field: str = "access_token") -> str:
        """The token in an answer.

        Raises:
            CredentialError: There is none, or it is of a kind that this credential cannot use.
        """
        token = answer.get(field)
        if not isinstance(token, str) or not token:
            fields = excerpt(", ".join(sorted(answer)).encode("utf-8", "replace"), self._secrets)
            said = self._complaint(answer) or f" it has {fields or 'no fields at all'}"
            raise self.error(f"answered without an {field};{said}")
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise self.error(f"answered with an {field} that no header can carry")
        kind = answer.get("token_type", "Bearer")
        if not isinstance(kind, str) or kind.lower() != "bearer":
            raise self.error(f"answered with a token_type of {str(kind)[:40]!r}, and only Bearer can be used")
        return token

    def error(self, what: str, *, transient: bool = False, retry_after: float | None = None) -> CredentialError:
        text = f"{self._who}: {self._what} at {self.where} {what}."
        return CredentialError(scrub(text, self._secrets), transient=transient, retry_after=retry_after)

    def _exchange(self, request: Outgoing) -> tuple[httpx.Response, bytes]:
        built = request.build()
        built.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), self._left())
        # Not followed: a redirect would carry the secret to wherever it leads.
        response = pooled_client().send(built, auth=None, stream=True, follow_redirects=False)
        try:
            content = bytearray()
            for chunk in response.iter_bytes():
                content += chunk
                self._left()  # an answer that drips would otherwise outlast every timeout
                if len(content) > _MAX_ANSWER_BYTES:
                    raise httpx.ReadError("the answer is longer than any token")
            return response, bytes(content)
        finally:
            response.close()

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise httpx.ReadTimeout(f"no token within {settings().token_request_timeout:g} seconds")
        return left

    def _unanswered(self, error: httpx.HTTPError) -> CredentialError:
        if is_tls_refusal(error):
            return self.error(f"failed, as the server's certificate is not trusted: {error}")
        what = "got no answer in time" if isinstance(error, httpx.TimeoutException) else "failed"
        return self.error(f"{what}: {str(error) or type(error).__name__}", transient=True)

    def _refused(self, response: httpx.Response, content: bytes) -> CredentialError:
        what = f"answered {response.status_code}"
        if response.has_redirect_location:
            # Masked first: a secret that goes through an equals sign would be cut in two.
            location = redact_url(scrub(response.headers["location"], self._secrets))
            what += f", a redirect to {location}; enter that URL if it is right"
        else:
            what += self._reason(content)
        return self.error(
            what.rstrip("."),
            transient=response.status_code in TRANSIENT or response.status_code >= 500,
            retry_after=retry_after(response.headers),
        )

    def _reason(self, content: bytes) -> str:
        answer = _parsed(content)
        if answer is not None and (complaint := self._complaint(answer)):
            return complaint
        shown = excerpt(content, self._secrets)
        return f": {shown}" if shown else " and said no more"

    def _complaint(self, answer: Mapping[str, Any]) -> str:
        """What an answer says is wrong (RFC 6749, section 5.2); some say it with a status of 200."""
        if not isinstance(answer.get("error"), str):
            return ""
        description = answer.get("error_description") or answer.get("message") or ""
        reason = answer["error"] + (f": {description}" if description else "")
        return " " + excerpt(reason.encode("utf-8", "replace"), self._secrets, length=300)

    def _object(self, response: httpx.Response, content: bytes) -> dict[str, Any]:
        answer = _parsed(content)
        if answer is not None:
            return answer
        kind = response.headers.get("content-type", "").partition(";")[0] or "something without a content type"
        what = "nothing" if not content else kind
        raise self.error(f"answered {response.status_code} with {what} where JSON was expected")


def _parsed(content: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def expires_in(answer: Mapping[str, Any]) -> float | None:
    """How long a token lives, in seconds; None where the provider does not say. Some say it as a string."""
    try:
        seconds = float(answer.get("expires_in", ""))
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) else None


def deadline() -> float:
    """When a token request that starts now has to be through, on the monotonic clock."""
    return time.monotonic() + settings().token_request_timeout
