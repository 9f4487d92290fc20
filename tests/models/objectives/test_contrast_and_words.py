"""The pretraining objectives: golden numbers worked out by hand, and the laws that hold for every input."""

from __future__ import annotations

from math import log

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.objectives.contrast import info_nce, same, sample_hard_negatives, supervised_contrast, symmetric_info_nce
from models.objectives.masking import IGNORED, mask_words
from models.objectives.reconstruction import masked_cross_entropy

LOG3 = torch.tensor(log(3))  # a scale at which exp(logit) is 3 for equal vectors and 1 for orthogonal ones
AXES = torch.eye(2)
OWN = torch.eye(2, dtype=torch.bool)


def units(count: int, width: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_info_nce_of_two_pairs() -> None:
    # logits [[ln 3, 0], [0, ln 3]]: the own key has 3 / (3 + 1) of the weight, -ln(3/4) = ln(4/3)
    assert info_nce(AXES, AXES, OWN, LOG3).item() == pytest.approx(log(4 / 3), abs=1e-6)


def test_info_nce_with_two_positives() -> None:
    # the target is (1/2, 1/2): (ln(4/3) + ln(4/1)) / 2
    loss = info_nce(AXES[:1], AXES, torch.tensor([[True, True]]), LOG3)
    assert loss.item() == pytest.approx((log(4 / 3) + log(4)) / 2, abs=1e-6)


def test_several_positives_are_the_mean_of_each_alone() -> None:
    queries, keys, scale = units(1, 8, 0), units(6, 8, 1), torch.tensor(5.0)
    alone = [info_nce(queries, keys, F.one_hot(torch.tensor([key]), 6).bool(), scale) for key in (1, 4)]
    both = info_nce(queries, keys, torch.tensor([[False, True, False, False, True, False]]), scale)
    assert both.item() == pytest.approx(torch.stack(alone).mean().item(), abs=1e-6)


def test_random_vectors_cost_the_log_of_their_number() -> None:
    keys = units(512, 256, 2)
    loss = info_nce(units(512, 256, 3), keys, torch.eye(512, dtype=torch.bool), torch.tensor(1.0))
    assert loss.item() == pytest.approx(log(512), abs=0.02)


def test_symmetric_loss_does_not_care_which_side_is_left() -> None:
    # left [1,0],[1,0]; right [1,0],[0,1]. left -> right: ln(4/3) and ln 4. right -> left: ln 2 and ln 2
    left, right = AXES[[0, 0]], AXES
    loss = symmetric_info_nce(left, right, OWN, LOG3)
    assert loss.item() == pytest.approx(((log(4 / 3) + log(4)) / 2 + log(2)) / 2, abs=1e-6)
    assert symmetric_info_nce(right, left, OWN.T, LOG3).item() == pytest.approx(loss.item(), abs=1e-6)


def test_products_of_one_label_attract_each_other() -> None:
    rows, labels = torch.eye(3)[[0, 0, 1, 2]], torch.tensor([4, 4, 5, 6])
    # row 0 looks at [1, e^s, 1, 1] without itself: its partner has 3 / (3 + 1 + 1); rows 2 and 3 are alone with their labels
    assert supervised_contrast(rows, labels, LOG3).item() == pytest.approx(log(5 / 3), abs=1e-6)
    alone = torch.eye(3, requires_grad=True)
    loss = supervised_contrast(alone, torch.arange(3), LOG3)
    loss.backward()
    assert loss.item() == 0.0 and alone.grad is not None


@given(st.integers(0, 2**31))
def test_supervised_contrast_is_info_nce_without_the_row_itself(seed: int) -> None:
    rows, labels = units(7, 5, seed), torch.tensor([0, 0, 1, 1, 1, 2, 0])
    slow = []
    for row in range(7):
        others = [other for other in range(7) if other != row]
        own = same(labels[[row]], labels[others])
        if own.any():
            slow.append(info_nce(rows[[row]], rows[others], own, torch.tensor(9.0)))
    assert supervised_contrast(rows, labels, torch.tensor(9.0)).item() == pytest.approx(torch.stack(slow).mean().item(), abs=1e-5)


def test_same_group_is_never_a_negative() -> None:
    expected = [[True, False, True], [False, True, False], [True, False, True]]
    assert same(torch.tensor([7, 8, 7])).tolist() == expected
    assert same(torch.tensor([7, 8]), torch.tensor([8, 8, 9])).tolist() == [[False] * 3, [True, True, False]]


@given(st.integers(2, 8), st.integers(0, 2**31), st.floats(0.1, 200))
def test_a_hard_negative_is_no_positive(count: int, seed: int, sharpness: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    similarity = sharpness * torch.randn(count, count, generator=rng)
    positives = (torch.rand(count, count, generator=rng) < 0.4) | torch.eye(count, dtype=torch.bool)
    chosen = sample_hard_negatives(similarity, positives, rng)
    has_negative = ~positives.all(dim=1)
    assert not positives[torch.arange(count), chosen][has_negative].any()


def test_the_most_similar_negative_is_drawn_most() -> None:
    # of columns 1, 2, 3 with similarities ln 1, ln 3, ln 6 each is drawn with weight 1, 3, 6 of 10
    similarity = torch.tensor([[9.0, 0.0, log(3), log(6)]]).repeat(5000, 1)
    positives = torch.tensor([[True, False, False, False]]).repeat(5000, 1)
    drawn = sample_hard_negatives(similarity, positives, torch.Generator().manual_seed(0))
    assert (drawn.bincount(minlength=4) / 5000).tolist() == pytest.approx([0, 0.1, 0.3, 0.6], abs=0.03)


def test_words_are_masked_at_the_rates_of_bert() -> None:
    ids = torch.randint(1000, 30000, (400, 500), generator=torch.Generator().manual_seed(1))
    special = torch.rand(ids.shape, generator=torch.Generator().manual_seed(2)) < 0.3
    masked, labels = mask_words(ids, special, 103, 30522, torch.Generator().manual_seed(3))
    asked = labels != IGNORED
    became_mask, stayed = masked[asked] == 103, masked[asked] == ids[asked]
    assert asked[~special].float().mean().item() == pytest.approx(0.15, abs=0.005)
    assert became_mask.float().mean().item() == pytest.approx(0.8, abs=0.01)
    assert stayed.float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(labels[asked], ids[asked])
    assert torch.equal(masked[~asked], ids[~asked])


@given(st.integers(0, 2**31), st.floats(0, 1))
def test_special_tokens_stay(seed: int, rate: float) -> None:
    ids = torch.arange(40).view(4, 10)
    special = torch.rand(4, 10, generator=torch.Generator().manual_seed(seed)) < 0.5
    masked, labels = mask_words(ids, special, 103, 40, torch.Generator().manual_seed(seed), rate)
    assert torch.equal(masked[special], ids[special])
    assert (labels[special] == IGNORED).all()


def test_masked_cross_entropy_by_hand() -> None:
    # only the first row has a label: -ln(3 / (3 + 1))
    logits = torch.tensor([[log(3), 0.0], [5.0, 5.0]])
    assert masked_cross_entropy(logits, torch.tensor([0, IGNORED])).item() == pytest.approx(log(4 / 3), abs=1e-6)


@pytest.mark.parametrize("rows", [0, 3])
def test_no_label_is_no_loss_but_a_gradient(rows: int) -> None:
    logits = torch.randn(rows, 5, requires_grad=True)
    loss = masked_cross_entropy(logits, torch.full((rows,), IGNORED))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()
