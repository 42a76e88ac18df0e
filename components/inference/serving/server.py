"""The application on a port, until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
import warnings
from collections.abc import Callable
from types import FrameType

import uvicorn

from components.errors import GraftError, MachineError
from components.inference.serving.app import build
from components.inference.serving.protocol import Impatient
from components.inference.serving.service import Service

CLOSE = (b"connection", b"close")
KEEP_ALIVE_S = 75
"""Longer than load balancers keep an idle connection, commonly 60 s, or they would send requests into a closed one."""
LINGER_S = 0.5
"""How long a connection that was made before the port closed may take to send a first request."""
GRACE_S = 10.0
"""How long answers may take to reach their clients, once nothing new is taken."""


def serve(service: Service, *, host: str, port: int, version: str, drain_s: float, say: Callable[[str], None]) -> None:
    """Answers requests until SIGTERM or SIGINT, then stops without losing one: /readyz turns 503 at once, the port
    stays open for `drain_s` seconds so that a load balancer can see it, and what was accepted is answered.

    `port`: 0 takes a free one. `say`: is told the URL once it answers. Raises MachineError when the port is taken.
    """
    warnings.filterwarnings("ignore", module="PIL")  # whatever clients may send, it is theirs to hear of it
    with listen(host, port) as listener:
        service.model.warm_up()
        server = Server(service, version=version, drain_s=drain_s, started=lambda: say(url(listener)))
        # What lives as long as the process need not be looked through again and again for garbage.
        gc.collect()
        gc.freeze()
        server.run([listener])
    if server.force_exit:
        raise GraftError("stopped by force: some requests may have got no answer")


class Server(uvicorn.Server):
    """uvicorn's, but a signal first turns /readyz, and the process then ends with 0 instead of dying of the signal."""

    def __init__(self, service: Service, *, version: str, drain_s: float, started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                build(service, version),
                http=Impatient,
                ws="none",
                access_log=False,
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=round(service.limits.read_s + GRACE_S),
            )
        )
        self._service, self._drain_s, self._on_start = service, drain_s, started
        self._close_at: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._close_at is None:
            self._service.state = "stopping"
            self._close_at = time.monotonic() + self._drain_s
            # Every answer from now on ends its connection, so that none is cut off between two requests.
            self.config.encoded_headers.append(CLOSE)
            self.server_state.default_headers.append(CLOSE)
        else:
            self.force_exit = self.should_exit
            self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for one in self.servers:
            one.close()
        # uvicorn cuts off whoever connected at the last moment and has not sent a request yet.
        until = time.monotonic() + LINGER_S
        while time.monotonic() < until and any(not each.cycle for each in self._connections()):
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)

    def _connections(self) -> list[Impatient]:
        return [each for each in self.server_state.connections if isinstance(each, Impatient)]

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        for connection in self._connections():
            connection.expire(self._service.limits.read_s)
        if self._close_at is not None and time.monotonic() >= self._close_at:
            self.should_exit = True
        return await super().on_tick(counter)


def listen(host: str, port: int) -> socket.socket:
    """Raises MachineError when the address is not this machine's or the port is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        # asyncio turns Nagle's algorithm off only for sockets that name their protocol. With it, head and body of an
        # answer, which uvicorn writes one after the other, are 40 ms apart.
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise MachineError(f"cannot listen on {host}, port {port}: {error}") from None
    return listener


def url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
