"""Inverted lists over vectors: each vector is in the list of its nearest centre, and a search compares the nearest lists.

Three small arrays beside the vectors. Comparing more lists ends with comparing all, so any recall can be had, at its price.
Legend: N vectors, D numbers each, L lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

FOLDER, ARRAYS = "lists", ("centres", "rows", "starts")
ROUNDS, POINTS = 10, 64  # of k-means; vectors a list that it looks at
SHARES = (0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0)  # of all vectors, compared in a search


@dataclass(frozen=True)
class Lists:
    """centres (L, D), rows (N,) in order of their lists, and where each list starts (L + 1,)."""

    centres: np.ndarray
    rows: np.ndarray
    starts: np.ndarray

    @staticmethod
    def made(vectors: np.ndarray) -> Lists:
        """About the square root of N lists of `vectors` (N, D), by k-means."""
        import faiss

        count = max(int(len(vectors) ** 0.5), 1)
        found = faiss.Kmeans(vectors.shape[1], count, niter=ROUNDS, spherical=True, seed=17, max_points_per_centroid=POINTS)
        found.train(vectors)
        return Lists(found.centroids, np.empty(0, np.int32), np.zeros(count + 1, np.int64)).filled(vectors)

    def filled(self, vectors: np.ndarray) -> Lists:
        """The same centres with the rows of `vectors` (N, D)."""
        import faiss

        centres = faiss.IndexFlatIP(self.centres.shape[1])
        centres.add(np.ascontiguousarray(self.centres))
        of = centres.search(vectors, 1)[1][:, 0]
        sizes = np.bincount(of, minlength=len(self.centres))
        return Lists(self.centres, np.argsort(of, kind="stable").astype(np.int32), np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))

    def save(self, folder: Path) -> None:
        (folder / FOLDER).mkdir()
        for name in ARRAYS:
            np.save(folder / FOLDER / f"{name}.npy", getattr(self, name))

    @staticmethod
    def open(folder: Path) -> Lists:
        return Lists(*(np.load(folder / FOLDER / f"{name}.npy", mmap_mode="r") for name in ARRAYS))

    def near(self, query: np.ndarray, wanted: int) -> np.ndarray:
        """At least `wanted` rows, or all: those of the lists nearest to `query` (D,)."""
        order = np.argsort(-(self.centres @ query), kind="stable")
        enough = int(np.searchsorted(np.cumsum(np.diff(self.starts)[order]), wanted)) + 1
        return np.concatenate([self.rows[self.starts[place] : self.starts[place + 1]] for place in order[:enough].tolist()])
