"""What a step of CommerceMM's 14 objectives costs against image-text contrast alone, with the towers in the step.

    python benchmarks/step_cost.py [--batch 32] [--repeats 5]

Frozen towers are usually cached; here pixels and words go through them in every step and the towers are trained. Both
steps see the same pages: contrast alone in one update, all families in two (the second sees cross-pairs of each source in
turn, with no more pictures than there are pages); a sixteenth of the rows goes through the fusion encoder, as in the recipe
of `small`. Beside it, what a page costs to embed from cached features when more or fewer layers of the stack see text alone
(modality randomization). On the GPU where there is one (GOODSIGHT_DEVICE). Writes `benchmarks/results/step-cost.json`, or
`step-cost-cuda.json`.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from machine import described, wait_for
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from goodsight.memory import keep_freed_memory
from goodsight.settings import settings
from models.architectures import build
from models.config import model_config
from models.dataset import Batch, Images, Pairs, ProductData, Texts
from models.device import device
from models.preprocess import preprocess_for
from models.pretraining.commercemm import FAMILIES, updates
from models.recipes import Recipe
from models.towers import EfficientNetTower, tokenizer_of
from models.training import precision

HERE = Path(__file__).resolve().parent
PRODUCTS, WORDS = 256, 20
EMBEDDED = 256  # pages at once


class RawProducts(ProductData):
    """Products, views and queries as pixels and words."""

    def _pixels(self, count: int) -> Batch:
        return {"image": torch.rand(count, 1, 3, 224, 224), "image_mask": torch.ones(count, 1, dtype=torch.bool)}

    def _words(self, rows: Tensor) -> Batch:
        return {"text_ids": self.texts.ids[rows], "text_mask": self.texts.mask[rows]}

    def products(self, rows: Tensor) -> Batch:
        return self._words(rows) | self._pixels(len(rows))

    def posts(self, views: Tensor, queries: Tensor) -> Batch:
        return self._words(queries) | self._pixels(len(views))

    def text_queries(self, rows: Tensor) -> Batch:
        nothing = torch.zeros(len(rows), 9, EfficientNetTower.channels), torch.zeros(len(rows), 9, dtype=torch.bool)
        return self._words(rows) | {"image_tokens": nothing[0], "image_tokens_mask": nothing[1]}

    def view_queries(self, rows: Tensor) -> Batch:
        nothing = torch.zeros(len(rows), 1, dtype=torch.long), torch.zeros(len(rows), 1, dtype=torch.bool)
        return {"text_ids": nothing[0], "text_mask": nothing[1]} | self._pixels(len(rows))


def made() -> RawProducts:
    rows, names = torch.arange(PRODUCTS), [f"p{row}" for row in range(PRODUCTS)]
    words = Texts(torch.randint(2000, 20000, (PRODUCTS, WORDS)), torch.ones(PRODUCTS, WORDS, dtype=torch.bool))
    pictures = Images(torch.zeros(PRODUCTS, 9, EfficientNetTower.channels), torch.ones(PRODUCTS, dtype=torch.bool))
    train = ["train"] * PRODUCTS
    own = Pairs(rows, rows)
    return RawProducts(names, names, names, rows, train, words, pictures, names, names, train, words, names, train, pictures, own, own)


def seconds(objectives: tuple[str, ...], batch: int, repeats: int) -> list[float]:
    """Wall seconds of steps 1 to 3 * `repeats` (each source in turn), forward, backward and optimiser."""
    torch.manual_seed(0)
    config = replace(model_config("commercemm", "small"), trained_towers=True)
    model: Any = build(config).load_pretrained().to(device()).train()
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-4, foreach=True)
    recipe = Recipe(steps=1, batch=batch, fused=max(2, batch // 16), learning_rate=1e-4, objectives=objectives)
    update = updates(model, made(), torch.arange(PRODUCTS), preprocess_for(config, tokenizer_of(config.text_tower)), recipe)
    kind = torch.bfloat16 if precision(device())[0].startswith("bf16") else torch.float32
    took = []
    for step in range(3 * repeats + 1):
        started = time.perf_counter()
        for part in update(step):
            optimizer.zero_grad()
            drawn = part.draw()
            with torch.autocast(device().type, kind, enabled=kind == torch.bfloat16):
                losses = part.losses(drawn)
            torch.stack([loss.float() for loss in losses.values()]).sum().backward()
            optimizer.step()
        wait_for(device())
        took.append(time.perf_counter() - started)
    return took[1:]


@torch.inference_mode()
def curve(batch: int, repeats: int) -> list[dict[str, float]]:
    """Milliseconds and floating-point operations a page, for each depth from which the stack sees the image too."""
    model: Any = build(model_config("commercemm", "small")).load_pretrained().to(device()).eval()
    G, C, W = model.config.image_grid**2, model.towers.image_channels, model.towers.text.width
    there = torch.ones(batch, max(G, WORDS), dtype=torch.bool)
    pages = {"image_tokens": torch.rand(batch, G, C), "image_tokens_mask": there[:, :G], "text_mask": there[:, :WORDS]}
    pages |= {"text_ids": torch.randint(2000, 20000, (batch, WORDS)), "text_tokens": torch.rand(batch, WORDS, W)}
    found = []
    for depth in range(model.config.layers):
        with model.split_at(depth):
            with FlopCounterMode(display=False) as counter:
                model.embed(pages)
            took = []
            for _ in range(repeats):
                started = time.perf_counter()
                model.embed(pages)
                wait_for(device())
                took.append(time.perf_counter() - started)
        found.append({"text_layers": depth, "ms_a_page": 1000 * median(took) / batch, "flops_a_page": counter.get_total_flops() / batch})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(settings().threads)
    keep_freed_memory()
    rows = {name: seconds(families, chosen.batch, chosen.repeats) for name, families in (("itc", ("itc",)), ("all 14", FAMILIES))}
    report = {
        "benchmark": "step-cost",
        **described(),
        "batch": chosen.batch,
        "threads": torch.get_num_threads(),
        "seconds": {name: {"median": median(values), "min": min(values), "max": max(values)} for name, values in rows.items()},
        "ratio": sum(rows["all 14"]) / sum(rows["itc"]),
        "curve": curve(EMBEDDED, 3 * chosen.repeats),
    }
    (HERE / "results").mkdir(exist_ok=True)
    name = "step-cost" if device().type == "cpu" else f"step-cost-{device().type}"
    (HERE / "results" / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps({name: report[name] for name in ("seconds", "ratio", "curve")}, indent=2))


if __name__ == "__main__":
    main()
