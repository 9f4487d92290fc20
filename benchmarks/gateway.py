"""What the gateway costs and what it stands: the same predictor behind the gateway and TorchServe, in KServe's server and in a loop.

    python benchmarks/gateway.py --home .goodsight --peer /path/to/venv/bin/python [--seconds 20]

`--peer` is the Python of an environment with KServe in which this project's packages are found too: its own pins do not go with ours.
All three answer the same requests on the sample (a third each: words, a photo, both), one model thread each, on one machine with the
load beside them: one caller alone, 16 callers that never wait (throughput), Poisson arrivals at half of that, and for the gateway
arrivals at twice its throughput and the seconds after. The loop is measured without a rest, and with the rest that a server has
between two requests of one caller. Writes `benchmarks/results/gateway.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from load import Asked, Outcome, closed_loop, open_loop
from machine import described
from served import asked_for, copied, free_port, gateway, memory, process, to_gateway

from goodsight.files import write_json
from goodsight.settings import settings
from serving.deploy import current, store
from serving.handler import load

OUT = Path(__file__).resolve().parent / "results" / "gateway.json"
CALLERS = 16
WARM = 30
PAUSE = 0.01  # seconds: about what a predictor rests between two requests of one caller


def in_a_loop(archive: Path, requests: list[dict[str, Any]], seconds: float, pause: float = 0.0) -> dict[str, Any]:
    """The predictor alone, in this process, with a pause (seconds) after each request."""
    import torch

    torch.set_num_threads(1)
    predictor = load(archive)
    for request in requests[:WARM]:
        predictor.predict(request)
    latencies, started = [], time.perf_counter()
    while time.perf_counter() - started < seconds:
        begun = time.perf_counter()
        predictor.predict(requests[len(latencies) % len(requests)])
        latencies.append(1000 * (time.perf_counter() - begun))
        time.sleep(pause)
    p50, p95, p99 = np.percentile(latencies, (50, 95, 99)).round(2).tolist()
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "a_second": round(len(latencies) / seconds, 1)}


def of_server(url: str, leader: int, asked: list[Asked], seconds: float) -> dict[str, Any]:
    """One caller alone, as many as it takes, and arrivals at half of what it takes."""
    asyncio.run(closed_loop(url, asked[:WARM], 1, 5))
    alone = asyncio.run(closed_loop(url, asked, 1, seconds))
    busy = asyncio.run(closed_loop(url, asked, CALLERS, seconds))
    throughput = busy.figures(seconds)
    half = asyncio.run(open_loop(url, asked, throughput["a_second"] / 2, seconds))
    found = {"one_caller": alone.figures(seconds), f"{CALLERS}_callers": throughput, "half_load": half.figures(seconds)}
    return {**found, "memory_mib": memory(leader)}


def overload(url: str, asked: list[Asked], capacity: float, seconds: float) -> dict[str, Any]:
    """Arrivals at twice `capacity`, then at a third of it at once: what was answered, and when all is well again."""

    async def both() -> tuple[Outcome, Outcome]:
        flood = asyncio.create_task(open_loop(url, asked, 2 * capacity, seconds, seed=1))
        await asyncio.sleep(seconds)
        after = await open_loop(url, asked, capacity / 3, 10, seed=2)
        return await flood, after

    flood, after = asyncio.run(both())
    bad = [due for due, latency, status in after.samples if status != 200 or latency > 1.0]
    return {
        "arrivals_a_second": round(2 * capacity, 1),
        "flood": flood.figures(seconds),
        "after": after.figures(10),
        "recovered_after_seconds": round(max(bad, default=0.0), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, default=settings().root)
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=20.0)
    chosen = parser.parse_args()
    requests = asked_for(60)
    served = current(chosen.home)
    assert served, f"nothing is deployed in {chosen.home}"
    with tempfile.TemporaryDirectory() as folder:
        home, log = copied(chosen.home, Path(folder) / "home"), Path(folder) / "log"
        archive = store(home) / served.archive
        import os

        os.environ |= {"GOODSIGHT_HOME": str(home), "GOODSIGHT_THREADS": "1", "OMP_NUM_THREADS": "1"}
        settings.cache_clear()
        result: dict[str, Any] = {**described(), "requests": "a third each: words, a photo, both", "seconds": chosen.seconds}
        result["loop"] = in_a_loop(archive, requests, chosen.seconds)
        result["loop_with_pauses"] = in_a_loop(archive, requests, chosen.seconds, PAUSE)
        port = free_port()
        peer = [str(chosen.peer), str(Path(__file__).with_name("kserve_peer.py")), str(archive), "--http_port", str(port)]
        url = f"http://127.0.0.1:{port}"
        bodies = [Asked("/v1/models/goodsight:predict", json.dumps({"instances": [each]}).encode()) for each in requests]
        place = str(Path(__file__).resolve().parent.parent)
        server: AbstractContextManager[Any] = process(peer, f"{url}/v2/health/ready", log, PYTHONPATH=place)
        with server as started:
            result["kserve"] = of_server(url, started.pid, bodies, chosen.seconds)
        bodies = [to_gateway(each) for each in requests]
        with gateway(home, log) as (url, started):
            result["gateway"] = of_server(url, started.pid, bodies, chosen.seconds)
            capacity = result["gateway"][f"{CALLERS}_callers"]["a_second"]
            result["gateway"]["overload"] = overload(url, bodies, capacity, chosen.seconds)
    for name in ("loop", "loop_with_pauses"):
        result[f"p50_over_{name}"] = round(result["gateway"]["one_caller"]["p50_ms"] / result[name]["p50_ms"], 3)
    write_json(OUT, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
