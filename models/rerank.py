"""Re-ranking by matching: the first k of a ranking in the order of the probability that image and text belong together.

As ALBEF does after its contrastive ranking; each of the k candidates costs a pass of the joint encoder.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from models.dataset import Batch, ProductData

PAIRS = 256  # a batch


def reranked(match: Callable[[Batch], Tensor], data: ProductData, rows: Tensor, scores: Tensor, k: int) -> Tensor:
    """`(N, N)` scores of each image of products `rows` (first axis) with each text, of which the `k` best are re-scored.

    scores `(N, N)` are the contrastive ones; candidates beyond the k best keep their order below the re-scored ones.
    """
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices
    image = torch.arange(len(rows)).repeat_interleave(best.shape[1])
    pairs = zip(image.split(PAIRS), best.flatten().split(PAIRS), strict=True)
    with torch.inference_mode():
        matched = torch.cat([match({**data.texts.take(rows[t]), **data.images.take(rows[i])}).float().cpu() for i, t in pairs])
    return scores.scatter(1, best, scores.max() + 1 + matched.view_as(best))
