"""Requests to an org's REST API, by its version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect_atomic.errors import AtomicError, ResponseError
from prefect_atomic.integrations.salesforce import usage
from prefect_atomic.transport import MAX_RESPONSE_BYTES, Policy, Response, Retry, Sink, outgoing, send
from prefect_atomic.transport.logs import hidden_answers
from prefect_atomic.transport.redaction import scrub
from prefect_atomic.transport.request import Content

if TYPE_CHECKING:
    from prefect_atomic.integrations.salesforce.block import Salesforce

_LARGEST_FILE = 2 * 1024**3
_RETRY = Retry(attempts=4, backoff=1.0, max_wait=60.0)


class Org:
    """The org of a block.

    Args:
        block: Who asks; its token is read anew for every request.
    """

    def __init__(self, block: Salesforce) -> None:
        self._block = block

    def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Content | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
        retry: Retry = _RETRY,
        sink: Sink | None = None,
        is_exempt: bool = False,
    ) -> Response:
        """Asks the org.

        Args:
            method: The HTTP method.
            path: What follows on the API's version, such as `jobs/ingest`; or a whole path that an answer named.
            params: The query.
            body: The body.
            content_type: Its media type.
            headers: Further headers.
            repeatable: Whether doing it twice does no harm; None = as the method says.
            retry: When to send again.
            sink: The file that a 2xx answer is written to.
            is_exempt: Whether it is sent beyond `stop_at_usage` too, as it ends what was begun.

        Raises:
            QuotaError: `stop_at_usage` is reached.
            AtomicError: It could not be asked, or says no.
        """
        base = self._block._token().token.attributes["base_url"]
        host = base.partition("://")[2]
        if not is_exempt:
            usage.refuse_beyond(host, self._block.stop_at_usage, self._block.title())
        path = path if path.startswith("/") else f"/services/data/v{self._block.api_version}/{path}"
        request = outgoing(
            method,
            f"{base}{path}",
            params=params,
            headers={**(headers or {}), **({"Content-Type": content_type} if body is not None else {})},
            content=body,
            timeout=self._block.timeout,
        )
        most = MAX_RESPONSE_BYTES if sink is None else _LARGEST_FILE
        policy = Policy(retry=retry, repeatable=repeatable, sink=sink, max_response_bytes=most)
        try:
            with hidden_answers():
                response = send(request, self._block, policy)
        except ResponseError as error:
            usage.note(host, error.response.headers)
            raise
        usage.note(host, response.headers)
        return response

    def read(self, method: str, path: str, **options: Any) -> Any:
        """Asks, and returns the answer's JSON.

        Raises:
            ResponseError: It is none.
        """
        response = self.ask(method, path, **options)
        try:
            return response.json()
        except (ValueError, RecursionError):
            kind = response.headers.get("content-type", "no content type").partition(";")[0]
        raise ResponseError(
            f"{method} {response.url} answered {response.status_code} with {kind} where JSON was expected; is the "
            "domain the org's My Domain?",
            response=response,
        )

    def made(self, path: str, description: Mapping[str, Any], *, repeatable: bool | None = None) -> str:
        """Makes a job, and returns its id.

        Raises:
            AtomicError: It was not made, or the answer has no id.
        """
        answer = self.read("POST", path, body=as_json(description), repeatable=repeatable)
        job_id = answer.get("id") if isinstance(answer, dict) else None
        if not isinstance(job_id, str) or not job_id:
            raise AtomicError(f"{self._block.title()}: the answer to a POST of {path} has no id of a job.")
        return job_id

    def scrubbed(self, text: str) -> str:
        """A text of the org's without what it echoes of the block's secrets."""
        return scrub(text, (*self._block.known_secrets(), self._block._token().token.value))


def as_json(content: object) -> bytes:
    """A body of JSON."""
    return json.dumps(content, separators=(",", ":")).encode()


def said(error: ResponseError, org: Org) -> tuple[str | None, str, tuple[str, ...]]:
    """The code, the message and the fields of Salesforce's error: an array of objects, or an object."""
    try:
        answer = error.response.json()
        first = answer[0] if isinstance(answer, list) else answer
        fields = first.get("fields")
        return (
            str(first["errorCode"]),
            org.scrubbed(str(first.get("message") or "no reason was given")),
            tuple(map(str, fields)) if isinstance(fields, list) else (),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None, str(error), ()
