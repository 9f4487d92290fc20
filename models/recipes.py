"""How long and how each training runs: a pure function of architecture, size and how many products there are to learn from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """One training. `fused` rows of each batch go through the joint encoder. Batches are those of all processes together."""

    steps: int
    batch: int
    fused: int
    learning_rate: float
    weight_decay: float = 0.01
    warmup: float = 0.1  # share of the steps
    gradient_norm: float = 1.0  # of an update, at most
    seed: int = 17
    checkpoint_every: int = 50  # steps
    objectives: tuple[str, ...] = ()  # families of the architecture to train; empty: all of them
    accumulate: int = 1  # batches a step of the optimiser
    chunk: int = 0  # rows of contrast at a time, see `models.chunks`; 0: all
    average: float = 0.0  # share of the exponential moving average that a step keeps; the average is the result; 0: no average
    recompute: bool = False  # activations of layers anew in backward: a third slower, a fraction of the memory
    sharded: bool = False  # weights, gradients and optimiser over the processes (FSDP2); else a copy in each (DDP)
    compiled: bool = False  # the image tower by torch.compile
    precision: str = ""  # of Lightning: 32-true, bf16-mixed; empty: what the device is made for


_TINY = Recipe(steps=40, batch=32, fused=8, learning_rate=1e-3, checkpoint_every=4)
_FUSED = {"commercemm": 32, "eclip": 128, "scale": 64, "interbert": 48}  # rows a step through the joint encoder
_BATCH = {"commercemm": 256, "eclip": 256, "scale": 64, "interbert": 32}  # of retrieval's fine-tuning: a pair goes through three times
_DEEP = ("scale", "interbert")


def _between(low: int, value: int, high: int) -> int:
    return max(low, min(high, value))


def pretraining(architecture: str, size: str, products: int, seed: int) -> Recipe:
    """At `small`: 80 to 150 steps (minutes on two CPU cores). A dual encoder's contrasts are cheap: large batches of them."""
    if size == "tiny":
        return Recipe(**{**vars(_TINY), "seed": seed})
    if size == "base":
        return _base(architecture, products, seed)
    steps, fused = _between(80, 8 * products // 256, 150), _FUSED[architecture]
    rate = 3e-4 if architecture in _DEEP else 1e-3
    batch = 256 if architecture in _DEEP else 512
    norm = _norm(architecture)
    return Recipe(steps=steps, batch=batch, fused=fused, learning_rate=rate, gradient_norm=norm, seed=seed, checkpoint_every=20)


def _base(architecture: str, products: int, seed: int) -> Recipe:
    """Towers learn, on GPUs: 20 epochs at a low rate, a batch in parts that one GPU holds, its layers computed twice.

    The average reaches back over a tenth of the steps at most: a longer one would still be of the weights at the start.
    """
    batch, fused = 512, 64
    steps = max(200, -(-20 * products // (fused if architecture in _DEEP else batch)))
    return Recipe(
        steps,
        batch,
        fused,
        learning_rate=1e-4,
        gradient_norm=_norm(architecture),
        seed=seed,
        checkpoint_every=200,
        chunk=64,
        average=min(0.999, 1 - 10 / steps),
        recompute=True,
    )


def _norm(architecture: str) -> float:
    return 10.0 if architecture == "commercemm" else 1.0  # a lower one would weigh its two updates against each other


def finetuning(architecture: str, task: str, size: str, products: int, seed: int) -> Recipe:
    """At `small`: shorter steps than pretraining (one update, no masked words), so more of them."""
    if size == "tiny":
        return Recipe(**{**vars(_TINY), "seed": seed})
    batch, rate = _BATCH[architecture], 3e-4 if architecture in _DEEP else 1e-3
    if task == "categorize":
        batch = 48 if architecture in _DEEP else batch
        return Recipe(steps=_between(80, 12 * products // 256, 300), batch=batch, fused=0, learning_rate=1e-3, seed=seed)
    return Recipe(steps=_between(60, 10 * products // 256, 300), batch=batch, fused=0, learning_rate=rate, seed=seed)
