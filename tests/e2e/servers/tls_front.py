"""TLS in front of the sandbox, and a proxy that leads every host there.

simple-salesforce makes ``https://`` addresses of its own, such as ``https://co.my.salesforce.com``, and so do other
clients. With ``proxies={"https": front.proxy_url}`` and a session that trusts ``front.ca_file`` they talk to the
sandbox unpatched. What it proves: that these requests are what such a client sends to Salesforce.

What it does not prove: anything about TLS, names or routing at Salesforce. It forwards the bytes as they come.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
import threading
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import trustme

NAMES = ("127.0.0.1", "localhost", "*.salesforce.com", "*.my.salesforce.com", "*.sandbox.my.salesforce.com")
_PIECE = 1 << 16


class TlsFront:
    """A TLS terminator and a CONNECT proxy on loopback, for as long as the ``with`` block lasts.

    ``url`` is the terminator, ``proxy_url`` the proxy, ``ca_file`` what clients should trust, and ``hosts`` the hosts
    that clients asked the proxy for.
    """

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._folder = tempfile.TemporaryDirectory(prefix="tls-front-")
        self.ca_file = str(Path(self._folder.name) / "ca.pem")
        self.port = 0
        self.proxy_port = 0
        self.hosts: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tls-front", daemon=True)
        self._servers: list[asyncio.Server] = []
        self._talks: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        """``https://127.0.0.1:port``, without a slash at the end."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def proxy_url(self) -> str:
        """``http://127.0.0.1:port``, without a slash at the end."""
        return f"http://127.0.0.1:{self.proxy_port}"

    @property
    def proxies(self) -> dict[str, str]:
        """As requests takes it."""
        return {"https": self.proxy_url}

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._folder.cleanup()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _start(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(*NAMES).configure_cert(context)
        self._servers = [
            await asyncio.start_server(self._terminate, "127.0.0.1", 0, ssl=context),
            await asyncio.start_server(self._connect, "127.0.0.1", 0),
        ]
        self.port, self.proxy_port = (server.sockets[0].getsockname()[1] for server in self._servers)

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        for talk in tuple(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _terminate(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._lead(reader, writer, self._target.hostname or "", self._target.port or 80)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            writer.close()
            return
        method, host, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
        if method != b"CONNECT":
            writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()
            return
        self.hosts.append(host.decode("ascii"))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await self._lead(reader, writer, "127.0.0.1", self.port)

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
        if task := asyncio.current_task():
            self._talks.add(task)
            task.add_done_callback(self._talks.discard)
        other: asyncio.StreamWriter | None = None
        try:
            source, other = await asyncio.open_connection(host, port)
            await asyncio.gather(_copy(reader, other), _copy(source, writer))
        except (OSError, asyncio.CancelledError):
            pass  # either side is gone, or the tests are over
        finally:
            for end in filter(None, (writer, other)):
                end.close()
                # so that nothing is left to the garbage collector, which would complain in another test
                with contextlib.suppress(OSError, asyncio.CancelledError):
                    await asyncio.wait_for(end.wait_closed(), 2)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    else:
        writer.close()  # TLS cannot half-close
