"""Rollouts under load before a real TorchServe: a good version takes over, bad ones go by themselves, no caller notices."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from goodsight.errors import BusyError, GoodsightError, InputError, RefusedError
from goodsight.settings import settings
from lineage import champion, registry
from lineage.ledger import Ledger
from serving import archive, deploy, rollout, running
from serving.deploy import Probe, current
from serving.management import Management
from serving.promotion import take_over
from serving.rollout import Rollout, plan_of
from serving.rollout_moves import abort, promote, start

pytestmark = pytest.mark.torchserve
PROBES = [Probe("search a red sofa", {"task": "search", "text": "red sofa"})]
FAULTY = Path(__file__).parent / "faulty"
PLAN = {"shadow": 0.5, "weights": (10, 50), "hold": 20, "hold_seconds": 0, "errors": 0.1, "slow": 0.2, "slower": 3, "agreement": 0.8}
SECONDS = 120


@dataclass
class Load:
    """What callers saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    asked: int = 0


@contextmanager
def load(url: str, callers: int = 3) -> Iterator[Load]:
    """Callers that ask again as soon as they are answered, until the block ends; every one is answered then."""
    seen, stop = Load(), threading.Event()

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        while not stop.is_set():
            number += 1
            task = ("search", "categorize")[number % 2]
            try:
                response = await client.post(f"/v1/{task}", json={"text": f"red sofa {number % 50}", "k": 5})
            except httpx.HTTPError as error:
                seen.failures.append(repr(error))
                continue
            seen.statuses[response.status_code] += 1
            if response.status_code == 200:
                seen.versions[response.json()["model_version"]] += 1
            else:
                seen.failures.append(response.text)

    async def run() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=40) as client:
            await asyncio.gather(*(ask(client, 1000 * caller) for caller in range(callers)))

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def until(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of `condition`."""
    end, tick = time.monotonic() + SECONDS, threading.Event()
    while time.monotonic() < end:
        if found := condition():
            return found
        tick.wait(0.05)
    raise AssertionError(f"{what} did not come; the state is {rollout.read(settings().root)}")


def now(home: Path) -> Rollout:
    found = rollout.read(home)
    assert found
    return found


def url_of(served: Any) -> str:
    assert served.first_line.startswith("Serving version"), served.first_line
    return str(served.first_line.split()[4].rstrip("."))


def parts(candidate: Path, index: Path) -> registry.Parts:
    return registry.Parts(candidate, index, None, [asdict(probe) for probe in PROBES])


def register(folder: Path, kept: registry.Parts) -> str:
    """The version of a candidate, with what it is served with beside it."""
    for name in ("evaluation", "plots"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "evaluation" / "metrics.json").write_text('{"metrics": {}, "baselines": {}}')
    (folder / "verdict.json").write_text('{"decision": "promote"}')
    snapshot = {"name": "shop", "digest": "s" * 64, "source": "shop-1"}
    version = registry.register(kept.candidate, folder / "evaluation", folder / "verdict.json", snapshot, {}, folder / "plots", "run")
    registry.keep_parts(version, kept)
    return version


@dataclass
class World:
    """A home in which version 1 serves; `served` is its server. Version 2 answers as 1 does, 3 with random weights of its own."""

    home: Path
    served: Any


@pytest.fixture(scope="module")
def world(
    make: Any, made: Any, other: Any, deployed: Path, serve: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory
) -> World:
    folder = tmp_path_factory.mktemp("rollout")
    shutil.copytree(deployed, folder / "home", symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        use(patch, folder / "home")
        assert register(folder, parts(made.candidate, made.index)) == "1"
        twin = make(folder / "twin", 1, name="twin")
        assert register(folder, parts(twin.candidate, twin.index)) == "2"
        assert register(folder, parts(other.candidate, other.index)) == "3"
        champion.move("1", None, "pipeline", "promoted by the gate")
    return World(folder / "home", serve(folder / "home"))


def use(patch: pytest.MonkeyPatch, home: Path) -> None:
    patch.setenv("GOODSIGHT_HOME", str(home))
    settings.cache_clear()


@pytest.fixture(autouse=True)
def home(world: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    use(monkeypatch, world.home)
    return world.home


def versions(home: Path) -> set[str]:
    """What is loaded in the model server."""
    server = running.find(running.runtime(home))
    assert server
    return set(Management(server).versions())


def told() -> list[tuple[str, str, str]]:
    """(action, actor, version) of the rollouts in the ledger."""
    return [(each.payload["action"], each.actor, each.payload["version"]) for each in Ledger(settings().ledger_url).events("rollout")]


BAD = {
    "crashing": ("2", "crashing_handler.py", {"errors", "latency"}),  # those who wait for the next worker
    "slow": ("2", "slow_handler.py", {"errors", "latency"}),
    "wrong": ("3", "", {"agreement"}),
}


@pytest.mark.parametrize("how", BAD)
def test_a_bad_version_is_rolled_back_by_itself(how: str, world: World, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version, handler, by = BAD[how]
    if handler:
        monkeypatch.setattr(archive, "HANDLER", FAULTY / handler)
    before = told()
    with load(url_of(world.served)) as seen:
        start(version, plan_of(**PLAN), "Ada", "spring", home)
        until(lambda: not now(home).running, "the rollback")
        until(lambda: now(home).told, "the end in the ledger")
    ended = now(home)
    assert ended.phase == "rolled_back" and ended.moves[-1].by == "gateway"
    worse = {each["name"] for each in ended.moves[-1].evidence if each["finding"] == "worse"}
    assert worse and worse <= by
    assert not seen.failures and set(seen.statuses) == {200}
    spent = sum(counts.new.errors for counts in ended.stages.values())
    callers = sum(counts.to_old + counts.to_new for counts in ended.stages.values())
    assert spent <= max(0.1 * callers, 30), "no more than the budget of the requests of the rollout"
    assert versions(home) == {"1"} and {each.name for each in deploy.store(home).iterdir()} == {"goodsight-1"}
    assert told() == [*before, ("start", "Ada", version), ("rolled_back", "gateway", version)]


def test_what_goes_wrong_before_a_rollout_starts_none(home: Path) -> None:
    before = told()
    for version, why, error in (("1", "spring", "is what serves"), ("9", "spring", "no version"), ("2", " ", "only for a reason")):
        with pytest.raises(InputError, match=error):
            start(version, plan_of(**PLAN), "Ada", why, home)
    with pytest.raises(RefusedError, match="is rolled_back, not ready"):
        promote("Ada", "spring", home)
    assert told() == before


def test_a_person_ends_a_rollout(world: World, home: Path, other: Any) -> None:
    with load(url_of(world.served), callers=2) as seen:
        start("3", plan_of(shadow=0, hold=10_000), "Ada", "spring", home)
        until(lambda: now(home).counts.to_new, "a request of the new version")
        with pytest.raises(BusyError, match="rollout of version 3 goes on"):
            take_over("3", parts(other.candidate, other.index), "1", "Ben", "mine", home)
        with pytest.raises(RefusedError, match="is canary 5 %, not ready"):
            promote("Ada", "spring", home)
        abort("Ben", "the season is over", home)
    assert not seen.failures and set(seen.statuses) == {200} and set(seen.versions) == {"1", "3"}
    assert versions(home) == {"1"} and told()[-1] == ("aborted", "Ben", "3")


def test_a_good_version_takes_over_also_past_a_killed_gateway(world: World, home: Path, serve: Callable[[Path], Any]) -> None:
    with load(url_of(world.served)) as seen:
        begun = start("2", plan_of(**PLAN), "Ada", "spring", home)
        assert begun.name == "shadow"
        until(lambda: now(home).stage and now(home).counts.to_new > 10, "the canary")
    assert not seen.failures and set(seen.versions) == {"1", "2"}
    world.served.process.kill()
    world.served.process.wait()
    left = now(home)
    world.served = serve(home)
    assert now(home).id == left.id and now(home).stages[0] == left.stages[0]
    with load(url_of(world.served)) as seen:
        until(lambda: now(home).phase == "ready", "readiness")
        until(lambda: now(home).counts.to_new > 150, "enough requests to tell the split")
        counts = now(home).counts
        workers = pids(home, "2")
        promote("Ada", "spring", home)
        until(lambda: current_of(seen) > 20, "answers after the switch")
    assert not seen.failures and set(seen.statuses) == {200}
    assert counts.split == pytest.approx(0.5, abs=0.1)
    held = now(home)
    assert [move.target for move in held.moves] == ["canary 10 %", "canary 50 %", "ready", "promoting", "promoted"]
    assert all(each["finding"] == "shown" for each in held.moves[2].evidence)
    assert versions(home) == {"2"} and pids(home, "2") == workers, "the worker that was tried is the one that serves"
    served, champ = current(home), champion.current()
    assert served and champ and served.version == champ.version == registry.aliases(registry.connect())["champion"] == "2"
    assert served.previous == "1" and told()[-2:] == [("start", "Ada", "2"), ("promoted", "Ada", "2")]
    Ledger(settings().ledger_url).verify()


def current_of(seen: Load) -> int:
    """Callers answered since this was first asked."""
    total = sum(seen.statuses.values())
    seen.asked = seen.asked or total
    return total - seen.asked


def pids(home: Path, version: str) -> set[int]:
    """The worker processes of a version."""
    server = running.find(running.runtime(home))
    assert server
    described = Management(server)._call("GET", f"/models/goodsight/{version}")
    return {worker["pid"] for worker in described[0]["workers"]}


def test_no_rollout_without_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    world.served.end()
    with pytest.raises(GoodsightError, match=r"No server is running(.|\n)*goodsight serve"):
        start("1", plan_of(**PLAN), "Ada", "spring", world.home)
