"""How long each training runs: a pure function of the size and of how many products there are to learn from."""

from __future__ import annotations

from models.config import Recipe

_TINY = Recipe(steps=40, batch=32, fused=8, learning_rate=1e-3, checkpoint_every=4)


def _between(low: int, value: int, high: int) -> int:
    return max(low, min(high, value))


def pretraining(size: str, products: int, seed: int) -> Recipe:
    """At `small`: about 8 passes over the products, 80 to 200 steps of 256 (minutes on two CPU cores)."""
    if size == "tiny":
        return Recipe(**{**vars(_TINY), "seed": seed})
    return Recipe(steps=_between(80, 8 * products // 256, 200), batch=256, fused=48, learning_rate=1e-3, seed=seed, checkpoint_every=20)


def finetuning(task: str, size: str, products: int, seed: int) -> Recipe:
    """At `small`: shorter steps than pretraining (one update, no masked words), so more of them."""
    if size == "tiny":
        return Recipe(**{**vars(_TINY), "seed": seed})
    if task == "categorize":
        return Recipe(steps=_between(80, 12 * products // 256, 300), batch=256, fused=0, learning_rate=5e-4, seed=seed)
    return Recipe(steps=_between(60, 10 * products // 256, 280), batch=256, fused=0, learning_rate=5e-4, seed=seed)
