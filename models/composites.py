"""Pictures of several products with known boxes, made by pasting: what pointing is tested on, and what ECLIP learns it from.

The test bed of papers.md 2.5: 2 to 4 products on clutter. Training pastes other products on backgrounds of another kind, anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

SIDE = 320  # pixels of a composite
FEWEST, MOST = 2, 4  # products of a composite
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
    made = []
    for _ in range(count):
        page = clutter(dice)
        members = tuple(int(number) for number in dice.choice(len(pictures), size=int(dice.integers(FEWEST, MOST + 1)), replace=False))
        boxes = _in_quarters(len(members), dice)
        made.append(Composite(paste(page, [pictures[number] for number in members], boxes), members, boxes))
    return made


def paste(page: Image.Image, pictures: Sequence[Image.Image], boxes: Sequence[Box]) -> Image.Image:
    """`page` with each picture stretched to its box."""
    for picture, (left, top, right, bottom) in zip(pictures, boxes, strict=True):
        page.paste(picture.convert("RGB").resize((right - left, bottom - top), Image.Resampling.BICUBIC), (left, top))
    return page


def _in_quarters(count: int, dice: np.random.Generator) -> tuple[Box, ...]:
    boxes = []
    for quarter in dice.permutation(4)[:count]:
        side = int(dice.integers(SIDE * 3 // 10, SIDE // 2))
        free = SIDE // 2 - side
        left, top = (int(half) * SIDE // 2 + int(dice.integers(free + 1)) for half in (quarter % 2, quarter // 2))
        boxes.append((left, top, left + side, top + side))
    return tuple(boxes)


def anywhere(count: int, dice: np.random.Generator) -> tuple[Box, ...]:
    """Squares of a quarter to half of the side, none over another."""
    while True:
        sides = [int(side) for side in dice.integers(SIDE // 4, SIDE // 2, count)]
        corners = [[int(at) for at in dice.integers(0, SIDE - side + 1, 2)] for side in sides]
        boxes = tuple((left, top, left + side, top + side) for side, (left, top) in zip(sides, corners, strict=True))
        if not any(_overlap(box, other) for place, box in enumerate(boxes) for other in boxes[:place]):
            return boxes


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def clutter(dice: np.random.Generator) -> Image.Image:
    """Bars and discs on a plain colour."""
    page = Image.new("RGB", (SIDE, SIDE), _colour(dice, 60, 240))
    draw = ImageDraw.Draw(page)
    for _ in range(24):
        x, y = (int(v) for v in dice.integers(0, SIDE, 2))
        wide, high = (int(v) for v in dice.integers(8, SIDE // 4, 2))
        colour = _colour(dice, 0, 256)
        shape = draw.ellipse if dice.random() < 0.5 else draw.rectangle
        shape((x, y, x + wide, y + high), fill=colour)
    return page


def haze(dice: np.random.Generator) -> Image.Image:
    """Clouds of colour at several scales, with triangles on top."""
    mixed = np.zeros((SIDE, SIDE, 3))
    for cells in (2, 4, 8, 16, 32, 64):
        layer = Image.fromarray(dice.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        mixed += dice.random() * np.asarray(layer.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=float)
    page = Image.fromarray((255 * (mixed - mixed.min()) / (mixed.max() - mixed.min())).astype(np.uint8))
    draw = ImageDraw.Draw(page)
    for _ in range(int(dice.integers(0, 20))):
        corners = dice.integers(0, SIDE, 2) + dice.integers(-SIDE // 5, SIDE // 5, (3, 2))
        draw.polygon([(int(x), int(y)) for x, y in corners], fill=_colour(dice, 0, 256))
    return page


def _colour(dice: np.random.Generator, low: int, high: int) -> tuple[int, ...]:
    return tuple(int(v) for v in dice.integers(low, high, 3))
