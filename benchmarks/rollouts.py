"""Whether callers notice a release: under load, a worker is killed, a version rolls in, comes as a canary, goes back, and bad ones come.

    python benchmarks/rollouts.py --home .goodsight --version 1 --other 2 [--rate 8]

Works on a copy of a home in which `--version` and `--other` are registered with their indexes. Requests arrive at an even rate
(Poisson) all the while, and every one of them must be answered by a 200. The bad versions are `--other` with a handler that is slow
or crashes (`tests/serving/faulty`), and one whose answers are those of a model with random weights. Writes
`benchmarks/results/rollouts.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from load import Outcome, open_loop
from machine import described
from served import asked_for, copied, gateway, to_gateway
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from goodsight.digests import HOUSE
from goodsight.files import write_json
from goodsight.settings import settings
from lineage import registry
from serving import archive, rollout, rollout_moves, running
from serving.deploy import current
from serving.management import Management
from serving.promotion import promote
from serving.promotion import rollback as go_back
from serving.rollout import plan_of

OUT = Path(__file__).resolve().parent / "results" / "rollouts.json"
FAULTY = HOUSE / "tests" / "serving" / "faulty"
PLAN: dict[str, Any] = {"shadow": 0.5, "weights": (10, 50), "hold": 40, "hold_seconds": 2, "errors": 0.1, "slow": 0.2, "slower": 3}
PATIENCE_SECONDS = 300
CALM_SECONDS = 3  # of load before and after what is done
WHO, WHY = "benchmark", "to see whether callers notice"


@contextmanager
def load(url: str, rate: float) -> Iterator[list[Outcome]]:
    """Arrivals of `rate` a second, five seconds at a time, while the block lasts; all are answered at its end."""
    asked, seen, stop = [to_gateway(each) for each in asked_for(40)], [Outcome()], threading.Event()

    def run() -> None:
        while not stop.is_set():
            seen[0].samples += asyncio.run(open_loop(url, asked, rate, 5, seed=len(seen[0].samples))).samples

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def until(condition: Callable[[], bool]) -> None:
    """Returns when `condition` holds. Raises `RetryError` when that takes too long."""
    not_yet = retry_if_result(lambda holds: not holds)
    Retrying(retry=not_yet, wait=wait_fixed(0.1), stop=stop_after_delay(PATIENCE_SECONDS))(condition)


def measured(url: str, rate: float, what: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What callers saw while `what` was done, from some seconds before it to some seconds after."""
    with load(url, rate) as seen:
        time.sleep(CALM_SECONDS)
        started = time.monotonic()
        told = what()
        seconds = round(time.monotonic() - started, 1)
        time.sleep(CALM_SECONDS)
    figures = seen[0].figures(1)
    del figures["a_second"]
    failed = figures["requests"] - figures["statuses"].get("200", 0)
    return {"failed": failed, **figures, "seconds": seconds, **told}


def kill_worker(home: Path) -> dict[str, Any]:
    """kill -9 of the worker that answers; done when another one is ready."""
    before = _workers(home)
    for pid in before:
        psutil.Process(pid).kill()
    until(lambda: bool(_workers(home) - before))
    return {"killed": len(before)}


def _workers(home: Path) -> set[int]:
    server, served = running.find(running.runtime(home)), current(home)
    assert server and served
    (told,) = Management(server)._call("GET", f"/models/{running.MODEL}/{served.version}")
    return {worker["pid"] for worker in told["workers"] if worker["status"] == "READY"}


def switch(home: Path, version: str) -> dict[str, Any]:
    promote(version, WHO, WHY, home)
    return {"serves": version}


def canary(home: Path, version: str) -> dict[str, Any]:
    """A good version, from its shadow to its promotion."""
    rollout_moves.start(version, plan_of(**PLAN, agreement=0.1), WHO, WHY, home)
    until(lambda: _now(home).phase == "ready" or not _now(home).running)
    split = {name: counts.split for name, counts in zip(PLAN["weights"], list(_now(home).stages.values())[1:], strict=False)}
    rollout_moves.promote(WHO, WHY, home)
    return {"serves": version, "moves": [move.target for move in _now(home).moves], "split": split}


def back(home: Path) -> dict[str, Any]:
    return {"serves": go_back(WHO, WHY, home).version}


def bad(home: Path, version: str, handler: str, agreement: float) -> dict[str, Any]:
    """A version that must be rolled back by itself."""
    well = archive.HANDLER
    if handler:
        archive.HANDLER = FAULTY / handler
    try:
        rollout_moves.start(version, plan_of(**PLAN, agreement=agreement), WHO, WHY, home)
    finally:
        archive.HANDLER = well
    until(lambda: not _now(home).running and _now(home).told)
    ended = _now(home)
    callers = sum(counts.to_old + counts.to_new for counts in ended.stages.values())
    last = ended.moves[-1]
    worse = [each["name"] for each in last.evidence if each["finding"] == "worse"]
    errors = sum(counts.new.errors for counts in ended.stages.values())
    return {"ended": ended.phase, "by": last.by, "worse": worse, "errors_caught": errors, "requests_until_then": callers}


def _now(home: Path) -> rollout.Rollout:
    found = rollout.read(home)
    assert found
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, default=settings().root)
    parser.add_argument("--version", default="1")
    parser.add_argument("--other", default="2")
    parser.add_argument("--rate", type=float, default=8.0, help="requests a second")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = copied(chosen.home.resolve(), Path(folder) / "home")
        os.environ |= {"GOODSIGHT_HOME": str(home), "GOODSIGHT_THREADS": "1", "OMP_NUM_THREADS": "1"}
        settings.cache_clear()
        served = current(home)
        if served is None or served.version != chosen.version:
            promote(chosen.version, WHO, WHY, home)
        result: dict[str, Any] = {**described(), "arrivals_a_second": chosen.rate}
        well = str(len(registry.parts_of(chosen.other).probes))  # batches that the bad versions answer well: the smoke test
        with gateway(home, Path(folder) / "log", WELL=well) as (url, _):
            steps: dict[str, Callable[[], dict[str, Any]]] = {
                "calm": dict,  # nothing is done
                "killed worker": lambda: kill_worker(home),
                "rolling to another version": lambda: switch(home, chosen.other),
                "rollback": lambda: back(home),
                "canary": lambda: canary(home, chosen.other),
                "rollback after the canary": lambda: back(home),
                "slow version": lambda: bad(home, chosen.other, "slow_handler.py", 0.1),
                "crashing version": lambda: bad(home, chosen.other, "crashing_handler.py", 0.1),
                "wrong version": lambda: bad(home, chosen.other, "wrong_handler.py", 0.1),
            }
            for name, step in steps.items():
                result[name] = measured(url, chosen.rate, step)
                print(name, json.dumps(result[name]), flush=True)
    result["failed"] = sum(result[name]["failed"] for name in steps)
    write_json(OUT, result)


if __name__ == "__main__":
    main()
