"""Scenes: the training products' own pictures pasted small, two to four on a background, with their boxes known.

Product pages show one thing each, large and on white; what tells a product from what stands around it must be made. Every training
product with an image and a title is in one scene, but for one that may be left over in a shard.
Legend: S scenes, P products in scenes, G image tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from catalogue.media import decode_image
from catalogue.snapshot import Snapshot
from goodsight.digests import code_digest, sha256_json
from models.composites import FEWEST, MOST, SIDE, Box, anywhere, haze, paste
from models.dataset import Images, Pictures, Scenes

SEED = 0
TRAINED = ("train", "catalogue")


class PictureCache(Protocol):
    """What keeps pictures, see `models.caches`: how it does so is no part of the digest of this code."""

    image_grid: int

    def images(self, kind: str, content: str, images: Iterator[Image.Image], count: int, /) -> Any:
        """The part of one shard: `count` images, kept under the digest `content`."""

    def pictures(self, parts: Sequence[Any], place: Tensor, /) -> Images | Pictures:
        """Images by rows: `place` `(N,)` counts through the parts one after the other, -1 for a row without one."""


def load_scenes(opened: Snapshot, cache: PictureCache, row_of: dict[str, int]) -> Scenes | None:
    """The scenes of a snapshot, shard by shard; None when no shard has two training products with an image."""
    parts: list[Any] = []
    known: list[tuple[int, int, Box]] = []
    for shard in opened.shards("products"):
        rows = pq.read_table(shard, columns=["id", "title", "images", "split"]).to_pylist()
        shown = [row for row in rows if row["images"] and row["title"] and row["split"] in TRAINED and row["id"] in row_of]
        dice = np.random.default_rng(SEED)
        groups = _groups(len(shown), dice)
        if groups:
            boxes = [anywhere(len(group), dice) for group in groups]
            made = _pictures([[shown[place]["images"][0] for place in group] for group in groups], boxes)
            content = opened.manifest["files"][shard.relative_to(opened.folder).as_posix()]
            key = sha256_json([content, [row["id"] for row in shown], code_digest("models.scenes")])
            first = sum(len(part) for part in parts)
            parts.append(cache.images("scenes", key, made, len(groups)))
            known += [
                (first + scene, row_of[shown[place]["id"]], box)
                for scene, group in enumerate(groups)
                for place, box in zip(group, boxes[scene], strict=True)
            ]
    if not known:
        return None
    scene, product, box = zip(*known, strict=True)
    return Scenes(
        cache.pictures(parts, torch.arange(sum(len(part) for part in parts))),
        torch.tensor(scene),
        torch.tensor(product),
        torch.stack([cells_inside(each, cache.image_grid) for each in box]),
    )


def _groups(count: int, dice: np.random.Generator) -> list[list[int]]:
    """`count` places shuffled into groups of 2 to 4; a single one that is left over stays out."""
    order = dice.permutation(count).tolist()
    groups = []
    while len(order) >= FEWEST:
        size = int(dice.integers(FEWEST, MOST + 1))
        groups.append(order[:size])
        order = order[size:]
    return groups


def _pictures(images: Sequence[Sequence[bytes]], boxes: Sequence[tuple[Box, ...]]) -> Iterator[Image.Image]:
    dice = np.random.default_rng(SEED + 1)
    for group, places in zip(images, boxes, strict=True):
        yield paste(haze(dice), [decode_image(data) for data in group], places)


def cells_inside(box: Box, grid: int) -> Tensor:
    """`(grid * grid,)` bool: the cells whose middle lies in `box`."""
    left, top, right, bottom = box
    middle = (torch.arange(grid) + 0.5) * SIDE / grid
    across, down = (middle >= left) & (middle < right), (middle >= top) & (middle < bottom)
    return (down[:, None] & across[None, :]).flatten()
