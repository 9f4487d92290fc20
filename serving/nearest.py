"""Nearest vectors by inner product: every one is compared up to a measured size, above it a graph (HNSW) is walked.

One file, `vectors.faiss`, mapped into memory: what a search touches is read from disk once, for all processes. A graph keeps the
vectors themselves, so scores are exact and a filter that leaves little is answered by comparing all that it leaves.
Legend: N vectors, D numbers each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from goodsight.progress import note
from serving.listing import Allowed

VECTORS = "vectors.faiss"
FLAT_FLOATS = 2**23  # up to so many N * D every vector is compared: benchmarks/vector_search.py
LINKS, CONSTRUCTION = 32, 100  # of a vector in the graph; candidates while it is linked
BREADTHS = (64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)  # candidates of a search: the first that reaches RECALL
RECALL, TUNED_K, TUNING_QUERIES = 0.99, 10, 400
WIDEST, SLACK = 4096, 256  # candidates of a search with filters; those on top for products that are left out by name
SPARE = 0.2  # share of vectors out of use at which a graph is made anew


def build_vectors(vectors: np.ndarray, folder: Path, queries: np.ndarray | None = None, flat_floats: int | None = None) -> dict[str, Any]:
    """Writes `vectors` (N, D) float32 and returns the record of how they are searched; `queries` (Q, D) tune a graph's breadth."""
    import faiss

    if vectors.size <= (FLAT_FLOATS if flat_floats is None else flat_floats):
        engine = faiss.IndexFlatIP(vectors.shape[1])
        engine.add(vectors)
        return _written(engine, folder, queries)
    engine = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
    engine.hnsw.efConstruction = CONSTRUCTION
    note(f"linking {len(vectors):,} vectors")
    engine.add(vectors)
    return _written(engine, folder, queries)


def extend_vectors(old: Path, known: Mapping[str, Any], fresh: np.ndarray, folder: Path, queries: np.ndarray | None) -> dict[str, Any]:
    """Writes the graph of the folder `old` with `fresh` (M, D) linked into it: rows of before keep their numbers.

    `known` is its record; its breadth stays where no `queries` tell of another.
    """
    import faiss

    engine = faiss.read_index(str(old / VECTORS))
    engine.hnsw.efConstruction = CONSTRUCTION
    if len(fresh):
        engine.add(np.ascontiguousarray(fresh, dtype=np.float32))
    record = _written(engine, folder, queries)
    return record if queries is not None and len(queries) else record | {"graph": known["graph"]}


def _written(engine: Any, folder: Path, queries: np.ndarray | None) -> dict[str, Any]:
    import faiss

    faiss.write_index(engine, str(folder / VECTORS))
    record = {"kind": "hnsw" if hasattr(engine, "hnsw") else "flat", "dimension": engine.d}
    if record["kind"] == "hnsw":
        record["graph"] = {"links": LINKS, "construction": CONSTRUCTION, **_tuned(engine, queries)}
    return record


def _tuned(engine: Any, queries: np.ndarray | None) -> dict[str, Any]:
    """The least breadth with which the graph finds `RECALL` of the true nearest; without queries, products look for each other."""
    import faiss

    if queries is None or len(queries) < TUNED_K:
        rows = np.linspace(0, engine.ntotal - 1, TUNING_QUERIES, dtype=np.int64)
        queries = engine.reconstruct_batch(rows)
    asked = np.ascontiguousarray(queries[:TUNING_QUERIES], dtype=np.float32)
    _, true = faiss.downcast_index(engine.storage).search(asked, TUNED_K)
    for breadth in BREADTHS:
        _, found = engine.search(asked, TUNED_K, params=faiss.SearchParametersHNSW(efSearch=breadth))
        recall = float(np.mean([len(np.intersect1d(a, b)) / TUNED_K for a, b in zip(true, found, strict=True)]))
        if recall >= RECALL:
            break
    return {"breadth": breadth, "recall_at_10": round(recall, 4), "queries": len(asked)}


@dataclass(frozen=True)
class Nearest:
    """The vectors of one index, mapped into memory."""

    engine: Any
    storage: Any  # the vectors themselves, by row
    breadth: int | None  # of a graph

    @staticmethod
    def open(folder: Path, record: Mapping[str, Any]) -> Nearest:
        import faiss

        engine = faiss.read_index(str(folder / VECTORS), faiss.IO_FLAG_MMAP_IFC)
        graph = record.get("graph")
        return Nearest(engine, faiss.downcast_index(engine.storage) if graph else engine, graph["breadth"] if graph else None)

    @property
    def count(self) -> int:
        return int(self.engine.ntotal)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """(R, D) of `rows` (R,)."""
        return self.storage.reconstruct_batch(np.ascontiguousarray(rows, dtype=np.int64)) if len(rows) else self._none()

    def _none(self) -> np.ndarray:
        return np.empty((0, self.engine.d), np.float32)

    def scores(self, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(R,) inner products of `query` (D,) with `rows` (R,)."""
        import faiss

        asked, rows = np.ascontiguousarray(query, dtype=np.float32), np.ascontiguousarray(rows, dtype=np.int64)
        found = np.empty(len(rows), np.float32)
        if len(rows):
            self.storage.compute_distance_subset(1, faiss.swig_ptr(asked), len(rows), faiss.swig_ptr(found), faiss.swig_ptr(rows))
        return found

    def search(self, query: np.ndarray, k: int, allowed: Allowed) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores of the `k` nearest of what is allowed, best first.

        A graph is asked for as many neighbours as should hold `k` that pass. Where too few pass, since what is near is not what
        is asked for, or few rows are left at all, those left are all compared.
        """
        k, left_out = min(k, allowed.count), self.count - allowed.count
        if not k:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        if not left_out:
            return self._walked(query, k)
        wide = 2 * k * self.count // allowed.count + min(left_out, SLACK)
        if self.breadth is not None and allowed.count * self.engine.d > FLAT_FLOATS and wide <= WIDEST:
            rows, scores = self._walked(query, max(wide, self.breadth))
            passed = allowed.mask[rows]
            if np.count_nonzero(passed) >= k:
                return rows[passed][:k], scores[passed][:k]
        rows = np.flatnonzero(allowed.mask)
        return best(rows, self.scores(query, rows), k)

    def _walked(self, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        import faiss

        breadth = faiss.SearchParametersHNSW(efSearch=max(self.breadth, k)) if self.breadth is not None else None
        scores, rows = self.engine.search(np.ascontiguousarray(query[None], dtype=np.float32), k, params=breadth)
        found = rows[0] >= 0
        return rows[0][found], scores[0][found]


def best(rows: np.ndarray, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` rows with the highest scores, in their order; of equal scores the lower row first."""
    if k < len(rows):
        chosen = np.argpartition(-scores, k - 1)[:k]
        rows, scores = rows[chosen], scores[chosen]
    order = np.lexsort((rows, -scores))
    return rows[order], scores[order]
