"""Vectors and words together: two ways to join their scores, and the one, with its weight, that finds most for held-out queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WEIGHTS = tuple(round(0.1 * step, 1) for step in range(11))
RANK_OFFSET = 60  # of reciprocal ranks (Cormack et al. 2009)
MOST_QUERIES, FEWEST_QUERIES = 500, 20
POOL = 100  # candidates of each side, at least
VECTORS_ALONE: dict[str, Any] = {"method": "scores", "lexical": 0.0, "queries": 0}


@dataclass(frozen=True)
class Held:
    """Queries that no training saw: their words, vectors (Q, D), and the ids of the products that answer each.

    Vectors may follow of queries without words, such as photos: they tune the search alone.
    """

    texts: Sequence[str]
    vectors: np.ndarray
    relevant: Sequence[Sequence[str]]


def by_scores(near: np.ndarray, words: np.ndarray, lexical: float) -> np.ndarray:
    """Inner products and BM25 scores as a share of the best, weighed."""
    return (1 - lexical) * near + lexical * words / max(float(words.max(initial=0)), 1e-9)


def by_ranks(near: np.ndarray, words: np.ndarray, lexical: float) -> np.ndarray:
    """Reciprocal ranks, weighed; a product with none of the words has no rank among words."""
    among_words = np.where(words > 0, 1 / (RANK_OFFSET + _ranks(words)), 0)
    return ((1 - lexical) / (RANK_OFFSET + _ranks(near)) + lexical * among_words) * RANK_OFFSET


def _ranks(scores: np.ndarray) -> np.ndarray:
    ranks = np.empty(len(scores))
    ranks[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return ranks


METHODS: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {"scores": by_scores, "ranks": by_ranks}


def measured(pools: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """The method and weight with the highest mean reciprocal rank, of equals the one nearer to vectors alone.

    A pool is one query's candidates: inner products (C,), BM25 scores (C,) and whether each answers it (C,). Fewer than
    `FEWEST_QUERIES` show nothing: then it is vectors alone.
    """
    if len(pools) < FEWEST_QUERIES:
        return VECTORS_ALONE | {"queries": len(pools)}
    choices = [(method, lexical) for method in METHODS for lexical in WEIGHTS]
    found = {choice: float(np.mean([_reciprocal(*pool, *choice) for pool in pools])) for choice in choices}
    method, lexical = max(found, key=lambda pair: (round(found[pair], 6), -pair[1]))
    figures = {"vectors": found[method, 0.0], "words": found[method, 1.0], "both": found[method, lexical]}
    return {"method": method, "lexical": lexical, "queries": len(pools), "mrr": {name: round(value, 4) for name, value in figures.items()}}


def _reciprocal(near: np.ndarray, words: np.ndarray, right: np.ndarray, method: str, lexical: float) -> float:
    order = np.argsort(-METHODS[method](near, words, lexical), kind="stable")
    places = np.flatnonzero(right[order])
    return 1 / (1 + int(places[0])) if len(places) else 0.0
