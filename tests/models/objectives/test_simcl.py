"""SIMCL against a slow reference of one sample and one row at a time, and what its scores promise."""

from __future__ import annotations

from math import exp, log, sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.objectives.simcl import SIMCL_MODES, modality_scores, simcl, weighted_cross_entropy, weighted_regression

TEMPERATURE = 0.07


def made(seed: int, batch: int = 5, modalities: int = 4) -> tuple[Tensor, Tensor]:
    """Vectors `(B, M, 6)` and presence with a few holes; the first row has all."""
    rng = torch.Generator().manual_seed(seed)
    present = torch.rand(batch, modalities, generator=rng) < 0.8
    present[0] = True
    return torch.randn(batch, modalities, 6, generator=rng), present


def cosine(one: Tensor, other: Tensor) -> float:
    return float(one @ other / one.norm() / other.norm())


def slow_score(vectors: Tensor, present: Tensor, row: int, i: int, j: int) -> float:
    """S of papers.md 3.3 for one sample, by its definition."""
    there = [m for m in range(len(present[row])) if present[row, m]]
    rows = {m: cosine(vectors[row, i], vectors[row, m]) for m in there}
    total = sum(exp(value) for value in rows.values())
    weighted = {m: value * exp(value) / total for m, value in rows.items()}
    return weighted[j] / sqrt(sum(value**2 for value in weighted.values()))


def slow_simcl(vectors: Tensor, present: Tensor, groups: list[int], mode: str) -> float:
    """Row by row over both modalities of each pair."""
    pairs = []
    for i in range(vectors.shape[1]):
        for j in range(i + 1, vectors.shape[1]):
            kept = [row for row in range(len(vectors)) if present[row, i] and present[row, j]]
            rows = [(row, vectors[row, m], groups[row], side) for side, m in enumerate((i, j)) for row in kept]
            losses = []
            for row, vector, group, side in rows:
                weight = slow_score(vectors, present, row, i, j)
                scale = weight if mode == "logit_scale" else 1.0
                logits = {}
                for other, key, other_group, other_side in rows:
                    own = other == row and other_side != side
                    if own or other_group != group:
                        logits[(other, other_side)] = scale * cosine(vector, key) / TEMPERATURE
                loss = log(sum(exp(value) for value in logits.values())) - logits[(row, 1 - side)]
                losses.append(loss * (weight if mode == "loss_weight" else 1.0))
            if losses:
                pairs.append(sum(losses) / len(losses))
    return sum(pairs) / len(pairs)


@pytest.mark.parametrize("mode", SIMCL_MODES)
@pytest.mark.parametrize("groups", [[0, 1, 2, 3, 4], [0, 1, 0, 3, 1]])
def test_the_loss_is_the_slow_one(mode: str, groups: list[int]) -> None:
    vectors, present = made(3)
    found = simcl(vectors, present, torch.tensor(groups), TEMPERATURE, mode)
    assert found.item() == pytest.approx(slow_simcl(vectors, present, groups, mode), rel=1e-4)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_rows_of_the_scores_have_norm_one(seed: int) -> None:
    vectors, present = made(seed)
    scores = modality_scores(vectors, present)
    norms = scores.norm(dim=2)
    assert torch.allclose(norms[present], torch.ones(int(present.sum())), atol=1e-5)
    assert (norms[~present] == 0).all()
    diagonal = scores.diagonal(dim1=1, dim2=2)[present]
    assert ((diagonal > 0) & (diagonal <= 1 + 1e-6)).all()


def test_scores_are_the_slow_ones() -> None:
    vectors, present = made(8)
    scores = modality_scores(vectors, present)
    for row, i, j in present[:, :, None].logical_and(present[:, None, :]).nonzero().tolist():
        assert scores[row, i, j].item() == pytest.approx(slow_score(vectors, present, row, i, j), abs=1e-5)


@pytest.mark.parametrize("mode", SIMCL_MODES)
def test_a_weight_counts_where_the_mode_says(mode: str) -> None:
    rng = torch.Generator().manual_seed(1)
    logits, labels, weight = torch.randn(3, 5, generator=rng), torch.tensor([0, 4, 2]), torch.tensor([1.0, 0.5, 0.1])
    predicted, features = torch.randn(3, 4, generator=rng), torch.randn(3, 4, generator=rng)
    words, regression = 0.0, 0.0
    for row in range(3):
        scale = float(weight[row]) if mode == "logit_scale" else 1.0
        share = float(weight[row]) if mode == "loss_weight" else 1.0
        values = (logits[row] * scale).tolist()
        words += share * (log(sum(map(exp, values))) - values[int(labels[row])]) / 3
        regression += share * float((predicted[row] * scale - features[row]).square().mean()) / 3
    assert weighted_cross_entropy(logits, labels, weight, mode).item() == pytest.approx(words, rel=1e-5)
    assert weighted_regression(predicted, features, weight, mode).item() == pytest.approx(regression, rel=1e-5)


def test_a_batch_without_a_pair_costs_nothing() -> None:
    vectors, _ = made(2)
    present = torch.zeros(5, 4, dtype=torch.bool)
    present[:, 0] = True
    assert simcl(vectors, present, torch.arange(5), TEMPERATURE, "uniform").item() == 0.0
