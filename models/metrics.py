"""Figures of categorization and retrieval, each with the per-item values whose mean it is. Legend: Q queries, N gallery, K classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import f1_score

CUTOFFS = (1, 5, 10)
Items = dict[str, np.ndarray]  # metric name -> one value an item


def ranks(scores: np.ndarray, relevant: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """0-based ranks of the relevant gallery rows of each query, ascending; equal scores keep the gallery's order.

    scores `(Q, N)`, higher is better; relevant: for each query the gallery rows that answer it, at least one.
    """
    found = []
    for row, wanted in zip(scores, relevant, strict=True):
        order = np.argsort(-row, kind="stable")
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        found.append(np.sort(place[np.asarray(wanted)]))
    return found


def retrieval(prefix: str, scores: np.ndarray, relevant: Sequence[Sequence[int]]) -> Items:
    """`<prefix>_recall@k` (a relevant row among the first k), `<prefix>_map` and `<prefix>_ndcg@10` (binary gains), per query."""
    places = ranks(scores, relevant)
    items = {f"{prefix}_recall@{k}": np.array([float(place[0] < k) for place in places]) for k in CUTOFFS}
    items[f"{prefix}_map"] = np.array([np.mean((np.arange(len(place)) + 1) / (place + 1)) for place in places])
    items[f"{prefix}_ndcg@10"] = np.array([_ndcg(place, 10) for place in places])
    return items


def _ndcg(place: np.ndarray, k: int) -> float:
    gained = (1 / np.log2(place[place < k] + 2)).sum()
    return float(gained / (1 / np.log2(np.arange(min(len(place), k)) + 2)).sum())


def categorization(true: Sequence[str], predicted: Sequence[str]) -> Items:
    """`leaf_accuracy` and `level_<n>_accuracy` per product. A path counts at level n when its first n names agree."""
    pairs = [(t.split(" > "), p.split(" > ")) for t, p in zip(true, predicted, strict=True)]
    depth = max((len(t) for t, _ in pairs), default=0)
    items = {"leaf_accuracy": np.array([float(t == p) for t, p in pairs])}
    for level in range(1, depth):
        items[f"level_{level}_accuracy"] = np.array([float(t[:level] == p[:level]) for t, p in pairs])
    return items


def macro_f1(true: Sequence[str], predicted: Sequence[str]) -> float:
    """Mean F1 over the categories that occur in `true`."""
    return float(f1_score(true, predicted, labels=sorted(set(true)), average="macro", zero_division=0))


def means(items: Items) -> dict[str, float]:
    return {name: float(values.mean()) for name, values in items.items() if len(values)}
