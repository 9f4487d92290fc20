"""A graph finds what comparing all finds, also when little passes or what passes is far away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serving.filters import Filters
from serving.listing import Allowed
from serving.nearest import Nearest, build_vectors

D = 16


def clustered(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of twenty clusters (N, D), and the cluster of each (N,)."""
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(20, D))
    cluster = draw.integers(20, size=rows)
    vectors = centres[cluster] + 0.4 * draw.normal(size=(rows, D))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), cluster


def allowed(mask: np.ndarray) -> Allowed:
    return Allowed(mask, int(mask.sum()), Filters(), [], ())


@pytest.fixture(scope="module", params=["hnsw", "lists"])
def graph(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Nearest:
    """Lists are what a graph that finds too little gives way to: here it is not given the breadth to find enough."""
    folder = tmp_path_factory.mktemp("graph")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "lists":
            patch.setattr("serving.nearest.BREADTHS", (1,))
        record = build_vectors(clustered(5_000)[0], folder, clustered(200, 1)[0], 0)
    assert record["kind"] == request.param
    return Nearest.open(folder, record)


def recall(graph: Nearest, mask: np.ndarray, k: int = 10) -> float:
    vectors, queries = clustered(5_000)[0], clustered(100, 2)[0]
    scores = np.where(mask, queries @ vectors.T, -2)
    true = np.argsort(-scores, axis=1)[:, : min(k, mask.sum())]
    found = [graph.search(query, k, allowed(mask))[0] for query in queries]
    assert all(mask[rows].all() for rows in found)
    return float(np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found, true, strict=True)]))


def test_a_graph_is_tuned_to_find_nearly_all(graph: Nearest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = build_vectors(clustered(2_000)[0], tmp_path, clustered(200, 1)[0], 0)
    assert record["kind"] == "hnsw" and record["graph"]["recall_at_10"] >= 0.99 and record["graph"]["queries"] == 200
    monkeypatch.setattr("serving.nearest.FLAT_FLOATS", 100 * D)
    monkeypatch.setattr("serving.nearest.EXACT_FLOATS", 1_000 * D)
    assert recall(graph, np.ones(5_000, dtype=bool)) >= 0.98


@pytest.mark.parametrize("share", [0.9, 0.3, 0.05, 0.002])
def test_filters_keep_recall(graph: Nearest, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.nearest.FLAT_FLOATS", 100 * D)
    monkeypatch.setattr("serving.nearest.EXACT_FLOATS", 1_000 * D)
    assert recall(graph, np.random.default_rng(5).random(5_000) < share) >= 0.98


def test_what_passes_may_be_far_from_what_is_asked(graph: Nearest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cluster alone passes: for most queries the graph's neighbours are all of others."""
    monkeypatch.setattr("serving.nearest.FLAT_FLOATS", 100 * D)
    monkeypatch.setattr("serving.nearest.EXACT_FLOATS", 1_000 * D)
    assert recall(graph, clustered(5_000)[1] == 3) >= 0.98


def test_nothing_passes(graph: Nearest) -> None:
    rows, scores = graph.search(clustered(1)[0][0], 10, allowed(np.zeros(5_000, dtype=bool)))
    assert len(rows) == len(scores) == 0


def test_the_file_is_mapped_and_not_read(tmp_path: Path) -> None:
    vectors = np.eye(4_096, 512, dtype=np.float32) + 0.5  # 8 MiB
    before = _own()
    opened = Nearest.open(tmp_path, build_vectors(vectors, tmp_path))
    own = _own()
    assert opened.search(vectors[7], 1, allowed(np.ones(4_096, dtype=bool)))[0].tolist() == [7]
    again = [Nearest.open(tmp_path, {}) for _ in range(8)]
    assert len(again) == 8 and _own() - own < 16 * 2**20 and own - before < 64 * 2**20


def _own() -> int:
    """Bytes that this process holds alone."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
