"""Contrastive objectives and their negatives. Legend: N queries, M keys, D width, B batch, Q instance queries."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(queries: Tensor, keys: Tensor, positives: Tensor, scale: Tensor) -> Tensor:
    """Multi-positive InfoNCE (papers.md 1.4; targets as in BLIP retrieval): cross-entropy against `positives / sum`.

    queries `(N, D)` and keys `(M, D)`, L2-normalised; positives `(N, M)` bool, at least one a row; scale = 1 / temperature.
    """
    logits = scale * queries @ keys.T
    targets = positives.to(logits.dtype)
    return F.cross_entropy(logits, targets / targets.sum(dim=1, keepdim=True))


def symmetric_info_nce(left: Tensor, right: Tensor, positives: Tensor, scale: Tensor) -> Tensor:
    """Mean of both directions of `info_nce`; left `(N, D)`, right `(N, D)`, positives `(N, N)`."""
    return (info_nce(left, right, positives, scale) + info_nce(right, left, positives.T, scale)) / 2


def same(ids: Tensor, other: Tensor | None = None) -> Tensor:
    """`(N, M)` bool: equal ids. Products of one id or group are never each other's negatives."""
    return ids[:, None] == (ids if other is None else other)[None, :]


def sample_hard_negatives(similarity: Tensor, positives: Tensor, generator: torch.Generator) -> Tensor:
    """One negative column a row, drawn from softmax(similarity) without the positives (ALBEF). Shapes `(N, N)` -> `(N,)`.

    A row whose columns are all positives draws evenly among the others by index; the caller masks such rows out.
    """
    weights = F.softmax(similarity.detach().float(), dim=1).masked_fill(positives, 0.0) + 1e-9 * (~positives)
    empty = weights.sum(dim=1) == 0
    weights[empty] = 1.0
    return torch.multinomial(weights.cpu(), 1, generator=generator).squeeze(1).to(weights.device)


def supervised_contrast(rows: Tensor, labels: Tensor, scale: Tensor) -> Tensor:
    """Rows of one label are each other's positives (Khosla et al. 2020, L_out). rows `(B, D)`, L2-normalised, labels `(B,)`.

    A row alone with its label counts as a negative only; zero, with a gradient, when all are.
    """
    logits = (scale * rows @ rows.T).float().fill_diagonal_(-1e4)
    positives = same(labels).fill_diagonal_(False)
    kept = positives.any(dim=1)
    if not bool(kept.any()):
        return rows.sum() * 0.0
    targets = positives[kept].to(logits.dtype)
    return F.cross_entropy(logits[kept], targets / targets.sum(dim=1, keepdim=True))


def intra_product(product: Tensor, others: Tensor, title: Tensor, scale: Tensor) -> Tensor:
    """ECLIP: within one picture the product's instance fits the title better than the others (papers.md 2.3, L_intra).

    product `(B, D)`, others `(B, Q - 1, D)`, title `(B, D)`, all L2-normalised.
    """
    instances = torch.cat([product[:, None], others], dim=1)
    logits = scale * torch.einsum("bqd,bd->bq", instances, title)
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))
