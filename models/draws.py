"""Random numbers of training: drawn on the CPU from a seeded generator, so that every device sees the same ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def generator(*keys: int) -> torch.Generator:
    """A generator seeded by all of `keys`, the same on every machine."""
    seed = 0
    for key in keys:
        seed = (seed * 1_000_003 + key + 1) % (2**63 - 1)
    return torch.Generator().manual_seed(seed)


def uniform(shape: Sequence[int], rng: torch.Generator, device: torch.device) -> Tensor:
    """Float tensor of `shape`, even in [0, 1)."""
    return torch.rand(tuple(shape), generator=rng).to(device)


def integers(high: int, shape: Sequence[int], rng: torch.Generator, device: torch.device) -> Tensor:
    """Integer tensor of `shape`, even in [0, `high`)."""
    return torch.randint(high, tuple(shape), generator=rng).to(device)
