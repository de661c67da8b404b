"""The handle on a sandbox that runs in another process."""

import contextlib
import http.client
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import EllipsisType, TracebackType
from typing import IO, Any, Self
from urllib.parse import urlsplit

from prefect_atomic.sandbox.accounts import Accounts

START_SECONDS = 30.0
STOP_SECONDS = 5.0


class SandboxError(RuntimeError):
    """The sandbox did not start, is gone, or refused what it was told."""


class Sandbox:
    """The third parties on localhost.

    Example:
        Make the identity provider fail twice, and see how often it was asked:
        ```python
        from prefect_atomic.sandbox import Sandbox

        with Sandbox.start() as sandbox:
            sandbox.misbehave("/oauth/token", times=2, status=503)
            ...
            print(sandbox.calls()["POST /oauth/token"])
        ```
    """

    def __init__(self, url: str, *, process: "subprocess.Popen[bytes] | None" = None) -> None:
        self.url = url.rstrip("/")
        self._process = process

    @classmethod
    def start(cls, port: int = 0) -> Self:
        """Starts a sandbox in a process of its own, and waits until it answers.

        Args:
            port: the port on 127.0.0.1; 0 for any that is free.

        Returns:
            A handle to use as a context manager: leaving it stops the sandbox. It also stops when this process ends.

        Raises:
            SandboxError: if it does not answer within 30 seconds; the text has what it said.
        """
        # -P: a json.py in the folder where somebody tries this out is none of our business
        module = [sys.executable, "-P", "-m", "prefect_atomic.sandbox"]
        with tempfile.TemporaryFile() as complaints:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [*module, "--port", str(port), "--parent", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                start_new_session=True,  # Ctrl-C reaches the parent only, which may still want its sandbox
            )
            try:
                sandbox = cls(_announced_url(process, complaints), process=process)
                _ = sandbox.accounts  # proves that it answers
            except BaseException:
                _end(process)
                raise
        return sandbox

    @classmethod
    def connect(cls, url: str) -> Self:
        """A handle on a sandbox that somebody else runs; leaving it stops nothing."""
        sandbox = cls(url)
        _ = sandbox.accounts
        return sandbox

    def stop(self) -> None:
        """Stops the sandbox, if this handle started it."""
        if self._process is not None:
            _end(self._process)

    def wait(self) -> None:
        """Waits until the sandbox that this handle started has ended."""
        if self._process is not None:
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"Sandbox({self.url!r})"

    @cached_property
    def accounts(self) -> Accounts:
        """The accounts that the sandbox accepts, with their secrets."""
        return Accounts.from_json(self._ask("GET", "accounts"))

    def calls(self) -> dict[str, int]:
        """How often each path was called since the start or the last reset, as `{"POST /oauth/token": 3}`."""
        answer: dict[str, int] = self._ask("GET", "calls")
        return answer

    def misbehave(
        self,
        path: str,
        *,
        method: str | None = None,
        times: int | None = None,
        delay: float = 0.0,
        status: int | None = None,
        body: str | dict[str, Any] | list[Any] | None = None,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
        cut: bool = False,
        hang: bool = False,
        after: bool = False,
    ) -> None:
        """Makes a path misbehave; several faults for one path follow each other.

        Args:
            path: the fixed path, such as `/oauth/token` or `/verify/basic`.
            method: for calls with this method only; None for all.
            times: for how many calls; None until the next reset.
            delay: seconds to wait first; with nothing else, the usual service follows.
            status: answer this status instead.
            body: answer this body instead: text, or what becomes JSON. `{secret}` in it stands for what the caller
                sent as client_secret or, failing that, as the value of Authorization.
            content_type: of that body.
            headers: further headers of that answer.
            cut: close the connection without an answer.
            hang: never answer.
            after: the usual service runs first, so that what was asked for is done, and only its answer is lost.

        Raises:
            SandboxError: if there is no such path, or no such fault.
        """
        fault = {
            "path": path,
            "method": method,
            "times": times,
            "delay": delay,
            "status": status,
            "body": body,
            "content_type": content_type,
            "headers": headers,
            "cut": cut,
            "hang": hang,
            "after": after,
        }
        self._ask("PUT", "faults", fault)

    def tokens_live(self, seconds: int | str | None) -> None:
        """From now on, answers of token endpoints say this as `expires_in`; None leaves it out."""
        self._ask("PUT", "token", {"expires_in": seconds})

    def set_atomic(
        self,
        *,
        hours: Mapping[str, Sequence[Sequence[Mapping[str, Any]]] | None] | None = None,
        url_seconds: float | None = None,
        bulk_seconds: float | None = None,
        flows: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Sets what Atomic has or does; what is left out stays as it is.

        Args:
            hours: the events of each hour by its end in UTC, such as `2026-01-31T09`: a list of files, each a list of
                events. An empty list is an hour without events; None takes the hour away, as if not yet processed.
            url_seconds: for how long a pre-signed URL that is made from now on is good; 900 at first.
            bulk_seconds: for how long a bulk task runs, those that were started already too; 1 at first.
            flows: Action Flows to add or replace by their id, as `{"published": True, "required": ["name"]}`.

        Raises:
            SandboxError: if one of them cannot be; then nothing is set.
        """
        settings = {"hours": hours, "url_seconds": url_seconds, "bulk_seconds": bulk_seconds, "flows": flows}
        self._ask("PUT", "atomic", settings)

    def atomic(self) -> dict[str, Any]:
        """What Atomic has: `invocations` in the order in which they arrived, `users`, `cards` and `webhooks`."""
        answer: dict[str, Any] = self._ask("GET", "atomic")
        return answer

    def set_data_360(
        self,
        *,
        max_records: int | None = None,
        max_csv_bytes: int | None = None,
        throttle_every: int | None = None,
        session_calls: int | None = None,
        job_polls: int | None = None,
        fail_next_job: str | None = None,
        one_job_per_object: bool | None = None,
        v2_batch: int | None = None,
        v3: bool | None = None,
        query_polls: int | None = None,
        chunk_rows: int | None = None,
    ) -> None:
        """Sets how Data 360 behaves; what is left out stays as it is.

        Args:
            max_records: how many records a streaming request may have; 200 at first.
            max_csv_bytes: how large a file of a bulk job may be; 150,000,000 at first.
            throttle_every: each so manieth call is answered with 429; 0, as at first, for none.
            session_calls: a token is refused after so many calls; 0, as at first, for never.
            job_polls: how often a closed job says that it is in progress, before it is complete; 1 at first.
            fail_next_job: the next job that is closed fails, with this message.
            one_job_per_object: whether a second open job for an object is refused with 409.
            v2_batch: rows of a batch of version 2 of the query API; 1000 at first.
            v3: whether the tenant has version 3 of the query API.
            query_polls: how often a query of version 3 says that it still runs; 0 at first.
            chunk_rows: rows of a chunk of version 3, and the most that one request for rows answers; 10,000 at first.

        Raises:
            SandboxError: if one of them cannot be; then nothing is set.
        """
        settings = {name: value for name, value in locals().items() if name != "self"}
        self._ask("PUT", "data-360", settings)

    def data_360(self) -> dict[str, Any]:
        """What Data 360 has: `objects` by name and primary key, their `counts`, `jobs`, and how it was asked.

        An object of more than 5000 records is among the `counts` only. `requests` has the number of `upserts`,
        `deletes`, `tests`, `v2_queries` and `v3_queries`, and, in bytes or records, the `largest_body`,
        `largest_records`, `largest_delete`, `longest_query` and `largest_csv`.
        """
        answer: dict[str, Any] = self._ask("GET", "data-360")
        return answer

    def set_marketing_cloud(
        self,
        *,
        throttle_every: int | None = None,
        throttle_code: int | None = None,
        session_calls: int | None = None,
        max_async_bytes: int | None = None,
        async_polls: int | None = None,
        completed_word: str | None = None,
        fail_next_async: str | None = None,
    ) -> None:
        """Sets how Marketing Cloud behaves; what is left out stays as it is.

        Args:
            throttle_every: each so manieth call is answered with 429; 0, as at first, for none.
            throttle_code: 50100, which says when to come again, as at first, or 50200, which does not.
            session_calls: a token is refused after so many calls; 0, as at first, for never.
            max_async_bytes: how large the body of an asynchronous request may be; 5,900,000 at first.
            async_polls: how often the status of an asynchronous request is Pending, before it is complete; 1 at first.
            completed_word: "Complete", as at first, or "Completed".
            fail_next_async: the next asynchronous request is accepted, and fails with this message.

        Raises:
            SandboxError: if one of them cannot be; then nothing is set.
        """
        settings = {name: value for name, value in locals().items() if name != "self"}
        self._ask("PUT", "marketing-cloud", settings)

    def marketing_cloud(self) -> dict[str, Any]:
        """What Marketing Cloud has: `data_extensions` by key, `events` in their order, `async` and `contacts`.

        A data extension is an array of rows, or their number if there are more than 5000.
        """
        answer: dict[str, Any] = self._ask("GET", "marketing-cloud")
        return answer

    def set_marketo(
        self,
        *,
        generate_leads: int | None = None,
        generate_activities: int | None = None,
        token_seconds: int | None = None,
        session_calls: int | None = None,
        calls_per_window: int | None = None,
        window_milliseconds: int | None = None,
        concurrent_calls: int | None = None,
        calls_per_day: int | None = None,
        enforce: bool | None = None,
        latency_milliseconds: int | None = None,
        error_every: int | None = None,
        error_code: str | None = None,
        error_message: str | None = None,
        error_path: str | None = None,
        quota_after: int | None = None,
        skip_email: str | None = None,
        fail_field_under: str | None = None,
        import_polls: int | None = None,
        most_imports: int | None = None,
        fail_row_every: int | None = None,
        warn_row_every: int | None = None,
        failed_import: str | None = None,
        export_polls: int | None = None,
        completed_word: str | None = None,
        canceled_word: str | None = None,
        export_bytes_per_day: int | None = None,
        nul_in_rows: bool | None = None,
        cr_in_rows: bool | None = None,
        wrong_checksums: int | None = None,
        cut_files: int | None = None,
        range_ignored: bool | None = None,
    ) -> None:
        """Sets what Marketo has and how it behaves; what is left out stays as it is.

        Args:
            generate_leads: makes up so many leads, `user0@example.com` and on, over the 90 days from 2026-08-01 on.
            generate_activities: makes up so many activities, of these leads and over these days.
            token_seconds: how long a token lives; 3600 at first.
            session_calls: a token is refused with 602 after so many calls; 0, as at first, for never.
            calls_per_window: how many calls a window takes before it answers 606; 100 at first.
            window_milliseconds: how long a window is; 20,000 at first.
            concurrent_calls: how many calls are served at the same time before one gets 615; 10 at first.
            calls_per_day: how many calls there may be before each gets 607; 50,000 at first.
            enforce: whether these limits are kept, as at first, or calls are only counted.
            latency_milliseconds: how long each call takes; 0 at first.
            error_every: each so manieth call is refused; 0, as at first, for none.
            error_code: with this code; 606 at first.
            error_message: and with this message.
            error_path: of the calls whose path has this in it; empty, as at first, for all.
            quota_after: after so many calls each gets 607, whatever `enforce` is; 0, as at first, for never.
            skip_email: leads with this in their email are not written; empty, as at first, for all are.
            fail_field_under: what the reasons stand under, of leads, lists and objects that were skipped: `reasons`,
                as at first, or `errors`.
            import_polls: how often the status of an import says that it runs; 1 at first.
            most_imports: how many imports may be queued or running before the next one gets 1016; 10 at first.
            fail_row_every: each so manieth row of all imports fails; 0, as at first, for none.
            warn_row_every: each so manieth row of all imports has a warning; 0, as at first, for none.
            failed_import: the next import fails with this message.
            export_polls: how often the status of an export says that it runs; 1 at first.
            completed_word: "Completed", as at first, or "Complete".
            canceled_word: "Canceled", as at first, or "Cancelled".
            export_bytes_per_day: how much exports may be before the next one gets 1029; 500,000,000 at first.
            nul_in_rows: whether each tenth row of an export has a NUL.
            cr_in_rows: whether each tenth row of an export has a carriage return.
            wrong_checksums: so many of the next files have a wrong byte.
            cut_files: so many of the next files end in their middle.
            range_ignored: whether a file comes from its start on, whatever part was asked for.

        Raises:
            SandboxError: if one of them cannot be; then nothing is set.
        """
        settings = {name: value for name, value in locals().items() if name != "self"}
        self._ask("PUT", "marketo", settings)

    def marketo(self) -> dict[str, Any]:
        """What Marketo has, and how it was called.

        `leads` and `activities` are numbers; `lead_list` is there for up to 1000 leads. `custom_activities` are those
        that were added, `campaigns` those that were requested; `lists`, `members`, `schedules`, `merges` and
        `custom_objects`, and the jobs among `imports` and `exports`. `calls` has the `total`, the
        `most_in_window` and the `most_at_once`, `per_path` and `refused` by code; `tokens_issued` is a number.
        """
        answer: dict[str, Any] = self._ask("GET", "marketo")
        return answer

    def set_salesforce(
        self,
        *,
        records: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        generate: Mapping[str, int] | None = None,
        api_limit: int | None = None,
        api_used: int | None = None,
        query_page: int | None = None,
        bulk_polls: int | None = None,
        bulk_query_page: int | None = None,
        bulk_upload_limit: int | None = None,
        session_calls: int | EllipsisType | None = ...,
        session_error: str | EllipsisType | None = ...,
        client_credentials_refused: bool | None = None,
    ) -> None:
        """Sets what Salesforce's core has or does; what is left out stays as it is.

        Args:
            records: records to add, by their object: `{"Contact": [{"LastName": "Ada"}]}`.
            generate: how many records to make up, by their object: `{"Contact": 25_000}`.
            api_limit: how many requests the org takes; 100,000 at first. Those after that get 403.
            api_used: how many requests it has had.
            query_page: the records of one page of a query; 2,000 at first.
            bulk_polls: how often a bulk job says InProgress when asked, before it is complete; 1 at first.
            bulk_query_page: the most rows of one page of a bulk query; 50,000 at first.
            bulk_upload_limit: the most bytes of one upload; 150,000,000 at first.
            session_calls: how many requests a session is good for, from now on; None for any number.
            session_error: the code that a request without a live session gets; None for INVALID_SESSION_ID.
            client_credentials_refused: whether client credentials are refused, as login.salesforce.com refuses them.

        Raises:
            SandboxError: if one of them cannot be; then nothing is set.
        """
        settings = {
            "records": records,
            "generate": generate,
            "api_limit": api_limit,
            "api_used": api_used,
            "query_page": query_page,
            "bulk_polls": bulk_polls,
            "bulk_query_page": bulk_query_page,
            "bulk_upload_limit": bulk_upload_limit,
            "client_credentials_refused": client_credentials_refused,
        }
        content: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
        # for these two None means something
        if session_calls is not ...:
            content["session_calls"] = session_calls
        if session_error is not ...:
            content["session_error"] = session_error
        self._ask("PUT", "salesforce", content)

    def salesforce(self) -> dict[str, Any]:
        """What Salesforce's core has: how many `objects` of each kind, `jobs`, `api_used`, and `calls` by resource."""
        answer: dict[str, Any] = self._ask("GET", "salesforce")
        return answer

    def revoke(self) -> None:
        """Refuses, from now on, all tokens that were issued so far."""
        self._ask("POST", "revoke")

    def reset(self) -> None:
        """Forgets the calls, the faults, the tokens and what the systems have."""
        self._ask("POST", "reset")

    def _ask(self, method: str, what: str, content: object = None) -> Any:
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=START_SECONDS)
        with contextlib.closing(connection):
            try:
                connection.request(method, f"/_sandbox/{what}", json.dumps(content).encode() if content else None)
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException) as error:
                raise SandboxError(f"no sandbox answers at {self.url}: {error}") from error
        try:
            found = json.loads(text) if text else None
        except ValueError:
            raise SandboxError(f"what answers at {self.url} is not a sandbox") from None
        if answer.status >= 400:
            raise SandboxError(found["error"] if isinstance(found, dict) and "error" in found else text.decode())
        return found


def _announced_url(process: "subprocess.Popen[bytes]", complaints: IO[bytes]) -> str:
    line = _first_line(process, until=time.monotonic() + START_SECONDS)
    try:
        url: str = json.loads(line)["url"]
    except (ValueError, KeyError, TypeError):
        _end(process)
        complaints.seek(0)
        said = complaints.read().decode("utf-8", "replace").strip() or "nothing"
        raise SandboxError(f"the sandbox did not start within {START_SECONDS:.0f} seconds; it said: {said}") from None
    return url


def _first_line(process: "subprocess.Popen[bytes]", *, until: float) -> bytes:
    if process.stdout is None:
        return b""
    read = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while b"\n" not in read and selector.select(timeout=max(0.0, until - time.monotonic())):
            chunk = os.read(process.stdout.fileno(), 4096)
            if not chunk:
                break
            read += chunk
    return read


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
