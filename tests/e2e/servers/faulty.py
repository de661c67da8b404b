"""A server of our own that misbehaves on the wire, and records every byte it was sent.

No web framework lets a server cut a header in half, announce gzip and send text, or never stop talking, so this
one writes bytes to sockets itself. What it proves: how a client behaves when the other side is broken, how much of
an endless answer it takes in, and what exactly it sent. It shares no code with the package.

Which behaviour a request meets is decided in this order:

1. the next entry of :meth:`FaultServer.script`, while there is one;
2. :attr:`FaultServer.handler`, a function from the request to the answer;
3. :attr:`FaultServer.mode`, the name of a behaviour for every request;
4. the path, if its first segment is the name of a behaviour (``/cut-body``, ``/cut-body/anything?a=b``);
5. otherwise ``ok``: 200 and ``{"ok": true}``.

The behaviours:

=================== ==================================================================================
``ok``              200 with :attr:`FaultServer.ok_body`
``hang``            reads the request and never answers
``hang-accept``     accepts the connection and reads nothing (as ``mode`` only: there is no path yet)
``close``           closes the connection without an answer
``reset``           resets the connection (RST) without an answer
``garbage``         answers with bytes that are not HTTP
``cut-headers``     closes in the middle of a header
``endless-headers`` never stops sending headers
``cut-body``        announces 1000 bytes, sends 10, closes
``cut-chunk``       closes in the middle of a chunk
``drip``            announces ``drip_body``, sends it one byte every ``drip_interval`` seconds
``endless``         a chunked body that never ends
``huge``            announces a body of a terabyte and goes on sending it
``not-gzip``        announces gzip, sends plain text
``gzip-bomb``       32 kB of gzip that unpack to 32 MiB
=================== ==================================================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
import struct
import tempfile
import threading
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import trustme

_LIMIT = 1 << 20  # the longest header block we read
_BLOCK = b"x" * 16384


@dataclass(frozen=True)
class CapturedRequest:
    """One request as it arrived. Text is Latin-1, so every byte of the wire is one character."""

    raw: bytes
    """The request line, the headers and the body, byte for byte (a chunked body with its chunk sizes)."""
    request_line: str
    method: str
    target: str
    """As in the request line: nothing decoded, nothing normalised."""
    headers: list[tuple[str, str]]
    """Names as they were written, in their order; values without the white space around them."""
    body: bytes
    """The body, put together if it came in chunks."""
    connection: int
    """The number of the connection it came on, from 0: two requests with one number shared a connection."""

    @property
    def path(self) -> str:
        """The target up to ``?``."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The target after ``?``."""
        return self.target.partition("?")[2]

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        """The value of a header that is sent at most once."""
        values = self.all(name)
        assert len(values) < 2, f"{name} was sent {len(values)} times"
        return values[0] if values else None


@dataclass(frozen=True)
class Answer:
    """A whole answer, for a script or a handler.

    ``Content-Length`` is added unless ``headers`` has it or ``Transfer-Encoding``. ``delay`` is in seconds;
    ``hold`` keeps the answer back until :meth:`FaultServer.release`.
    """

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    delay: float = 0.0
    hold: bool = False


Behaviour = Answer | str
Handler = Callable[[CapturedRequest], Behaviour]
Certificate = Literal["good", "wrong-host", "expired"]


class FaultServer:
    """A misbehaving, recording server on loopback, for as long as the ``with`` block lasts.

    With ``tls`` it speaks TLS with a certificate of an authority that exists only here, so clients refuse it,
    unless they are told to trust :attr:`ca_file`; then a ``wrong-host`` or an ``expired`` one is still refused.
    """

    def __init__(self, *, tls: bool = False, certificate: Certificate = "good") -> None:
        self.mode: str | None = None
        self.handler: Handler | None = None
        self.ok_body = b'{"ok": true}'
        self.drip_body = b"x" * 10_000
        self.drip_interval = 0.05
        self.requests: list[CapturedRequest] = []
        self.connections = 0
        """How many connections were accepted, also those whose TLS handshake failed."""
        self.open_connections = 0
        self.bytes_sent = 0
        """Bytes handed to the kernel for clients (the kernel may hold about 100 kB that a client never took)."""
        self.port = 0
        self._script: deque[Behaviour] = deque()
        self._changed = threading.Condition()
        self._tls = tls
        self._certificate: Certificate = certificate
        self._ca_file: Path | None = None
        self._server_context: ssl.SSLContext | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped: asyncio.Event
        self._released: asyncio.Event
        self._failures: list[BaseException] = []

    # -- what tests say and ask ---------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """``http://127.0.0.1:port`` (or ``https``), without a slash at the end."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path:
        """The certificate of the authority that signed ours (PEM); only with ``tls``."""
        assert self._ca_file is not None, "FaultServer(tls=True) has a certificate, this one has not"
        return self._ca_file

    def script(self, answers: Iterable[Behaviour]) -> None:
        """Answer the next requests with these, one each: answers or names of behaviours. Replaces a former script."""
        entries = [_checked(answer) for answer in answers]
        with self._changed:
            self._script = deque(entries)

    def release(self) -> None:
        """Let go every answer that is kept back by ``hold``, now and from now on."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._released.set)

    def wait(self, until: Callable[[FaultServer], object], timeout: float = 10.0) -> None:
        """Wait until something is true of this server, such as ``lambda server: len(server.requests) == 2``."""
        with self._changed:
            if not self._changed.wait_for(lambda: until(self), timeout):
                raise TimeoutError(
                    f"after {timeout} s: {len(self.requests)} requests, {self.open_connections} open connections"
                )

    def reset(self) -> None:
        """Forget requests, counts, script, handler and mode; connections stay as they are."""
        with self._changed:
            self.requests = []
            self.connections = self.bytes_sent = 0
            self.mode = self.handler = None
            self._script = deque()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._released.clear)

    # -- start and stop -----------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)  # inherited by the connections
        self.port = listener.getsockname()[1]
        started = threading.Event()

        def run() -> None:
            try:
                asyncio.run(self._serve(listener, started))
            except Exception as error:  # noqa: BLE001  (told to the test)
                self._failures.append(error)
            finally:
                listener.close()
                started.set()

        self._thread = threading.Thread(target=run, name=f"FaultServer-{self.port}")
        self._thread.start()
        started.wait()
        if self._failures:
            self._thread.join()
            raise self._failures[0]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()
        self._loop = self._thread = None
        if self._failures and kind is None:
            raise self._failures[0]

    async def _serve(self, listener: socket.socket, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped, self._released = asyncio.Event(), asyncio.Event()
        tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._connection(reader, writer))
            tasks[task] = writer
            task.add_done_callback(tasks.pop)

        with tempfile.TemporaryDirectory() as folder:
            self._server_context = self._context(Path(folder)) if self._tls else None
            server = await asyncio.start_server(connected, sock=listener, limit=_LIMIT)
            started.set()
            await self._stopped.wait()
            # Connections that were accepted this moment are on their way to become tasks of ours, through asyncio's.
            # They need the server open: a closed one lets asyncio lose them, sockets and all (CPython issue 109564).
            asyncio.get_running_loop().remove_reader(listener)  # accepts no more of them
            while on_their_way := asyncio.all_tasks() - tasks.keys() - {asyncio.current_task()}:
                await asyncio.wait(on_their_way)
            server.close()
            for task, writer in tasks.items():
                task.cancel()
                writer.transport.abort()  # a task that is cancelled before its first step closes nothing
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.wait_closed()
            for _ in range(
                3
            ):  # a transport closes its socket in a later turn of the loop, through TLS in the one after
                await asyncio.sleep(0)

    def _context(self, folder: Path) -> ssl.SSLContext:
        authority = trustme.CA()
        names = ["wrong.invalid"] if self._certificate == "wrong-host" else ["127.0.0.1", "localhost"]
        end = datetime.now(UTC) - timedelta(days=1) if self._certificate == "expired" else None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names, not_after=end).configure_cert(context)
        self._ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self._ca_file))
        return context

    # -- a connection -------------------------------------------------------------------------------------------

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self._changed:
            number = self.connections
            self.connections += 1
            self.open_connections += 1
            self._changed.notify_all()
        aborted = False
        try:
            if self.mode == "hang-accept":
                await asyncio.Event().wait()
            if self._server_context is not None:
                await writer.start_tls(self._server_context)
            writer.transport.set_write_buffer_limits(high=1, low=0)  # drain() waits until the kernel has it all
            while (request := await _read_request(reader, writer, number)) is not None:
                if not await self._respond(request, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, TimeoutError):
            pass  # the client went away
        except asyncio.CancelledError:
            writer.transport.abort()  # the server stops: do not wait for the client
            aborted = True
        except Exception as error:  # noqa: BLE001  (a wrong script, a failing handler: told to the test at the end)
            self._failures.append(error)
        finally:
            if not aborted:
                await _close(writer)
            with self._changed:
                self.open_connections -= 1
                self._changed.notify_all()

    async def _respond(
        self, request: CapturedRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; whether the connection can carry another one."""
        with self._changed:
            self.requests.append(request)
            behaviour = self._behaviour(request)
            self._changed.notify_all()
        if isinstance(behaviour, str) and behaviour != "ok":
            await _FAULTS[behaviour](self, reader, writer)
            return False
        answer = behaviour if isinstance(behaviour, Answer) else Answer(headers=_JSON, body=self.ok_body)
        if answer.delay:
            await asyncio.sleep(answer.delay)
        if answer.hold:
            await self._released.wait()
        await self._send(writer, _encode(answer, request.method))
        return (request.header("Connection") or "").lower() != "close" and request.request_line.endswith("/1.1")

    def _behaviour(self, request: CapturedRequest) -> Behaviour:
        if self._script:
            return self._script.popleft()
        if self.handler is not None:
            return _checked(self.handler(request))
        if self.mode is not None and self.mode != "hang-accept":  # (this connection is older than the mode)
            return _checked(self.mode)
        first = request.path.lstrip("/").partition("/")[0]
        return first if first in _FAULTS else "ok"

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()
        with self._changed:
            self.bytes_sent += len(data)
            self._changed.notify_all()

    # -- the faults ---------------------------------------------------------------------------------------------

    async def _hang(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):  # until the client closes, or we are stopped
            pass

    async def _cut(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pass  # the connection is closed next

    async def _reset(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw: socket.socket = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def _garbage(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._send(writer, b"\x16\x03\x01\x00 SSH-2.0-no-http-here \xff\xfe\r\n\r\n")

    async def _cut_headers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._send(writer, b"HTTP/1.1 200 OK\r\nContent-Type: application/js")

    async def _endless_headers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._send(writer, b"HTTP/1.1 200 OK\r\n")
        number = 0
        while True:
            await self._send(writer, b"".join(b"X-%d: %s\r\n" % (n, b"y" * 1000) for n in range(number, number + 16)))
            number += 16

    async def _cut_body(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._send(writer, _head(("Content-Length", "1000")) + b'{"token": ')

    async def _cut_chunk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._send(writer, _head(("Transfer-Encoding", "chunked")) + b'100\r\n{"token": ')

    async def _drip(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = self.drip_body
        await self._send(writer, _head(("Content-Length", str(len(body))), ("Connection", "close")))
        for position in range(len(body)):
            await self._send(writer, body[position : position + 1])
            await asyncio.sleep(self.drip_interval)

    async def _endless(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._send(writer, _head(("Transfer-Encoding", "chunked")))
        while True:
            await self._send(writer, b"%x\r\n%s\r\n" % (len(_BLOCK), _BLOCK))

    async def _huge(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._send(writer, _head(("Content-Length", str(10**12))))
        while True:
            await self._send(writer, _BLOCK)

    async def _not_gzip(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = self.ok_body
        length = ("Content-Length", str(len(body)))
        await self._send(writer, _head(("Content-Encoding", "gzip"), length, ("Connection", "close")) + body)

    async def _gzip_bomb(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = _bomb()
        length = ("Content-Length", str(len(body)))
        await self._send(writer, _head(("Content-Encoding", "gzip"), length, ("Connection", "close")) + body)


@functools.cache
def _bomb() -> bytes:
    packer = zlib.compressobj(wbits=31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(32)) + packer.flush()


_JSON = (("Content-Type", "application/json"),)
_FAULTS: dict[str, Callable[[FaultServer, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]] = {
    "hang": FaultServer._hang,
    "close": FaultServer._cut,
    "reset": FaultServer._reset,
    "garbage": FaultServer._garbage,
    "cut-headers": FaultServer._cut_headers,
    "endless-headers": FaultServer._endless_headers,
    "cut-body": FaultServer._cut_body,
    "cut-chunk": FaultServer._cut_chunk,
    "drip": FaultServer._drip,
    "endless": FaultServer._endless,
    "huge": FaultServer._huge,
    "not-gzip": FaultServer._not_gzip,
    "gzip-bomb": FaultServer._gzip_bomb,
}


def _checked(behaviour: Behaviour) -> Behaviour:
    if isinstance(behaviour, str) and behaviour != "ok" and behaviour not in _FAULTS:
        raise ValueError(f"there is no behaviour {behaviour!r}; there are ok, {', '.join(_FAULTS)}")
    return behaviour


def _head(*headers: tuple[str, str]) -> bytes:
    lines = ["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in (*_JSON, *headers))]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _encode(answer: Answer, method: str) -> bytes:
    headers = list(answer.headers)
    bodyless = answer.status < 200 or answer.status in (204, 304)
    if not bodyless and not {name.lower() for name, _ in headers} & {"content-length", "transfer-encoding"}:
        headers.append(("Content-Length", str(len(answer.body))))
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if bodyless or method == "HEAD" else head + answer.body


async def _read_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
) -> CapturedRequest | None:
    """The next request on a connection; ``None`` when the client has closed it."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise
    request_line, *lines = head[:-4].decode("latin-1").split("\r\n")
    headers = [(name, value.strip(" \t")) for name, _, value in (line.partition(":") for line in lines)]
    values = {name.lower(): value for name, value in headers}
    if values.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if "chunked" in values.get("transfer-encoding", "").lower():
        raw, body = await _read_chunks(reader)
    else:
        raw = body = await reader.readexactly(int(values.get("content-length", "0")))
    method, _, rest = request_line.partition(" ")
    target = rest.rpartition(" ")[0]
    return CapturedRequest(head + raw, request_line, method, target, headers, body, connection)


async def _read_chunks(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    raw, body = b"", b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        if size == 0:
            break
        chunk = await reader.readexactly(size + 2)
        raw, body = raw + line + chunk, body + chunk[:-2]
    raw += line
    while line != b"\r\n":  # trailers
        line = await reader.readuntil(b"\r\n")
        raw += line
    return raw, body


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close a connection: in order if the client takes part, else without it."""
    try:
        writer.close()
        async with asyncio.timeout(1):
            await writer.wait_closed()
    except (OSError, TimeoutError, asyncio.CancelledError):
        writer.transport.abort()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()
