"""The process behind :mod:`.swift`; run as a program, never imported by the tests.

Every byte of HTTP is read by Swift's own server (eventlet with ``SwiftHttpProtocol``), so the path and the query
reach Swift's signature checker exactly as they do in a real cluster: the target undecoded, ``//`` and ``..`` kept.
What is left to do here is what Swift's s3api and its storage nodes do around the checker: look up the secret, read
the body through the reader that hashes it, and answer.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

import eventlet
import eventlet.wsgi
from swift.common.http_protocol import SwiftHttpProtocol
from swift.common.middleware.s3api.exception import S3Exception, S3InputError
from swift.common.middleware.s3api.s3request import HashingInput, SigV4Request, get_request_class
from swift.common.middleware.s3api.s3response import (
    ErrorResponse,
    InvalidAccessKeyId,
    MissingContentLength,
    SignatureDoesNotMatch,
)
from swift.common.middleware.s3api.utils import Config


class Refused(Exception):  # noqa: N818
    """A request that Swift refuses, with its reason."""

    def __init__(self, reason: str, **details: str) -> None:
        super().__init__(reason)
        self.details = {"reason": reason, **details}


class Checker:
    """The WSGI application: Swift's request class and signature checker, without a store behind them."""

    def __init__(self, access_key: str, secret: str, region: str, clock_skew: int) -> None:
        self._access_key = access_key
        self._secret = secret
        self._config = {
            "location": region,
            "allowable_clock_skew": clock_skew,
            # only the signature is judged, so let bucket names be what they like
            "dns_compliant_bucket_names": False,
        }

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            self._check(environ)
        except Refused as refused:
            status, answer = "403 Forbidden", {"accepted": False, **refused.details}
        else:
            status, answer = "200 OK", {"accepted": True}
        body = b"" if environ["REQUEST_METHOD"] == "HEAD" else json.dumps(answer).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def _check(self, environ: dict[str, Any]) -> None:
        try:
            request_class = get_request_class(environ, False)
            if request_class is not SigV4Request:
                raise Refused("NotSigV4: neither an AWS4-HMAC-SHA256 Authorization header nor X-Amz-Credential")
            request = request_class(environ, conf=Config(self._config))
            if request.access_key != self._access_key:
                raise InvalidAccessKeyId()
            if not request.sig_checker.check_signature(self._secret):
                canonical = request._canonical_request().decode("utf-8", "backslashreplace")
                raise Refused(_reason(SignatureDoesNotMatch()), canonical_request=canonical)
            self._read_body(environ, request)
        except (ErrorResponse, S3Exception, S3InputError, ValueError) as error:
            raise Refused(_reason(error)) from error

    @staticmethod
    def _read_body(environ: dict[str, Any], request: Any) -> None:
        """Read the body to its end, through the readers in which Swift compares it with the signed hash."""
        declared = request.headers.get("x-amz-content-sha256")
        if request.method in ("PUT", "POST"):  # Swift has put its readers in place
            if request.content_length is None:
                raise MissingContentLength()
        elif declared and len(declared) == 64:  # a body that Swift would ignore: the same reader, put in place here
            environ["wsgi.input"] = HashingInput(environ["wsgi.input"], request.content_length or 0, declared)
        while environ["wsgi.input"].read(65536):
            pass


def _reason(error: BaseException) -> str:
    if isinstance(error, ErrorResponse):
        return f"{type(error).__name__}: {error._msg}"
    if hasattr(error, "expected"):
        return f"{type(error).__name__}: expected {error.expected}, computed {getattr(error, 'computed', 'nothing')}"
    return f"{type(error).__name__}: {error}"


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    checker = Checker(**json.loads(os.environ["SERVER_SETTINGS"]))
    listener = eventlet.listen(("127.0.0.1", 0))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stdout.write(json.dumps({"port": listener.getsockname()[1]}) + "\n")
    sys.stdout.flush()
    eventlet.wsgi.server(listener, checker, protocol=SwiftHttpProtocol, log=sys.stderr, log_output=False)


if __name__ == "__main__":
    main()
