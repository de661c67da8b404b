"""The process behind :mod:`.moto`; run as a program, never imported by the tests.

In front of moto stands what it lacks: temporary credentials that expire, a record of what was asked, faults, a slow
disk, and buckets with so many keys that moto would take minutes to make them. The tests steer it at ``/-tests-/``.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from threading import Condition, Lock
from typing import Any
from urllib.parse import parse_qs, quote

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

Start = Callable[..., Any]

_CREDENTIAL = re.compile(r"Credential=([^/]+)/")
_MADE_UP = re.compile(r"^/made-up-(\d+)/?$")
_PAGE = 1000


class InFront:
    """A WSGI application in front of another one."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._lock = Lock()
        self._expiry: dict[str, datetime] = {}
        self._requests: list[dict[str, Any]] = []
        self._faults: list[dict[str, Any]] = []
        self._held = Condition()

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        path, query = environ["PATH_INFO"], environ.get("QUERY_STRING", "")
        if path.startswith("/-tests-/"):
            return self._steered(path.removeprefix("/-tests-/"), environ, start)
        authorization = environ.get("HTTP_AUTHORIZATION", "")
        signer = found[1] if (found := _CREDENTIAL.search(authorization)) else ""
        seen = {
            "method": environ["REQUEST_METHOD"],
            "path": path.encode("latin-1").decode("utf-8", "replace"),
            "query": query,
            "signer": signer,
            "range": environ.get("HTTP_RANGE", ""),
            "if_match": environ.get("HTTP_IF_MATCH", ""),
        }
        with self._lock:
            self._requests.append(seen)
            fault = self._fault_for(seen)
        signed_at = _moment(environ.get("HTTP_X_AMZ_DATE", ""))
        if signer in self._expiry and signed_at and signed_at >= self._expiry[signer]:
            seen["status"] = 400
            return _answered(start, "400 Bad Request", _xml_error("ExpiredToken", "The provided token has expired."))
        if made_up := _MADE_UP.match(path):
            return _answered(start, "200 OK", _page(int(made_up[1]), parse_qs(query)))
        return self._passed_on(environ, start, seen, fault, signed_at)

    def _fault_for(self, seen: dict[str, Any]) -> dict[str, Any] | None:
        for fault in self._faults:
            if (
                fault["times"]
                and re.fullmatch(fault["method"], seen["method"])
                and re.search(fault["where"], f"{seen['path']}?{seen['query']} {seen['range']}")
            ):
                if fault["after"]:
                    fault["after"] -= 1
                    continue
                fault["times"] -= 1
                return fault
        return None

    def _passed_on(
        self,
        environ: dict[str, Any],
        start: Start,
        seen: dict[str, Any],
        fault: dict[str, Any] | None,
        signed_at: datetime | None,
    ) -> Iterable[bytes]:
        what = fault["what"] if fault else ""
        if what == "hold":
            with self._held:
                self._held.wait_for(lambda: fault not in self._faults, 60)
        if what == "answer":
            assert fault
            _read_all(environ)
            seen["status"] = int(fault["status"].split()[0])
            return _answered(start, fault["status"], fault["body"].encode(), fault["headers"])
        told: list[Any] = []
        body = b"".join(self._application(environ, lambda *what: told.extend(what[:2])))
        status, headers = told[0], [(name, value) for name, value in told[1] if name.lower() != "content-length"]
        length = next((value for name, value in told[1] if name.lower() == "content-length"), str(len(body)))
        seen["status"] = int(status.split()[0])
        if b"<AssumeRoleResponse" in body:
            body, length = self._expiring(body, environ, signed_at)
        if what == "flip" and body:
            at = len(body) // 2
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        start(status, [*headers, ("Content-Length", length)])
        if what == "cut":
            assert fault
            return _Cut(body[: int(len(body) * fault["share"])])
        return [body]

    def _expiring(self, body: bytes, environ: dict[str, Any], signed_at: datetime | None) -> tuple[bytes, str]:
        """By the clock of who asked: it may have been moved on."""
        text = body.decode()
        began = signed_at or datetime.now(UTC)
        ends = (began + timedelta(hours=1)).replace(microsecond=0)
        (key,) = re.findall("<AccessKeyId>([^<]+)</AccessKeyId>", text)
        text = re.sub("<Expiration>[^<]+</Expiration>", f"<Expiration>{ends:%Y-%m-%dT%H:%M:%SZ}</Expiration>", text)
        with self._lock:
            self._expiry[key] = ends
        return text.encode(), str(len(text.encode()))

    def _steered(self, what: str, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        given = json.loads(_read_all(environ) or b"null")
        with self._lock:
            if what == "requests":
                answer: Any = list(self._requests)
            elif what == "forget":
                answer, self._requests = None, []
            elif what == "faults":
                answer, self._faults = None, given
                with self._held:
                    self._held.notify_all()
            else:
                raise ValueError(what)
        return _answered(start, "200 OK", json.dumps(answer).encode())


class _Cut:
    """Sends less than was announced, and closes the connection."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body

    def __iter__(self) -> _Cut:
        return self

    def __next__(self) -> bytes:
        body, self._body = self._body, None
        if body is None:
            raise ConnectionResetError
        return body


def _read_all(environ: dict[str, Any]) -> bytes:
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return body


def _answered(start: Start, status: str, body: bytes, headers: Iterable[Iterable[str]] = ()) -> list[bytes]:
    kind = [] if headers else [("Content-Type", "application/xml")]
    start(status, [*kind, *((name, value) for name, value in headers), ("Content-Length", str(len(body)))])
    return [body]


def _xml_error(code: str, message: str) -> bytes:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()


def _moment(text: str) -> datetime | None:
    return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) if text else None


def _page(size: int, query: dict[str, list[str]]) -> bytes:
    """A page of ListObjectsV2 of a bucket that has so many objects."""
    if "uploads" in query or "list-type" not in query:
        return b"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"
    first = int(query.get("continuation-token", ["0"])[0])
    limit = min(int(query.get("max-keys", [str(_PAGE)])[0]), _PAGE)
    prefix, last = query.get("prefix", [""])[0], min(first + limit, size)
    items = "".join(
        f"<Contents><Key>{quote(prefix)}{number:09d}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
        f"<ETag>&quot;{number:032x}&quot;</ETag><Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for number in range(first, last)
    )
    more = f"<NextContinuationToken>{last}</NextContinuationToken>" if last < size else ""
    return (
        f"<ListBucketResult><Name>made-up-{size}</Name><KeyCount>{last - first}</KeyCount><MaxKeys>{limit}</MaxKeys>"
        f"<IsTruncated>{str(last < size).lower()}</IsTruncated>{more}{items}</ListBucketResult>"
    ).encode()


class _Handler(MotoRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as S3 keeps them

    def connection_dropped(self, error: BaseException, environ: Any = None) -> None:
        self.close_connection = True

    def log_request(self, *_: Any, **__: Any) -> None:
        pass


def main() -> None:
    application = InFront(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_Handler)
    sys.stdout.write(json.dumps({"port": server.server_port}) + "\n")
    sys.stdout.flush()
    from threading import Thread

    Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.buffer.read()  # until the tests end
    os._exit(0)  # at once: an orderly stop of werkzeug waits for half a second


if __name__ == "__main__":
    main()
