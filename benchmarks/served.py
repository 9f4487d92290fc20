"""What the benchmarks of serving share: a copy of a home, a server of it, requests on real inputs, and the memory of processes."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from load import Asked
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from samples import furniture

HEAVY = ("cache", "pipeline", "runs", "feature-cache")  # of a home: not needed to serve
READY_SECONDS = 120
PORTS = ("PORT", "INFERENCE_PORT", "MANAGEMENT_PORT", "METRICS_PORT")


def copied(home: Path, folder: Path) -> Path:
    """A copy of what `goodsight serve` and the registry need of `home`."""
    return Path(shutil.copytree(home, folder, ignore=shutil.ignore_patterns(*HEAVY), symlinks=True))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@contextmanager
def process(command: list[str], ready: str, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server, from when `ready` (a URL) answers 200 to its end by SIGTERM."""
    with log.open("ab") as out:
        started = subprocess.Popen(command, env={**os.environ, **environment}, stdout=out, stderr=out, start_new_session=True)
    try:
        Retrying(stop=stop_after_delay(READY_SECONDS), wait=wait_fixed(0.2), retry=retry_if_result(lambda ok: not ok))(_answers, ready)
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(60)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def gateway(home: Path, log: Path, **environment: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`goodsight serve` for `home` on free ports: its URL and its process."""
    ports = {f"GOODSIGHT_{name}": str(free_port()) for name in PORTS}
    url = f"http://127.0.0.1:{ports['GOODSIGHT_PORT']}"
    command = [str(Path(sys.executable).with_name("goodsight")), "serve", "--home", str(home)]
    with process(command, f"{url}/health/ready", log, **ports, **environment) as started:
        yield url, started


def memory(leader: int) -> float:
    """MiB of a process and all that it started, what they share once; what another server on the machine maps too counts in part."""
    top = psutil.Process(leader)
    return round(sum(each.memory_full_info().pss for each in (top, *top.children(recursive=True))) / 2**20, 1)


def resident(leader: int) -> dict[str, float]:
    """MiB that each of a server's processes has in memory, by name: what it shares with others counts for each."""
    top = psutil.Process(leader)
    found = {"gateway": top.memory_info().rss}
    for each in top.children(recursive=True):
        name = "worker" if any("model_service_worker" in part for part in each.cmdline()) else each.name()
        found[name] = found.get(name, 0) + each.memory_info().rss
    return {name: round(size / 2**20, 1) for name, size in found.items()}


def asked_for(count: int) -> list[dict[str, Any]]:
    """Requests on the sample, a third each: a search by words, a category of a photo, a search by photo and words."""
    products = [json.loads(line) for line in (furniture() / "products.jsonl").read_text().splitlines()][:count]
    queries = [json.loads(line)["text"] for line in (furniture() / "queries_text.jsonl").read_text().splitlines()][:count]
    found: list[dict[str, Any]] = []
    for product, words in zip(products, queries, strict=False):
        image = base64.b64encode((furniture() / product["images"][0]).read_bytes()).decode()
        found.append({"task": "search", "text": words, "k": 10})
        found.append({"task": "categorize", "image": image, "k": 5})
        found.append({"task": "search", "text": product["title"], "image": image, "k": 10})
    return found


def to_gateway(request: dict[str, Any]) -> Asked:
    fields = {name: value for name, value in request.items() if name != "task"}
    return Asked(f"/v1/{request['task']}", json.dumps(fields).encode())
