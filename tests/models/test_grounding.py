"""Composites with known boxes, and a pointing game that only looks at where the map is highest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from models.grounding import SIDE, by_chance, composites, grounding_map, points_at, similarity_map
from tests.models.made import preprocess, tiny_model

COLOURS = ("red", "lime", "blue", "yellow", "magenta", "cyan")


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [Image.new("RGB", (40, 40), colour) for colour in COLOURS]


def test_a_product_fills_its_box_and_boxes_are_apart(pictures: list[Image.Image]) -> None:
    for made in composites(pictures, 40, seed=1):
        assert 2 <= len(made.members) == len(made.boxes) == len(set(made.members)) <= 4
        taken = np.zeros((SIDE, SIDE), dtype=int)
        for member, (left, top, right, bottom) in zip(made.members, made.boxes, strict=True):
            pixels = np.asarray(made.image)[top:bottom, left:right]
            assert (pixels == np.asarray(pictures[member])[0, 0]).all()
            taken[top:bottom, left:right] += 1
        assert taken.max() == 1


def test_the_same_seed_makes_the_same_composites(pictures: list[Image.Image]) -> None:
    one, other, third = (composites(pictures, 5, seed=seed) for seed in (3, 3, 4))
    assert [made.boxes for made in one] == [made.boxes for made in other] != [made.boxes for made in third]


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
