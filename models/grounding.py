"""Does a model know where the named product is? Maps and pointing accuracy (papers.md 2.5) on composites with known boxes.

Legend: B composites, G cells of the image grid, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from models.architectures.eclip import ECLIP
from models.composites import SIDE, Box
from models.dataset import Batch


@torch.inference_mode()
def similarity_map(model: ECLIP, batch: Batch) -> Tensor:
    """`(B, G)`: what an image-level model has: the similarity of each cell with the text."""
    tokens = model.encode(batch)
    return torch.einsum("bgd,bd->bg", model.cell_embeddings(tokens), model.text_embedding(tokens))


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
