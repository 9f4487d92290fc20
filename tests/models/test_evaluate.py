"""The evaluation against brute force: one product and one query at a time, ranked by hand."""

from __future__ import annotations

import json
from math import log2
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from models.bundle import Bundle
from models.dataset import ProductData
from models.evaluate import Evaluation, evaluate
from models.finetune import labels_of
from tests.models.made import PRODUCTS, pairs, preprocess, shop, tiny_model


@pytest.fixture(scope="module")
def data() -> ProductData:
    """Test products are 2, 5, 10, 13, 18, 21; 2 has no image, 10 no text. Catalogue product 11 also answers query 5."""
    made = shop(no_image=(2,), no_text=(10,))
    known = zip(made.query_pairs.query.tolist(), made.query_pairs.product.tolist(), strict=True)
    made.query_pairs = pairs([*known, (5, 11)])
    return made


@pytest.fixture(scope="module")
def bundles(data: ProductData) -> tuple[Bundle, Bundle]:
    labels = labels_of(data)
    return Bundle(tiny_model(1, len(labels)), preprocess(), "categorize", labels), Bundle(
        tiny_model(2), preprocess(), "retrieve"
    )


@pytest.fixture(scope="module")
def found(bundles: tuple[Bundle, Bundle], data: ProductData) -> Evaluation:
    return evaluate(*bundles, data)


def expected_ranks(query: Tensor, vectors: dict[int, Tensor], answers: set[int]) -> list[int]:
    """1-based ranks of the answers among `vectors` (product row -> embedding)."""
    order = sorted(vectors, key=lambda row: -float(query @ vectors[row]))
    return sorted(order.index(row) + 1 for row in answers)


def assert_retrieval(found: Evaluation, prefix: str, ranks: dict[str, list[int]]) -> None:
    for k in (1, 5, 10):
        hits = [float(min(rank) <= k) for rank in ranks.values()]
        assert found.metrics[f"{prefix}_recall@{k}"] == pytest.approx(sum(hits) / len(hits))
        subjects, values = found.items[f"{prefix}_recall@{k}"]
        assert dict(zip(subjects.ids, values.tolist(), strict=True)) == dict(zip(ranks, hits, strict=True))


def assert_order(found: Evaluation, prefix: str, ranks: dict[str, list[int]]) -> None:
    precision = [sum((place + 1) / rank for place, rank in enumerate(row)) / len(row) for row in ranks.values()]
    assert found.metrics[f"{prefix}_map"] == pytest.approx(sum(precision) / len(precision))
    gains = [
        sum(1 / log2(rank + 1) for rank in row if rank <= 10) / sum(1 / log2(place + 2) for place in range(len(row)))
        for row in ranks.values()
    ]
    assert found.metrics[f"{prefix}_ndcg@10"] == pytest.approx(sum(gains) / len(gains))


@pytest.fixture(scope="module")
def gallery(bundles: tuple[Bundle, Bundle], data: ProductData) -> dict[int, Tensor]:
    rows = [row for row in range(PRODUCTS) if data.split[row] in ("test", "catalogue")]
    with torch.inference_mode():
        return {row: bundles[1].model.embed(data.products(torch.tensor([row])))[0] for row in rows}


@torch.inference_mode()
def test_text_queries_over_the_whole_gallery(
    found: Evaluation, bundles: tuple[Bundle, Bundle], data: ProductData, gallery: dict[int, Tensor]
) -> None:
    assert found.counts["gallery"] == len(gallery) == 9
    answers = {5: {5, 11}} | {row: {row} for row in (2, 10, 13, 18, 21)}
    answers[2] = {2, 5, 3}  # as `shop` says; product 3 is of the catalogue
    ranks = {}
    for row in sorted(answers):
        vector = bundles[1].model.embed(data.text_queries(torch.tensor([row])))[0]
        ranks[f"q{row}"] = expected_ranks(vector, gallery, answers[row])
    assert_retrieval(found, "query_to_product", ranks)
    assert_order(found, "query_to_product", ranks)
    assert found.counts["text_queries"] == 6


@torch.inference_mode()
def test_image_queries_over_the_whole_gallery(
    found: Evaluation, bundles: tuple[Bundle, Bundle], data: ProductData, gallery: dict[int, Tensor]
) -> None:
    ranks = {}
    for row in (2, 5, 10, 13, 18, 21):
        vector = bundles[1].model.embed(data.view_queries(torch.tensor([row])))[0]
        ranks[f"v{row}"] = expected_ranks(vector, gallery, {row})
    assert_retrieval(found, "image_to_product", ranks)
    assert_order(found, "image_to_product", ranks)


@torch.inference_mode()
def test_image_and_text_of_one_page_find_each_other(
    found: Evaluation, bundles: tuple[Bundle, Bundle], data: ProductData
) -> None:
    rows = [5, 13, 18, 21]  # 2 has no image, 10 no text
    model = bundles[1].model
    parts = {row: model.embeddings(model.encode(data.products(torch.tensor([row])))) for row in rows}
    image, text = ({row: getattr(part, name)[0] for row, part in parts.items()} for name in ("image", "text"))
    assert found.counts["image_text_pairs"] == 4
    assert_retrieval(found, "image_to_text", {f"p{row}": expected_ranks(image[row], text, {row}) for row in rows})
    assert_retrieval(found, "text_to_image", {f"p{row}": expected_ranks(text[row], image, {row}) for row in rows})


@torch.inference_mode()
def test_categories_of_the_held_out_products(
    found: Evaluation, bundles: tuple[Bundle, Bundle], data: ProductData
) -> None:
    guesses = {}
    for row in (2, 5, 10, 13, 18, 21):
        guesses[row] = bundles[0].labels[int(bundles[0].model.classify(data.products(torch.tensor([row]))).argmax())]
    hits = [float(guess == data.categories[row]) for row, guess in guesses.items()]
    tops = [float(guess.split(" > ")[0] == data.categories[row].split(" > ")[0]) for row, guess in guesses.items()]
    assert found.metrics["leaf_accuracy"] == pytest.approx(sum(hits) / 6)
    assert found.metrics["level_1_accuracy"] == pytest.approx(sum(tops) / 6)
    assert found.categories == [(f"p{row}", data.categories[row], guess) for row, guess in guesses.items()]
    assert 0 <= found.metrics["macro_f1"] <= 1


def test_baselines_stand_beside_the_same_items(found: Evaluation, data: ProductData) -> None:
    learned = [data.categories[row] for row in range(PRODUCTS) if data.split[row] in ("train", "catalogue")]
    common = max(sorted(set(learned), key=learned.index), key=learned.count)
    share = [data.categories[row] for row in (2, 5, 10, 13, 18, 21)].count(common) / 6
    assert found.baselines["leaf_accuracy_most_frequent"] == pytest.approx(share)
    assert found.baselines["query_to_product_recall@1_tfidf"] > 0.5  # "thing 13" is a word of its document


def test_items_mean_the_metric_also_on_disk(found: Evaluation, tmp_path: Path) -> None:
    found.save(tmp_path, {"snapshot": "s", "candidate": "c"})
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["metrics"] == found.metrics
    assert (written["snapshot"], written["candidate"], written["counts"]["gallery"]) == ("s", "c", 9)
    items = pq.read_table(tmp_path / "items.parquet").to_pylist()
    of_all = {"macro_f1", "category_calibration_error", *(name for name in written["metrics"] if "random100" in name)}
    for name in set(written["metrics"]) - of_all:
        values = [item["value"] for item in items if item["metric"] == name]
        assert sum(values) / len(values) == pytest.approx(written["metrics"][name]), name
    assert {item["metric"] for item in items} == set(written["metrics"]) - of_all


def test_items_tell_their_clusters_and_slices_and_some_products_their_embedding(
    found: Evaluation, gallery: dict[int, Tensor], tmp_path: Path
) -> None:
    found.save(tmp_path, {})
    items = pq.read_table(tmp_path / "items.parquet").to_pylist()
    (query,) = [item for item in items if (item["metric"], item["item"]) == ("query_to_product_map", "q5")]
    assert query["cluster"] == "5" and "depth=3" in query["slices"] and "tail" in query["slices"]  # of product 5, its first answer
    (view,) = [item for item in items if (item["metric"], item["item"]) == ("image_to_product_map", "v10")]
    assert view["cluster"] == "10" and "no text" in view["slices"]
    kept = {row["item"]: row["vector"] for row in pq.read_table(tmp_path / "vectors.parquet").to_pylist()}
    assert kept.keys() == {f"p{row}" for row in gallery}
    assert np.allclose(kept["p5"], gallery[5].numpy(), atol=1e-5)


def test_without_held_out_queries_there_are_no_query_figures(bundles: tuple[Bundle, Bundle], tmp_path: Path) -> None:
    data = shop()
    data.query_split = data.view_split = ["train"] * PRODUCTS
    found = evaluate(*bundles, data)
    assert not [name for name in found.metrics if name.startswith(("query_to", "image_to_product"))]
    assert found.metrics["leaf_accuracy"] >= 0
    found.save(tmp_path, {})


def test_a_shop_whose_products_are_all_catalogue_or_test(bundles: tuple[Bundle, Bundle]) -> None:
    data = shop()
    data.split = ["catalogue" if name == "train" else name for name in data.split]
    assert "leaf_accuracy_most_frequent" in evaluate(*bundles, data).baselines


def test_a_shop_with_nothing_held_out(bundles: tuple[Bundle, Bundle], tmp_path: Path) -> None:
    data = shop()
    data.split = ["train"] * PRODUCTS
    found = evaluate(*bundles, data)
    assert found.metrics == {}
    found.save(tmp_path, {})
    assert pq.read_table(tmp_path / "items.parquet").num_rows == 0


@pytest.mark.parametrize("architecture", ["commercemm", "scale"])
def test_figures_of_vectors_topics_slices_and_subsets(architecture: str) -> None:
    """On enough products: every new family of figures is there, and each is what it says."""
    data = shop(count=160, architecture=architecture)
    labels = labels_of(data)
    categorize = Bundle(tiny_model(1, len(labels), architecture), preprocess(), "categorize", labels)
    retrieve = Bundle(tiny_model(2, 0, architecture), preprocess(), "retrieve")
    found = evaluate(categorize, retrieve, data)
    names = {"cluster_nmi", "cluster_purity", "scale_map@5", "category_prec@1", "topic_to_product_map", "zero_shot_leaf_accuracy"}
    assert names <= found.metrics.keys()
    assert all(0 <= value <= 1 for value in found.metrics.values())
    modalities = categorize.config.modalities
    assert len(found.subsets) == 2 ** len(modalities) - 1
    assert found.subsets["+".join(modalities)]["leaf_accuracy"] == found.metrics["leaf_accuracy"]
    subjects, values = found.items["leaf_accuracy"]
    tables = {id for id, category in zip(data.product_ids, data.categories, strict=True) if category == "Furniture > Tables"}
    depth = np.mean([value for id, value in zip(subjects.ids, values, strict=True) if id in tables])
    assert found.slices["depth=2"]["leaf_accuracy"] == pytest.approx(depth)


@torch.inference_mode()
def test_titles_in_another_language_find_their_product(bundles: tuple[Bundle, Bundle]) -> None:
    data = shop(count=160)
    test, gallery = data.rows("test").tolist(), data.rows("test", "catalogue")
    data.translations = {"fr": {row: f"canapé {row}" for row in range(160)}, "de": {test[0]: "Sofa"}}
    found = evaluate(*bundles, data).slices
    assert "language=de" not in found  # too few to tell
    vectors = {row: bundles[1].model.embed(data.products(torch.tensor([row])))[0] for row in gallery.tolist()}
    hits = []
    for row in test:
        query = bundles[1].model.embed(bundles[1].preprocess.batch([None], [data.translations["fr"][row]]))[0]
        hits.append(expected_ranks(query, vectors, {row}) == [1])
    assert found["language=fr"]["items"] == len(test)
    assert found["depth=2"].keys() >= {"leaf_accuracy", "query_to_product_map", "title_to_product_map"}
    assert found["language=fr"]["title_to_product_recall@1"] == pytest.approx(sum(hits) / len(hits))
