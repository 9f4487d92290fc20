"""What the model looked at: the heat-map of a picture for one answer, its likeliest category or one product."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from models.bundle import Bundle
from models.dataset import Batch
from models.occlusion import Scores, occlusion

DIGITS = 6  # of a number in the grid


def of_category(bundle: Bundle, row: Batch, category: str) -> dict[str, Any]:
    """By how much the probability of `category` falls; `row` is a batch of one."""
    label = bundle.labels.index(category)
    probability, grid = _map(bundle, row, lambda batch: bundle.model.classify(batch).softmax(dim=1)[:, label])
    return {"about": "categorize", "category": category, "probability": probability, "grid": grid}


def of_product(bundle: Bundle, row: Batch, id: str, vector: np.ndarray) -> dict[str, Any]:
    """By how much the score of the product with the `vector` `(D,)` falls."""
    product = torch.from_numpy(vector)
    score, grid = _map(bundle, row, lambda batch: bundle.model.embed(batch).float().cpu() @ product)
    return {"about": "search", "id": id, "score": score, "grid": grid}


def _map(bundle: Bundle, row: Batch, scores: Scores) -> tuple[float, list[list[float]]]:
    found = occlusion(bundle.model, row, scores)
    return found.score, [[round(value, DIGITS) for value in line] for line in found.grid]
