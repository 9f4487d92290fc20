"""A rollout in the gateway: who answers whom, what is copied and seen, and that callers are answered whatever the new version does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from goodsight.files import write_json
from serving import rollout
from serving.gateway.asking import answer
from serving.gateway.caller import Caller
from serving.gateway.comparing import agreement
from serving.gateway.problems import Problem
from serving.gateway.rolling import Rolling
from serving.gateway.upstream import Upstream
from serving.rollout import Rollout, begin, plan_of

pytestmark = pytest.mark.anyio
FACTS = {"version": "2", "base": "1", "archive": "goodsight-2", "candidate": "c" * 64, "index": "i" * 64, "smoke_test": ["search"]}
SERVED = {"version": "1", "archive": "goodsight-1", "candidate": "c", "index": "i", "previous": None, "deployed_at": "2026-12-01"}


def found(version: str, ids: str = "abcde") -> tuple[int, bytes]:
    results = [{"id": id, "score": 0.5} for id in ids]
    return 200, json.dumps({"id": "7", "task": "search", "model_version": version, "results": results}).encode()


@dataclass
class TwoVersions:
    """A model server with the versions 1, which answers, and 2, which does what `new` says."""

    new: Callable[[], Any] = lambda: found("2")
    came: list[str] = field(default_factory=list)
    refuses: bool = False
    copies: int = 0

    async def predict(self, body: bytes, version: str | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        self.came.append(version or "1")
        self.copies += "x-goodsight-copy" in headers
        if version == "2":
            reply = self.new()
            return (await reply) if asyncio.iscoroutine(reply) else reply
        return (400, b'{"id": "7", "error": "no"}') if self.refuses else found("1")

    async def describe(self, version: str | None = None) -> list[dict[str, Any]]:
        return [{"workers": [{"status": "READY"}]}]


@dataclass
class Standing:
    """An upstream whose rollout has begun, and its home."""

    home: Path
    upstream: Upstream
    server: TwoVersions

    @property
    def now(self) -> Rollout:
        state = rollout.read(self.home)
        assert state
        return state

    async def ask(self, count: int = 1, start: int = 0) -> list[Any]:
        """The versions that answered so many requests."""
        said = []
        for number in range(start, start + count):
            caller = Caller(f"r{number}", "", asyncio.get_running_loop().time() + 20)
            said.append(json.loads((await answer(self.upstream, {"task": "search", "text": "sofa"}, caller)).body)["model_version"])
        return said

    async def until(self, condition: Callable[[Rollout], Any]) -> Rollout:
        async with asyncio.timeout(15):
            while not condition(self.now):
                await asyncio.sleep(0.02)
        return self.now


async def stand(home: Path, server: TwoVersions, **plan: Any) -> Standing:
    """A rollout that has begun. Answers take no time here, so how much slower one is says nothing, least of all on a busy machine."""
    write_json(home / "serving" / "current.json", SERVED)
    (home / "serving" / "store").mkdir()
    rollout.write(home, begin("r", plan_of(**{"hold": 20, "hold_seconds": 0, "slower": 1000.0, **plan}), "Ada", "spring", **FACTS))
    return await go_on(home, server)


def nothing_loads(archive: str) -> None:
    raise AssertionError(f"{archive} is there already")


async def go_on(home: Path, server: TwoVersions) -> Standing:
    upstream = Upstream(server, 64)
    upstream.rolling = Rolling(home, upstream, nothing_loads, 20)
    upstream.rolling.start()
    async with asyncio.timeout(15):
        while upstream.rolling.canary is None:
            await asyncio.sleep(0.02)
    return Standing(home, upstream, server)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    begun: list[Standing] = []

    async def starting(server: TwoVersions, **plan: Any) -> Standing:
        begun.append(await stand(tmp_path, server, **plan))
        return begun[-1]

    yield starting
    for each in begun:
        assert each.upstream.rolling
        await each.upstream.rolling.close()


async def test_in_the_shadow_callers_are_answered_by_the_old_version(start: Any) -> None:
    standing = await start(TwoVersions(), shadow=0.5, hold=10_000)
    assert set(await standing.ask(200)) == {"1"}
    now = await standing.until(lambda now: now.counts.pairs + now.counts.dropped > 60)
    counts = now.counts
    assert counts.copies + counts.dropped == pytest.approx(100, abs=30)
    assert counts.copies == counts.pairs == counts.agreed == counts.new.requests == standing.server.copies
    assert (counts.to_old, counts.to_new, counts.old.requests) == (200, 0, 200)
    assert now.limit_ms and counts.old.timed == 100, "what is slow is known from the first hundred answers"


async def test_a_share_of_the_callers_is_answered_by_the_new_one(start: Any) -> None:
    standing = await start(TwoVersions(), shadow=0, weights=(25,), hold=10_000)
    said = await standing.ask(400)
    now = await standing.until(lambda now: now.counts.to_old + now.counts.to_new == 400)
    assert said.count("2") == now.counts.to_new and now.counts.split == pytest.approx(0.25, abs=0.07)
    assert await standing.ask(400) == said, "a request's id says who answers it"
    assert now.counts.caught == 0


def raising() -> Any:
    raise OSError("reset")


async def hanging() -> Any:
    await asyncio.sleep(2)
    return found("2")


WRONG = {
    "no worker": lambda: (503, b'{"code": 503, "type": "ServiceUnavailableException", "message": "there is no worker"}'),
    "not loaded": lambda: (404, b'{"code": 404, "type": "ModelNotFoundException", "message": "Model not found"}'),
    "reset": raising,
    "no answer": lambda: (200, b"null"),
    "another's answer": lambda: found("3"),
    "refusal": lambda: (400, b'{"id": "7", "error": "no"}'),
    "hanging": hanging,
}


@pytest.mark.parametrize("how", WRONG)
async def test_what_the_new_version_does_wrong_no_caller_sees(start: Any, how: str) -> None:
    standing = await start(TwoVersions(new=WRONG[how]), shadow=0, weights=(50,))
    assert standing.upstream.rolling.canary
    standing.upstream.rolling.canary.rollout.limit_ms = 200.0
    said: list[Any] = []
    while standing.now.running and len(said) < 400:
        said += [each for one in await asyncio.gather(*(standing.ask(1, len(said) + n) for n in range(8))) for each in one]
    now = await standing.until(lambda now: not now.running)
    assert set(said) == {"1"} and now.phase == "rolled_back" and now.moves[-1].why.startswith("worse than version 1: errors")
    assert now.stages[1].caught >= now.stages[1].new.errors > 0
    assert set(await standing.ask(10)) == {"1"}


async def test_what_both_refuse_is_no_error(start: Any) -> None:
    standing = await start(TwoVersions(new=WRONG["refusal"], refuses=True), shadow=0, weights=(100,), hold=10_000)
    for number in range(30):
        with pytest.raises(Problem) as refused:
            await standing.ask(1, number)
        assert refused.value.status == 400
    now = await standing.until(lambda now: now.counts.new.requests == 30)
    assert now.running and now.counts.new.errors == 0


async def test_wrong_answers_are_found_by_copies(start: Any) -> None:
    standing = await start(TwoVersions(new=lambda: found("2", "vwxyz")), shadow=1)
    await standing.ask(100)
    now = await standing.until(lambda now: not now.running)
    assert now.moves[-1].why == "worse than version 1: agreement"


async def test_a_copy_that_hangs_delays_nobody_and_takes_no_place(start: Any) -> None:
    standing = await start(TwoVersions(new=hanging), shadow=1)
    async with asyncio.timeout(1.5):
        assert set(await standing.ask(100)) == {"1"}
    counts = standing.upstream.rolling.canary.rollout.counts
    assert counts.copies == 8 and counts.dropped == 92


async def test_a_good_version_becomes_ready_and_a_restart_goes_on(start: Any, tmp_path: Path) -> None:
    standing = await start(TwoVersions(), shadow=0.3, weights=(20, 60))
    rolling, asked = standing.upstream.rolling, 0
    while standing.now.stage == 0:
        await standing.ask(20, asked)
        asked += 20
    await rolling.close()
    left = standing.now
    again = await go_on(tmp_path, TwoVersions())
    while again.now.phase != "ready" and asked < 20_000:
        await again.ask(50, asked)
        asked += 50
    now = again.now
    assert now.id == left.id and now.stages[0] == left.stages[0] and now.limit_ms == left.limit_ms
    assert [move.target for move in now.moves] == ["canary 20 %", "canary 60 %", "ready"]
    assert again.upstream.rolling
    await again.upstream.rolling.close()
    assert sum(each.to_old + each.to_new for each in again.now.stages.values()) == asked, "not one is missing from the counts"


async def test_what_serves_changed_while_the_gateway_was_down(tmp_path: Path) -> None:
    for serves, phase in (("2", "promoted"), ("7", "aborted")):
        rollout.write(tmp_path, begin("r", plan_of(), "Ada", "spring", **FACTS))
        write_json(tmp_path / "serving" / "current.json", {**SERVED, "version": serves})
        upstream = Upstream(TwoVersions(), 64)
        rolling = Rolling(tmp_path, upstream, nothing_loads, 20)
        rolling.start()
        standing = Standing(tmp_path, upstream, TwoVersions())
        await standing.until(lambda now, phase=phase: now.phase == phase)
        assert rolling.canary is None
        await rolling.close()


def test_agreement_of_answers() -> None:
    one, other = ({"results": [{"id": id} for id in ids]} for ids in ("abcdefghijkl", "abcdevwxyzkl"))
    assert agreement("search", one, other) == 0.5 and agreement("search", one, one) == 1.0
    assert agreement("search", one, {"results": []}) == 0.0 and agreement("search", {"results": []}, {"results": []}) == 1.0
    lamp, sofa = ({"results": [{"category": first}, {"category": "Shelf"}]} for first in ("Lamp", "Sofa"))
    assert (agreement("categorize", lamp, sofa), agreement("categorize", lamp, lamp)) == (0.0, 1.0)
    assert agreement("embed", one, one) is None
