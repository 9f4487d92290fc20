"""A pointing game that only looks at where the map is highest."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from models.composites import SIDE
from models.grounding import by_chance, grounding_map, points_at, similarity_map
from tests.models.made import preprocess, tiny_model

COLOURS = ("red", "lime", "blue", "yellow", "magenta", "cyan")


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [Image.new("RGB", (40, 40), colour) for colour in COLOURS]


def test_pointing_by_hand() -> None:
    maps = torch.zeros(3, 16)
    maps[0, 0] = maps[1, 15] = maps[2, 5] = 1.0  # middles at 40, 280 and 120 pixels
    boxes = [(0, 0, 80, 80), (0, 0, 80, 80), (100, 100, 130, 130)]
    assert points_at(maps, boxes).tolist() == [1.0, 0.0, 1.0]
    assert by_chance([(0, 0, SIDE, SIDE // 2), (0, 0, SIDE // 2, SIDE // 2)]) == pytest.approx(0.375)


def test_maps_cover_the_grid(pictures: list[Image.Image]) -> None:
    model = tiny_model(architecture="eclip")
    batch = preprocess().batch(pictures[:3], ["red sofa", "lime lamp", "blue bed"])
    attention = grounding_map(model, batch)
    assert attention.shape == similarity_map(model, batch).shape == (3, 16)
    assert attention.sum(dim=1).tolist() == pytest.approx([1.0] * 3, abs=1e-3)
    assert (attention >= 0).all()
