"""Cross-entropy at the levels of a category tree. Legend: B batch, K leaf categories, A categories of one level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SMALLEST = 1e-9  # a probability


def memberships(paths: Sequence[str]) -> list[Tensor]:
    """For each level above the deepest, `(K, A)` of 0 and 1: which category of the level a leaf lies in.

    paths: K category paths, names joined by " > ". A shorter path is its own category at the levels below its end.
    """
    split = [path.split(" > ") for path in paths]
    found = []
    for level in range(1, max(map(len, split), default=0)):
        above = [" > ".join(names[:level]) for names in split]
        order = {name: column for column, name in enumerate(sorted(set(above)))}
        found.append(torch.nn.functional.one_hot(torch.tensor([order[name] for name in above]), len(order)).float())
    return found


def level_cross_entropy(logits: Tensor, membership: Tensor, target: Tensor) -> Tensor:
    """Mean of -log p(ancestor), an ancestor's probability being the sum of its leaves'.

    logits `(B, K)` over the leaves, membership `(K, A)`, target `(B,)` leaves.
    """
    ancestors = logits.float().softmax(dim=1) @ membership.to(logits.device)
    wanted = (ancestors * membership.to(logits.device)[target]).sum(dim=1)
    return -wanted.clamp_min(SMALLEST).log().mean()
