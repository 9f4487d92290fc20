"""Contrastive objectives and their negatives.

Legend: N queries, M keys, D width, B batch, Q instance queries, R processes that train together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.chunks import summed
from models.distributed import gather, rank, world


def info_nce(queries: Tensor, keys: Tensor, positives: Tensor, scale: Tensor, chunk: int = 0) -> Tensor:
    """Multi-positive InfoNCE (papers.md 1.4; targets as in BLIP retrieval): cross-entropy against `positives / sum`, a mean over
    the queries.

    queries `(N, D)` and keys `(M, D)`, L2-normalised; positives `(N, M)` bool, at least one a row; scale = 1 / temperature.
    With `chunk`, no more than that many rows of logits are there at once.
    """
    places = torch.arange(len(queries), device=queries.device)
    return summed(_cross_entropies, (queries, places), (keys, positives, slice(None), scale), chunk) / len(queries)


def _cross_entropies(
    queries: Tensor, places: Tensor, keys: Tensor, positives: Tensor, columns: Tensor | slice, scale: Tensor
) -> Tensor:
    """The sum over queries `(n, D)`; `places` `(n,)` and `columns` say where they and the keys are in `positives`, which is not copied."""
    logits = scale * queries @ keys.T
    targets = positives[places][:, columns].to(logits.dtype)
    return F.cross_entropy(logits, targets / targets.sum(dim=1, keepdim=True), reduction="sum")


@dataclass
class Gathered:
    """Rows of this process `(N, D)` and of all that train together `(R * N, D)`, and which of them are there `(N,)`, `(R * N,)`."""

    own: Tensor
    all: Tensor
    own_there: Tensor
    all_there: Tensor

    @staticmethod
    def of(rows: Tensor, there: Tensor | None = None) -> Gathered:
        if there is None:
            own, every = (torch.ones(count, dtype=torch.bool, device=rows.device) for count in (len(rows), len(rows) * world()))
        else:
            own, every = there, gather(there)
        return Gathered(rows, gather(rows), own, every)


def symmetric_info_nce(left: Tensor, right: Tensor, positives: Tensor, scale: Tensor, chunk: int = 0) -> Tensor:
    """Mean of both directions of `info_nce` over the batch of all processes; left `(N, D)`, right `(N, D)`, positives `(R * N, R * N)`."""
    found = global_info_nce(Gathered.of(left), Gathered.of(right), positives, scale, chunk)
    assert found is not None
    return found


def global_info_nce(left: Gathered, right: Gathered, positives: Tensor, scale: Tensor, chunk: int = 0) -> Tensor | None:
    """The same, of the rows that have both sides; None where no row of any process has.

    Each process computes the logits of its own rows against everyone's (local loss, gather with gradient, as in OpenCLIP):
    the mean of the processes' losses is the loss of the whole batch, and so are their gradients.
    """
    N, everyone = len(left.own), left.all_there & right.all_there
    if not bool(everyone.any()):
        return None
    kept = left.own_there & right.own_there
    places = kept.nonzero().flatten() + rank() * N
    ways = ((left.own, right.all, positives), (right.own, left.all, positives.T))
    sums = [
        summed(_cross_entropies, (own[kept], places), (others[everyone], fits, everyone, scale), chunk) for own, others, fits in ways
    ]
    return sum(sums) / 2 * world() / everyone.sum()  # type: ignore[return-value]


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
