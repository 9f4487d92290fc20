"""`goodsight serve`: model server and gateway of one machine in one command, in the foreground until Ctrl-C or SIGTERM."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from goodsight.errors import InputError
from goodsight.settings import settings
from serving.signals import stopped_by_signals

if TYPE_CHECKING:
    from serving.gateway.access import Access
    from serving.torchserve import Server


def _start(home: Path) -> tuple[Server, str, socket.socket]:
    """A server with the deployed version ready in it, that version, and the socket of the gateway."""
    from serving import deploy, running, torchserve
    from serving.gateway.server import listening
    from serving.management import Management

    with deploy.deploying(home):
        served = deploy.current(home)
        if served is None:
            raise InputError(f"Nothing is deployed in {home}.", "Train and deploy a model first: goodsight run")
        running.clear(running.runtime(home))
        port = listening(settings().host, settings().port)
        server = torchserve.Server.start(running.runtime(home), deploy.store(home), torchserve.Ports.configured())
        try:
            Management(server.record).register(served.archive)
            server.ready()
        except BaseException:
            server.stop()
            raise
    return server, served.version, port


def serve(home: Path, say: Callable[[str], None] = print) -> None:
    """Serves what is deployed in `home` until SIGINT or SIGTERM, then answers what was accepted and returns.

    Raises `InputError` when nothing is deployed, `BusyError` when a port is taken or a server is already up, and `GoodsightError`
    when the server ends by itself.
    """
    from serving.gateway.process import access

    with stopped_by_signals():
        server = None
        try:
            allowed = access()
            server, version, port = _start(home)
            _answer(server, version, port, allowed, home, say)
        except KeyboardInterrupt:  # before the gateway was up
            say("Stopping, once the last requests are answered.")
        finally:
            if server:
                server.stop(say)


def _answer(server: Server, version: str, port: socket.socket, allowed: Access, home: Path, say: Callable[[str], None]) -> None:
    from serving.gateway import process
    from serving.management import Management

    lost = process.answer(
        port, allowed, home,
        find=lambda: server.record,
        load=lambda archive: Management(server.record).register(archive),
        alive=lambda: server.process.poll() is None,
        started=lambda url: say(f"Serving version {version} at {url}. Ctrl-C stops it."),
        stopping=lambda: say("Stopping, once the last requests are answered."),
    )  # fmt: skip
    if lost:
        raise server.failure(f"ended by itself (status {server.process.returncode})")
