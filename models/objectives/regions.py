"""Regions of an image grid, their boxes and their overlap. Legend: B batch, R regions, C channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.draws import uniform

ANCHORS = 0.1  # InterBERT's share of anchor regions
OVERLAP = 0.4  # intersection over union from which a region would give away another
WINDOW = 3  # cells a side of InterBERT's larger regions


def boxes_of_grid(grid: int) -> Tensor:
    """`(1 + grid * grid, 5)`: x1, y1, x2, y2 and area of the whole picture and of its cells, as shares of the picture."""
    edge = torch.arange(grid) / grid
    y, x = torch.meshgrid(edge, edge, indexing="ij")
    cells = torch.stack([x, y, x + 1 / grid, y + 1 / grid, torch.full_like(x, 1 / grid**2)], dim=-1)
    return torch.cat([torch.tensor([[0.0, 0.0, 1.0, 1.0, 1.0]]), cells.flatten(0, 1)])


def regions_of_grid(tokens: Tensor, grid: int) -> Tensor:
    """`(B, grid * grid, C)` -> `(B, R, C)`: the cells, then the means of all windows of `WINDOW` x `WINDOW` cells."""
    plane = tokens.transpose(1, 2).unflatten(2, (grid, grid))
    windows = F.avg_pool2d(plane, WINDOW, stride=1).flatten(2).transpose(1, 2)
    return torch.cat([tokens, windows], dim=1)


def boxes_of_regions(grid: int) -> Tensor:
    """`(1 + R, 5)`: boxes of the whole picture and of `regions_of_grid`, as `boxes_of_grid`."""
    count, side = grid - WINDOW + 1, WINDOW / grid
    y, x = torch.meshgrid(torch.arange(count) / grid, torch.arange(count) / grid, indexing="ij")
    windows = torch.stack([x, y, x + side, y + side, torch.full_like(x, side**2)], dim=-1)
    return torch.cat([boxes_of_grid(grid), windows.flatten(0, 1)])


def overlap(boxes: Tensor) -> Tensor:
    """`(R, R)` intersection over union of boxes `(R, 5)`."""
    low, high = torch.maximum(boxes[:, None, :2], boxes[None, :, :2]), torch.minimum(boxes[:, None, 2:4], boxes[None, :, 2:4])
    common = (high - low).clamp(min=0).prod(dim=-1)
    return common / (boxes[:, None, 4] + boxes[None, :, 4] - common)


def mask_regions(boxes: Tensor, there: Tensor, generator: torch.Generator) -> Tensor:
    """`(B, R)` bool: anchors with probability `ANCHORS`, and every region that overlaps one by `OVERLAP` or more."""
    anchors = (uniform(there.shape, generator, there.device) < ANCHORS) & there
    near = (overlap(boxes) >= OVERLAP - 1e-6).float()
    return ((anchors.float() @ near) > 0) & there
