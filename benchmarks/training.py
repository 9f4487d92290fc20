"""Our training loop against open_clip's, with the same towers, weights, batches and precision; and what each objective costs.

    python benchmarks/training.py --peer PEER/bin/python [--towers small] [--batch 64] [--repeats 5] [--part loops objectives]

Both loops train open_clip's CLIP (`base`: ViT-B/32) with image-text contrast on batches in memory, each in a process of its own
under the peer's Python (`our_loop.py`, `open_clip_peer.py`), in alternating order. The losses of the two must agree: it is the same
training. Then, under this Python, steps of each architecture with each family of objectives (`objective_cost.py`). On a GPU
when PyTorch finds one. Writes `benchmarks/results/training.json`, or `training-cuda.json`, after each part; the page of both is
docs/models/training.md.

The peer's Python, beside which torchvision must work (5.6 GB):

    python -m venv PEER && PEER/bin/pip install torch==2.14.1 torchvision==0.29.1 open-clip-torch==3.3.0 'webdataset<=0.2.86'
    echo $PWD/.venv/lib/python3.11/site-packages > PEER/lib/python3.11/site-packages/zz_goodsight.pth
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch
from machine import described
from open_clip_peer import MODELS, Spec

from goodsight.digests import HOUSE
from goodsight.files import write_json
from goodsight.settings import settings
from models.config import ARCHITECTURES
from models.device import device
from models.pretraining import OBJECTIVES
from models.speed import bf16_peak
from models.training import precision

HERE = Path(__file__).resolve().parent
LOOPS = {"ours": ("our_loop.py", "measure"), "open_clip": ("open_clip_peer.py",)}
ALIKE = 0.02  # how far losses of the same step may be apart, relatively: bf16 adds up in another order
SIZES = {"cpu": "small", "cuda": "base"}  # of the objectives


def called(python: str, script: str, *arguments: str) -> list[dict[str, Any]]:
    """The JSON objects that a script of this folder prints. Raises `SystemExit` with its last words when it fails."""
    path = os.pathsep.join([str(HOUSE), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [python, str(HERE / script), *arguments]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def loops(peer: str, spec: Spec, repeats: int) -> dict[str, Any]:
    """Both loops, `repeats` times each, in alternating order. Raises `SystemExit` when their losses differ."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in LOOPS}
    asked = json.dumps(asdict(spec))
    for turn in range(repeats):
        for name in list(LOOPS) if turn % 2 == 0 else reversed(LOOPS):
            runs[name] += called(peer, *LOOPS[name], asked)
            print(turn, name, runs[name][-1]["samples_a_second"], runs[name][-1]["peak_bytes"], flush=True)
    pairs = [(a, b) for left, right in zip(*runs.values(), strict=True) for a, b in zip(left["losses"], right["losses"], strict=True)]
    apart = max(abs(a - b) / abs(b) for a, b in pairs)
    if not apart < ALIKE:
        raise SystemExit(f"The losses are {apart:.1%} apart: the two loops do not train alike, so their speeds say nothing.")
    told, most = called(peer, "our_loop.py", "about", asked)[0], bf16_peak(torch.device(spec.device))
    found: dict[str, Any] = {name: spread(rows) for name, rows in runs.items()}
    for row in found.values():
        row["mfu"] = told["flops_a_step"] / row["seconds_a_step"]["median"] / most if most else None
    times = [[row["seconds_a_step"] for row in rows] for rows in runs.values()]
    faster = [theirs / own for own, theirs in zip(*times, strict=True)]
    return {
        **asdict(spec),
        "model": MODELS[spec.towers],
        "repeats": repeats,
        **told,
        "losses": {"first": pairs[0], "last": pairs[-1], "apart": apart},
        "loops": found,
        "speed_up": {"median": median(times[1]) / median(times[0]), "min": min(faster), "max": max(faster)},
    }


def spread(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Median, least and most of each figure."""
    figures = ("seconds_a_step", "cpu_seconds_a_step", "samples_a_second", "peak_bytes", "bytes_before")
    found = {name: [row[name] for row in rows] for name in figures}
    return {name: {"median": median(values), "min": min(values), "max": max(values)} for name, values in found.items()}


def objectives(chosen: argparse.Namespace, place: str) -> dict[str, Any]:
    """Each architecture's rows; on a CPU a process each, for its memory is that of the process."""
    size, found = SIZES[place], {}
    for name in chosen.architectures:
        families = OBJECTIVES[name].FAMILIES
        rows = [*((family,) for family in families), families]
        asked = {"architecture": name, "size": size, "batch": chosen.objective_batch, "device": place, "threads": settings().threads}
        asked |= {"warm": max(1, chosen.warm // 2), "steps": chosen.objective_steps}
        parts = [rows] if place == "cuda" else [[row] for row in rows]
        made = [row for part in parts for row in called(sys.executable, "objective_cost.py", json.dumps(asked | {"families": part}))]
        print(name, json.dumps(made), flush=True)
        found[name] = {"size": size, "batch": chosen.objective_batch, "steps": chosen.objective_steps, "rows": made}
    return found


def main() -> None:
    place, on_gpu = device().type, device().type == "cuda"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="the Python that has open_clip", default=sys.executable)
    parser.add_argument("--towers", choices=MODELS, default=SIZES[place])
    parser.add_argument("--batch", type=int, default=1024 if on_gpu else 64)
    parser.add_argument("--repeats", type=int, default=3 if on_gpu else 5)
    parser.add_argument("--warm", type=int, default=5 if on_gpu else 2)
    parser.add_argument("--steps", type=int, default=20 if on_gpu else 5)
    parser.add_argument("--objective-batch", type=int, default=32 if on_gpu else 16)
    parser.add_argument("--objective-steps", type=int, default=10 if on_gpu else 3)
    parser.add_argument("--architectures", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES)
    parser.add_argument("--part", nargs="+", choices=("loops", "objectives"), default=("loops", "objectives"))
    parser.add_argument("--out", type=Path, help="instead of the folder of results")
    chosen = parser.parse_args()
    name = "training-cuda.json" if on_gpu else "training.json"
    result = (chosen.out or HERE / "results") / name
    report = json.loads(result.read_text()) if result.is_file() else {"benchmark": "training"}
    kind = precision(device())[0]
    spec = Spec(chosen.towers, chosen.batch, kind, place, chosen.warm, chosen.steps, settings().threads)
    for part in chosen.part:
        rows = loops(chosen.peer, spec, chosen.repeats) if part == "loops" else {"architectures": objectives(chosen, place)}
        report[part] = {**described(), "precision": kind, "threads": settings().threads, **rows}
        write_json(result, report)


if __name__ == "__main__":
    main()
