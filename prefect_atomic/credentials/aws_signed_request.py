"""AWS Signature Version 4, in a header or in the query."""

import hashlib
from typing import Literal

import httpx
from pydantic import Field, SecretStr, field_validator

from prefect_atomic.credentials.auth import was_sent
from prefect_atomic.credentials.base import AllowedHosts, Credential, now
from prefect_atomic.credentials.sigv4 import EMPTY_PAYLOAD_HASH, UNSIGNED_PAYLOAD, Keys, Scope, is_s3, sign, strict
from prefect_atomic.transport import set_target, target_of

_PROOF_HEADERS = frozenset({b"authorization", b"x-amz-date", b"x-amz-security-token", b"x-amz-content-sha256"})
_PROOF_PARAMETERS = frozenset(
    f"x-amz-{name}".encode()
    for name in ("algorithm", "credential", "date", "expires", "signedheaders", "signature", "security-token")
)
# What a proxy may add or change on the way; a signature over it would not survive.
_UNSIGNED = _PROOF_HEADERS.union(
    b"accept accept-encoding baggage connection content-length expect te traceparent tracestate transfer-encoding "
    b"upgrade user-agent x-amzn-trace-id".split()
)


class AWSSignedRequest(Credential):
    """Signs each request with an AWS access key (Signature Version 4), in a header or in the query.

    Example:
        Call an AWS service with a saved credential:
        ```python
        from prefect import flow
        from prefect_atomic import AWSSignedRequest, send_request

        aws = AWSSignedRequest.load("BLOCK_NAME")

        @flow
        def identity():
            url = "https://sts.us-east-1.amazonaws.com/"
            params = {"Action": "GetCallerIdentity", "Version": "2011-06-15"}
            return send_request("GET", url, params=params, credential=aws).text
        ```
    """

    _block_type_name = "Atomic AWS Signed Request"
    _block_type_slug = "atomic-aws-signed-request"
    _documentation_url = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html"  # type: ignore[assignment]

    access_key_id: str = Field(min_length=1, description="The id of the access key.")
    secret_access_key: SecretStr = Field(min_length=1, description="The secret of the access key.")
    service: str = Field(min_length=1, description="The service's name in signatures, such as `execute-api` or `s3`.")
    region: str = Field(min_length=1, description="The region's name in signatures, such as `us-east-1`.")
    session_token: SecretStr | None = Field(None, description="The session token of a temporary access key.")
    sign_query: bool = Field(False, description="Whether the signature goes into the query instead of a header.")
    expires_in: int = Field(3600, ge=1, le=604_800, description="How long a signed query is valid, in seconds.")
    allowed_hosts: AllowedHosts = []
    kind: Literal["aws-signed-request"] = Field(
        "aws-signed-request", description="Tells saved credentials apart; leave as it is."
    )

    @field_validator("access_key_id", "service", "region")
    @classmethod
    def _has_no_space_or_slash(cls, value: str) -> str:
        if "/" in value or not _is_one_word(value):  # they part the credential scope
            raise ValueError("may contain neither a space nor a slash, and only ASCII; was it pasted with one?")
        return value

    @field_validator("secret_access_key", "session_token")
    @classmethod
    def _has_no_space(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not _is_one_word(value.get_secret_value()):
            raise ValueError("may not contain a space or a line break, and only ASCII; was it pasted with one?")
        return value

    def _signs_body(self) -> bool:
        return not is_s3(self.service)  # S3 takes a body that is not hashed, and so one too large to hold

    def _prove(self, request: httpx.Request) -> None:
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        declared = None
        if old := [name for name, _ in headers if name in _PROOF_HEADERS]:
            # Some services, such as OpenSearch Serverless, want the payload's hash sent: who sends it has it signed.
            declared = None if self.sign_query else request.headers.get("x-amz-content-sha256")
            for stale in old:  # of an earlier attempt
                request.headers.pop(stale.decode(), None)
        session_token = self.session_token.get_secret_value() if self.session_token else None
        target = target_of(request)
        signed = sign(
            request.method,
            strict(_without_proof(target), service=self.service),
            [pair for pair in headers if pair[0] not in _UNSIGNED],
            declared or self._payload_hash(request),
            keys=Keys(self.access_key_id, self.secret_access_key.get_secret_value(), session_token),
            scope=Scope.of(
                self.service,
                self.region,
                self.expires_in if self.sign_query else None,
                sends_payload_hash=declared is not None,
            ),
            moment=now(),
        )
        if signed.target is not target:
            set_target(request, signed.target)
        for name, value in signed.headers:
            request.headers[name] = value
        was_sent(request, signed.signature, *([session_token] if session_token else ()))

    def _payload_hash(self, request: httpx.Request) -> str:
        if is_s3(self.service) and (self.sign_query or not isinstance(request.stream, httpx.ByteStream)):
            return UNSIGNED_PAYLOAD
        body = request.read()
        return hashlib.sha256(body).hexdigest() if body else EMPTY_PAYLOAD_HASH


def _is_one_word(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _without_proof(target: bytes) -> bytes:
    if b"X-Amz-" not in target:
        return target
    path, _, query = target.partition(b"?")
    kept = [pair for pair in query.split(b"&") if pair.partition(b"=")[0].lower() not in _PROOF_PARAMETERS]
    return path + (b"?" + b"&".join(kept) if kept else b"")
