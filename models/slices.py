"""Figures by slice: which products a figure is of, so that a good mean cannot hide a bad part.

A slice is a set of items (test products) by a fact of the product that no model sees: the depth of its category, how
many training products share it, where it comes from, what it lacks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from models.dataset import ProductData

TAIL = 20  # training products of a category of the long tail, at most
FEWEST = 10  # items that a slice needs to be told
Slices = dict[str, set[str]]


def product_slices(data: ProductData) -> Slices:
    """Slice name -> ids of the test products in it."""
    seen = Counter(data.categories[row] for row in data.rows("train", "catalogue").tolist())
    found: Slices = {}
    for row in data.rows("test").tolist():
        for name in _names(data, row, seen):
            found.setdefault(name, set()).add(data.product_ids[row])
    return found


def _names(data: ProductData, row: int, seen: Counter[str]) -> list[str]:
    category = data.categories[row]
    names = [f"depth={category.count(' > ') + 1}", "tail" if seen[category] <= TAIL else "head"]
    if not bool(data.images.present[row]):
        names.append("no image")
    if not bool(data.texts.mask[row].any()):
        names.append("no text")
    names += [f"source={data.sources[row]}"] if data.sources and data.sources[row] else []
    return names


def by_slice(items: Mapping[str, tuple[list[str], np.ndarray]], slices: Slices) -> dict[str, dict[str, float]]:
    """Slice -> figure and `items`, of every metric whose items are products; slices below `FEWEST` items are left out."""
    found: dict[str, dict[str, float]] = {}
    for metric, (ids, values) in items.items():
        for name, members in slices.items():
            kept = np.array([id in members for id in ids])
            if kept.sum() >= FEWEST:
                figures = found.setdefault(name, {})
                figures[metric] = float(values[kept].mean())
                figures["items"] = max(figures.get("items", 0.0), float(kept.sum()))
    return dict(sorted(found.items()))
