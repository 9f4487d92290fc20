"""Load on an HTTP server, and what came of it: requests that arrive when they arrive (open loop), or as fast as answers come back."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import aiohttp
import numpy as np

PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Asked:
    """One request: a path, a body and its content type."""

    path: str
    body: bytes
    content_type: str = "application/json"


@dataclass
class Outcome:
    """Of each request: when it was due (seconds from the start), seconds until its answer, status (0: no answer)."""

    samples: list[tuple[float, float, int]] = field(default_factory=list)

    def statuses(self) -> dict[str, int]:
        return {str(status): count for status, count in sorted(Counter(status for _, _, status in self.samples).items())}

    def figures(self, seconds: float) -> dict[str, Any]:
        """Latency of what was answered, in ms, and how much a second."""
        answered = [1000 * latency for _, latency, status in self.samples if status == 200]
        p50, p95, p99 = np.percentile(answered, (50, 95, 99)).round(2).tolist() if answered else (None, None, None)
        rate = round(len(answered) / seconds, 1)
        return {"requests": len(self.samples), "statuses": self.statuses(), "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "a_second": rate}


async def _send(session: aiohttp.ClientSession, url: str, asked: Asked) -> int:
    try:
        headers = {"Content-Type": asked.content_type}
        async with session.post(url + asked.path, data=asked.body, headers=headers) as response:
            await response.read()
            return response.status
    except (aiohttp.ClientError, TimeoutError):
        return 0


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS))


async def open_loop(url: str, asked: Sequence[Asked], rate: float, seconds: float, seed: int = 0) -> Outcome:
    """Poisson arrivals of `rate` a second; latency counts from when a request was due, not from when it could be sent."""
    draw, outcome = random.Random(seed), Outcome()
    started, due, tasks = time.perf_counter(), 0.0, []

    async def one(session: aiohttp.ClientSession, due: float, each: Asked) -> None:
        status = await _send(session, url, each)
        outcome.samples.append((due, time.perf_counter() - started - due, status))

    async with _session() as session:
        for each in cycle(asked):
            due += draw.expovariate(rate)
            if due > seconds:
                break
            await asyncio.sleep(max(0.0, started + due - time.perf_counter()))
            tasks.append(asyncio.create_task(one(session, due, each)))
        await asyncio.gather(*tasks)
    outcome.samples.sort()
    return outcome


async def closed_loop(url: str, asked: Sequence[Asked], clients: int, seconds: float) -> Outcome:
    """`clients` that each send the next request when they have their answer."""
    outcome, requests = Outcome(), cycle(asked)
    started = time.perf_counter()

    async def client(session: aiohttp.ClientSession) -> None:
        while (due := time.perf_counter() - started) < seconds:
            status = await _send(session, url, next(requests))
            outcome.samples.append((due, time.perf_counter() - started - due, status))

    async with _session() as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    return outcome
