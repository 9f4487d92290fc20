"""Figures by slice: which products a figure is of, so that a good mean cannot hide a bad part.

A slice is a set of items by a fact of their product that no model sees: the depth of its category, how many training
products share it, where it comes from, what it lacks. A query or a photo counts for the first product that answers it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.dataset import ProductData

TAIL = 20  # training products of a category of the long tail, at most
FEWEST = 10  # items that a slice needs to be told


@dataclass(frozen=True)
class Subjects:
    """What figures are of, one an item: its id, the cluster of items that it stands or falls with, the slices it is in."""

    ids: list[str]
    clusters: list[str]
    slices: list[list[str]]


Scored = tuple[Subjects, np.ndarray]  # and one value an item


def about(data: ProductData, ids: Sequence[str], rows: Sequence[int]) -> Subjects:
    """Items `ids`, each about one of the products `rows`: clusters are leak groups, slices those of the products."""
    seen = Counter(data.categories[row] for row in data.rows("train", "catalogue").tolist())
    clusters = [str(group) for group in data.groups[list(rows)].tolist()]
    return Subjects(list(ids), clusters, [_names(data, row, seen) for row in rows])


def alone(ids: Sequence[str]) -> Subjects:
    """Items that are independent of each other and in no slice."""
    return Subjects(list(ids), list(ids), [[] for _ in ids])


def _names(data: ProductData, row: int, seen: Counter[str]) -> list[str]:
    category = data.categories[row]
    names = [f"depth={category.count(' > ') + 1}", "tail" if seen[category] <= TAIL else "head"]
    if not bool(data.images.present[row]):
        names.append("no image")
    if not bool(data.texts.mask[row].any()):
        names.append("no text")
    names += [f"source={data.sources[row]}"] if data.sources and data.sources[row] else []
    return names


def by_slice(items: Mapping[str, Scored]) -> dict[str, dict[str, float]]:
    """Slice -> its figures, and `items`, the most items behind one of them; figures of fewer than `FEWEST` are left out."""
    found: dict[str, dict[str, float]] = {}
    for metric, (subjects, values) in items.items():
        members: dict[str, list[int]] = {}
        for place, names in enumerate(subjects.slices):
            for name in names:
                members.setdefault(name, []).append(place)
        for name, places in members.items():
            if len(places) >= FEWEST:
                figures = found.setdefault(name, {})
                figures[metric] = float(values[places].mean())
                figures["items"] = max(figures.get("items", 0.0), float(len(places)))
    return dict(sorted(found.items()))
