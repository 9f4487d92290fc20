"""`goodsight serve`: the deployed version, served in the foreground until Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodsight.errors import InputError

if TYPE_CHECKING:
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


def _start(home: Path) -> tuple[Server, str]:
    """A server with the deployed version ready in it."""
    from serving import deploy, running, torchserve
    from serving.management import Management

    with deploy.deploying(home):
        served = deploy.current(home)
        if served is None:
            raise InputError(f"Nothing is deployed in {home}.", "Train and deploy a model first: goodsight run")
        server = torchserve.Server.start(running.runtime(home), deploy.store(home), torchserve.Ports.configured())
        try:
            Management(server.record).register(served.archive)
            server.ready()
        except BaseException:
            server.stop()
            raise
    return server, served.version


def serve(home: Path, say: Callable[[str], None] = print) -> None:
    """Serves what is deployed in `home` until SIGINT or SIGTERM, then answers what was accepted and returns.

    Raises `InputError` when nothing is deployed, `BusyError` when a port is taken or a server is already up, and
    `GoodsightError` when the server ends by itself.
    """
    with _stopped_by_signals():
        server = None
        try:
            server, version = _start(home)
            say(f"Serving version {version} at {server.record.url}. Ctrl-C stops it.")
            status = server.process.wait()
            raise server.failure(f"ended by itself (status {status})")
        except KeyboardInterrupt:
            say("Stopping, once the last requests are answered.")
        finally:
            if server:
                server.stop(say)
