"""The heat-map is the fall of the score, place by place, whatever the architecture."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from models.config import ARCHITECTURES
from models.dataset import Batch
from models.occlusion import CELLS, covered, occlusion
from tests.models.made import preprocess, tiny_model


def picture(side: int = 32, seed: int = 0) -> Image.Image:
    noise = torch.randint(0, 256, (side, side, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.fromarray(noise.numpy(), "RGB")


def with_a_spot(row: int, column: int) -> Image.Image:
    """Black but for one white cell."""
    image, side = Image.new("RGB", (28, 28)), 28 // CELLS
    image.paste("white", (column * side, row * side, (column + 1) * side, (row + 1) * side))
    return image


@pytest.mark.parametrize("spot", [(0, 0), (2, 5), (6, 6)])
def test_what_the_score_is_made_of_is_hottest(spot: tuple[int, int]) -> None:
    def brightest(batch: Batch) -> Tensor:
        return batch["image"].amax(dim=(1, 2, 3, 4))

    found = occlusion(tiny_model(), preprocess().batch([with_a_spot(*spot)], [None]), brightest)
    hottest = max((value, (row, column)) for row, line in enumerate(found.grid) for column, value in enumerate(line))
    assert hottest == (max(map(max, found.grid)), spot) and hottest[0] > 0
    far = found.grid[6 - spot[0]][6 - spot[1]]
    assert far == 0


def test_a_score_that_knows_no_picture_falls_nowhere() -> None:
    found = occlusion(tiny_model(), preprocess().batch([picture()], ["red sofa"]), lambda batch: batch["text_mask"].sum(1).float())
    assert {value for line in found.grid for value in line} == {0.0}


def test_patches_cover_all_of_the_picture_and_nothing_else_changes() -> None:
    pixels = preprocess().pixels(picture())
    whole, *others = covered(pixels)
    assert torch.equal(whole, pixels) and len(others) == CELLS**2
    changed = torch.stack([(each != pixels).any(dim=0) for each in others])
    assert changed.any(dim=0).all(), "some part is never covered"
    mean = pixels.mean(dim=(1, 2))
    for each, where in zip(others, changed, strict=True):
        assert 1 / CELLS**2 <= where.float().mean() <= 5 / CELLS**2
        assert torch.allclose(each[:, where], mean[:, None])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_cell_is_what_the_model_says_of_that_picture_alone(architecture: str) -> None:
    model: Any = tiny_model(classes=4, architecture=architecture)
    pixels, batch = preprocess().pixels(picture(seed=3)), preprocess().batch([picture(seed=3)], ["a red sofa"])

    def third(batch: Batch) -> Tensor:
        return model.classify(batch).softmax(dim=1)[:, 2]

    found = occlusion(model, batch, third)
    with torch.inference_mode():
        assert found.score == pytest.approx(float(third(batch)), abs=1e-5)
        for row, column in ((0, 0), (3, 4), (6, 2)):
            alone = {**batch, "image": covered(pixels)[1 + row * CELLS + column][None, None]}
            assert found.grid[row][column] == pytest.approx(found.score - float(third(alone)), abs=1e-5)
    assert len({round(value, 9) for line in found.grid for value in line}) > 1, "the picture does not matter at all"


def test_the_map_of_an_embedding_is_about_one_product() -> None:
    model: Any = tiny_model()
    batch = preprocess().batch([picture(seed=5)], [None])
    with torch.inference_mode():
        own = model.embed(batch)[0]
    found = occlusion(model, batch, lambda each: model.embed(each) @ own)
    assert found.score == pytest.approx(1.0, abs=1e-5)
    assert all(value >= -1e-5 for line in found.grid for value in line), "nothing is nearer to a picture than itself"
