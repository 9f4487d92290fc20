"""Steps of pretraining with each family of objectives alone and with all of them, the towers in the step: part of `training.py`.

    python benchmarks/objective_cost.py '{"architecture": "scale", "size": "small", "families": [["mlm"]], ...}'    # fields of `Asked`

Frozen towers are usually cached; here pixels, words, frames and sounds go through them in every step and the towers learn. The
pictures lie where the model lies, so that the step is measured and not the copying. Prints one JSON object a line: a row each.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from step_clock import Enough, StepClock
from torch import Tensor

from goodsight.memory import keep_freed_memory
from models.architectures import build
from models.config import ModelConfig, model_config
from models.dataset import Batch, Frames, Images, Pairs, ProductData, Scenes, Texts
from models.pretraining import OBJECTIVES
from models.recipes import Recipe
from models.speed import Work, bf16_peak
from models.training import Update, Updates, train

PRODUCTS, PICTURES = 256, 64
PROPERTIES = 8  # of a table
FUSED = {"commercemm": 16, "eclip": 4, "scale": 1, "interbert": 1}  # of so many rows of a batch one goes through the joint encoder
SHOWN = 3  # products a scene
NEVER = 10**6  # steps
WORDS: Any = SimpleNamespace(special_ids=[0, 100, 101, 102], mask_id=103)  # BERT's, for word pieces drawn at random


@dataclass(frozen=True)
class Asked:
    """Measurements of one architecture in one process."""

    architecture: str
    size: str
    families: tuple[tuple[str, ...], ...]  # of each row
    batch: int
    device: str
    warm: int
    steps: int
    threads: int
    seed: int = 17


class RawImages(Images):
    """Pictures as pixels, drawn from a pool `(K, 3, S, S)`."""

    def __init__(self, pool: Tensor, count: int) -> None:
        super().__init__(torch.zeros(count, 1, 1), torch.ones(count, dtype=torch.bool))
        self.pool = pool

    def take(self, rows: Tensor) -> Batch:
        return {"image": self.pool[rows[:, None] % PICTURES], "image_mask": torch.ones(len(rows), 1, dtype=torch.bool)}


class RawVideos(Frames):
    """Frames as pixels, of the same pool."""

    def __init__(self, pool: Tensor, count: int, frames: int) -> None:
        super().__init__(torch.zeros(count, frames, 1), torch.ones(count, frames, dtype=torch.bool))
        self.pool, self.frames = pool, frames

    def take(self, rows: Tensor, name: str) -> Batch:
        shown = (rows[:, None] + torch.arange(self.frames)) % PICTURES
        return {name: self.pool[shown], f"{name}_mask": self.mask[rows]}


class RawProducts(ProductData):
    """Queries are words alone (image tokens of the tower's shape, masked) or a picture alone."""

    shape: tuple[int, int]  # G, C

    def text_queries(self, rows: Tensor) -> Batch:
        nothing = torch.zeros(len(rows), *self.shape)
        return {**self.queries.take(rows), "image_tokens": nothing, "image_tokens_mask": nothing[..., 0].bool()}

    def view_queries(self, rows: Tensor) -> Batch:
        nothing = torch.zeros(len(rows), 1, dtype=torch.long)
        return {**self.views.take(rows), "text_ids": nothing, "text_mask": nothing.bool()}


def made(config: ModelConfig, channels: int, device: torch.device, seed: int) -> RawProducts:
    """`PRODUCTS` random products with all that the architecture reads, a query and, but for ECLIP, a view of each."""
    rng = torch.Generator().manual_seed(seed)
    rows, names = torch.arange(PRODUCTS), [f"product {row}" for row in range(PRODUCTS)]
    pool = torch.rand(PICTURES, 3, config.image_size, config.image_size, generator=rng).to(device)

    def words(length: int, parts: Tensor | None = None) -> Texts:
        ids = torch.randint(2000, 20000, (PRODUCTS, length), generator=rng)
        return Texts(ids, torch.ones_like(ids, dtype=torch.bool), parts=parts)

    views = PRODUCTS if config.architecture != "eclip" else 0  # it takes further views as cached tokens
    pictures, own, seen = RawImages(pool, PRODUCTS), Pairs(rows, rows), Pairs(rows[:views], rows[:views])
    split, text = ["train"] * PRODUCTS, words(config.text_length)
    queries, shown = (names, names, split, text), (names, split, pictures)
    data = RawProducts(names, names, names, rows, split, text, pictures, *queries, *shown, own, seen)
    data.shape = (config.image_grid**2, channels)
    if "table" in config.modalities:
        part = torch.arange(config.table_length) * 2 * PROPERTIES // config.table_length + 1
        data.tables = words(config.table_length, part.expand(PRODUCTS, -1))
        data.videos = RawVideos(pool, PRODUCTS, config.frames)
        heard = torch.ones(PRODUCTS, config.audio_tokens, dtype=torch.bool)
        data.audios = Frames(torch.rand(PRODUCTS, config.audio_tokens, config.mels, generator=rng), heard)
    cells = torch.rand(PRODUCTS, config.image_grid**2, generator=rng) < 1 / SHOWN
    data.scenes = Scenes(RawImages(pool, (PRODUCTS + SHOWN - 1) // SHOWN), rows // SHOWN, rows, cells)
    return data


class Watched:
    """Updates that tell where a step begins: the second counts floating-point operations, then come those of the clock."""

    def __init__(self, updates: Updates, clock: StepClock) -> None:
        self.updates, self.clock = updates, clock
        self.work, self.begun = Work(), 0

    def __call__(self, step: int) -> list[Update]:
        first, *others = self.updates(step + 1)  # ECLIP's step 0 is of contrast alone
        return [replace(first, losses=partial(self._begin, first)), *others]

    def _begin(self, first: Update, drawn: Any) -> dict[str, Tensor]:
        if self.begun == 1:  # on a GPU the loop itself counts in its first step
            self.work.__enter__()
        elif self.begun == 2:
            self.work.__exit__(None, None, None)
            self.clock.begin()
        elif self.begun > 2:
            self.clock.tick()
        self.begun += 1
        if self.clock.enough:
            raise Enough
        return first.losses(drawn)


def row(model: Any, data: ProductData, asked: Asked, families: tuple[str, ...]) -> dict[str, Any]:
    """Figures of the steps with `families`, the work of a step, and its share of the GPU's bf16 peak where that is known."""
    device = torch.device(asked.device)
    fused = max(2, asked.batch // FUSED[asked.architecture])
    recipe = Recipe(steps=1, batch=asked.batch, fused=fused, learning_rate=1e-5, objectives=families, seed=asked.seed)
    updates = OBJECTIVES[asked.architecture].updates(model, data, torch.arange(PRODUCTS), WORDS, recipe)
    clock = StepClock(device, asked.warm, asked.steps)
    watched = Watched(updates, clock)
    with tempfile.TemporaryDirectory() as folder, suppress(Enough):
        train(model, watched, replace(recipe, steps=NEVER, checkpoint_every=NEVER), Path(folder), asked.architecture)
    work, found, peak = watched.work.flops, clock.figures(asked.batch), bf16_peak(device)
    return {"families": families, **found, "flops_a_step": work, "mfu": work / found["seconds_a_step"] / peak if peak else None}


def main() -> None:
    fields = json.loads(sys.argv[1])
    asked = Asked(**{**fields, "families": tuple(tuple(families) for families in fields["families"])})
    keep_freed_memory()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(asked.seed)
    config, device = replace(model_config(asked.architecture, asked.size), trained_towers=True), torch.device(asked.device)
    model: Any = build(config).to(device)
    data = made(config, model.towers.image_channels, device, asked.seed)
    for families in asked.families:
        try:
            found = row(model, data, asked, families)
        except torch.OutOfMemoryError as error:
            found = {"families": families, "failed": f"out of memory: {error}"[:200]}
        print(json.dumps(found), flush=True)
        model.zero_grad(set_to_none=True)
        gc.collect()
        if asked.device == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
