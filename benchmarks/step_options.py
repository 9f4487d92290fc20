"""What a recipe's options cost and save in the training loop itself: samples a second, memory and MFU of CommerceMM's 14 objectives.

    python benchmarks/step_options.py [--batch 128] [--steps 12]

Towers that learn, pixels at every step, through `models.training.train`: as it is, with recomputed layers, with the image tower
compiled, and with contrast in chunks. `base` on the GPU where there is one, else `small`. Each in a process of its own; the figures
are those that the loop tells, of the second half of the steps. Writes `benchmarks/results/step-options.json`, or
`step-options-cuda.json`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from machine import described
from step_cost import PRODUCTS, RawProducts, made

from goodsight.files import write_json
from models.architectures import build
from models.config import model_config
from models.dataset import Batch
from models.device import device
from models.pretraining.commercemm import updates
from models.recipes import Recipe
from models.training import train

HERE = Path(__file__).resolve().parent
OPTIONS: dict[str, dict[str, Any]] = {"plain": {}, "recompute": {"recompute": True}, "compiled": {"compiled": True}, "chunk": {"chunk": 32}}
WORDS: Any = SimpleNamespace(special_ids=(0, 101, 102), mask_id=103)  # what the objectives ask of a tokenizer
POOL = torch.rand(PRODUCTS, 1, 3, 224, 224).half()


class Pooled(RawProducts):
    """Pictures that are there already."""

    def _pixels(self, count: int) -> Batch:
        return {"image": POOL[torch.arange(count) % PRODUCTS], "image_mask": torch.ones(count, 1, dtype=torch.bool)}


def one(option: str, batch: int, steps: int) -> dict[str, float]:
    """Medians of what the loop tells of the second half of `steps`."""
    place = device()
    size = "base" if place.type == "cuda" else "small"
    config = replace(model_config("commercemm", size), trained_towers=True)
    torch.manual_seed(0)
    model: Any = build(config).to(place)
    model.towers.text.is_word.fill_(1.0)
    data = Pooled(**vars(made()))
    asked = Recipe(steps=steps, batch=batch, fused=batch // 8, learning_rate=1e-4, checkpoint_every=steps)
    recipe = replace(asked, **OPTIONS[option])
    of_step = updates(model, data, torch.arange(PRODUCTS), WORDS, recipe)
    told: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        train(model, of_step, recipe, Path(folder), option, told=lambda step, figures: told.append(figures))
    names = ("samples_per_second", "memory_mib", "mfu")
    return {name: median(row[name] for row in told[steps // 2 :]) for name in names if name in told[-1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--one", choices=OPTIONS, help="what one process measures")
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(one(chosen.one, chosen.batch, chosen.steps)))
        return
    found = {}
    for option in OPTIONS:
        command = [sys.executable, __file__, "--one", option, "--batch", str(chosen.batch), "--steps", str(chosen.steps)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found[option] = json.loads(done.stdout.splitlines()[-1]) if not done.returncode else {"failed": done.stderr.splitlines()[-1]}
        print(option, found[option], flush=True)
    size = "base" if device().type == "cuda" else "small"
    report = {"benchmark": "step-options", **described(), "size": size, "batch": chosen.batch, "options": found}
    write_json(HERE / "results" / f"step-options{'-cuda' if device().type == 'cuda' else ''}.json", report)


if __name__ == "__main__":
    main()
