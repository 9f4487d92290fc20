"""Regions by hand, and no masked region whose neighbour gives it away."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.objectives.regions import OVERLAP, WINDOW, boxes_of_grid, boxes_of_regions, mask_regions, overlap, regions_of_grid


def test_boxes_of_a_grid_by_hand() -> None:
    assert boxes_of_grid(2).tolist() == [
        [0, 0, 1, 1, 1],
        [0, 0, 0.5, 0.5, 0.25],
        [0.5, 0, 1, 0.5, 0.25],
        [0, 0.5, 0.5, 1, 0.25],
        [0.5, 0.5, 1, 1, 0.25],
    ]


@pytest.mark.parametrize("grid", [3, 4, 5, 7])
def test_a_region_is_the_mean_of_the_cells_in_its_box(grid: int) -> None:
    tokens = torch.rand(2, grid**2, 3)
    found, boxes = regions_of_grid(tokens, grid), boxes_of_regions(grid)[1:]
    assert found.shape[1] == len(boxes) == grid**2 + (grid - WINDOW + 1) ** 2
    cells = boxes_of_grid(grid)[1:]
    middle = (cells[:, :2] + cells[:, 2:4]) / 2
    for place, box in enumerate(boxes):
        inside = ((middle > box[:2]) & (middle < box[2:4])).all(dim=1)
        assert torch.allclose(found[:, place], tokens[:, inside].mean(dim=1), atol=1e-6)
        assert box[4].item() == pytest.approx(inside.sum().item() / grid**2, abs=1e-6)


def test_overlap_by_hand() -> None:
    boxes = torch.tensor([[0, 0, 0.5, 0.5, 0.25], [0.25, 0, 0.75, 0.5, 0.25], [0.5, 0.5, 1, 1, 0.25]])
    assert overlap(boxes) == pytest.approx(torch.tensor([[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]]))


@given(seed=st.integers(0, 10_000), grid=st.integers(3, 7))
@settings(max_examples=40, deadline=None)
def test_a_masked_region_is_an_anchor_or_overlaps_one(seed: int, grid: int) -> None:
    boxes = boxes_of_regions(grid)[1:]
    there = torch.ones(3, len(boxes), dtype=torch.bool)
    there[2] = False
    masked = mask_regions(boxes, there, torch.Generator().manual_seed(seed))
    anchors = torch.rand(there.shape, generator=torch.Generator().manual_seed(seed)) < 0.1
    near = overlap(boxes) >= OVERLAP - 1e-6
    expected = torch.stack([near[row].any(dim=0) if row.any() else torch.zeros(len(boxes), dtype=torch.bool) for row in anchors])
    assert torch.equal(masked, expected & there)
