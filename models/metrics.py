"""Figures of categorization and retrieval, each with the per-item values whose mean it is. Legend: Q queries, N gallery, K classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import f1_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

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


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy over equal-width bins, weighted by their items.

    confidence `(N,)` in [0, 1] of the chosen class, correct `(N,)` of 0 and 1 (Guo et al. 2017).
    """
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(confidence[place == one].sum() - correct[place == one].sum()) for one in range(bins)]
    return float(sum(gaps) / len(confidence))


def clusters(vectors: np.ndarray, labels: Sequence[str], seed: int = 0) -> dict[str, float]:
    """`cluster_nmi` and `cluster_purity` of k-means over `vectors` `(N, D)`, k the number of labels (papers.md 3.5)."""
    numbers = np.unique(np.asarray(labels), return_inverse=True)[1]
    found = KMeans(n_clusters=int(numbers.max()) + 1, n_init=4, random_state=seed).fit_predict(vectors)
    table = contingency_matrix(numbers, found)
    return {
        "cluster_nmi": float(normalized_mutual_info_score(numbers, found)),
        "cluster_purity": float(table.max(axis=0).sum() / table.sum()),
    }


def same_category(vectors: np.ndarray, labels: Sequence[str], cutoffs: Sequence[int] = CUTOFFS) -> Items:
    """SCALE's own retrieval figures (papers.md 3.5): products of the query's category, the query itself taken out.

    `category_prec@k` and `scale_map@k`, per query; the latter divides by the hits in the list, not by all that are relevant,
    so it is no mean average precision as others know it. Queries alone in their category are left out.
    """
    names = np.asarray(labels)
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, : max(cutoffs)]
    hits = names[order] == names[:, None]
    others = np.array([(names == name).sum() - 1 for name in names])
    items: Items = {}
    for k in cutoffs:
        lists = [row[: min(k, other)] for row, other in zip(hits, others, strict=True) if other]
        items[f"category_prec@{k}"] = np.array([float(row.mean()) for row in lists])
        items[f"scale_map@{k}"] = np.array([_hit_precision(row) for row in lists])
    return items


def _hit_precision(hits: np.ndarray) -> float:
    found = np.flatnonzero(hits)
    return float(np.mean((np.arange(len(found)) + 1) / (found + 1))) if len(found) else 0.0


def among_random(scores: np.ndarray, own: Sequence[int], alike: Sequence[np.ndarray], repeats: int = 5, seed: int = 0) -> dict[int, float]:
    """The random-100 protocol (papers.md 5.2): Recall@k of each query's own item among 100 others of its category.

    scores `(Q, N)`; own: each query's item; alike: each query's candidates for the others, without its own. Queries with
    fewer than 100 candidates take all of them.
    """
    dice = np.random.default_rng(seed)
    places = []
    for _ in range(repeats):
        for row, mine, others in zip(scores, own, alike, strict=True):
            drawn = dice.choice(others, size=min(100, len(others)), replace=False)
            places.append(int((row[drawn] >= row[mine]).sum()))
    return {k: float(np.mean(np.array(places) < k)) for k in CUTOFFS}


def means(items: Items) -> dict[str, float]:
    return {name: float(values.mean()) for name, values in items.items() if len(values)}
