"""Our own training on the batches and towers of `open_clip_peer.py`, timed alike: the other side of `training.py`, which starts it.

    PEER/bin/python benchmarks/our_loop.py measure '{"towers": "small", "batch": 64, ...}'     # the fields of `Spec`

Prints one JSON object; with `about` instead of `measure` that of the versions and the work of a step.
"""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from machine import described
from open_clip_peer import POOL, Spec, batches, towers
from step_clock import Enough, StepClock, each_optimizer_step
from torch import Tensor

from goodsight.memory import keep_freed_memory
from models.objectives.contrast import symmetric_info_nce
from models.recipes import Recipe
from models.speed import Work
from models.training import Update, train

COUNTED = 8  # rows whose floating-point operations are counted


def ours(spec: Spec) -> dict[str, Any]:
    """Figures of our loop, and its losses, warm-up included."""
    place, pool, model = torch.device(spec.device), batches(spec), towers(spec)
    names = [f"pair {number}" for number in range(spec.batch)]
    own = torch.eye(spec.batch, dtype=torch.bool, device=place)
    clock, losses = StepClock(place, spec.warm, spec.steps), []

    def contrast(drawn: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        if clock.enough:
            raise Enough
        found = model(*(part.to(place, non_blocking=True) for part in drawn))
        loss = symmetric_info_nce(found["image_features"], found["text_features"], own, found["logit_scale"])
        losses.append(loss.detach())
        return {"itc": loss}

    def updates(step: int) -> list[Update]:
        return [Update(lambda: pool[step % POOL], contrast, lambda: names)]

    recipe = Recipe(
        steps=spec.total,
        batch=spec.batch,
        fused=0,
        learning_rate=spec.learning_rate,
        weight_decay=spec.weight_decay,
        warmup=spec.warmup / spec.total,
        gradient_norm=spec.gradient_norm,
        seed=spec.seed,
        checkpoint_every=spec.total,
        precision=spec.precision,
    )
    clock.begin()
    with tempfile.TemporaryDirectory() as folder, each_optimizer_step(clock), suppress(Enough):
        train(model, updates, recipe, Path(folder), "contrast")
    return {**clock.figures(spec.batch), "losses": [float(loss) for loss in losses]}


def about(spec: Spec) -> dict[str, Any]:
    """The versions that both loops run on, and the floating-point operations of a step's towers, forward and backward."""
    place, few = torch.device(spec.device), replace(spec, batch=COUNTED)
    with Work() as work:
        found = towers(few)(*(part.to(place) for part in batches(few)[0]))
        (found["image_features"].sum() + found["text_features"].sum()).backward()
    versions = described()["versions"] | {name: version(name) for name in ("open-clip-torch", "lightning")}
    return {"versions": versions, "flops_a_step": spec.batch / COUNTED * work.flops}


if __name__ == "__main__":
    keep_freed_memory()
    what, asked = sys.argv[1], Spec(**json.loads(sys.argv[2]))
    torch.set_num_threads(asked.threads)
    print(json.dumps(ours(asked) if what == "measure" else about(asked)))
