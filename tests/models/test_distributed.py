"""Several processes train as one does: global contrast, the same curve, checkpoints that any number of processes goes on from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models import distributed
from models.objectives.contrast import Gathered, global_info_nce
from models.recipes import Recipe
from models.training import History
from tests.models.ranks import in_turn, pretrained, ranks

State = dict[str, Tensor]
B, D = 6, 5
RECIPE = Recipe(steps=6, batch=8, fused=4, learning_rate=1e-3, checkpoint_every=3, objectives=("itc", "omni"), precision="32-true")


def contrast_of_a_share() -> tuple[float, list[Any], float]:
    """The loss of this rank's rows, the gradient of its own rows, and of the temperature."""
    rng = torch.Generator().manual_seed(1)
    left, right = (torch.nn.functional.normalize(torch.randn(B, D, generator=rng), dim=1) for _ in range(2))
    groups, there = torch.tensor([0, 1, 0, 2, 3, 4]), torch.tensor([True, True, False, True, True, False])
    scale = torch.tensor(7.0, requires_grad=True)
    own = [distributed.share(side).clone().requires_grad_() for side in (left, right)]
    every = distributed.together(groups)
    sides = [Gathered.of(side, distributed.share(there)) for side in own]
    loss = global_info_nce(*sides, every[:, None] == every[None], scale)
    assert loss is not None and scale.grad is None
    loss.backward()
    assert scale.grad is not None
    return loss.item(), [side.grad for side in own], scale.grad.item()


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[State, History]:
    """What one process makes of `RECIPE`."""
    return pretrained("commercemm", RECIPE, tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


def copied(source: Path, target: Path) -> None:
    if distributed.rank() == 0:
        shutil.copytree(source, target)
    distributed.wait_for_all()


@pytest.fixture(scope="module")
def two(folder: Path) -> list[list[Any]]:
    """What each of two ranks makes: the contrast, the recipe in copies, sharded, and sharded and stopped, then in copies."""
    sharded = replace(RECIPE, sharded=True)
    works = [
        (contrast_of_a_share,),
        (pretrained, "commercemm", RECIPE, folder / "copies"),
        (pretrained, "commercemm", sharded, folder / "sharded"),
        (pretrained, "commercemm", sharded, folder / "stopped", 4),
        (copied, folder / "stopped", folder / "kept"),
        (pretrained, "commercemm", RECIPE, folder / "stopped"),
    ]
    return ranks(2, in_turn, works)


def test_contrast_over_the_global_batch_is_that_of_one_process(two: list[list[Any]]) -> None:
    """Also where the ranks have different numbers of rows that count: exact to the rounding of float32."""
    whole, gradients, of_scale = contrast_of_a_share()
    found = [results[0] for results in two]
    assert sum(loss for loss, *_ in found) / 2 == pytest.approx(whole, rel=1e-6)
    assert sum(scale for *_, scale in found) / 2 == pytest.approx(of_scale, rel=1e-5)
    for side, expected in enumerate(gradients):
        for rank, (_, own, _) in enumerate(found):
            assert torch.allclose(own[side] / 2, expected[rank::2], atol=1e-7)  # DDP divides by the number of ranks


CONSTANT = ("text_pool.bias", "image_pool.bias")  # added to all scores of a softmax: their gradient is rounding, made large by Adam


def assert_alike(found: tuple[State, History], expected: tuple[State, History]) -> None:
    """Tolerance: a 10,000th of each step's loss, 1e-5 of any weight after six steps."""
    assert [row["loss"] for row in found[1]] == pytest.approx([row["loss"] for row in expected[1]], rel=1e-4)
    assert all(torch.allclose(value, expected[0][name], atol=1e-5) for name, value in found[0].items() if name not in CONSTANT)


@pytest.mark.parametrize("place", [1, 2], ids=["DDP", "FSDP2"])
def test_two_ranks_have_the_curve_of_one_with_the_same_global_batch(place: int, one: tuple[State, History], two: list[list[Any]]) -> None:
    for results in two:
        assert_alike(results[place], one)


def test_a_sharded_checkpoint_goes_on_in_copies(one: tuple[State, History], two: list[list[Any]]) -> None:
    """In FSDP2 one rank is told to stop after step 4; both stop after the next, of 6."""
    for results in two:
        assert results[3][1] == []
        assert_alike(results[5], one)


def test_a_sharded_checkpoint_goes_on_in_one_process(one: tuple[State, History], two: list[list[Any]], folder: Path) -> None:
    assert sorted(path.name for path in (folder / "kept").iterdir()) == ["step-0000003", "step-0000005"]
    assert len(list((folder / "kept" / "step-0000005").glob("*.safetensors"))) == 2
    assert_alike(pretrained("commercemm", RECIPE, folder / "kept"), one)
