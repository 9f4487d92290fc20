"""What of a picture an answer hangs on: its score again and again, each time with one patch of the picture covered.

Occlusion (Zeiler and Fergus, ECCV 2014) asks the model itself, so it says the same thing of all four architectures: how much
the score falls when this part cannot be seen. Legend: B covered pictures and the whole one, G cells a side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.architectures.base import Architecture
from models.dataset import Batch

CELLS = 7  # a side
COVER = 2.0  # side of a patch, in cells: neighbours overlap, so that no edge of the grid cuts a thing in two unseen

Scores = Callable[[Batch], Tensor]


@dataclass(frozen=True)
class HeatMap:
    """`grid[row][column]` is by how much the score falls when that part is covered, the upper left first; below 0 it rises."""

    score: float  # with nothing covered
    grid: list[list[float]]


def covered(pixels: Tensor, cells: int = CELLS) -> Tensor:
    """`(cells ** 2 + 1, 3, H, W)`: the picture `(3, H, W)`, then once for each cell, row by row, with a patch around the
    middle of the cell in the picture's mean colour.
    """
    mean, (_, height, width) = pixels.mean(dim=(1, 2), keepdim=True), pixels.shape
    pictures = pixels.repeat(cells**2 + 1, 1, 1, 1)
    for cell in range(cells**2):
        row, column = divmod(cell, cells)
        pictures[cell + 1][:, _patch(row, cells, height), _patch(column, cells, width)] = mean
    return pictures


def _patch(cell: int, cells: int, side: int) -> slice:
    middle, half = (cell + 0.5) * side / cells, COVER / 2 * side / cells
    return slice(max(0, round(middle - half)), min(side, round(middle + half)))


@torch.inference_mode()
def occlusion(model: Architecture, row: Batch, scores: Scores, cells: int = CELLS) -> HeatMap:
    """The heat-map of the one picture in `row`, a batch of one from `Preprocess.batch`, in one pass of the model.

    `scores` gives `(B,)` for a batch of B. All other modalities stay as they are; their towers run once.
    """
    pictures = covered(row["image"][0, 0], cells)
    others = model.encode({name: value for name, value in row.items() if name not in ("image", "image_mask")})
    batch = {name: value.expand(len(pictures), *value.shape[1:]) for name, value in others.items()}
    batch |= {"image": pictures[:, None], "image_mask": torch.ones(len(pictures), 1, dtype=torch.bool)}
    found = scores(batch).float().cpu()
    falls = (found[0] - found[1:]).reshape(cells, cells)
    return HeatMap(float(found[0]), falls.tolist())
