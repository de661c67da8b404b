"""One sandbox for all tests here, and a way to send it exactly these bytes."""

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from prefect_atomic.sandbox import Sandbox


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


Send = Callable[..., Reply]


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox.start() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Sandbox:
    running_sandbox.reset()
    return running_sandbox


@pytest.fixture
def send(sandbox: Sandbox) -> Send:
    """Sends a request with the target as it is written: http.client neither normalises nor encodes it."""

    def send(
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | list[tuple[str, str]] = (),
        body: bytes = b"",
        form: Mapping[str, str] | list[tuple[str, str]] | None = None,
    ) -> Reply:
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        if form is not None:
            body = urlencode(form).encode()
            pairs.append(("Content-Type", "application/x-www-form-urlencoded"))
        address = urlsplit(sandbox.url)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=20)
        try:
            named = {name.lower() for name, _ in pairs}
            connection.putrequest(method, target, skip_host="host" in named, skip_accept_encoding=True)
            for name, value in pairs:
                connection.putheader(name, value)
            if "content-length" not in named:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    return send
