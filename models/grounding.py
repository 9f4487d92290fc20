"""Does a model know where the named product is? Composites of products on clutter, with known boxes, and pointing accuracy.

The test bed of papers.md 2.5: 2 to 4 products pasted on clutter. Legend: B composites, G cells of the image grid, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from models.architectures.eclip import ECLIP
from models.dataset import Batch

SIDE = 320  # pixels of a composite
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels


@dataclass(frozen=True)
class Composite:
    """A picture with several products; `boxes[n]` is where the n-th of `members` (numbers of the given pictures) lies."""

    image: Image.Image
    members: tuple[int, ...]
    boxes: tuple[Box, ...]


def composites(pictures: Sequence[Image.Image], count: int, seed: int) -> list[Composite]:
    """`count` composites of 2 to 4 of the pictures, each in a quarter of its own, on clutter of bars and discs."""
    dice = np.random.default_rng(seed)
    return [_composite(pictures, dice) for _ in range(count)]


def _composite(pictures: Sequence[Image.Image], dice: np.random.Generator) -> Composite:
    page = _clutter(dice)
    members = tuple(int(number) for number in dice.choice(len(pictures), size=int(dice.integers(2, 5)), replace=False))
    quarters = dice.permutation(4)[: len(members)]
    boxes = []
    for number, quarter in zip(members, quarters, strict=True):
        side = int(dice.integers(SIDE * 3 // 10, SIDE // 2))
        free = SIDE // 2 - side
        left, top = (int(half) * SIDE // 2 + int(dice.integers(free + 1)) for half in (quarter % 2, quarter // 2))
        page.paste(pictures[number].resize((side, side), Image.Resampling.BICUBIC), (left, top))
        boxes.append((left, top, left + side, top + side))
    return Composite(page, members, tuple(boxes))


def _clutter(dice: np.random.Generator) -> Image.Image:
    page = Image.new("RGB", (SIDE, SIDE), tuple(int(v) for v in dice.integers(60, 240, 3)))
    draw = ImageDraw.Draw(page)
    for _ in range(24):
        x, y = (int(v) for v in dice.integers(0, SIDE, 2))
        wide, high = (int(v) for v in dice.integers(8, SIDE // 4, 2))
        colour = tuple(int(v) for v in dice.integers(0, 256, 3))
        shape = draw.ellipse if dice.random() < 0.5 else draw.rectangle
        shape((x, y, x + wide, y + high), fill=colour)
    return page


@torch.inference_mode()
def similarity_map(model: ECLIP, batch: Batch) -> Tensor:
    """`(B, G)`: what an image-level model has: the similarity of each cell, projected as a whole picture is, with the text."""
    tokens = model.encode(batch)
    cells = F.normalize(model.image_project(model.image_norm(tokens["image_tokens"])), dim=-1)
    return torch.einsum("bgd,bd->bg", cells, model.unimodal(tokens).text)


@torch.inference_mode()
def grounding_map(model: ECLIP, batch: Batch) -> Tensor:
    """`(B, G)`: ECLIP's attention of the product's query."""
    return model.ground(batch)


def points_at(maps: Tensor, boxes: Sequence[Box]) -> np.ndarray:
    """`(B,)` of 0 and 1: the middle of the map's highest cell lies in the box (the pointing game)."""
    grid = round(maps.shape[1] ** 0.5)
    best = maps.argmax(dim=1).tolist()
    middles = [((cell % grid + 0.5) * SIDE / grid, (cell // grid + 0.5) * SIDE / grid) for cell in best]
    inside = [left <= x < right and top <= y < bottom for (x, y), (left, top, right, bottom) in zip(middles, boxes, strict=True)]
    return np.array(inside, dtype=float)


def by_chance(boxes: Sequence[Box]) -> float:
    """The pointing accuracy of a cell drawn at random: the mean share of the picture that a box covers."""
    return float(np.mean([(right - left) * (bottom - top) / SIDE**2 for left, top, right, bottom in boxes]))
