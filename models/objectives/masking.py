"""Which words are masked, and what is then asked. Legend: B batch, T text tokens, P table tokens, L positions, V vocabulary."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.draws import integers, uniform

IGNORED = -100  # label of a position that carries no loss
ANCHORS = 0.1  # InterBERT's share of anchor words


def mask_words(
    ids: Tensor, special: Tensor, mask_id: int, vocabulary: int, generator: torch.Generator, rate: float = 0.15
) -> tuple[Tensor, Tensor]:
    """BERT masking: `rate` of the words; of those 80 % become [MASK], 10 % a random word, 10 % stay.

    ids `(B, T)`, special `(B, T)` bool (never masked). Returns masked ids and labels, `IGNORED` where nothing is asked.
    """
    chosen = (uniform(ids.shape, generator, ids.device) < rate) & ~special
    dice = uniform(ids.shape, generator, ids.device)
    words = integers(vocabulary, ids.shape, generator, ids.device)
    return _masked(ids, chosen, dice, words, mask_id)


def mask_positions(present: Tensor, generator: torch.Generator, rate: float = 0.15) -> Tensor:
    """`(B, L)` bool: `rate` of the positions that are there, and at least one in a row that has any."""
    dice = uniform(present.shape, generator, present.device).masked_fill(~present, 2.0)
    lowest = torch.zeros_like(present).scatter(1, dice.argmin(dim=1, keepdim=True), True)
    return ((dice < rate) | lowest) & present


def mask_pairs(ids: Tensor, parts: Tensor, mask_id: int, generator: torch.Generator, rate: float = 0.15) -> tuple[Tensor, Tensor]:
    """SCALE's masking of a table: `rate` of the property-value pairs, of each the whole property or the whole value.

    ids and parts `(B, P)`; parts is 0 at special tokens, 2 n + 1 in the property and 2 n + 2 in the value of pair n.
    Returns masked ids and labels, `IGNORED` where nothing is asked.
    """
    count = (int(parts.max()) + 1) // 2 if parts.numel() else 0
    chosen = uniform((len(ids), count), generator, ids.device) < rate
    side = integers(2, (len(ids), count), generator, ids.device)
    wanted = torch.where(chosen, 2 * torch.arange(count, device=ids.device) + 1 + side, -1)  # (B, pairs): the part that is masked
    asked = (parts[:, :, None] == wanted[:, None, :]).any(dim=2) & (parts > 0)
    return ids.masked_fill(asked, mask_id), ids.masked_fill(~asked, IGNORED)


def mask_segments(
    ids: Tensor, special: Tensor, mask_id: int, vocabulary: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """InterBERT's masked segments: each word is an anchor with probability `ANCHORS`; it and the next 0 to 2 words are masked.

    80 % of the segments become [MASK], 10 % random words, 10 % stay. Returns masked ids and labels `(B, T)` as `mask_words`.
    """
    anchors = (uniform(ids.shape, generator, ids.device) < ANCHORS) & ~special
    more = integers(3, ids.shape, generator, ids.device)
    dice = uniform(ids.shape, generator, ids.device)
    words = integers(vocabulary, ids.shape, generator, ids.device)
    chosen, fate = torch.zeros_like(special), torch.zeros_like(dice)
    for step in range(2, -1, -1):  # nearer anchors decide last
        reaches = _shifted(anchors & (more >= step), step)
        chosen |= reaches
        fate = torch.where(reaches, _shifted(dice, step), fate)
    return _masked(ids, chosen & ~special, fate, words, mask_id)


def mask_one_span(ids: Tensor, special: Tensor, mask_id: int, vocabulary: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The released code's variant: one span a text, start and length uniform over the words, each word 80/10/10."""
    count = (~special).sum(dim=1, keepdim=True)
    place = (~special).cumsum(dim=1) - 1
    start = (uniform((len(ids), 1), generator, ids.device) * (count + 1)).long()
    length = 1 + (uniform((len(ids), 1), generator, ids.device) * count.clamp(min=1)).long()
    chosen = (place >= start) & (place < start + length) & ~special
    words = integers(vocabulary, ids.shape, generator, ids.device)
    return _masked(ids, chosen, uniform(ids.shape, generator, ids.device), words, mask_id)


def _shifted(values: Tensor, steps: int) -> Tensor:
    """The values of `steps` positions to the left, zeros before the first."""
    return F.pad(values, (steps, 0))[:, : values.shape[1]]


def _masked(ids: Tensor, chosen: Tensor, dice: Tensor, words: Tensor, mask_id: int) -> tuple[Tensor, Tensor]:
    masked = torch.where(chosen & (dice < 0.8), torch.full_like(ids, mask_id), ids)
    masked = torch.where(chosen & (dice >= 0.8) & (dice < 0.9), words, masked)
    return masked, ids.masked_fill(~chosen, IGNORED)
