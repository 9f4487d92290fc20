"""`goodsight model-server`: TorchServe with what is deployed, kept up for the gateway that stands beside it in the same pod.

A deployment elsewhere, in the pod of a pipeline's step, cannot reach this server: it writes what is deployed to home. So the
server looks there, loads the new version beside the one that serves, and switches; requests under way are answered by the old one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from goodsight.errors import BusyError, GoodsightError, InputError
from goodsight.settings import settings
from serving import deploy, rollout, running, torchserve
from serving.archive import archive_name
from serving.management import Management
from serving.running import Running
from serving.signals import stopped_by_signals

TURN_SECONDS = 1.0
AGAIN_SECONDS = 60.0  # before a version that did not load is tried again
GRACE_SECONDS = 10.0  # that a gateway needs beside its last request


@dataclass(frozen=True)
class Wanted:
    """What a server of a home should have loaded: what is deployed, and beside it what a rollout brings in."""

    version: str
    coming: str = ""


def wanted(home: Path) -> Wanted | None:
    """None before the first deployment."""
    served, coming = deploy.current(home), rollout.read(home)
    if served is None:
        return None
    return Wanted(served.version, coming.version if coming and coming.running else "")


def decided(home: Path) -> Wanted | None:
    """The same while no deployment is in progress, which might be taken back. Raises `BusyError`."""
    with deploy.deploying(home):
        return wanted(home)


def bring_up(record: Running, to: Wanted) -> None:
    """Loads what a server lacks and lets the deployed version serve. What served before is taken out after its last answer.

    Raises `GoodsightError` when a version does not load; what served before serves on.
    """
    management = Management(record)
    there = management.versions()
    if to.version not in there:
        management.register(archive_name(to.version))
    if there and not there.get(to.version):
        management.set_default(to.version)
        for version, default in there.items():
            if default and version != to.coming:
                management.unregister(version)
    if to.coming and to.coming not in there:
        management.register(archive_name(to.coming))


def keep_up(home: Path, say: Callable[[str], None] = print) -> None:
    """Keeps TorchServe up with what is deployed in `home`, now and later, until SIGINT or SIGTERM. Before the first deployment it waits.

    On a signal it goes on until no gateway needs it, answers what was accepted, and returns. Raises `BusyError` when a port is taken
    or a server is already up, and `GoodsightError` when what is deployed does not load, or when TorchServe ends by itself.
    """
    server = None
    with stopped_by_signals():
        try:
            server = torchserve.Server.start(running.runtime(home), deploy.store(home), torchserve.Ports.configured())
            _follow(server, home, say)
        except KeyboardInterrupt:
            say("Stopping, once the last requests are answered.")
            if server:
                _await_gateways(server)
        finally:
            if server:
                server.stop(say)


def _await_gateways(server: torchserve.Server) -> None:
    """A second signal does not wait."""
    try:
        running.await_free(Path(server.record.folder), settings().request_seconds + GRACE_SECONDS)
    except KeyboardInterrupt:
        return


def _follow(server: torchserve.Server, home: Path, say: Callable[[str], None]) -> None:
    """Lets the server have what is wanted, again and again. Raises `GoodsightError` when it ends, or has nothing that loads."""
    done, told, again = None, False, 0.0
    while server.process.poll() is None:
        try:
            to = wanted(home)
            if to and to != done and time.monotonic() >= again:
                done = _caught_up(server, to if done is None else decided(home), say)
            elif to is None and not told:
                say(f"Nothing is deployed in {home} yet: waiting for the first version.")
                told = True
        except BusyError:
            pass  # a deployment is in progress
        except GoodsightError as error:
            if done is None or server.process.poll() is not None:
                raise
            say(f"Version {done.version} serves on. {error}")
            again = time.monotonic() + AGAIN_SECONDS
        time.sleep(TURN_SECONDS)
    raise server.failure(f"ended by itself (status {server.process.returncode})")


def _caught_up(server: torchserve.Server, to: Wanted | None, say: Callable[[str], None]) -> Wanted | None:
    if to is None:
        return None
    bring_up(server.record, to)
    if server.record.state != "ready":
        server.ready()
    beside = f", and version {to.coming} comes in beside it" if to.coming else ""
    say(f"Version {to.version} serves at {server.record.url}{beside}.")
    return to


def check(home: Path) -> str:
    """The version that takes requests. Raises `GoodsightError` when there is no server, and when it has none."""
    version = _answering(home).ready_version()
    if not version:
        raise GoodsightError(f"No version is ready in the model server of {home}.", "Train and deploy one: goodsight run")
    return version


def check_alive(home: Path) -> None:
    """Raises `GoodsightError` when there is no server or it does not answer."""
    _answering(home).versions()


def _answering(home: Path) -> Management:
    record = running.read(running.runtime(home))
    try:
        if record and record.alive():
            return Management(record)
    except (InputError, KeyError):  # it has no keys yet
        pass
    raise GoodsightError(f"No model server is up for {home}.", "Start it with: goodsight model-server")
