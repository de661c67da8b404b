"""A service that needs no proof: an echo, redirects, any status, streams, and compression right and wrong."""

import gzip
import re
from collections.abc import Iterator
from typing import NoReturn
from urllib.parse import quote

from prefect_atomic.sandbox.masking import fingerprint, is_sensitive
from prefect_atomic.sandbox.wire import Answer, Received, Refused, Route

CHUNK = bytes(64 * 1024)
GZIP = (("Content-Type", "application/json"), ("Content-Encoding", "gzip"))


def routes() -> list[Route]:
    """The paths of this service."""
    return [
        Route("/echo", _echo, "what arrived, secrets replaced by a fingerprint", below=True),
        Route("/redirect", _redirect, "?to=URL&status=302 redirects there"),
        Route("/status", _status, "/status/503 answers 503", below=True),
        Route("/bytes", _bytes, "/bytes/1000 streams 1000 bytes", below=True),
        Route("/gzip", _gzip, "an answer in gzip"),
        Route("/not-gzip", _not_gzip, "an answer that claims to be in gzip"),
    ]


def _echo(received: Received) -> Answer:
    headers = [[name, fingerprint(value) if is_sensitive(name) else value] for name, value in received.headers]
    return Answer.of_json(
        {
            "method": received.method,
            "path": received.path,
            "query": received.query,
            "headers": headers,
            "body_sha256": received.body_sha256,
        }
    )


def _redirect(received: Received) -> Answer:
    query = dict(received.query_pairs)
    status = query.get("status", "302")
    if "to" not in query:
        _refuse("say where to: /redirect?to=URL&status=302")
    if not re.fullmatch(r"3[0-9]{2}", status):
        _refuse("status should be from 300 to 399")
    # as it came, but for what a header cannot hold
    location = quote(query["to"], safe="%/:=&?~#+!$,;'@()*[]")
    return Answer(int(status), b"", (("Location", location),))


def _status(received: Received) -> Answer:
    status = _number(received, "/status/503")
    if not 200 <= status <= 599:
        _refuse("the status should be from 200 to 599")
    return Answer.of_json({"status": status}, status=status)


def _bytes(received: Received) -> Answer:
    size = _number(received, "/bytes/1000")
    return Answer(200, _zeros(size), (("Content-Type", "application/octet-stream"),))


def _zeros(size: int) -> Iterator[bytes]:
    for _ in range(size // len(CHUNK)):
        yield CHUNK
    yield CHUNK[: size % len(CHUNK)]


def _gzip(_: Received) -> Answer:
    return Answer(200, gzip.compress(b'{"gzip": true}'), GZIP)


def _not_gzip(_: Received) -> Answer:
    return Answer(200, b'{"gzip": false}', GZIP)


def _number(received: Received, example: str) -> int:
    last = received.path.rpartition("/")[2]
    if not re.fullmatch(r"[0-9]{1,12}", last):
        _refuse(f"the path should look like {example}")
    return int(last)


def _refuse(reason: str) -> NoReturn:
    raise Refused(Answer.of_json({"error": reason}, status=400))
