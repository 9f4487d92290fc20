"""Sizes, architectures and recipes by name."""

from __future__ import annotations

import pytest

from goodsight.errors import InputError
from models.config import ARCHITECTURES, SIZES, TASKS, model_config
from models.recipes import finetuning, pretraining


def test_a_known_name_gives_its_shapes() -> None:
    found = model_config("commercemm", "small")
    assert (found.architecture, found.size, found.image_tower, found.width) == (
        "commercemm",
        "small",
        "efficientnet-lite0",
        384,
    )


@pytest.mark.parametrize(
    "architecture, size, wrong, right",
    [("clip", "tiny", "'clip'", "commercemm"), ("commercemm", "huge", "'huge'", "small")],
)
def test_an_unknown_name_is_told_with_the_known_ones(architecture: str, size: str, wrong: str, right: str) -> None:
    with pytest.raises(InputError, match=wrong) as caught:
        model_config(architecture, size)
    assert right in caught.value.hint


@pytest.mark.parametrize("size", SIZES)
def test_more_products_never_mean_fewer_steps(size: str) -> None:
    for recipe in (
        *(lambda n, name=name: pretraining(name, size, n, 3) for name in ARCHITECTURES),
        *(lambda n, name=name, task=task: finetuning(name, task, size, n, 3) for name in ARCHITECTURES for task in TASKS),
    ):
        steps = [recipe(products).steps for products in (1, 1_000, 5_000, 10**6)]
        assert steps == sorted(steps)
        assert all(recipe(5_000).seed == 3 for _ in range(2))
        assert recipe(5_000) == recipe(5_000)
