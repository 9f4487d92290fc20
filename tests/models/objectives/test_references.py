"""Each loss against a slow reference: the sum in its definition, one number at a time, in float64. (SIMCL's are in test_simcl.)"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.objectives.contrast import info_nce, intra_product, supervised_contrast, symmetric_info_nce
from models.objectives.hierarchy import level_cross_entropy, memberships
from models.objectives.masking import IGNORED
from models.objectives.reconstruction import feature_regression, masked_cross_entropy, posterior_divergence

Rows = list[list[float]]
seeds = given(seed=st.integers(0, 2**31))
quickly = settings(max_examples=25, deadline=None)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def units(rng: torch.Generator, *shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=rng), dim=-1)


def some_positives(rng: torch.Generator, count: int) -> Tensor:
    """`(count, count)` bool: each row's own column and some others, not symmetric."""
    return (torch.rand(count, count, generator=rng) < 0.2) | torch.eye(count, dtype=torch.bool)


def average(values: list[float]) -> float:
    return sum(values) / len(values)


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def surprise(logits: list[float], place: int) -> float:
    """-log of the softmax of `logits` at `place`."""
    return log(sum(exp(value) for value in logits)) - logits[place]


def slow_info_nce(queries: Rows, keys: Rows, positives: list[list[bool]], scale: float) -> float:
    """Of each query the mean over its positives p of -log(exp(s q.p) / sum over all keys k of exp(s q.k))."""
    found = []
    for query, own in zip(queries, positives, strict=True):
        logits = [scale * dot(query, key) for key in keys]
        found.append(average([surprise(logits, place) for place, yes in enumerate(own) if yes]))
    return average(found)


@seeds
@quickly
def test_info_nce(seed: int) -> None:
    rng = generator(seed)
    left, right, positives = units(rng, 6, 5), units(rng, 6, 5), some_positives(rng, 6)
    one_way = slow_info_nce(left.tolist(), right.tolist(), positives.tolist(), 7.0)
    other_way = slow_info_nce(right.tolist(), left.tolist(), positives.T.tolist(), 7.0)
    scale = torch.tensor(7.0)
    assert info_nce(left, right, positives, scale).item() == pytest.approx(one_way, rel=1e-5)
    assert symmetric_info_nce(left, right, positives, scale).item() == pytest.approx((one_way + other_way) / 2, rel=1e-5)


@seeds
@quickly
def test_supervised_contrast(seed: int) -> None:
    rng = generator(seed)
    rows, labels = units(rng, 7, 5), torch.randint(3, (7,), generator=rng).tolist()
    found = []
    for row, vector in enumerate(rows.tolist()):
        others = [other for other in range(7) if other != row]
        logits = [9.0 * dot(vector, rows[other].tolist()) for other in others]
        own = [place for place, other in enumerate(others) if labels[other] == labels[row]]
        if own:
            found.append(average([surprise(logits, place) for place in own]))
    fast = supervised_contrast(rows, torch.tensor(labels), torch.tensor(9.0))
    assert fast.item() == pytest.approx(average(found), rel=1e-5)


@seeds
@quickly
def test_intra_product(seed: int) -> None:
    rng = generator(seed)
    product, others, title = units(rng, 4, 6), units(rng, 4, 3, 6), units(rng, 4, 6)
    slow = []
    for one, rest, words in zip(product.tolist(), others.tolist(), title.tolist(), strict=True):
        slow.append(surprise([11.0 * dot(instance, words) for instance in (one, *rest)], 0))
    assert intra_product(product, others, title, torch.tensor(11.0)).item() == pytest.approx(average(slow), rel=1e-5)


def test_instances_that_look_alike_cost_the_log_of_their_number() -> None:
    same = torch.ones(2, 1, 4) / 2
    assert intra_product(same[:, 0], same.expand(2, 7, 4), same[:, 0], torch.tensor(20.0)).item() == pytest.approx(log(8))


@seeds
@quickly
def test_masked_cross_entropy(seed: int) -> None:
    rng = generator(seed)
    logits, labels = torch.randn(5, 8, generator=rng), torch.randint(8, (5,), generator=rng)
    labels[torch.rand(5, generator=rng) < 0.4] = IGNORED
    rows = [surprise(row, label) for row, label in zip(logits.tolist(), labels.tolist(), strict=True) if label != IGNORED]
    assert masked_cross_entropy(logits, labels).item() == pytest.approx(average(rows) if rows else 0.0, rel=1e-5)


@seeds
@quickly
def test_posterior_divergence(seed: int) -> None:
    rng = generator(seed)
    logits, posteriors = torch.randn(5, 8, generator=rng), torch.randn(5, 8, generator=rng).mul(3).softmax(dim=1)
    slow = [
        sum(q * (log(q) + surprise(row, place)) for place, q in enumerate(target))
        for row, target in zip(logits.tolist(), posteriors.tolist(), strict=True)
    ]
    assert posterior_divergence(logits, posteriors).item() == pytest.approx(average(slow), rel=1e-4)
    assert posterior_divergence(posteriors.log(), posteriors).item() == pytest.approx(0.0, abs=1e-5)


@seeds
@quickly
def test_feature_regression(seed: int) -> None:
    rng = generator(seed)
    predicted, features = torch.randn(3, 4, generator=rng, requires_grad=True), torch.randn(3, 4, generator=rng, requires_grad=True)
    loss = feature_regression(predicted, features)
    pairs = zip(predicted.flatten().tolist(), features.flatten().tolist(), strict=True)
    assert loss.item() == pytest.approx(average([(a - b) ** 2 for a, b in pairs]), rel=1e-5)
    loss.backward()
    assert predicted.grad is not None and features.grad is None  # a target is not pulled towards its prediction


@pytest.mark.parametrize("loss", [posterior_divergence, feature_regression])
def test_nothing_masked_is_no_loss_but_a_gradient(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    nothing = torch.zeros(0, 4, requires_grad=True)
    found = loss(nothing, torch.zeros(0, 4))
    found.backward()
    assert found.item() == 0.0 and nothing.grad is not None


@seeds
@quickly
def test_level_cross_entropy(seed: int) -> None:
    rng = generator(seed)
    paths = ["Home > Chairs > Stools", "Home > Chairs > Sofas", "Home > Lamps", "Garden", "Garden > Benches"]
    logits, target = torch.randn(6, 5, generator=rng), torch.randint(5, (6,), generator=rng)
    for level, membership in enumerate(memberships(paths), start=1):
        ancestor = [path.split(" > ")[:level] for path in paths]
        slow = []
        for row, leaf in zip(logits.tolist(), target.tolist(), strict=True):
            mass = [exp(value) for value in row]
            kin = [value for value, above in zip(mass, ancestor, strict=True) if above == ancestor[leaf]]
            slow.append(log(sum(mass)) - log(sum(kin)))
        assert level_cross_entropy(logits, membership, target).item() == pytest.approx(average(slow), rel=1e-4, abs=1e-6)
