"""OpenStack Swift as the judge of AWS Signature Version 4.

Swift (PyPI ``swift``, OpenStack, Apache-2.0) offers an S3 interface and recomputes the signature of every request
with code that owes nothing to botocore or to the AWS SDKs. What it proves: that the headers or the presigned URL
*as they arrived over a socket* carry a signature that an independent implementation agrees with, that the body
has the hash that was signed, and that an expired URL or a skewed clock is refused.

What it does not prove: a session token is not looked at (beyond being part of what is signed), the service in the
scope is always ``s3``, and some of its canonical forms are its own (see ``test_servers.py``, "Swift's canonical
form").
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from .process import ServerProcess, python_program


class SwiftServer:
    """Swift's checker behind HTTP/1.1 on loopback, for as long as the ``with`` block lasts.

    It answers every S3 request, signed in headers or in the query, with 200 and ``{"accepted": true}``, or 403 and
    ``{"accepted": false, "reason": "SignatureDoesNotMatch: ..."}`` (a ``HEAD`` with the status only). The reason
    is Swift's error class and message; with a signature that does not match comes ``canonical_request``, the text
    that Swift made of the request.
    """

    def __init__(
        self,
        *,
        access_key: str = "AKIDSWIFT",
        secret: str = "swift/secret+key",
        region: str = "us-east-1",
        clock_skew: int = 900,
    ) -> None:
        self.access_key = access_key
        self.secret = secret
        self.region = region
        self.service = "s3"
        self.port = 0
        self._process = ServerProcess(
            "Swift",
            python_program("_swift_process.py"),
            {"access_key": access_key, "secret": secret, "region": region, "clock_skew": clock_skew},
        )

    @property
    def url(self) -> str:
        """``http://127.0.0.1:port``, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.port = self._process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()
