"""A candidate measured on the held-out split, over the full test gallery, beside the baselines of the same items.

The gallery is every product of the splits `test` and `catalogue`. Queries and views are those of the split `test`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from goodsight.digests import sha256_bytes
from goodsight.files import write_json
from models.architectures.base import Architecture
from models.baselines import categories_by_words, most_frequent, tfidf_scores
from models.bundle import Bundle
from models.dataset import MASKS, Batch, ProductData, answers
from models.metrics import (
    Items,
    among_random,
    calibration_error,
    categorization,
    clusters,
    macro_f1,
    means,
    retrieval,
    same_category,
)
from models.slices import Scored, Subjects, about, alone, by_slice
from models.zero_shot import topic_embeddings

EVALUATION_BATCH = 256
FEWEST_VECTORS = 20  # test products, to tell of categories and clusters
KEPT_VECTORS = 200  # products whose embeddings are kept, to tell whether two models can share an index
ITEMS = pa.schema(
    [
        ("metric", pa.string()),
        ("item", pa.string()),
        ("value", pa.float64()),
        ("cluster", pa.string()),  # items of one cluster are not independent of each other
        ("slices", pa.list_(pa.string())),
    ]
)
VECTORS = pa.schema([("item", pa.string()), ("vector", pa.list_(pa.float32()))])


@dataclass
class Evaluation:
    """Figures and the per-item values behind them; `categories` holds (product id, true, predicted) for the plots.

    `slices` are the same figures of a part of the products, `subsets` of products that show some modalities alone.
    `costs` are what the candidate takes to serve, `vectors` the embeddings of some products of the gallery.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    baselines: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    items: dict[str, Scored] = field(default_factory=dict)
    categories: list[tuple[str, str, str]] = field(default_factory=list)
    slices: dict[str, dict[str, float]] = field(default_factory=dict)
    subsets: dict[str, dict[str, float]] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    vectors: dict[str, np.ndarray] = field(default_factory=dict)

    def save(self, folder: Path, provenance: dict[str, Any]) -> None:
        """Writes `metrics.json`, `items.parquet` and `vectors.parquet`."""
        figures = ("metrics", "baselines", "counts", "slices", "subsets", "costs")
        write_json(folder / "metrics.json", {**{name: getattr(self, name) for name in figures}, **provenance})
        columns: dict[str, list[Any]] = {name: [] for name in ITEMS.names}
        for metric, (subjects, values) in self.items.items():
            columns["metric"] += [metric] * len(values)
            columns["item"] += subjects.ids
            columns["value"] += values.tolist()
            columns["cluster"] += subjects.clusters
            columns["slices"] += subjects.slices
        pq.write_table(pa.table(columns, schema=ITEMS), folder / "items.parquet")
        vectors = {"item": list(self.vectors), "vector": list(self.vectors.values())}
        pq.write_table(pa.table(vectors, schema=VECTORS), folder / "vectors.parquet")


@torch.inference_mode()
def in_batches(rows: Tensor, face: Callable[[Tensor], Tensor]) -> Tensor:
    """`face` over `rows` in batches of a size that keeps memory flat."""
    return torch.cat([face(part).float().cpu() for part in rows.split(EVALUATION_BATCH)])


def image_text_scores(model: Architecture, data: ProductData, rows: Tensor) -> Tensor:
    """`(N, N)` inner products of the images of product `rows` (first axis) with their texts."""

    def both(part: Tensor) -> Tensor:
        found = model.unimodal(model.encode(data.products(part)))
        return torch.stack([found.image, found.text], dim=1)

    image, text = in_batches(rows, both).unbind(dim=1)
    return image @ text.T


def own_text(model: Architecture, data: ProductData) -> float:
    """Mean average precision with which a validation page's image finds its own text; 0 without such pages."""
    pages = data.whole_pages("val")
    if not len(pages):
        return 0.0
    scores = image_text_scores(model, data, pages).numpy()
    return float(retrieval("", scores, [[row] for row in range(len(pages))])["_map"].mean())


def product_embeddings(model: Architecture, data: ProductData, rows: Tensor) -> Tensor:
    """`(N, 3 * D)` embeddings of product `rows`: what the index holds."""
    return in_batches(rows, lambda part: model.embed(data.products(part)))


def evaluate(categorize: Bundle, retrieve: Bundle, data: ProductData) -> Evaluation:
    """Leaf and level accuracy, macro-F1, image <-> text, query -> product and image -> product retrieval."""
    result = Evaluation(counts={"products": len(data.product_ids), "classes": len(categorize.labels)})
    _evaluate_categories(categorize, data, result)
    _evaluate_image_text(retrieve.model, data, result)
    _evaluate_gallery(retrieve, data, result)
    _evaluate_vectors(retrieve, data, result)
    result.slices = by_slice(result.items)
    return result


def _add(result: Evaluation, subjects: Subjects, items: Items) -> None:
    result.metrics |= means(items)
    result.items |= {name: (subjects, values) for name, values in items.items()}


def _products(data: ProductData, rows: Tensor) -> Subjects:
    return about(data, [data.product_ids[row] for row in rows.tolist()], rows.tolist())


def _evaluate_categories(bundle: Bundle, data: ProductData, result: Evaluation) -> None:
    rows = data.rows("test")
    result.counts["test_products"] = len(rows)
    if not len(rows):
        return
    logits = in_batches(rows, lambda part: bundle.model.classify(data.products(part)))
    confidence, predicted = logits.softmax(dim=1).max(dim=1)
    true = [data.categories[row] for row in rows.tolist()]
    guesses = [bundle.labels[index] for index in predicted.tolist()]
    subjects = _products(data, rows)
    _add(result, subjects, categorization(true, guesses))
    result.metrics["macro_f1"] = macro_f1(true, guesses)
    correct = result.items["leaf_accuracy"][1]
    result.metrics["category_calibration_error"] = calibration_error(confidence.numpy(), correct)
    result.subsets = {name: {"leaf_accuracy": value} for name, value in _by_subset(bundle, data, rows, true).items()}
    result.baselines |= _category_baselines(data, rows, true)
    result.categories = list(zip(subjects.ids, true, guesses, strict=True))


def _category_baselines(data: ProductData, rows: Tensor, true: list[str]) -> dict[str, float]:
    train = data.rows("train", "catalogue").tolist()
    known = [data.categories[row] for row in train]
    documents = [[data.documents[row] for row in part] for part in (train, rows.tolist())]
    guesses = {"most_frequent": most_frequent(known, len(true)), "tfidf": categories_by_words(documents[0], known, documents[1])}
    found = {kind: means(categorization(true, each)) | {"macro_f1": macro_f1(true, each)} for kind, each in guesses.items()}
    return {f"{name}_{kind}": value for kind, figures in found.items() for name, value in figures.items()}


def _by_subset(bundle: Bundle, data: ProductData, rows: Tensor, true: list[str]) -> dict[str, float]:
    """Leaf accuracy when a product shows one modality, two, ... of those that the architecture reads and the catalogue has."""
    there = [name for name in bundle.config.modalities if MASKS[name] in data.products(rows[:1])]
    found = {}
    for size in range(1, len(there) + 1):
        for shown in combinations(there, size):

            def classify(part: Tensor, shown: tuple[str, ...] = shown) -> Tensor:
                return bundle.model.classify(_only(data.products(part), shown))

            predicted = in_batches(rows, classify).argmax(dim=1)
            guesses = [bundle.labels[index] for index in predicted.tolist()]
            found["+".join(shown)] = float(categorization(true, guesses)["leaf_accuracy"].mean())
    return found


def _only(batch: Batch, shown: tuple[str, ...]) -> Batch:
    hidden = [mask for name, mask in MASKS.items() if mask in batch and name not in shown]
    return {**batch, **{mask: torch.zeros_like(batch[mask]) for mask in hidden}}


def _evaluate_image_text(model: Architecture, data: ProductData, result: Evaluation) -> None:
    """Each test product's image finds its own text among all of them, and the other way round."""
    rows = data.whole_pages("test")
    result.counts["image_text_pairs"] = len(rows)
    if not len(rows):
        return
    scores = image_text_scores(model, data, rows).numpy()
    subjects, own = _products(data, rows), [[index] for index in range(len(rows))]
    for prefix, matrix in (("image_to_text", scores), ("text_to_image", scores.T)):
        _add(result, subjects, {name: values for name, values in retrieval(prefix, matrix, own).items() if "recall" in name})
        among = among_random(matrix, range(len(rows)), _alike(data, rows))
        result.metrics |= {f"{prefix}_random100_recall@{k}": value for k, value in among.items()}


def _alike(data: ProductData, rows: Tensor) -> list[np.ndarray]:
    """Positions among `rows` of the other products of each one's leaf category."""
    names = np.array([data.categories[row] for row in rows.tolist()])
    return [np.setdiff1d(np.flatnonzero(names == name), [place]) for place, name in enumerate(names)]


def _evaluate_vectors(bundle: Bundle, data: ProductData, result: Evaluation) -> None:
    """How the vectors of the test products stand by category: SCALE's figures, clusters, and what the category's name finds."""
    rows, model = data.rows("test"), bundle.model
    categories = [data.categories[row] for row in rows.tolist()]
    names = sorted(set(categories))
    if len(rows) < FEWEST_VECTORS or len(names) < 2:
        return
    vectors = product_embeddings(model, data, rows)
    result.metrics |= means(same_category(vectors.numpy(), categories)) | clusters(vectors.numpy(), categories)
    words, topics = topic_embeddings(model, bundle.preprocess, names)
    members = [[place for place, category in enumerate(categories) if category == name] for name in names]
    _add(result, alone(names), retrieval("topic_to_product", (topics @ vectors.T).numpy(), members))
    image = in_batches(rows, lambda part: model.unimodal(model.encode(data.products(part))).image)
    guesses = [names[index] for index in (image @ words.T).argmax(dim=1).tolist()]
    result.metrics["zero_shot_leaf_accuracy"] = float(categorization(categories, guesses)["leaf_accuracy"].mean())


def _evaluate_gallery(bundle: Bundle, data: ProductData, result: Evaluation) -> None:
    """Queries, photos and titles in other languages, each of which looks for its products among the whole gallery."""
    gallery = data.rows("test", "catalogue")
    result.counts["gallery"] = len(gallery)
    if not len(gallery):
        return
    vectors = product_embeddings(bundle.model, data, gallery)
    result.vectors = _kept([data.product_ids[row] for row in gallery.tolist()], vectors)
    _evaluate_queries(bundle.model, data, gallery, vectors, result)
    _evaluate_titles(bundle, data, gallery, vectors, result)


def _kept(ids: list[str], vectors: Tensor) -> dict[str, np.ndarray]:
    """The embeddings of some products: the same ones for every model, whatever the order."""
    order = sorted(range(len(ids)), key=lambda place: sha256_bytes(ids[place].encode()))
    return {ids[place]: vectors[place].numpy() for place in order[:KEPT_VECTORS]}


def _evaluate_queries(model: Architecture, data: ProductData, gallery: Tensor, vectors: Tensor, result: Evaluation) -> None:
    asked = answers(data.query_pairs, data.query_split, gallery, "test")
    result.counts["text_queries"] = len(asked)
    if asked:
        scores = _scores(model, asked, data.text_queries, vectors)
        subjects = _asked(data, data.query_ids, asked, gallery)
        _add(result, subjects, retrieval("query_to_product", scores, list(asked.values())))
        words = tfidf_scores([data.query_texts[row] for row in asked], [data.documents[row] for row in gallery.tolist()])
        figures = means(retrieval("query_to_product", words, list(asked.values())))
        result.baselines |= {f"{name}_tfidf": value for name, value in figures.items()}
    seen = answers(data.view_pairs, data.view_split, gallery, "test")
    result.counts["image_queries"] = len(seen)
    if seen:
        scores = _scores(model, seen, data.view_queries, vectors)
        _add(result, _asked(data, data.view_ids, seen, gallery), retrieval("image_to_product", scores, list(seen.values())))


def _asked(data: ProductData, ids: list[str], found: dict[int, list[int]], gallery: Tensor) -> Subjects:
    """Queries as subjects: each counts for the first product that answers it."""
    return about(data, [ids[row] for row in found], [int(gallery[places[0]]) for places in found.values()])


def _evaluate_titles(bundle: Bundle, data: ProductData, gallery: Tensor, vectors: Tensor, result: Evaluation) -> None:
    """The title of each test product in another language finds the product, which has its own title."""
    place = {row: index for index, row in enumerate(gallery.tolist())}
    test = set(data.rows("test").tolist())
    asked = [(code, row, title) for code, rows in data.translations.items() for row, title in rows.items() if row in test]
    if not asked:
        return

    def embedded(part: Tensor) -> Tensor:
        words = [asked[index][2] for index in part.tolist()]
        return bundle.model.embed(bundle.preprocess.batch([None] * len(words), words))

    scores = in_batches(torch.arange(len(asked)), embedded) @ vectors.T
    subjects = about(data, [f"{code} {data.product_ids[row]}" for code, row, _ in asked], [row for _, row, _ in asked])
    for slices, (code, _, _) in zip(subjects.slices, asked, strict=True):
        slices.append(f"language={code}")
    _add(result, subjects, retrieval("title_to_product", scores.numpy(), [[place[row]] for _, row, _ in asked]))


def _scores(model: Architecture, rows: Iterable[int], batch: Callable[[Tensor], Batch], vectors: Tensor) -> np.ndarray:
    queries = in_batches(torch.tensor(list(rows)), lambda part: model.embed(batch(part)))
    return (queries @ vectors.T).numpy()
