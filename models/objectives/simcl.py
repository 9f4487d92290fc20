"""SCALE's SIMCL: how much a sample's modalities tell of each other weighs its contrast and its masked tasks (papers.md 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.objectives.contrast import same

SIMCL_MODES = ("uniform", "logit_scale", "loss_weight")  # no weights, the released code, the paper


def modality_scores(vectors: Tensor, present: Tensor) -> Tensor:
    """SIMCL's S `(B, M, M)` (papers.md 3.3): cosines times their row softmax, each row of norm 1.

    vectors `(B, M, E)`, present `(B, M)` bool; rows and columns of absent modalities are zero.
    """
    there = present[:, :, None] & present[:, None, :]
    vectors = F.normalize(vectors.float(), dim=-1)
    cosine = vectors @ vectors.transpose(1, 2)
    share = cosine.masked_fill(~there, -1e4).softmax(dim=-1)
    return F.normalize(cosine * share * there, dim=-1)


def simcl(vectors: Tensor, present: Tensor, groups: Tensor, temperature: float, mode: str) -> Tensor:
    """Mean over the modality pairs of an InfoNCE among both modalities' vectors, weighted by `modality_scores`.

    vectors `(B, M, E)`, present `(B, M)`, groups `(B,)`: rows of one group are no negatives of each other. `mode` is one of
    `SIMCL_MODES`: the score multiplies nothing, the logits, or the loss.
    """
    scores = modality_scores(vectors, present)
    vectors = F.normalize(vectors.float(), dim=-1)
    terms = []
    for i in range(vectors.shape[1]):
        for j in range(i + 1, vectors.shape[1]):
            kept = present[:, i] & present[:, j]
            if bool(kept.any()):
                terms.append(_simcl_pair(vectors[kept, i], vectors[kept, j], scores[kept, i, j], groups[kept], temperature, mode))
    return torch.stack(terms).mean() if terms else vectors.sum() * 0.0


def _simcl_pair(left: Tensor, right: Tensor, score: Tensor, groups: Tensor, temperature: float, mode: str) -> Tensor:
    K = len(left)
    both = torch.cat([left, right])
    own = same(groups.repeat(2))
    target = torch.arange(2 * K, device=both.device).roll(K)
    own[torch.arange(2 * K, device=both.device), target] = False
    weight = score.repeat(2)
    logits = both @ both.T / temperature
    if mode == "logit_scale":
        logits = logits * weight[:, None]
    losses = F.cross_entropy(logits.masked_fill(own, -1e4), target, reduction="none")
    return (losses * weight).mean() if mode == "loss_weight" else losses.mean()


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weight: Tensor, mode: str) -> Tensor:
    """Masked words of a sample weighted by its own score `weight` `(K,)`: on the logits or on the loss, by `mode`."""
    if not len(logits):
        return logits.sum() * 0.0
    scaled = logits.float() * weight[:, None] if mode == "logit_scale" else logits.float()
    losses = F.cross_entropy(scaled, labels, reduction="none")
    return (losses * weight).mean() if mode == "loss_weight" else losses.mean()


def weighted_regression(predicted: Tensor, features: Tensor, weight: Tensor, mode: str) -> Tensor:
    """Masked features of a sample weighted by its own score `weight` `(K,)`: on the prediction or on the loss, by `mode`."""
    if not len(predicted):
        return predicted.sum() * 0.0
    scaled = predicted.float() * weight[:, None] if mode == "logit_scale" else predicted.float()
    losses = (scaled - features.detach().float()).square().mean(dim=1)
    return (losses * weight).mean() if mode == "loss_weight" else losses.mean()
