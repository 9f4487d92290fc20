"""The process of the gateway: uvicorn on a socket of ours, watched, and a stop that answers what was accepted.

On SIGTERM or SIGINT readiness goes false and every answer closes its connection, while connections are still taken for a moment:
those that wait in the listen backlog, whom the kernel would reset when the socket closes, are answered too.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from goodsight.errors import BusyError
from serving.gateway.gateway import Gateway
from serving.torchserve import holder

LINGER_SECONDS = 1.0  # in which balancers see that the server is not ready, and clients with kept connections are told to close them
SETTLE_SECONDS = 0.2  # for the requests of the connections that were taken last
BACKLOG = 1024
UNACKED = 24  # where in Linux's struct tcp_info of a listening socket the number of connections stands that wait to be accepted


def listening(host: str, port: int) -> socket.socket:
    """The socket of the gateway, which does not listen yet. Raises `BusyError` when the port is taken or the host is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        message = f"The gateway cannot listen at {host}:{port} ({error.strerror}); the port is held by {holder(port)}."
        raise BusyError(message, "Stop that process, or choose others with GOODSIGHT_PORT and GOODSIGHT_HOST.") from error
    return made


def _backlog(listening: socket.socket) -> int:
    """How many connections wait to be accepted."""
    if not hasattr(socket, "TCP_INFO"):
        return 0
    info = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, UNACKED + 4)
    return int(struct.unpack_from("I", info, UNACKED)[0])


class Server(uvicorn.Server):
    """Keeps `app` up on `listening` until a signal comes or `alive` says no."""

    def __init__(self, app: ASGIApp, gateway: Gateway, listening: socket.socket, alive: Callable[[], bool]) -> None:
        config = uvicorn.Config(
            app, loop="uvloop", http="httptools", ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
            backlog=BACKLOG, timeout_keep_alive=75, proxy_headers=False, h11_max_incomplete_event_size=2**16,
        )  # fmt: skip
        super().__init__(config)
        self.gateway, self.listening, self.alive = gateway, listening, alive
        self.lost = False

    def keep_up(self, started: Callable[[], None], stopping: Callable[[], None]) -> None:
        """Returns once the last answer is given. `self.lost` then says whether that was because `alive` said no."""
        self._told = (started, stopping)
        self.run(sockets=[self.listening])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.gateway.upstream.rolling:
            self.gateway.upstream.rolling.start()
        self._told[0]()

    async def on_tick(self, counter: int) -> bool:
        if counter % 5 == 0 and not self.alive():
            self.lost = self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.gateway.stopping = True
        self._told[1]()
        if not self.lost:
            await self._take_up_backlog()
        await super().shutdown(sockets)
        if self.gateway.upstream.rolling:
            await self.gateway.upstream.rolling.close()
        await self.gateway.upstream.close()

    async def _take_up_backlog(self) -> None:
        """Accepts and answers for a moment longer, stops to accept when nobody waits, and lets the last requests come."""
        await asyncio.sleep(LINGER_SECONDS)
        for _ in range(500):
            if _backlog(self.listening) == 0:
                break
            await asyncio.sleep(0.01)
        for server in self.servers:
            server.close()
        await asyncio.sleep(SETTLE_SECONDS)

    def handle_exit(self, sig: int, frame: object) -> None:
        """A signal stops it once; a second Ctrl-C does not wait for answers."""
        self.force_exit = self.should_exit
        self.gateway.stopping = self.should_exit = True
