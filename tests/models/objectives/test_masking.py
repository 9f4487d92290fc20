"""What is masked: shares, whole segments, whole properties or values, and never what must stay."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.objectives.masking import IGNORED, mask_one_span, mask_pairs, mask_positions, mask_segments

MASK, VOCABULARY = 4, 1000


def words(seed: int, rows: int = 8, length: int = 12) -> tuple[Tensor, Tensor, torch.Generator]:
    """Ids, special positions (first, last and padding) and a generator."""
    rng = torch.Generator().manual_seed(seed)
    ids = torch.randint(100, VOCABULARY, (rows, length), generator=rng)
    ends = torch.randint(2, length, (rows, 1), generator=rng)
    place = torch.arange(length)
    return ids, (place == 0) | (place >= ends), rng


@pytest.mark.parametrize("mask", [mask_segments, mask_one_span])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_labels_are_the_words_that_may_have_changed(mask: object, seed: int) -> None:
    ids, special, rng = words(seed)
    masked, labels = mask(ids, special, MASK, VOCABULARY, rng)  # type: ignore[operator]
    asked = labels != IGNORED
    assert not (asked & special).any()
    assert torch.equal(labels[asked], ids[asked])
    assert torch.equal(masked[~asked], ids[~asked])


def test_the_share_of_masked_words_is_the_papers() -> None:
    """1 - 0.9 x (1 - 0.1 x 2 / 3) x (1 - 0.1 / 3) of the inner words (papers.md 4.2)."""
    ids = torch.full((4000, 24), 500)
    _, labels = mask_segments(ids, torch.zeros_like(ids, dtype=torch.bool), MASK, VOCABULARY, torch.Generator().manual_seed(0))
    share = (labels != IGNORED)[:, 2:].float().mean().item()
    assert share == pytest.approx(1 - 0.9 * (1 - 0.2 / 3) * (1 - 0.1 / 3), abs=0.005)


def test_a_segment_shares_its_fate() -> None:
    ids = torch.full((3000, 16), 500)
    masked, labels = mask_segments(ids, torch.zeros_like(ids, dtype=torch.bool), MASK, VOCABULARY, torch.Generator().manual_seed(1))
    asked = labels != IGNORED
    fates = [(asked & (masked == MASK)).sum(), (asked & (masked == ids)).sum()]
    assert fates[0] / asked.sum() == pytest.approx(0.8, abs=0.02)
    assert fates[1] / asked.sum() == pytest.approx(0.1, abs=0.02)


def test_one_span_is_one_run_of_words() -> None:
    ids, special, rng = words(5, rows=200)
    _, labels = mask_one_span(ids, special, MASK, VOCABULARY, rng)
    runs = ((labels != IGNORED).int().diff(dim=1) == 1).sum(dim=1)
    assert runs.max() <= 1
    assert runs.float().mean() > 0.6


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_pair_loses_its_property_or_its_value_whole(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    parts = torch.tensor([[0, 1, 2, 2, 3, 3, 4, 5, 6, 0], [0, 1, 2, 3, 4, 4, 4, 0, 0, 0]])
    ids = torch.randint(100, VOCABULARY, parts.shape, generator=rng)
    masked, labels = mask_pairs(ids, parts, MASK, rng, rate=0.7)
    asked = labels != IGNORED
    assert torch.equal(masked == MASK, asked)
    for row in range(2):
        for part in range(1, int(parts[row].max()) + 1):
            members = asked[row][parts[row] == part]
            assert members.all() or not members.any()
        for pair in range(3):
            sides = [asked[row][parts[row] == 2 * pair + side].any() for side in (1, 2)]
            assert not all(sides)
    assert not asked[parts == 0].any()


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_row_with_anything_loses_something(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    present = torch.rand(6, 9, generator=rng) < 0.5
    present[0] = False
    masked = mask_positions(present, rng)
    assert not (masked & ~present).any()
    assert torch.equal(masked.any(dim=1), present.any(dim=1))
