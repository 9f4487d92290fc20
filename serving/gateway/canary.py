"""Brings a new version in, in the midst of the requests: who is answered by it, what is copied to it, what is seen of both.

A request is routed by a hash of its id, so a share of them is a share in expectation, the same id comes to the same version, and
who was with the new version at a small weight stays with it at a larger one. Whatever the new version does wrong, the caller is
answered by the one that serves: it failed, it refused what the other takes, it took longer than `patience`. It has places of its own
in the model server, so that one that hangs takes none from the others. Copies are sent after the caller has his answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Mapping
from typing import Any

from serving.gateway.caller import Caller
from serving.gateway.comparing import agreement, read
from serving.gateway.problems import Problem
from serving.gateway.upstream import Absent, Reply, Transport, Upstream, is_answer
from serving.management import BATCH_SIZE
from serving.request import COPY
from serving.rollout import Arm, Counts, Rollout

LEARNED = 100  # answers of the old version from which it is known what is slow
PATIENCE_SECONDS = 1.0
PATIENCE_TIMES = 4  # of what is slow
COPIES = BATCH_SIZE  # under way at a time
SPACE = 2.0**64
log = logging.getLogger("goodsight.rollout")


class Failed(Exception):
    """The new version has no answer."""


class Away(Failed):
    """Neither version has: the model server is not there."""


class Once(Transport):
    """A transport on which what fails is told at once, instead of sent again: another version answers sooner."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def predict(self, body: bytes, version: str | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        try:
            status, answer = await self._transport.predict(body, version, headers)
        except Absent as error:
            raise Away(str(error)) from error
        except OSError as error:
            raise Failed(str(error)) from error
        if not is_answer(status, answer):
            raise Failed(f"status {status}")
        return status, answer

    async def describe(self, version: str | None = None) -> list[dict[str, Any]]:
        return await self._transport.describe(version)

    async def metrics(self) -> bytes:
        return await self._transport.metrics()

    async def close(self) -> None:
        """The transport stays open: it is another's."""


def place(rollout: str, what: str, request: str) -> float:
    """Where a request falls between 0 and 1, evenly: below a share, it is one of that share."""
    return int.from_bytes(hashlib.sha256(f"{rollout}:{what}:{request}".encode()).digest()[:8], "big") / SPACE


class Canary:
    """The requests of one rollout; `seconds` is what a request may take."""

    def __init__(self, rollout: Rollout, old: Upstream, seconds: float) -> None:
        self.rollout, self.old, self.seconds = rollout, old, seconds
        self.new = Upstream(Once(old.transport), old.queue, BATCH_SIZE, tracing=old.tracing)
        self._milliseconds: list[float] = []  # of the first answers of the old version
        self._copies: set[asyncio.Task[None]] = set()

    @property
    def patience(self) -> float:
        """Seconds after which an answer is an error."""
        limit = self.rollout.limit_ms
        return self.seconds / 2 if limit is None else min(self.seconds / 2, max(PATIENCE_SECONDS, PATIENCE_TIMES * limit / 1000))

    async def ask(self, fields: Mapping[str, Any], caller: Caller) -> Reply:
        """The reply to one request. Raises `Problem` when the old version has none."""
        counts = Counts() if self.rollout.phase == "promoting" else self.rollout.counts  # then both are the new version
        if place(self.rollout.id, "canary", caller.request_id) >= self.rollout.weight:
            return await self._by_old(counts, fields, caller)
        counts.to_new += 1
        reply = await self._by_new(counts, fields, caller)
        if reply is not None and reply.status == 200:
            return reply
        counts.caught += 1
        instead = await self.old.ask(fields, None, caller.deadline, caller.leaving)
        if reply is not None:
            _refused(counts.new, reply, instead)
        return instead

    async def _by_old(self, counts: Counts, fields: Mapping[str, Any], caller: Caller) -> Reply:
        counts.to_old += 1
        try:
            reply = await self.old.ask(fields, None, caller.deadline, caller.leaving)
        except Problem as problem:
            if problem.status in (503, 504):
                counts.old.requests += 1
                counts.old.errors += 1
            raise
        self._saw(counts.old, reply.seconds)
        self._learn(reply.seconds)
        if place(self.rollout.id, "shadow", caller.request_id) < self.rollout.plan.shadow and self.rollout.phase != "promoting":
            self._copy(counts, fields, reply)
        return reply

    async def _by_new(self, counts: Counts, fields: Mapping[str, Any], caller: Caller | None) -> Reply | None:
        """What the new version says, a refusal too; None when it has no answer in time. A refusal is not counted here."""
        now, patience = asyncio.get_running_loop().time(), self.patience
        deadline = now + (min(patience, max(0.0, caller.deadline - now) / 2) if caller else patience)
        try:
            leaving, headers = (caller.leaving, None) if caller else (None, {COPY: "1"})
            reply = await self.new.ask(fields, self.rollout.version, deadline, leaving, headers)
        except Problem as problem:
            if problem.status == 499 and caller:
                raise
            if problem.status in (503, 504):
                self._missed(counts.new, late=problem.status == 504)
            return None
        except Away:
            return None
        except Exception as error:  # of whatever kind: the caller is answered by the other version
            if not isinstance(error, Failed):
                log.warning("version %s was not asked: %r", self.rollout.version, error)
            self._missed(counts.new, late=False)
            return None
        if reply.status == 200:
            if read(reply.body, self.rollout.version) is None:
                self._missed(counts.new, late=False)
                return None
            self._saw(counts.new, reply.seconds)
        return reply

    def _saw(self, arm: Arm, seconds: float) -> None:
        arm.requests += 1
        arm.errors += seconds > self.patience
        if self.rollout.limit_ms is not None:
            arm.timed += 1
            arm.slow += 1000 * seconds > self.rollout.limit_ms

    def _missed(self, arm: Arm, late: bool) -> None:
        arm.requests += 1
        arm.errors += 1
        if late and self.rollout.limit_ms is not None:
            arm.timed += 1
            arm.slow += 1

    def _learn(self, seconds: float) -> None:
        if self.rollout.limit_ms is None:
            self._milliseconds.append(1000 * seconds)
            if len(self._milliseconds) == LEARNED:
                self.rollout.limit_ms = self.rollout.plan.slower * sorted(self._milliseconds)[LEARNED * 95 // 100]

    def _copy(self, counts: Counts, fields: Mapping[str, Any], reply: Reply) -> None:
        """Sends a copy, if there is room that no caller needs."""
        if len(self._copies) >= COPIES or self.new.waiting or 2 * self.old.waiting >= max(1, self.old.queue):
            counts.dropped += 1
            return
        task = asyncio.ensure_future(self._compared(counts, fields, reply))
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)

    async def _compared(self, counts: Counts, fields: Mapping[str, Any], old: Reply) -> None:
        counts.copies += 1
        new = await self._by_new(counts, fields, None)
        if new is None:
            return
        if new.status != 200:
            _refused(counts.new, new, old)
            return
        one, other = read(old.body), read(new.body)
        agreed = agreement(fields["task"], one, other) if one and other else None
        if agreed is not None:
            counts.pairs += 1
            counts.agreed += agreed

    async def close(self) -> None:
        """Waits for what is under way, copies too, while there is patience: what hangs in the model server is left there."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.patience):
                await asyncio.gather(self.new.close(), *self._copies, return_exceptions=True)


def _refused(arm: Arm, refusal: Reply, instead: Reply) -> None:
    """Counts a request that the new version refused: rightly, when the old one refuses it too."""
    arm.requests += 1
    arm.errors += refusal.status != 200 and instead.status == 200
