"""Rollouts under load, with a real gateway and a real TorchServe: a good version takes over, bad ones go by themselves, no caller notices."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
import torch

from goodsight.errors import BusyError, GoodsightError, InputError, RefusedError
from goodsight.files import read_json
from goodsight.settings import settings
from lineage import champion, registry
from lineage.ledger import Ledger
from lineage.signing import sign
from models.bundle import Bundle
from models.candidate import assemble
from models.config import TASKS
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
SECONDS = 60


@dataclass
class Load:
    """What callers saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


@contextmanager
def load(url: str, callers: int = 6) -> Iterator[Load]:
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


def nearly(made: Any, folder: Path) -> Any:
    """A model that is another one than `made` and answers the same: its candidate and index."""
    for task in TASKS:
        bundle = Bundle.load(made.candidate / task)
        with torch.no_grad():
            for parameter in bundle.model.parameters():
                parameter.mul_(1 + 1e-5)
        bundle.save(folder / "bundles" / task)
    digest = assemble([folder / "bundles" / task for task in TASKS], folder / "candidate")
    sign(folder / "candidate")
    return digest
