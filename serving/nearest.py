"""Nearest vectors by inner product: every one is compared up to a measured size; above it a graph (HNSW) is walked, or, where the
graph does not find enough, the nearest inverted lists are compared.

One file, `vectors.faiss`, mapped into memory: what a search touches is read from disk once, for all processes. Scores are exact,
and a filter that leaves little is answered by comparing all that it leaves.
Legend: N vectors, D numbers each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from goodsight.progress import note
from serving.listing import Allowed
from serving.lists import SHARES, Lists

VECTORS = "vectors.faiss"
FLAT_FLOATS = 2**23  # up to so many N * D every vector is compared: benchmarks/vector_search.py
EXACT_FLOATS = 2**26  # up to so many that pass a filter all are compared: some 30 ms, and no filter costs recall
LINKS, CONSTRUCTION = 32, 100  # of a vector in the graph; candidates while it is linked
BREADTHS = (64, 128, 192, 256, 384, 512, 768, 1024)  # candidates of a search: the first that reaches RECALL
RECALL, TUNED_K, TUNING_QUERIES = 0.99, 10, 400
WIDEST, SLACK = 4096, 256  # candidates of a search with filters; those on top for products that are left out by name
SPARE = 0.2  # share of vectors out of use at which a graph is made anew


def build_vectors(vectors: np.ndarray, folder: Path, queries: np.ndarray | None = None, flat_floats: int | None = None) -> dict[str, Any]:
    """Writes `vectors` (N, D) float32 and returns the record of how they are searched; `queries` (Q, D) tune it."""
    if vectors.size <= (FLAT_FLOATS if flat_floats is None else flat_floats):
        _write_flat(vectors, folder)
        return {"kind": "flat", "dimension": vectors.shape[1]}
    note(f"linking {len(vectors):,} vectors")
    return _written(_graph_of(vectors), folder, queries)


def _graph_of(vectors: np.ndarray) -> Any:
    import faiss

    engine = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
    engine.hnsw.efConstruction = CONSTRUCTION
    engine.add(vectors)
    return engine


def _write_flat(vectors: np.ndarray, folder: Path) -> None:
    import faiss

    engine = faiss.IndexFlatIP(vectors.shape[1])
    engine.add(vectors)
    faiss.write_index(engine, str(folder / VECTORS))


def extend_vectors(old: Path, known: Mapping[str, Any], fresh: np.ndarray, folder: Path, queries: np.ndarray | None) -> dict[str, Any]:
    """Writes the graph or the lists of the folder `old` with `fresh` (M, D) in it too: rows of before keep their numbers.

    `known` is its record; how it is searched stays where no `queries` tell of another way.
    """
    import faiss

    engine = faiss.read_index(str(old / VECTORS))
    if len(fresh):
        engine.add(np.ascontiguousarray(fresh, dtype=np.float32))
    if known["kind"] == "lists":
        faiss.write_index(engine, str(folder / VECTORS))
        lists = Lists.open(old).filled(engine.reconstruct_n(0, engine.ntotal))
        lists.save(folder)
        return _tuned_lists(engine, lists, queries) if _tell(queries) else {name: known[name] for name in ("kind", "dimension", "lists")}
    faiss.write_index(engine, str(folder / VECTORS))
    return {"kind": "hnsw", "dimension": engine.d, "graph": _tuned(engine, queries) if _tell(queries) else known["graph"]}


def _tell(queries: np.ndarray | None) -> bool:
    return queries is not None and len(queries) >= TUNED_K


def _written(engine: Any, folder: Path, queries: np.ndarray | None) -> dict[str, Any]:
    """Writes the graph; or the lists, when the graph misses `RECALL` at every breadth."""
    import faiss

    graph = _tuned(engine, queries)
    if graph["recall_at_10"] >= RECALL:
        faiss.write_index(engine, str(folder / VECTORS))
        return {"kind": "hnsw", "dimension": engine.d, "graph": graph}
    note(f"the graph finds {graph['recall_at_10']:.1%} of the nearest: lists instead")
    storage = faiss.downcast_index(engine.storage)
    vectors = storage.reconstruct_n(0, storage.ntotal)
    lists = Lists.made(vectors)
    lists.save(folder)
    _write_flat(vectors, folder)
    return _tuned_lists(storage, lists, queries) | {"graph_was": graph}


def _asked(engine: Any, queries: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Queries (Q, D) and their true nearest (Q, K); without queries, products look for each other."""
    if queries is None or len(queries) < TUNED_K:
        queries = engine.reconstruct_batch(np.linspace(0, engine.ntotal - 1, TUNING_QUERIES, dtype=np.int64))
    asked = np.ascontiguousarray(queries[:TUNING_QUERIES], dtype=np.float32)
    return asked, engine.search(asked, TUNED_K)[1]


def _recall(true: np.ndarray, found: Iterable[np.ndarray]) -> float:
    return round(float(np.mean([len(np.intersect1d(a, b)) / TUNED_K for a, b in zip(true, found, strict=True)])), 4)


def _tuned(engine: Any, queries: np.ndarray | None) -> dict[str, Any]:
    """The least breadth with which the graph finds `RECALL` of the true nearest."""
    import faiss

    asked, true = _asked(faiss.downcast_index(engine.storage), queries)
    for breadth in BREADTHS:
        recall = _recall(true, engine.search(asked, TUNED_K, params=faiss.SearchParametersHNSW(efSearch=breadth))[1])
        if recall >= RECALL:
            break
    return {"links": LINKS, "construction": CONSTRUCTION, "breadth": breadth, "recall_at_10": recall, "queries": len(asked)}


def _tuned_lists(storage: Any, lists: Lists, queries: np.ndarray | None) -> dict[str, Any]:
    """The record of lists, with the least number of vectors compared that finds `RECALL` of the true nearest."""
    asked, true = _asked(storage, queries)
    for share in SHARES:
        compared = max(int(share * storage.ntotal), TUNED_K)
        nearest = Nearest(storage, storage, None, lists, compared)
        recall = _recall(true, (nearest.compared(query, TUNED_K, None)[0] for query in asked))
        if recall >= RECALL:
            break
    told = {"lists": len(lists.centres), "compared": compared, "recall_at_10": recall, "queries": len(asked)}
    return {"kind": "lists", "dimension": storage.d, "lists": told}


@dataclass(frozen=True)
class Nearest:
    """The vectors of one index, mapped into memory."""

    engine: Any
    storage: Any  # the vectors themselves, by row
    breadth: int | None  # of a graph
    lists: Lists | None = None
    enough: int = 0  # vectors compared in a search of lists

    @staticmethod
    def open(folder: Path, record: Mapping[str, Any]) -> Nearest:
        import faiss

        engine = faiss.read_index(str(folder / VECTORS), faiss.IO_FLAG_MMAP_IFC)
        if graph := record.get("graph"):
            return Nearest(engine, faiss.downcast_index(engine.storage), graph["breadth"])
        if lists := record.get("lists"):
            return Nearest(engine, engine, None, Lists.open(folder), lists["compared"])
        return Nearest(engine, engine, None)

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
        if self.lists is not None and (not left_out or allowed.count * self.engine.d > EXACT_FLOATS):
            return self.compared(query, k, allowed if left_out else None)
        if not left_out:
            return self._walked(query, k)
        wide = 2 * k * self.count // allowed.count + min(left_out, SLACK)
        if self.breadth is not None and allowed.count * self.engine.d > FLAT_FLOATS and wide <= WIDEST:
            rows, scores = self._walked(query, wide)
            passed = allowed.mask[rows]
            if np.count_nonzero(passed) >= k:
                return rows[passed][:k], scores[passed][:k]
        rows = np.flatnonzero(allowed.mask)
        return best(rows, self.scores(query, rows), k)

    def compared(self, query: np.ndarray, k: int, allowed: Allowed | None) -> tuple[np.ndarray, np.ndarray]:
        """By lists. Under a filter so many are taken that as many vectors should pass as are compared without; where fewer than
        four fifths of these do, the filter and the query disagree, and all that pass are compared.
        """
        assert self.lists is not None
        wanted = max(self.enough, 10 * k)
        rows = self.lists.near(query, wanted if allowed is None else wanted * self.count // allowed.count)
        if allowed is not None:
            rows = rows[allowed.mask[rows]]
            if len(rows) < 0.8 * wanted:
                rows = np.flatnonzero(allowed.mask)
        return best(rows.astype(np.int64), self.scores(query, rows), k)

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
