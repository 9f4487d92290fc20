"""Search over a million vectors, one query at a time, in process: recall, latency, memory, filters, and where a graph begins to pay.

    python benchmarks/vector_search.py [--products 1000000] [--work FOLDER]

Vectors of 256 numbers, a smoothed bootstrap of real ones: texts of the furniture sample through the text tower, their first 256
principal axes; a vector is that of a product, plus a part of the difference of two others, plus noise with the spread of
all. Queries are made alike from those of the sample, so they lie apart from products, as real ones do. Truth is FAISS's flat
index; the peer is its inverted lists (IVF). With `--work` a second call finds what the first has built. Writes
`benchmarks/results/vector-search.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from machine import described

from goodsight.files import read_json, write_json
from samples import furniture
from serving.filters import Filters
from serving.fusion import Held
from serving.index import Index, Wanted, build_index
from serving.listing import Allowed
from serving.nearest import Nearest, build_vectors

OUT = Path(__file__).resolve().parent / "results" / "vector-search.json"
D, K, QUERIES, FILTERED = 256, 10, 1_000, 200
SIZES = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
PROVENANCE = {"candidate": "c" * 64, "bundle": "b" * 64, "snapshot": "s" * 64}
FILTERS: dict[str, dict[str, Any]] = {
    "half of all": {"attributes": {"half": ["1"]}},
    "a tenth": {"attributes": {"tenth": ["1"]}},
    "a hundredth": {"attributes": {"hundredth": ["1"]}},
    "a thousandth": {"attributes": {"thousandth": ["1"]}},
    "a range of prices": {"price": {"min": 20, "max": 40}},
    "a category": {"category": ["Living room"]},
    "a category and a price": {"category": ["Kitchen"], "price": {"max": 30}},
}


def sample() -> tuple[list[dict[str, Any]], list[str]]:
    """The sample's products, and the texts of its queries."""
    texts = [(furniture() / f"{name}.jsonl").read_text() for name in ("products", "queries_text")]
    products, queries = ([json.loads(line) for line in text.splitlines()] for text in texts)
    return products, [query["text"] for query in queries]


def embedded(texts: list[str]) -> np.ndarray:
    """(N, W): the mean of the text tower's tokens."""
    import torch

    from models.config import model_config
    from models.preprocess import preprocess_for
    from models.towers import Towers, tokenizer_of

    config = model_config("commercemm", "small")
    towers = Towers(config).load_pretrained()
    ids, mask = preprocess_for(config, tokenizer_of(config.text_tower)).tokens(texts)
    rows = []
    for part, there in zip(ids.split(64), mask.split(64), strict=True):
        with torch.inference_mode():
            rows.append((towers.text_tokens(part, there).float() * there[..., None]).sum(dim=1) / there.sum(dim=1, keepdim=True))
    return torch.cat(rows).numpy()


def seeds() -> tuple[np.ndarray, np.ndarray]:
    """Vectors (P, D) of the sample's products and (Q, D) of its queries."""
    products, queries = sample()
    texts = [f"{each['title']}. {each['description']} {' '.join(map(str, each['attributes'].values()))}" for each in products]
    both = embedded(texts + queries)
    centred = both - both.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:D]
    placed = centred @ axes.T
    return placed[: len(texts)], placed[len(texts) :]


def more(seed: np.ndarray, chosen: np.ndarray, draw: np.random.Generator, spread: float) -> np.ndarray:
    """(N, D) of length 1: one for each of the rows `chosen` of `seed`."""
    out, deviation = np.empty((len(chosen), D), np.float32), seed.std(axis=0)
    for start in range(0, len(chosen), 50_000):
        rows = chosen[start : start + 50_000]
        one, other = draw.integers(len(seed), size=(2, len(rows)))
        share = draw.uniform(0, 0.6, size=(len(rows), 1))
        noise = 0.3 * deviation * draw.normal(size=(len(rows), D))
        found = seed[rows] + spread * (share * (seed[one] - seed[other]) + noise)
        out[start : start + len(rows)] = found / np.linalg.norm(found, axis=1, keepdims=True)
    return out


def shop(chosen: np.ndarray, draw: np.random.Generator) -> pa.Table:
    """Listings of the products made from the rows `chosen` of the sample: their own words and categories, drawn prices and numbers."""
    products, count = sample()[0], len(chosen)
    parts = {"half": 2, "tenth": 10, "hundredth": 100, "thousandth": 1000}
    drawn = {name: draw.integers(size, size=count) for name, size in parts.items()}
    columns = [drawn[name].tolist() for name in parts]
    of = [products[row] for row in chosen.tolist()]
    return pa.table(
        {
            "id": [f"p{row}" for row in range(count)],
            "title": [each["title"] for each in of],
            "category": [" > ".join(each["category_path"]) for each in of],
            "price": np.round(draw.lognormal(3.5, 0.8, size=count), 2),
            "attributes": [json.dumps(dict(zip(parts, map(str, values), strict=True))) for values in zip(*columns, strict=True)],
            "words": [each["description"] for each in of],
        }
    )


def made(count: int, work: Path) -> tuple[np.ndarray, np.ndarray, pa.Table]:
    """Vectors (N, D) of products, (Q, D) of queries, and the listings; the same for the same count."""
    if not (work / "seeds.npz").is_file():
        products, queries = seeds()
        np.savez(work / "seeds.npz", products=products, queries=queries)
    with np.load(work / "seeds.npz") as kept:
        products, queries = kept["products"], kept["queries"]
    draw = np.random.default_rng(17)
    asked = more(queries, np.arange(2 * QUERIES) % len(queries), draw, 0.5)
    chosen = draw.integers(len(products), size=count)
    return more(products, chosen, draw, 1.0), asked, shop(chosen, draw)


def build(count: int, work: Path) -> None:
    """Builds the index below `work` in this process, and says what it took. Half of the queries tune it, the others measure it."""
    vectors, queries, products = made(count, work)
    np.save(work / "queries.npy", queries[QUERIES:])
    started, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_utime
    tuning = Held([], queries[:QUERIES], [])
    build_index(vectors, products, PROVENANCE, work / "index", tuning)
    seconds, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_utime - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = sum(path.stat().st_size for path in (work / "index").rglob("*") if path.is_file()) / 2**20
    told = {"seconds": round(seconds, 1), "cpu_seconds": round(used, 1), "peak_mib": round(peak), "files_mib": round(size)}
    write_json(work / "built.json", told)


def memory() -> dict[str, int]:
    """MiB that this process holds alone, and of files that are mapped (shared by all processes that map them)."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Rss"))
    return {"own_mib": int(lines["RssAnon"].split()[0]) // 1024, "mapped_mib": int(lines["RssFile"].split()[0]) // 1024}


def timed(ask: Callable[[int], Any], count: int) -> tuple[list[Any], dict[str, float]]:
    """The answers to `count` questions, one at a time, and milliseconds of one."""
    answers, seconds = [], []
    for number in range(count):
        started = time.perf_counter()
        answers.append(ask(number))
        seconds.append(time.perf_counter() - started)
    return answers, {f"p{part}_ms": round(1000 * float(np.percentile(seconds, part)), 3) for part in (50, 95, 99)}


def recall(found: list[np.ndarray], true: np.ndarray) -> float:
    """Share of the true nearest that were found; of fewer than K, of those that there are."""
    each = [len(np.intersect1d(a, b[b >= 0])) / max((b >= 0).sum(), 1) for a, b in zip(found, true, strict=True)]
    return round(float(np.mean(each)), 4)


def rows_of(answers: list[Any]) -> list[np.ndarray]:
    return [np.array([int(row["id"][1:]) for row, _ in each[0]], dtype=np.int64) for each in answers]


def searched(index: Index, queries: np.ndarray, wanted: Wanted) -> tuple[list[np.ndarray], dict[str, float]]:
    index.search(queries[:50], [wanted] * 50)
    answers, times = timed(lambda number: index.search(queries[number : number + 1], [wanted]), len(queries))
    return rows_of(answers), times


def passing(index: Index, queries: np.ndarray) -> Iterator[tuple[str, tuple[float, np.ndarray]]]:
    """Of each filter the share of products that pass, and the true nearest of those (Q, K)."""
    import faiss

    for name, wanted in FILTERS.items():
        rows = np.flatnonzero(index.listing.allowed(Filters.model_validate(wanted)).mask)
        chosen = faiss.SearchParameters(sel=faiss.IDSelectorBatch(rows))
        yield name, (len(rows) / index.record["count"], index.nearest.storage.search(queries, K, params=chosen)[1])


def filtered(index: Index, queries: np.ndarray, true: dict[str, tuple[float, np.ndarray]]) -> Iterator[dict[str, Any]]:
    for name, (share, nearest) in true.items():
        found, times = searched(index, queries, Wanted(K, Filters.model_validate(FILTERS[name])))
        yield {"filter": name, "passing": round(share, 5), "recall_at_10": recall(found, nearest), **times}


def hybrid(index: Index, queries: np.ndarray) -> dict[str, float]:
    texts = sample()[1]
    wanted = [Wanted(K, text=texts[number % len(texts)], lexical=0.5) for number in range(300)]
    return timed(lambda number: index.search(queries[number : number + 1], [wanted[number]]), 300)[1]


def inverted(index: Index, queries: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    """FAISS's inverted lists over the same vectors, with the fewest lists probed that find 98 % of the nearest."""
    import faiss

    vectors = index.nearest.vectors(np.arange(index.nearest.count))
    started = time.perf_counter()
    engine = faiss.IndexIVFFlat(faiss.IndexFlatIP(D), D, min(1024, len(vectors) // 64), faiss.METRIC_INNER_PRODUCT)
    engine.cp.max_points_per_centroid = 64
    engine.train(vectors)
    engine.add(vectors)
    seconds = time.perf_counter() - started
    for probes in (4, 8, 16, 32, 64, 128, 256, 512):
        engine.nprobe = probes
        found = engine.search(queries, K)[1]
        if recall(list(found), true) >= 0.98:
            break
    times = timed(lambda number: engine.search(queries[number : number + 1], K), len(queries))[1]
    return {"lists": engine.nlist, "probes": probes, "recall_at_10": recall(list(found), true), "build_seconds": round(seconds, 1), **times}


def crossover(count: int, work: Path) -> Iterator[dict[str, Any]]:
    """Flat against graph at growing sizes: milliseconds of one query."""
    vectors, queries, _ = made(SIZES[-1], work)
    for size in (size for size in SIZES if size <= count):
        told: dict[str, Any] = {"products": size}
        true: list[np.ndarray] = []
        for kind, limit in (("flat", vectors.size), ("hnsw", 0)):
            with tempfile.TemporaryDirectory() as folder:
                started = time.perf_counter()
                record = build_vectors(vectors[:size], Path(folder), queries[:QUERIES], limit)
                told[f"{kind}_build_seconds"] = round(time.perf_counter() - started, 2)
                nearest, every = Nearest.open(Path(folder), record), Allowed(np.ones(size, dtype=bool), size, Filters(), [], ())
                answers, times = timed(lambda number: nearest.search(queries[QUERIES + number], K, every)[0], 500)  # noqa: B023
            told |= {f"{kind}_{name}": value for name, value in times.items()}
            true = true or answers
        told |= {"breadth": record["graph"]["breadth"], "recall_at_10": recall(answers, np.stack(true))}
        yield told


def measure(count: int, work: Path) -> dict[str, Any]:
    import faiss

    faiss.omp_set_num_threads(1)
    queries = np.load(work / "queries.npy")
    before, started = memory(), time.perf_counter()
    index = Index.load(work / "index", PROVENANCE["bundle"])
    loading = time.perf_counter() - started
    found, times = searched(index, queries, Wanted(K))
    after = memory()
    storage = index.nearest.storage
    _, flat = timed(lambda number: storage.search(queries[number : number + 1], K), 100)
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    truth = storage.search(queries, K)[1]
    filters = dict(passing(index, queries[:FILTERED]))
    faiss.omp_set_num_threads(1)
    told = {"load_seconds": round(loading, 2), "memory_before": before, "memory_after_1000_queries": after}
    return {
        "products": count,
        "dimension": D,
        "queries": len(queries),
        "built": read_json(work / "built.json"),
        "record": {name: index.record[name] for name in ("kind", "graph") if name in index.record},
        **told,
        "search": {"recall_at_10": recall(found, truth), **times},
        "filters": list(filtered(index, queries[:FILTERED], filters)),
        "words_and_vectors": hybrid(index, queries),
        "flat": {"recall_at_10": 1.0, **flat},
        "ivf": inverted(index, queries, truth),
        "crossover": list(crossover(count, work)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--products", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path, help="folder to keep what is built in")
    parser.add_argument("--build", action="store_true", help="build only")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as aside:
        work = (given.work or Path(aside)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("GOODSIGHT_KEYS", str(work / "keys"))
        if given.build:
            return build(given.products, work)
        if not (work / "built.json").is_file():
            subprocess.run([sys.executable, __file__, "--build", "--products", str(given.products), "--work", str(work)], check=True)
        report = {"benchmark": "vector search", **described(), **measure(given.products, work)}
    write_json(OUT, report)
    print(json.dumps({name: report[name] for name in ("search", "filters", "flat", "ivf", "memory_after_1000_queries")}, indent=2))


if __name__ == "__main__":
    main()
