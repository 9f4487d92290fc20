"""Gradient caching (Gao et al. 2021, arXiv 2101.06983): large contrastive batches in the memory of a small one.

A contrastive loss needs the embeddings of the whole batch at once, but not what the towers kept to make them. So a batch goes
through in chunks; of each only its embeddings stay, and backward makes the rest anew, one chunk at a time, with the same
random numbers. The gradients are those of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from models.dataset import Batch


def in_chunks(embed: Callable[[Batch], tuple[Tensor, ...]], batch: Batch, chunk: int) -> tuple[Tensor, ...]:
    """`embed(batch)`, each tensor of it by rows; with `chunk`, that many rows at a time."""
    rows = len(next(iter(batch.values())))
    if not chunk or rows <= chunk:
        return embed(batch)
    parts = [{name: value[at : at + chunk] for name, value in batch.items()} for at in range(0, rows, chunk)]
    found = [checkpoint(embed, part, use_reentrant=False) for part in parts]
    return tuple(torch.cat(column) for column in zip(*found, strict=True))


def summed(loss: Callable[..., Tensor], by_row: Sequence[Tensor], whole: Sequence[Any], chunk: int) -> Tensor:
    """`loss(*by_row, *whole)`, a sum over rows; with `chunk`, that many rows of `by_row` at a time."""
    rows = len(by_row[0])
    if not chunk or rows <= chunk:
        return loss(*by_row, *whole)
    parts = [[value[at : at + chunk] for value in by_row] for at in range(0, rows, chunk)]
    return torch.stack([checkpoint(loss, *part, *whole, use_reentrant=False) for part in parts]).sum()
