"""Runs the sandbox in this process, on localhost, until it is told to stop."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from prefect_atomic.sandbox.app import CUT, Application

HOST = "127.0.0.1"


def serve(*, port: int = 0, parent: int | None = None, ready: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT.

    Args:
        port: the port on 127.0.0.1; 0 for any that is free.
        parent: the id of the parent process; the sandbox stops when that is gone.
        ready: called with the sandbox's URL once it answers.
    """
    with socket.create_server((HOST, port)) as listener:
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            Application(url),
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # uvicorn logs request lines, and those may hold secrets
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=120,  # longer than a pooled client keeps a connection
            timeout_graceful_shutdown=0,  # whoever hangs in a fault would wait for ever
        )
        server = _Server(config, parent=parent, ready=lambda: ready(url))
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


class _Protocol(H11Protocol):
    """HTTP/1.1 that lets the application close the connection without an answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio does this only where the listener names its protocol; without it every answer waits 40 ms for an ACK
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # uvicorn hands a copy of this to each request, as scope["state"]
        self.app_state = {**self.app_state, CUT: transport.close}


class _Server(uvicorn.Server):
    """Says when it is ready, and stops when its parent is gone."""

    def __init__(self, config: uvicorn.Config, *, parent: int | None, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._parent = parent
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def on_tick(self, counter: int) -> bool:
        orphaned = self._parent is not None and os.getppid() != self._parent
        return await super().on_tick(counter) or orphaned
