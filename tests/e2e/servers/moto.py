"""moto as the judge of signed calls to AWS services other than S3, of IAM policies and of session tokens.

moto (PyPI ``moto[server]``, Apache-2.0) imitates AWS. With its IAM checks on it recomputes the signature in the
``Authorization`` header, refuses unknown keys, wrong secrets and wrong session tokens, and applies the policies of
the user or role.

What it does not prove (seen in 5.2): it recomputes with botocore, so it is no second opinion on the algorithm
(that is Swift's part); where ``x-amz-content-sha256`` is sent it believes it and does not hash the body; it knows no
presigned URLs while the checks are on (500, good or bad); it does not compare the date with its clock; keys from
``GetSessionToken`` are refused.

In front of it stands a little of our own (see ``_moto_process.py``): credentials from AssumeRole expire an hour after
they were had, by the date that requests are signed with, so that a client whose clock is moved on is told
``ExpiredToken``; requests are recorded; and answers can be damaged, cut off, held back and replaced.

And it refuses what is right: without ``x-amz-content-sha256`` it takes the query parameters or the headers of a
request without a body for its body, so that every ``GET`` or ``DELETE`` gets ``SignatureDoesNotMatch``, even from
boto3. Sign that header, or let tests call actions that are sent with ``POST`` and a body.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from types import TracebackType
from typing import Any, Self

import boto3
import botocore.session
from botocore.config import Config

from .process import ServerProcess, python_program

# Each session reads AWS's descriptions of its services anew, which takes longer than most tests of ours. In the process
# of the tests all sessions share what one of them has read, as all clients of a session do.
botocore.session.create_loader = cache(botocore.session.create_loader)

ALLOW_ALL: Mapping[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}
"""A policy that allows everything."""


def allow(*actions: str) -> Mapping[str, Any]:
    """A policy that allows only these actions, such as ``iam:ListUsers``, on everything."""
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}],
    }


@dataclass(frozen=True)
class AwsKeys:
    """Keys that moto knows; with ``session_token`` when they come from AssumeRole."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Fault:
    """What goes wrong with requests of a method whose path, query and range match a pattern.

    ``what`` is ``flip`` (a bit in the middle of the body), ``cut`` (only this share of the body is sent), ``hold``
    (until other faults are set), or ``answer`` (with ``status``, ``body`` and ``headers``). ``after`` so many requests
    that fit, as many ``times``.
    """

    what: str
    where: str = ""
    method: str = ".*"
    times: int = 1_000_000
    after: int = 0
    share: float = 0.5
    status: str = "500 Internal Server Error"
    body: str = '<?xml version="1.0"?><Error><Code>InternalError</Code><Message>We are sorry.</Message></Error>'
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/xml"),)


class MotoServer:
    """moto on loopback, for as long as the ``with`` block lasts, with IAM checks on unless ``checks`` is false.

    ``user`` are the keys of an IAM user that may do everything, ``role`` those of an assumed role that may do
    everything. More of either, with other policies, come from :meth:`create_user` and :meth:`assume_role`.
    """

    def __init__(self, *, region: str = "us-east-1", checks: bool = True) -> None:
        self.region = region
        self.checks = checks
        self.account_id = "123456789012"
        self.port = 0
        self.user: AwsKeys
        self.role: AwsKeys
        self._session = boto3.Session()
        self._clients: dict[tuple[str, AwsKeys], Any] = {}
        self._process = ServerProcess(
            "moto",
            python_program("_moto_process.py"),
            {},
            AWS_EC2_METADATA_DISABLED="true",
            AWS_DEFAULT_REGION=region,
        )

    @property
    def url(self) -> str:
        """``http://127.0.0.1:port``, the endpoint of every service, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.port = self._process.start()
        try:
            self.user = self.create_user("user")
            self.role = self.assume_role("role")
        except BaseException:
            self._process.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()

    def create_user(self, name: str, policy: Mapping[str, Any] = ALLOW_ALL) -> AwsKeys:
        """Create an IAM user with this policy, and an access key for it."""
        with self._unchecked() as keys:
            iam = self.client("iam", keys)
            iam.create_user(UserName=name)
            iam.put_user_policy(UserName=name, PolicyName="policy", PolicyDocument=json.dumps(policy))
            created = iam.create_access_key(UserName=name)["AccessKey"]
            iam.close()
        return AwsKeys(created["AccessKeyId"], created["SecretAccessKey"])

    def create_role(self, name: str, policy: Mapping[str, Any] = ALLOW_ALL) -> str:
        """Create a role with this policy that anybody may assume; its ARN."""
        anybody = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
        trust = {"Version": "2012-10-17", "Statement": [anybody]}
        with self._unchecked() as keys:
            iam = self.client("iam", keys)
            role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]
            iam.put_role_policy(RoleName=name, PolicyName="policy", PolicyDocument=json.dumps(policy))
            iam.close()
        return str(role["Arn"])

    def assume_role(self, name: str, policy: Mapping[str, Any] = ALLOW_ALL) -> AwsKeys:
        """Create a role with this policy, and assume it: keys with a session token."""
        arn = self.create_role(name, policy)
        with self._unchecked() as keys:
            sts = self.client("sts", keys)
            session = sts.assume_role(RoleArn=arn, RoleSessionName="session")["Credentials"]
            sts.close()
        return AwsKeys(session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"])

    def client(self, service: str, keys: AwsKeys) -> Any:
        """A boto3 client of this server. Close it with ``close()``.

        There is one for each service and keys: to make one takes longer than most tests. One that was closed is
        connected again with the next call.
        """
        if (service, keys) not in self._clients:
            self._clients[service, keys] = self._session.client(
                service,
                region_name=self.region,
                endpoint_url=self.url,
                aws_access_key_id=keys.access_key_id,
                aws_secret_access_key=keys.secret_access_key,
                aws_session_token=keys.session_token,
                config=Config(retries={"max_attempts": 0}, proxies={}, s3={"addressing_style": "path"}),
            )
        return self._clients[service, keys]

    # -- what stands in front of it ---------------------------------------------------------------------------------

    def requests(self, where: str = "", method: str = "") -> list[dict[str, Any]]:
        """What was asked since :meth:`forget`: those whose path and query match a pattern."""
        found: list[dict[str, Any]] = self._steer("requests")
        return [
            each
            for each in found
            if re.search(where, f"{each['path']}?{each['query']}") and method in ("", each["method"])
        ]

    def forget(self) -> None:
        """Forget the requests and the faults."""
        self._steer("forget")
        self._steer("faults", [])

    def fail(self, *faults: Fault) -> None:
        """From now on these faults, the first that fits a request; none = all is well again."""
        self._steer("faults", [asdict(fault) for fault in faults])

    def _steer(self, what: str, given: object = None) -> Any:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(f"{self.url}/-tests-/{what}", json.dumps(given).encode())  # noqa: S310
        with opener.open(request, timeout=30) as response:
            return json.load(response)

    @contextmanager
    def _unchecked(self) -> Iterator[AwsKeys]:
        """The time in which moto believes everybody, needed to make the first keys."""
        self._actions_without_check("inf")
        try:
            yield AwsKeys("setup", "setup")
        finally:
            if self.checks:
                self._actions_without_check("0")

    def _actions_without_check(self, count: str) -> None:
        # the running counterpart of the variable INITIAL_NO_AUTH_ACTION_COUNT
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/moto-api/reset-auth",
            data=count.encode(),
            headers={"Content-Type": "text/plain"},
            method="POST",
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as response:
            response.read()
