"""What botocore and s3transfer raise, told as what it means for the fields of a bucket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError

from prefect_atomic.errors import AtomicError, CredentialError, RequestError, StorageError, TransportError
from prefect_atomic.transport.redaction import excerpt, scrub

DAMAGED = "Damaged"
NO_SUCH_OBJECT = frozenset({"NoSuchKey", "404", "NotFound"})

_KEYS_REFUSED = {
    "InvalidAccessKeyId": "access_key_id: the server does not know this access key",
    "InvalidClientTokenId": "access_key_id: the server does not know this access key",
    "UnrecognizedClientException": "access_key_id: the server does not know this access key",
    "SignatureDoesNotMatch": "secret_access_key: is not the one that belongs to the access key",
    "InvalidToken": "session_token: the server does not accept it",
    "ExpiredToken": "session_token: has expired; a role_arn is renewed by itself",
    "ExpiredTokenException": "session_token: has expired; a role_arn is renewed by itself",
    "RequestTimeTooSkewed": "the clock of this host is wrong by more than 15 minutes",
}
_OTHER_REGION = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"}
)
_TRANSIENT = frozenset(
    {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "RequestTimeoutException", "OperationAborted"}
    | {"ThrottlingException", "Throttling", "500", "502", "503", "504", "PreconditionFailed", "412"}
)
_ACTIONS = {
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "CompleteMultipartUpload": "s3:PutObject",
    "CopyObject": "s3:GetObject and s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "GetObject": "s3:GetObject",
    "HeadBucket": "s3:ListBucket",
    "HeadObject": "s3:GetObject (and s3:ListBucket, to be told that an object is not there)",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListObjectsV2": "s3:ListBucket",
    "PutObject": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "UploadPartCopy": "s3:GetObject and s3:PutObject",
}
_NOT_GIVEN = (boto.NoCredentialsError, boto.PartialCredentialsError)
_NOT_RETRIEVED = (
    boto.CredentialRetrievalError,
    boto.InvalidConfigError,
    boto.ConfigNotFound,
    boto.ConfigParseError,
    boto.ProfileNotFound,
    boto.SSOError,
    boto.TokenRetrievalError,
    boto.InfiniteLoopConfigError,
)


@contextmanager
def told(who: str, what: str, secrets: Iterable[str]) -> Iterator[None]:
    """Within it, what boto raises becomes an error of ours.

    Args:
        who: The bucket, as messages name it.
        what: What is done, such as `upload 'report.csv'`.
        secrets: What no message may hold.
    """
    try:
        yield
    except (
        boto.BotoCoreError,
        boto.ClientError,
        ResponseParserError,
        RetriesExceededError,
        S3DownloadFailedError,
    ) as error:
        told = _told(error, f"{who}: cannot {what}: ", tuple(secrets))
        try:
            raise told from None
        except AtomicError:
            told.__context__ = None  # boto's error has the whole answer, and is sent along where errors are gathered
            raise


def _told(error: Exception, start: str, secrets: tuple[str, ...]) -> AtomicError:
    if isinstance(error, RetriesExceededError):
        error = error.last_exception
    if isinstance(error, boto.ClientError):
        return _refused(error, start, secrets)
    if isinstance(error, S3DownloadFailedError):
        return StorageError(f"{start}the object was replaced meanwhile.", code="PreconditionFailed", transient=True)
    said = scrub(str(error), secrets)
    if isinstance(error, _NOT_GIVEN):
        return CredentialError(
            f"{start}access_key_id, role_arn: neither is given, and AWS's standard chain (environment, profile, "
            "instance role) has no credentials here either."
        )
    if isinstance(error, _NOT_RETRIEVED):
        return CredentialError(f"{start}AWS's standard chain has no credentials: {said}")
    if isinstance(error, boto.ParamValidationError | boto.InvalidRegionError | boto.ValidationError):
        return RequestError(start + said)
    if isinstance(error, boto.FlexibleChecksumError):
        return StorageError(f"{start}its content is not what was stored, by its checksum.", code=DAMAGED)
    if isinstance(error, ResponseParserError):
        return StorageError(f"{start}endpoint_url: what answers there does not speak S3.", code="NotS3")
    if isinstance(error, boto.SSLError):
        return TransportError(f"{start}TLS failed: {said}", reason="TLS failed")
    if isinstance(error, boto.HTTPClientError | boto.EndpointConnectionError | boto.IncompleteReadError):
        return TransportError(f"{start}{said}", reason="got no complete answer", transient=True)
    return StorageError(start + said, code=type(error).__name__)


def _refused(error: boto.ClientError, start: str, secrets: tuple[str, ...]) -> AtomicError:
    answer = error.response
    code = str(answer.get("Error", {}).get("Code", ""))
    message = excerpt(str(answer.get("Error", {}).get("Message", "")).encode("utf-8", "replace"), secrets)
    if error.operation_name.startswith("AssumeRole"):
        return CredentialError(f"{start}role_arn, external_id: the role may not be assumed ({code}: {message}).")
    if why := _KEYS_REFUSED.get(code):
        return CredentialError(f"{start}{why} ({code}).")
    return StorageError(
        start + _why(error.operation_name, code, message, answer), code=code, transient=code in _TRANSIENT
    )


def _why(operation: str, code: str, message: str, answer: dict[str, dict[str, object]]) -> str:
    if code == "NoSuchBucket":
        return "bucket: there is none of this name; compare bucket, region and endpoint_url (NoSuchBucket)."
    if code in _OTHER_REGION:
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        error = answer.get("Error", {})
        region = (isinstance(headers, dict) and headers.get("x-amz-bucket-region")) or error.get("Region")
        return f"region: the bucket is in {region or 'another one'} ({code})."
    if code in NO_SUCH_OBJECT and operation in ("HeadObject", "GetObject", "CopyObject"):
        return "there is no such object, or no such bucket." if code == "404" else f"there is no such object ({code})."
    if code == "404" and operation == "HeadBucket":
        return "bucket: there is none of this name; compare bucket, region and endpoint_url."
    if code in ("AccessDenied", "403", "AllAccessDisabled"):
        action = _ACTIONS.get(operation, operation)
        return f"not allowed; it needs {action} in the policy of whoever asks, and no bucket policy that denies it."
    if code in ("PreconditionFailed", "412"):
        return "the object was replaced meanwhile."
    if code.startswith("KMS."):
        return f"kms_key_id: the key cannot be used ({code}: {message})."
    if code == "InvalidStorageClass":
        return f"storage_class: is not one that this server has ({message})."
    if code == "AccessControlListNotSupported":
        return f"acl: the bucket takes none; leave it empty ({message})."
    if code.isdigit() and operation not in ("HeadObject", "HeadBucket"):
        return f"endpoint_url: what answers there does not speak S3; it answered {code}."
    return f"{message or 'the server said no'} ({code}, {operation})."
