"""The gateway as a process: alone, before the model server that stands beside it in a pod, or as the larger part of `goodsight serve`."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from tenacity import RetryError, Retrying, retry_if_not_result, stop_after_delay, wait_fixed

from goodsight.errors import GoodsightError
from goodsight.settings import settings
from serving import running
from serving.archive import version_of
from serving.display import Display, served
from serving.gateway import logs, tracing
from serving.gateway import server as gateway_server
from serving.gateway.access import Access, Rates
from serving.gateway.app import create
from serving.gateway.gateway import Gateway
from serving.gateway.keys import Keys
from serving.gateway.passports import passports
from serving.gateway.rolling import Rolling
from serving.gateway.upstream import TorchServe, Upstream
from serving.management import LOAD_SECONDS, Management
from serving.running import RECORD, Running
from serving.signals import stopped_by_signals


def access() -> Access:
    """Who may ask. Raises `InputError` when that would be anyone in the network."""
    allowed = Access(Keys(settings().api_keys_url), Rates(settings().rate_uri.get_secret_value()))
    allowed.check_host(settings().host)
    return allowed


def answer(
    port: socket.socket,
    allowed: Access,
    home: Path,
    *,
    find: Callable[[], Running | None],
    load: Callable[[str], None],
    alive: Callable[[], bool],
    started: Callable[[str], None],
    stopping: Callable[[], None],
) -> bool:
    """Answers on `port` until a signal comes or `alive` says no. Returns whether that was it.

    `find` returns the record of the model server, `load` loads the archive that a rollout brings in; `started` is told the URL.
    """
    host, number = port.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    with logs.kept(settings().gateway_log_place), tracing.exported() as tracer:
        upstream = Upstream(TorchServe(find), settings().queue, tracing=tracing.Tracing(tracer))
        upstream.rolling = Rolling(home, upstream, load, settings().request_seconds)
        gateway = Gateway(upstream, settings().request_seconds, passports(home), allowed, Display(served(home)))
        kept = gateway_server.Server(create(gateway, tracer), gateway, port, alive)
        kept.keep_up(lambda: started(f"http://{name}:{number}"), lambda: None if kept.lost else stopping())
    return kept.lost


def keep_up(home: Path, say: Callable[[str], None] = print) -> None:
    """Answers for the model server that `goodsight model-server` keeps up, until SIGINT or SIGTERM; then what was accepted.

    It starts without the model server and stays when that one goes: then it is not ready, and requests wait until their time is up.
    Raises `InputError` when anyone in the network might ask, and `BusyError` when the port is taken.
    """
    folder = running.runtime(home)
    found = Found(folder)
    with stopped_by_signals(), running.needed(folder):
        try:
            answer(
                gateway_server.listening(settings().host, settings().port), access(), home,
                find=found,
                load=lambda archive: await_loaded(found, archive),
                alive=lambda: True,
                started=lambda url: say(f"Answering at {url} for the model server of {folder}."),
                stopping=lambda: say("Stopping, once the last requests are answered."),
            )  # fmt: skip
        except KeyboardInterrupt:  # before the gateway was up
            say("Stopping.")


class Found:
    """The record of the server in a folder that takes requests, or None; read again when it changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamp: tuple[int, int] | None = None
        self._record: Running | None = None

    def __call__(self) -> Running | None:
        try:
            now = (self._folder / RECORD).stat()
        except OSError:
            self._stamp = self._record = None
            return None
        if (stamp := (now.st_mtime_ns, now.st_ino)) != self._stamp:
            record = running.read(self._folder)
            self._stamp, self._record = stamp, record if record and record.state == "ready" else None
        return self._record


def await_loaded(find: Callable[[], Running | None], archive: str) -> None:
    """Returns once the model server has the archive, which it loads by itself. Raises `GoodsightError` when it does not."""

    def loaded() -> bool:
        record = find()
        try:
            return record is not None and version_of(archive) in Management(record).versions()
        except GoodsightError:
            return False

    waiting = Retrying(retry=retry_if_not_result(bool), wait=wait_fixed(1), stop=stop_after_delay(LOAD_SECONDS))
    try:
        waiting(loaded)
    except RetryError as error:
        raise GoodsightError(f"The model server did not load {archive} within {LOAD_SECONDS} seconds.") from error
