"""Keeps the rollout of a home going in the gateway: begins when the command line says so, looks at the evidence, writes it down.

A gateway that starts in the midst of a rollout goes on with it, from the counts of a second ago at the most. The version is loaded
again in the new model server, and until it is there all callers are answered by the one that serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from goodsight.errors import GoodsightError
from serving import deploy, rollout
from serving.gateway.caller import Caller
from serving.gateway.canary import Canary
from serving.gateway.upstream import Reply, Upstream
from serving.rollout import Rollout

TURN_SECONDS = 0.1
KEEP_SECONDS = 1.0
AGAIN_SECONDS = 5.0
log = logging.getLogger("goodsight.rollout")


class Rolling:
    """The rollout of `home`, if one goes on; `load` loads an archive beside what serves, `seconds` is what a request may take."""

    def __init__(self, home: Path, old: Upstream, load: Callable[[str], None], seconds: float) -> None:
        self.home, self.old, self.load, self.seconds = home, old, load, seconds
        self.canary: Canary | None = None
        self._coming = ""  # the id of a rollout whose version is being loaded
        self._kept, self._stamp = 0.0, -1
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, fields: Mapping[str, Any], caller: Caller) -> Reply:
        """The reply to one request, of whichever version. Raises `Problem`."""
        if self.canary is None:
            return await self.old.ask(fields, None, caller.deadline, caller.leaving)
        return await self.canary.ask(fields, caller)

    def start(self) -> None:
        """Begins to look, in the running event loop."""
        self._spawn(self._keep_going())

    async def close(self) -> None:
        """Writes down what was counted until now."""
        for task in list(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self.canary:
            await self.canary.close()
            with contextlib.suppress(GoodsightError):
                await self._exchange()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_going(self) -> None:
        while True:
            try:
                await self._turn()
            except Exception:
                log.exception("the rollout goes on as it is: its state could not be kept")
            await asyncio.sleep(TURN_SECONDS)

    async def _turn(self) -> None:
        canary, now = self.canary, time.monotonic()
        decided = rollout.decide(canary.rollout, rollout.instant()) if canary else None
        if decided:
            log.info("rollout: %s -> %s: %s", decided.source, decided.target, decided.why)
        if decided or (canary and now - self._kept >= KEEP_SECONDS) or _stamp(self.home) != self._stamp:
            self._follow(await self._exchange())
            self._kept = now

    async def _exchange(self) -> Rollout | None:
        """Writes what is counted and decided here, reads what is decided elsewhere."""
        mine = self.canary.rollout.model_copy(deep=True) if self.canary else None

        def exchanged() -> tuple[Rollout | None, int]:
            if mine is None:
                stamp = _stamp(self.home)
                return rollout.read(self.home), stamp
            return rollout.keep(self.home, mine), _stamp(self.home)

        there, self._stamp = await asyncio.to_thread(exchanged)
        return there

    def _follow(self, there: Rollout | None) -> None:
        """Does what the state that holds asks for."""
        canary = self.canary
        if canary and (there is None or there.id != canary.rollout.id or not there.running):
            canary.rollout.phase = there.phase if there and there.id == canary.rollout.id else "aborted"
            self.canary = None
            self._spawn(canary.close())
        if there is None:
            return
        if not there.running:
            if there.phase == "rolled_back" and not there.told:
                self._spawn(self._cleared(there))
        elif self.canary:
            self.canary.rollout.phase, self.canary.rollout.moves = there.phase, there.moves
        elif self._coming != there.id:
            self._coming = there.id
            self._spawn(self._begun(there))

    async def _begun(self, coming: Rollout) -> None:
        """Lets the version of a rollout have requests, once it is loaded."""
        try:
            served = await asyncio.to_thread(deploy.current, self.home)
            if served is None or served.version != coming.base:
                await asyncio.to_thread(_overtaken, self.home, coming, served.version if served else "nothing")
                return
            if not await self.old.ready(coming.version):
                await _loaded(self.load, coming.archive)
            self.canary = Canary(coming, self.old, self.seconds)
        except GoodsightError as error:
            await asyncio.to_thread(_end, self.home, coming, "rolled_back", f"it cannot be tried: {error.message}")
        finally:
            self._coming = ""

    async def _cleared(self, ended: Rollout) -> None:
        """Takes out what was rolled back, and tells the ledger; while a deployment is in progress, later."""
        from serving.rollout_moves import clear_away, tell_end

        while True:
            try:
                await asyncio.to_thread(clear_away, ended, self.home)
                await asyncio.to_thread(tell_end, self.home)
                return
            except GoodsightError as error:
                log.warning("version %s is not taken out yet: %s", ended.version, error)
                await asyncio.sleep(AGAIN_SECONDS)


def _stamp(home: Path) -> int:
    """When the state was written last; 0 when there is none."""
    try:
        return rollout.path(home).stat().st_mtime_ns
    except OSError:
        return 0


async def _loaded(load: Callable[[str], None], archive: str) -> None:
    """Loads a version, in a thread that does not hold up the end of the process. Raises `GoodsightError` when it does not load."""
    loop, done = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

    def tell(error: GoodsightError | None) -> None:
        if not done.done():
            done.set_exception(error) if error else done.set_result(None)

    def work() -> None:
        told: GoodsightError | None = None
        try:
            load(archive)
        except GoodsightError as error:
            told = error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, told)

    threading.Thread(target=work, daemon=True).start()
    await done


def _overtaken(home: Path, coming: Rollout, served: str) -> None:
    """Ends a rollout beside a version that serves no more, as when its process was killed right after the switch."""
    if served == coming.version:
        _end(home, coming, "promoted", "it serves")
    else:
        _end(home, coming, "aborted", f"version {served} serves, not version {coming.base}")


def _end(home: Path, coming: Rollout, phase: rollout.Phase, why: str) -> None:
    with rollout.changing(home):
        now = rollout.read(home)
        if now and now.id == coming.id and now.running:
            now.move(phase, "gateway", why, rollout.instant())
            rollout.write(home, now)
