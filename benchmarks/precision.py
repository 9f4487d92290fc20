"""What a deployed version takes in each precision on this machine, and how far the answers move; with --compile, torch.compile too.

    GOODSIGHT_HOME=.goodsight OMP_NUM_THREADS=1 python benchmarks/precision.py [--compile]

The measurement is the one that a worker makes when it first loads a version (serving/precision.py), on titles of the catalogue.
The towers are what is compiled: seconds until the first answer to each shape, then milliseconds as for the others. Writes
`benchmarks/results/precision.json`.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from machine import described

from catalogue.snapshot import Snapshot
from goodsight.files import write_json
from goodsight.memory import keep_freed_memory
from goodsight.settings import settings
from models.bundle import Bundle
from models.candidate import load_candidate
from models.config import TASKS
from serving.deploy import current, store
from serving.precision import TITLES, TURNS, measure, probes

OUT = Path(__file__).resolve().parent / "results" / "precision.json"


@torch.inference_mode()
def compiled(bundle: Bundle, titles: list[str]) -> dict[str, Any]:
    """Of vectors: a title alone, a title beside a picture."""
    batches = dict(zip(("title", "title and picture"), probes(bundle, titles), strict=False))
    usual = {name: _median(bundle, batch) for name, batch in batches.items()}
    towers = bundle.model.towers
    towers.image = torch.compile(towers.image)
    towers.text.net = torch.compile(towers.text.net, dynamic=True)
    found: dict[str, Any] = {}
    for name, batch in batches.items():
        started = time.perf_counter()
        bundle.model.embed(batch)
        first = round(time.perf_counter() - started, 1)
        found[name] = {"cpu_ms": usual[name], "compiled_cpu_ms": _median(bundle, batch), "first_seconds": first}
    return found


def _median(bundle: Bundle, batch: dict[str, torch.Tensor]) -> float:
    times = []
    for _ in range(2 * TURNS + 1):
        started = time.thread_time()
        bundle.model.embed(batch)
        times.append(1000 * (time.thread_time() - started))
    return round(sorted(times)[TURNS], 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compile", action="store_true")
    chosen, home = parser.parse_args(), settings().root
    keep_freed_memory()
    torch.set_num_threads(1)
    served = current(home)
    assert served, f"nothing is deployed in {home}"
    loaded = load_candidate(store(home) / served.archive / "candidate")
    snapshot = Snapshot.open(max(home.glob("pipeline/*/validate-component/snapshot")))
    titles = [title for title in snapshot.products(["title"])["title"].to_pylist() if title][:TITLES]
    result = {**described(), "candidate": loaded.digest, **asdict(measure([loaded.bundles[task] for task in TASKS], titles))}
    if chosen.compile:
        result["compiled"] = compiled(loaded.bundles["retrieve"], titles)
    write_json(OUT, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
