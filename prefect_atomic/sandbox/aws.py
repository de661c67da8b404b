"""AWS Signature Version 4: botocore signs the request as it was received, and the signatures are compared.

The canonical request is built from the bytes that arrived, never from parsed ones: botocore's presigner keeps only
the first of several query keys, and its header signer leaves out headers that others sign.
"""

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn
from urllib.parse import quote, unquote_to_bytes

from prefect_atomic.sandbox.accounts import AWSAccount
from prefect_atomic.sandbox.masking import masked_canonical_request
from prefect_atomic.sandbox.wire import Received

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
TIMESTAMP = "%Y%m%dT%H%M%SZ"
SKEW = timedelta(minutes=15)
LONGEST = 7 * 24 * 3600
# only S3 takes the path as it was sent, requires the body's hash in a header and lets a body go unsigned
S3 = frozenset({"s3", "s3-outposts", "s3-object-lambda"})


class NotSigned(Exception):  # noqa: N818 - an answer, not an error
    """The signature does not prove what it should; the text says why, `details` shows what was expected."""

    def __init__(self, reason: str, **details: str) -> None:
        super().__init__(reason)
        self.details = details


@dataclass(frozen=True)
class Signature:
    """What a caller says about its signature."""

    access_key_id: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    value: str
    timestamp: str
    expires: str | None
    session_token: str | None

    @property
    def presigned(self) -> bool:
        """Whether it came in the query."""
        return self.expires is not None


def verify(received: Received, accounts: list[AWSAccount]) -> str:
    """Verifies a signed request, and returns who verified it; raises `NotSigned`."""
    signature = read(received)
    account = _account(signature, accounts)
    _check_time(signature)
    _check_headers(received, signature)
    payload = _payload(received, signature)
    expected = _Expected(received, signature, account.secret_access_key, payload)
    if not expected.matches(signature):
        raise NotSigned(
            _difference(received, signature, account.secret_access_key, payload),
            expected_canonical_request=masked_canonical_request(expected.canonical_request),
            expected_string_to_sign=expected.string_to_sign,
        )
    return _by()


def read(received: Received) -> Signature:
    """Reads the signature from the Authorization header or from the query."""
    headers = received.header_values("authorization")
    query = dict(received.query_pairs)
    if len(headers) > 1:
        _refuse("there is more than one Authorization header")
    if headers and "X-Amz-Signature" in query:
        _refuse("the request is signed twice, in the Authorization header and in the query; S3 takes only one")
    if headers:
        return _from_header(headers[0], received)
    if "X-Amz-Signature" in query or "X-Amz-Algorithm" in query:
        return _from_query(received)
    raise NotSigned("the request is not signed: neither an Authorization header nor X-Amz-Signature in the query")


def _from_header(authorization: str, received: Received) -> Signature:
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != ALGORITHM:
        _refuse(f"the Authorization header should start with {ALGORITHM}")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    missing = [name for name in ("Credential", "SignedHeaders", "Signature") if not parts.get(name)]
    if missing:
        _refuse(f"the Authorization header lacks {', '.join(missing)}")
    timestamp = received.header("x-amz-date") or _from_date_header(received)
    return _signature(
        credential=parts["Credential"],
        signed_headers=parts["SignedHeaders"],
        value=parts["Signature"],
        timestamp=timestamp,
        expires=None,
        session_token=received.header("x-amz-security-token"),
    )


def _from_query(received: Received) -> Signature:
    pairs = received.query_pairs
    query = dict(pairs)
    wanted = ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"]
    missing = [f"X-Amz-{name}" for name in wanted if not query.get(f"X-Amz-{name}")]
    if missing:
        _refuse(f"the query lacks {', '.join(missing)}")
    repeated = sorted({name for name, _ in pairs if name.startswith("X-Amz-") and _count(pairs, name) > 1})
    if repeated:
        _refuse(f"{', '.join(repeated)} is there more than once")
    if query["X-Amz-Algorithm"] != ALGORITHM:
        _refuse(f"X-Amz-Algorithm should be {ALGORITHM}")
    return _signature(
        credential=query["X-Amz-Credential"],
        signed_headers=query["X-Amz-SignedHeaders"],
        value=query["X-Amz-Signature"],
        timestamp=query["X-Amz-Date"],
        expires=query["X-Amz-Expires"],
        session_token=query.get("X-Amz-Security-Token"),
    )


def _signature(
    *, credential: str, signed_headers: str, value: str, timestamp: str, expires: str | None, session_token: str | None
) -> Signature:
    scope = credential.split("/")
    if len(scope) != 5 or scope[4] != "aws4_request" or not all(scope):
        _refuse("the credential scope should be access key/date/region/service/aws4_request")
    names = tuple(signed_headers.split(";"))
    if list(names) != sorted(name.lower() for name in names):
        _refuse("SignedHeaders should be lower case, sorted, and separated by semicolons")
    access_key_id, date, region, service, _ = scope
    return Signature(access_key_id, date, region, service, names, value, timestamp, expires, session_token)


def _account(signature: Signature, accounts: list[AWSAccount]) -> AWSAccount:
    account = next((each for each in accounts if each.access_key_id == signature.access_key_id), None)
    if account is None:
        _refuse("nobody knows this access key id")
    sent, expected = signature.session_token, account.session_token
    if expected is None and sent is not None:
        _refuse("this access key is a permanent one: it has no session token, so leave X-Amz-Security-Token out")
    if expected is not None and sent is None:
        _refuse("this access key is a temporary one: X-Amz-Security-Token is missing")
    if expected is not None and sent is not None and not hmac.compare_digest(expected.encode(), sent.encode()):
        _refuse("the session token in X-Amz-Security-Token is not the one that belongs to this access key")
    return account


def _check_time(signature: Signature) -> None:
    try:
        signed_at = datetime.strptime(signature.timestamp, TIMESTAMP).replace(tzinfo=UTC)
    except ValueError:
        _refuse("X-Amz-Date should look like 20150830T123600Z")
    if signature.timestamp[:8] != signature.date:
        _refuse(f"the credential scope has the date {signature.date}, X-Amz-Date has {signature.timestamp[:8]}")
    now = datetime.now(UTC)
    if signed_at > now + SKEW or (not signature.presigned and signed_at < now - SKEW):
        _refuse(f"signed at {signature.timestamp}, more than 15 minutes off; here it is {now:{TIMESTAMP}}")
    if signature.expires is not None:
        if not re.fullmatch(r"[0-9]{1,9}", signature.expires) or not 1 <= int(signature.expires) <= LONGEST:
            _refuse(f"X-Amz-Expires should be from 1 to {LONGEST} seconds")
        ended_at = signed_at + timedelta(seconds=int(signature.expires))
        if now >= ended_at:
            _refuse(f"the presigned URL expired at {ended_at:{TIMESTAMP}}; here it is {now:{TIMESTAMP}}")


def _check_headers(received: Received, signature: Signature) -> None:
    arrived = {name for name, _ in received.headers}
    lost = [name for name in signature.signed_headers if name not in arrived]
    if lost:
        _refuse(f"these headers are signed but did not arrive: {', '.join(lost)}")
    must = {"host"} | {name for name in arrived if name.startswith("x-amz-")}
    unsigned = sorted(must - set(signature.signed_headers))
    if unsigned:
        _refuse(f"these headers must be signed and are not: {', '.join(unsigned)}")


def _payload(received: Received, signature: Signature) -> str:
    """The hash of the body as it stands in the canonical request."""
    declared = received.header("x-amz-content-sha256")
    if declared is None and signature.presigned:
        declared = dict(received.query_pairs).get("X-Amz-Content-Sha256")
    if declared is None and signature.service in S3:
        if not signature.presigned:
            _refuse("S3 requires the header x-amz-content-sha256")
        return UNSIGNED
    if declared is None or hmac.compare_digest(declared.encode(), received.body_sha256.encode()):
        return received.body_sha256
    if declared.startswith("STREAMING-"):
        _refuse(f"x-amz-content-sha256 is {declared}; the sandbox does not play chunked signatures")
    if declared == UNSIGNED and signature.service in S3:
        return UNSIGNED
    if declared == UNSIGNED:
        _refuse(f"only S3 takes {UNSIGNED}; the service in the credential scope is {signature.service}")
    raise NotSigned(f"x-amz-content-sha256 is not the hash of the body that arrived, which is {received.body_sha256}")


class _Expected:
    """The signature that botocore gives to the request as it was received."""

    def __init__(
        self,
        received: Received,
        signature: Signature,
        secret: str,
        payload: str,
        *,
        as_s3: bool | None = None,
        query: Callable[[str], str] = str,
    ) -> None:
        auth, awsrequest, credentials = _botocore()
        as_s3 = signature.service in S3 if as_s3 is None else as_s3
        signer = (auth.S3SigV4Auth if as_s3 else auth.SigV4Auth)(
            credentials.Credentials(signature.access_key_id, secret), signature.service, signature.region
        )
        signer.payload = lambda _: payload
        signer.headers_to_sign = lambda request: request.headers  # exactly those that the caller names
        target = f"http://host{received.path}?{query(canonical_query(received.query))}"
        request = awsrequest.AWSRequest(method=received.method, url=target)
        request.context["timestamp"] = signature.timestamp
        for name, value in received.headers:
            if name in signature.signed_headers:
                request.headers[name] = _text(value)
        self.canonical_request: str = signer.canonical_request(request)
        self.string_to_sign: str = signer.string_to_sign(request, self.canonical_request)
        self._value: str = signer.signature(self.string_to_sign, request)

    def matches(self, signature: Signature) -> bool:
        """Whether the caller made the same signature."""
        return hmac.compare_digest(self._value.encode(), signature.value.lower().encode())


def canonical_query(query: str) -> str:
    """The query with each key and value encoded as AWS encodes them, in the order in which they came."""
    pairs = [pair.partition("=")[::2] for pair in query.split("&") if pair]
    encoded = [(_encoded(key), _encoded(value)) for key, value in pairs]
    return "&".join(f"{key}={value}" for key, value in encoded if key != "X-Amz-Signature")


def _difference(received: Received, signature: Signature, secret: str, payload: str) -> str:
    """Says what the caller signed in place of what it should have, as far as that can be found out."""

    def signed(payload: str = payload, **other: Any) -> bool:
        return _Expected(received, signature, secret, payload, **other).matches(signature)

    if signed(as_s3=signature.service not in S3):
        if signature.service in S3:
            return "the path was normalised or encoded twice; S3 signs it as it is sent"
        return f"the path was signed as it is sent; {signature.service} signs it normalised and encoded twice"
    if signed(query=_first_of_each_key):
        return "of a query key that is there several times, only the first was signed; all are signed"
    if signed(query=lambda _: ""):
        return "the query was not signed"
    if signed(payload=UNSIGNED):
        return f"the body was signed as {UNSIGNED}; {signature.service} wants its hash here"
    if signed(payload=_EMPTY):
        return f"an empty body was signed; {len(received.body)} bytes arrived"
    if signed(payload=received.body_sha256):
        return f"the body's hash was signed; a presigned URL of S3 has {UNSIGNED} in its place"
    return (
        "the signature differs: either it was made with another secret access key, or the method, path, query, "
        "a signed header or the body changed after signing; compare your canonical request with the one expected here"
    )


def _first_of_each_key(query: str) -> str:
    first: dict[str, str] = {}
    for pair in query.split("&"):
        first.setdefault(pair.partition("=")[0], pair)
    return "&".join(first.values())


def _encoded(part: str) -> str:
    return quote(unquote_to_bytes(part), safe="-_.~")


def _text(value: str) -> str:
    # headers arrive as latin-1, and whoever signs one that is not ASCII signs it as UTF-8
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value


def _from_date_header(received: Received) -> str:
    try:
        return parsedate_to_datetime(received.header("date") or "").astimezone(UTC).strftime(TIMESTAMP)
    except ValueError:
        _refuse("there is neither an X-Amz-Date header nor a Date header that can be read")


def _count(pairs: list[tuple[str, str]], name: str) -> int:
    return sum(key == name for key, _ in pairs)


def _botocore() -> tuple[Any, Any, Any]:
    try:
        from botocore import auth, awsrequest, credentials
    except ImportError:
        raise NotSigned("the sandbox needs botocore to verify AWS signatures: pip install boto3") from None
    return auth, awsrequest, credentials


def _by() -> str:
    import botocore

    return f"botocore {botocore.__version__}"


def _refuse(reason: str) -> NoReturn:
    raise NotSigned(reason)


_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
