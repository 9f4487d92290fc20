"""The record of a running server: which process it is, who started it, where it listens and where its keys are.

A record whose owner or server is gone is stale (`goodsight.processes`); the next start removes it, and stops a server that its owner
left behind. In another container the lock that the owner holds says that it lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import psutil
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from goodsight.errors import BusyError, InputError
from goodsight.files import read_json, write_json
from goodsight.processes import Process, held, namespace
from goodsight.settings import settings

MODEL = "goodsight"  # its name in the server
ANSWER_SECONDS = 60  # a worker that takes longer over one batch is replaced
RECORD = "server.json"
KEYS = "key_file.json"
LOG = "torchserve.log"
OWNER = "owner.lock"  # held by the process that keeps the server up
GATEWAYS = "gateways.lock"  # shared by the gateways before it
PATIENCE_SECONDS = 15.0  # TorchServe takes 4 s to end by itself


@dataclass(frozen=True)
class Running:
    """A server that was started: `server` leads its process group, `owner` is the command that holds it."""

    server: Process
    owner: Process
    inference_port: int
    management_port: int
    metrics_port: int
    folder: str  # private: configuration, log and keys
    scratch: str  # private: sockets and unpacked models
    state: Literal["starting", "ready", "stopping"] = "starting"
    namespace: int = 0  # in which the process ids count; 0: here

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.inference_port}"

    def key(self, name: Literal["inference", "management"]) -> str:
        """The token for one of the two interfaces."""
        return read_json(Path(self.folder) / KEYS)[name]["key"]

    def last_error(self) -> str:
        """The last error that a worker told the log, for example why a model did not load; empty when there is none."""
        log = (Path(self.folder) / LOG).read_text(errors="replace")
        found = re.findall(r"MODEL_LOG - (?:[\w.]+\.)?(\w*(?:Error|Exception): .*)", log)
        return found[-1] if found else ""

    def become(self, state: Literal["starting", "ready", "stopping"]) -> Running:
        """The record with a new state, on disk too."""
        changed = replace(self, state=state)
        write_json(Path(self.folder) / RECORD, asdict(changed))
        return changed

    @property
    def here(self) -> bool:
        """Whether its process ids are those that this process sees."""
        return self.namespace in (0, namespace())

    def alive(self) -> bool:
        if not self.here:
            return held(Path(self.folder) / OWNER)
        return self.server.alive() and self.owner.alive()


def runtime(home: Path) -> Path:
    """The private folder of the server that `goodsight serve` or `goodsight model-server` keeps up.

    In a volume of a pod it is a folder of its own, since the volume itself belongs to another user.
    """
    return Path(chosen).resolve() / "server" if (chosen := settings().runtime) else home / "serving" / "runtime"


def take(path: Path, shared: bool = False) -> int:
    """Takes the lock file `path`, waiting for it; it is free once the descriptor is closed or this process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    return descriptor


@contextlib.contextmanager
def needed(folder: Path) -> Iterator[None]:
    """Tells the server of `folder` to stay up until the end of the block."""
    descriptor = take(folder / GATEWAYS, shared=True)
    try:
        yield
    finally:
        os.close(descriptor)


def await_free(folder: Path, seconds: float) -> None:
    """Returns once no gateway needs the server of `folder`, or after so many seconds."""
    still = retry_if_result(lambda needed: needed)
    with contextlib.suppress(RetryError):
        Retrying(stop=stop_after_delay(seconds), wait=wait_fixed(0.1), retry=still)(held, folder / GATEWAYS)


def read(folder: Path) -> Running | None:
    """The record in `folder`, stale or not; None when there is none that can be read."""
    try:
        fields: dict[str, Any] = read_json(folder / RECORD)
        server, owner = Process(**fields.pop("server")), Process(**fields.pop("owner"))
        return Running(server=server, owner=owner, **fields)
    except (InputError, KeyError, TypeError, AttributeError):
        return None


def find(folder: Path) -> Running | None:
    """The server of `folder` that takes requests, or None."""
    running = read(folder)
    return running if running and running.state == "ready" and running.alive() else None


def clear(folder: Path) -> None:
    """Removes a stale record and stops the server it left behind. Raises `BusyError` while its owner lives."""
    running = read(folder)
    if running and running.alive():
        message = f"A model server is already running (process {running.owner.pid}, {running.url})."
        raise BusyError(message, f"Use that server, or stop it with: kill {running.owner.pid}")
    if running:
        forget(running)


def forget(running: Running) -> None:
    """Ends what is left of a server and removes its record, its keys and its scratch folder."""
    if running.here and running.server.alive():
        end_group(running.server.pid)
    shutil.rmtree(running.scratch, ignore_errors=True)
    for name in (RECORD, KEYS):
        (Path(running.folder) / name).unlink(missing_ok=True)


def _group(leader: int) -> list[psutil.Process]:
    members = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return members


def end_group(leader: int) -> None:
    """SIGTERM to the process group that `leader` leads, then SIGKILL to what is left of it after `PATIENCE_SECONDS`."""
    for number, patience in ((signal.SIGTERM, PATIENCE_SECONDS), (signal.SIGKILL, PATIENCE_SECONDS)):
        members = _group(leader)
        if not members:
            return
        for process in members:
            if process.is_running():
                process.send_signal(number)
        _, left = psutil.wait_procs(members, timeout=patience)
        if not left:
            return
