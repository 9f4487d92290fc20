"""Pretraining objectives as pure functions of tensors. Legend: N queries, M keys, D width, B batch, T tokens, V vocabulary."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100  # label of a position that carries no loss


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
    return torch.multinomial(weights, 1, generator=generator).squeeze(1)


def mask_words(
    ids: Tensor, special: Tensor, mask_id: int, vocabulary: int, generator: torch.Generator, rate: float = 0.15
) -> tuple[Tensor, Tensor]:
    """BERT masking: `rate` of the words; of those 80 % become [MASK], 10 % a random word, 10 % stay.

    ids `(B, T)`, special `(B, T)` bool (never masked). Returns masked ids and labels, `IGNORED` where nothing is asked.
    """
    chosen = (torch.rand(ids.shape, generator=generator) < rate) & ~special
    labels = ids.masked_fill(~chosen, IGNORED)
    dice = torch.rand(ids.shape, generator=generator)
    words = torch.randint(vocabulary, ids.shape, generator=generator)
    masked = torch.where(chosen & (dice < 0.8), torch.full_like(ids, mask_id), ids)
    masked = torch.where(chosen & (dice >= 0.8) & (dice < 0.9), words, masked)
    return masked, labels


def masked_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy over the positions with a label, zero (with a gradient) when there is none. `(K, V)`, `(K,)`."""
    if not bool((labels != IGNORED).any()):
        return logits.sum() * 0.0
    return F.cross_entropy(logits, labels, ignore_index=IGNORED)
