"""Losses of masked positions. Legend: K masked positions, V vocabulary, C classes or channels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from models.objectives.masking import IGNORED


def masked_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy over the positions with a label, zero (with a gradient) when there is none. `(K, V)`, `(K,)`."""
    if not bool((labels != IGNORED).any()):
        return logits.sum() * 0.0
    return F.cross_entropy(logits, labels, ignore_index=IGNORED)


def posterior_divergence(logits: Tensor, posteriors: Tensor) -> Tensor:
    """Mean of KL(q || p) over masked positions; logits `(K, C)` of p, posteriors `(K, C)` of q. Zero when K is 0."""
    if not len(logits):
        return logits.sum() * 0.0
    return F.kl_div(F.log_softmax(logits.float(), dim=1), posteriors.float(), reduction="batchmean")


def feature_regression(predicted: Tensor, features: Tensor) -> Tensor:
    """Mean squared error over masked positions and channels; `(K, C)` twice, features detached. Zero when K is 0."""
    if not len(predicted):
        return predicted.sum() * 0.0
    return F.mse_loss(predicted.float(), features.detach().float())
