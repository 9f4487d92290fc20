"""Composites with known boxes: every product fills its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.composites import FEWEST, MOST, SIDE, anywhere, composites, haze

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


@given(seed=st.integers(0, 10_000), count=st.integers(FEWEST, MOST))
@settings(max_examples=60, deadline=None)
def test_boxes_anywhere_lie_in_the_picture_and_apart(seed: int, count: int) -> None:
    taken = np.zeros((SIDE, SIDE), dtype=int)
    for left, top, right, bottom in anywhere(count, np.random.default_rng(seed)):
        assert 0 <= left < right <= SIDE
        assert 0 <= top < bottom <= SIDE
        assert right - left == bottom - top >= SIDE // 4
        taken[top:bottom, left:right] += 1
    assert taken.max() == 1


def test_a_haze_is_of_many_colours() -> None:
    page = np.asarray(haze(np.random.default_rng(0)))
    assert page.shape == (SIDE, SIDE, 3)
    assert page.std() > 20
