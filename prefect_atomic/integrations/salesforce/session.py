"""What simple-salesforce sends its requests with: a session id that is read anew each time, and renewed once.

simple-salesforce copies its session id into headers, and renews it in some places without an end, in others not at
all. Here it never sees a rejection that a new session would mend: that happens below it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import httpx
import requests

from prefect_atomic.errors import DestinationError
from prefect_atomic.integrations.salesforce import usage
from prefect_atomic.transport.logs import hide_in_logs
from prefect_atomic.transport.redaction import redact_url, scrub, scrub_content

if TYPE_CHECKING:
    from prefect_atomic.integrations.salesforce.block import Salesforce
    from prefect_atomic.tokens import Token

_PROOFS = ("Authorization", "X-SFDC-Session")


class TimedSession(requests.Session):
    """A session whose requests end: requests waits for ever, and nobody above it says for how long."""

    def __init__(self, timeout: float) -> None:
        super().__init__()
        self._timeout = timeout
        # As all other requests of this package: httpx reads the same variable.
        self.verify = os.environ.get("SSL_CERT_FILE") or self.verify

    def request(self, method: str, url: str, *args: Any, **options: Any) -> requests.Response:  # type: ignore[override]
        """As `requests.Session.request`, with a time-out and without redirects: they would carry the proof away."""
        options["allow_redirects"] = False
        if options.get("timeout") is None:
            options["timeout"] = self._timeout
        return super().request(method, url, *args, **options)


class SharedSession(TimedSession):
    """Proves each request with the block's shared session, wherever that is by now."""

    def __init__(self, block: Salesforce, host: str) -> None:
        super().__init__(block.timeout)
        self._block = block
        self._hosts = {host}

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Sends a request that simple-salesforce has made."""
        lookup = self._block._token()
        answer = self._sent(request, lookup.token, options)
        if not lookup.minted and self._is_rejected(answer) and isinstance(request.body, bytes | str | None):
            answer.close()
            answer = self._sent(request, self._block._token(rejected=lookup.token).token, options)
        for name in _PROOFS:  # the request hangs on the answer, and that on errors and results
            answer.request.headers.pop(name, None)
        return answer

    def _sent(self, request: requests.PreparedRequest, token: Token, options: dict[str, Any]) -> requests.Response:
        base, host = token.attributes["base_url"], token.attributes["host"]
        self._hosts.add(host)
        url = httpx.URL(request.url or "")
        if url.netloc.decode() not in self._hosts:
            raise DestinationError(f"{self._block.title()}: this client is for {host}, not for {url.host}.")
        # simple-salesforce always says https, and keeps the host that it began with.
        request.url = f"{base}{url.raw_path.decode()}"
        self._block.refuse_destination(httpx.URL(request.url))
        usage.refuse_beyond(host, self._block.stop_at_usage, self._block.title())
        secrets = (token.value, *self._block.known_secrets())
        hide_in_logs(secrets)
        if "X-SFDC-Session" in request.headers:
            request.headers["X-SFDC-Session"] = token.value
            request.headers.pop("Authorization", None)  # what requests found in a .netrc
        else:
            request.headers["Authorization"] = f"Bearer {token.value}"
        failure: requests.RequestException | None = None
        try:
            answer = super().send(request, **options)
        except requests.RequestException as error:
            told = scrub(str(error).partition("with url:")[0], secrets)
            failure = type(error)(f"{request.method} {redact_url(request.url)}: {told}")
        if failure is not None:  # out here, or its context would be the one before, which holds request and token
            raise failure
        usage.note(host, answer.headers)
        for name, value in list(answer.headers.items()):
            answer.headers[name] = scrub(value, secrets)
        if answer.status_code >= 300:
            answer.url = redact_url(answer.url)  # it stands in the error, and a query in it
        if answer.status_code >= 300 or not options.get("stream"):
            answer._content = scrub_content(answer.content, secrets)
        return answer

    def _is_rejected(self, answer: requests.Response) -> bool:
        # Its content was read in `_sent`: a rejection is an answer of 400 or above.
        return self._block.is_rejection(answer.status_code, answer.content if answer.status_code == 400 else b"")
