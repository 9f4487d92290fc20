"""Cross-entropy at the levels of a category tree, against sums by hand."""

from __future__ import annotations

from math import log

import pytest
import torch

from models.objectives.hierarchy import level_cross_entropy, memberships

PATHS = ["Home > Chairs > Stools", "Home > Chairs > Sofas", "Home > Lamps", "Garden"]


def test_a_level_has_the_categories_of_that_depth() -> None:
    first, second = memberships(PATHS)
    assert first.tolist() == [[0, 1], [0, 1], [0, 1], [1, 0]]  # Garden, Home
    assert second.tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]  # Garden, Chairs, Lamps
    assert memberships(["Chairs", "Lamps"]) == []


def test_an_ancestor_has_the_probability_of_its_leaves() -> None:
    first, second = memberships(PATHS)
    logits = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log()
    assert level_cross_entropy(logits, first, torch.tensor([0])).item() == pytest.approx(-log(0.6))
    assert level_cross_entropy(logits, second, torch.tensor([1])).item() == pytest.approx(-log(0.3))
    assert level_cross_entropy(logits, second, torch.tensor([2])).item() == pytest.approx(-log(0.3))


def test_a_confusion_among_siblings_costs_nothing_above() -> None:
    first, second = memberships(PATHS)
    logits = torch.tensor([[-30.0, 30.0, -30.0, -30.0]], requires_grad=True)
    target = torch.tensor([0])
    assert level_cross_entropy(logits, second, target).item() == pytest.approx(0.0, abs=1e-6)
    lost = level_cross_entropy(torch.full((1, 4), -30.0).index_fill(1, torch.tensor([3]), 30.0), first, target)
    assert lost.isfinite() and lost > 10
    level_cross_entropy(logits, first, target).backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
