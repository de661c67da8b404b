"""boto3 clients: one per process for all blocks that have the same access, as blocks are loaded anew all the time."""

from __future__ import annotations

import os
from datetime import datetime
from threading import Lock
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
from botocore.exceptions import NoCredentialsError
from botocore.parsers import ResponseParserError

from prefect_atomic.transport.logs import hidden_answers, hide_in_logs

CONNECTIONS = 6
"""At once for a transfer. Each costs some 4 MB of memory; 10, the default of s3transfer, pass 150 MB in all."""
_KEPT = 32
_CONFIG = Config(
    signature_version="s3v4",  # presigned URLs would be signed the old way in some regions
    retries={"mode": "standard", "total_max_attempts": 5},
    connect_timeout=10,
    read_timeout=60,
    max_pool_connections=CONNECTIONS + 2,
    user_agent_extra="prefect-atomic",
)


class Access(NamedTuple):
    """Who asks which server; two that are equal share a client."""

    region: str | None
    endpoint_url: str | None
    access_key_id: str | None
    secret_access_key: str | None
    session_token: str | None
    role_arn: str | None
    external_id: str | None


def client_for(access: Access) -> Any:
    """The S3 client of this process for an access; it may be used by many threads at once."""
    with _one_at_a_time:
        if (client := _clients.pop(access, None)) is None:
            client = _made(access)
            while len(_clients) >= _KEPT:
                del _clients[next(iter(_clients))]
        _clients[access] = client  # last: the first is the one that was not used for longest
        return client


_clients: dict[Access, Any] = {}
_one_at_a_time = Lock()


def credentials_of(client: Any) -> Any:
    """What a client signs with by now: key, secret and token, all None where there are no credentials.

    Raises:
        CredentialRetrievalError: They cannot be had.
    """
    credentials = client._get_credentials()  # boto3 has no public name for it
    return credentials.get_frozen_credentials() if credentials else None


def expiry_of(client: Any) -> datetime | None:
    """When the credentials that a client has are renewed at the latest; None for those that are not."""
    expiry: datetime | None = getattr(client._get_credentials(), "_expiry_time", None)
    return expiry


def _made(access: Access) -> Any:
    session = boto3.Session(
        access.access_key_id, access.secret_access_key, access.session_token, region_name=access.region
    )
    if access.role_arn:
        session._session._credentials = DeferredRefreshableCredentials(
            _Role(session, access), "assume-role"
        )  # what botocore does for a profile with a role
    client = session.client("s3", endpoint_url=access.endpoint_url, config=_CONFIG)
    client.meta.events.register("before-sign.s3", _hide_what_signs)
    client.meta.events.register("after-call.s3", _refuse_unless_s3)
    return client


def _hide_what_signs(*, request_signer: Any, **_: Any) -> None:
    """What AWS's standard chain finds, and renews by itself: botocore logs the token of each request at DEBUG."""
    if credentials := request_signer._credentials:
        _hide(credentials.get_frozen_credentials())


def _hide(credentials: Any) -> None:
    hide_in_logs([each for each in (credentials.secret_key, credentials.token) if each])


_ALWAYS_ANSWERED = {
    "CompleteMultipartUpload": "ETag",
    "CreateMultipartUpload": "UploadId",
    "GetObject": "ETag",
    "HeadObject": "ETag",
    "ListObjectsV2": "Name",
    "PutObject": "ETag",
    "UploadPart": "ETag",
}


def _refuse_unless_s3(*, http_response: Any, parsed: dict[str, Any], model: Any, **_: Any) -> None:
    """botocore reads a web page, and an answer that was cut off in its headers, as an empty bucket or object."""
    field = _ALWAYS_ANSWERED.get(model.name)
    if field and http_response.status_code < 300 and not parsed.get(field):
        raise ResponseParserError(f"there is no {field} in the answer")


class _Role:
    """Assumes a role whenever its credentials are about to expire: botocore calls this 10 to 15 minutes before."""

    def __init__(self, session: boto3.Session, access: Access) -> None:
        self._session = session._session
        self._source = session.get_credentials()
        self._role_arn = access.role_arn
        self._arguments = {"RoleSessionName": "prefect-atomic"}
        if access.external_id:
            self._arguments["ExternalId"] = access.external_id

    def __call__(self) -> dict[str, str]:
        if self._source is None:
            raise NoCredentialsError
        _hide(self._source.get_frozen_credentials())
        with hidden_answers():  # botocore logs the answer, with the secrets, at DEBUG
            found: dict[str, str] = AssumeRoleCredentialFetcher(
                self._session.create_client, self._source, self._role_arn, extra_args=self._arguments
            ).fetch_credentials()
        hide_in_logs((found["secret_key"], found["token"]))
        return found


def forget_clients() -> None:
    """Has clients made anew: for a forked child, whose connections are its parent's, and for changed AWS_ variables."""
    global _one_at_a_time
    _one_at_a_time = Lock()
    _clients.clear()


os.register_at_fork(after_in_child=forget_clients)
