"""`goodsight serve`: the deployed version behind the gateway, served in the foreground until Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodsight.errors import InputError
from goodsight.settings import settings

if TYPE_CHECKING:
    from serving.gateway.access import Access
    from serving.torchserve import Server


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """SIGTERM, which supervisors send, ends the block like Ctrl-C; so does SIGINT where a shell's background job ignores it."""
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
    with _stopped_by_signals():
        server = None
        try:
            access = _access()
            server, version, port = _start(home)
            _keep_up(server, version, port, access, home, say)
        except KeyboardInterrupt:  # before the gateway was up
            say("Stopping, once the last requests are answered.")
        finally:
            if server:
                server.stop(say)


def _access() -> Access:
    """Who may ask. Raises `InputError` when that would be anyone in the network."""
    from serving.gateway.access import Access, Rates
    from serving.gateway.keys import Keys

    access = Access(Keys(settings().api_keys_url), Rates(settings().rate_uri.get_secret_value()))
    access.check_host(settings().host)
    return access


def _keep_up(
    server: Server, version: str, port: socket.socket, access: Access, home: Path, say: Callable[[str], None]
) -> None:
    from serving.gateway import logs, tracing
    from serving.gateway import server as gateway_server
    from serving.gateway.app import create
    from serving.gateway.gateway import Gateway
    from serving.gateway.passports import passports
    from serving.gateway.rolling import Rolling
    from serving.gateway.upstream import TorchServe, Upstream
    from serving.shelf import Shelf, served

    host, number = port.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    with logs.kept(settings().gateway_log_place), tracing.exported() as tracer:
        upstream = Upstream(TorchServe(server.record), settings().queue, tracing=tracing.Tracing(tracer))
        upstream.rolling = Rolling(home, upstream, server.record, settings().request_seconds)
        gateway = Gateway(upstream, settings().request_seconds, passports(home), access, Shelf(served(home)))
        kept = gateway_server.Server(create(gateway, tracer), gateway, port, lambda: server.process.poll() is None)
        kept.keep_up(
            lambda: say(f"Serving version {version} at http://{name}:{number}. Ctrl-C stops it."),
            lambda: None if kept.lost else say("Stopping, once the last requests are answered."),
        )
    if kept.lost:
        raise server.failure(f"ended by itself (status {server.process.returncode})")
