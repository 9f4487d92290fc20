"""open_clip's own training on batches in memory, timed: the peer of `training.py`, which starts it with the peer's Python.

    PEER/bin/python benchmarks/open_clip_peer.py '{"towers": "small", "batch": 64, ...}'     # the fields of `Spec`

`open_clip_train.main.main` runs as it is: its model, optimiser, scaler, scheduler, loss and loop. What is replaced is the data
(batches that lie in memory, as our loop gets them) and the loss is watched. The towers, their weights and the batches are made here
for both loops. torchvision must work in that Python. Prints one JSON object on its last line.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from step_clock import Enough, StepClock, each_optimizer_step
from torch import Tensor, nn

MODELS = {"base": "ViT-B-32", "small": "goodsight-small"}  # open_clip's names: CLIP's smallest published one, and one for CPUs
SMALL = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": 112, "layers": 6, "width": 256, "head_width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 32, "vocab_size": 8192, "width": 256, "heads": 4, "layers": 6},
}
POOL = 2  # different batches, used in turn


@dataclass(frozen=True)
class Spec:
    """One measurement. Both loops get all of it."""

    towers: str
    batch: int
    precision: str  # of Lightning: bf16-mixed or 32-true
    device: str
    warm: int
    steps: int
    threads: int
    learning_rate: float = 5e-4
    weight_decay: float = 0.2
    gradient_norm: float = 1.0
    total: int = 10_000  # steps of the schedule, never reached
    warmup: int = 2_000
    seed: int = 17

    @property
    def shapes(self) -> tuple[int, int, int]:
        """Pixels a side, word pieces a text, and how many there are."""
        return (224, 77, 49408) if self.towers == "base" else (112, 32, 8192)


def batches(spec: Spec) -> list[tuple[Tensor, Tensor]]:
    """`POOL` batches of pixels `(B, 3, S, S)` and word pieces `(B, T)`: the same ones in every process; pinned for a GPU."""
    rng = torch.Generator().manual_seed(spec.seed)
    side, length, words = spec.shapes
    made = []
    for _ in range(POOL):
        pixels = torch.randn(spec.batch, 3, side, side, generator=rng)
        texts = torch.randint(1, words - 1, (spec.batch, length), generator=rng)
        texts[:, -1] = words - 1  # the end: CLIP reads a text off its highest number
        made.append((pixels.pin_memory(), texts.pin_memory()) if spec.device == "cuda" else (pixels, texts))
    return made


def know_models(folder: Path) -> None:
    """Tells open_clip the shapes of `small`."""
    import open_clip

    (folder / f"{MODELS['small']}.json").write_text(json.dumps(SMALL))
    open_clip.add_model_config(folder)


def towers(spec: Spec) -> nn.Module:
    """open_clip's model, with the weights that its `main` draws from the same seed."""
    import open_clip

    with tempfile.TemporaryDirectory() as folder:
        know_models(Path(folder))
        torch.manual_seed(spec.seed)
        return open_clip.create_model(MODELS[spec.towers], precision="fp32", device=spec.device, output_dict=True)


class InMemory:
    """What open_clip's loop asks of its data."""

    def __init__(self, spec: Spec, clock: StepClock) -> None:
        self.pool, self.clock = batches(spec), clock
        self.dataloader, self.num_batches, self.num_samples = self, spec.total, spec.total * spec.batch

    def set_epoch(self, epoch: int) -> None:
        """Every epoch is the same."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for step in range(self.num_batches):
            if self.clock.enough:
                raise Enough
            yield self.pool[step % POOL]


def arguments(spec: Spec, logs: str) -> list[str]:
    """The command line of open_clip's `main`."""
    named = {
        "model": MODELS[spec.towers],
        "dataset-type": "synthetic",
        "train-num-samples": spec.total * spec.batch,
        "batch-size": spec.batch,
        "precision": "amp_bf16" if spec.precision == "bf16-mixed" else "fp32",
        "device": spec.device,
        "epochs": 1,
        "lr": spec.learning_rate,
        "wd": spec.weight_decay,
        "beta1": 0.9,
        "beta2": 0.98,
        "eps": 1e-8,
        "warmup": spec.warmup,
        "grad-clip-norm": spec.gradient_norm,
        "seed": spec.seed,
        "logs": logs,
    }
    return [part for name, value in named.items() for part in (f"--{name}", str(value))]


def measure(spec: Spec) -> dict[str, Any]:
    """Figures of open_clip's training, and its losses, warm-up included."""
    from open_clip_train import main

    losses: list[Tensor] = []
    create_loss, clock = main.create_loss, StepClock(torch.device(spec.device), spec.warm, spec.steps)

    def watched_loss(options: Any) -> nn.Module:
        loss = create_loss(options)
        loss.register_forward_hook(lambda _module, _inputs, found: losses.append(found["contrastive_loss"].detach()))
        clock.begin()
        return loss

    main.create_loss = watched_loss
    main.get_data = lambda *_arguments, **_options: {"train": InMemory(spec, clock)}
    with tempfile.TemporaryDirectory() as folder, each_optimizer_step(clock), suppress(Enough):
        know_models(Path(folder))
        main.main(arguments(spec, folder))
    return {**clock.figures(spec.batch), "losses": [float(loss) for loss in losses]}


if __name__ == "__main__":
    from goodsight.memory import keep_freed_memory

    keep_freed_memory()
    asked = Spec(**json.loads(sys.argv[1]))
    torch.set_num_threads(asked.threads)
    print(json.dumps(measure(asked)))
