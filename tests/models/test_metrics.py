"""The figures: against `ranx` on random scores, and by hand where it has no equal."""

from __future__ import annotations

import numpy as np
import pytest
from ranx import Qrels, Run, evaluate

from models.baselines import categories_by_words, most_frequent, tfidf_scores
from models.metrics import (
    among_random,
    calibration_error,
    categorization,
    clusters,
    macro_f1,
    means,
    ranks,
    retrieval,
    same_category,
)


@pytest.fixture(scope="module")
def asked() -> tuple[np.ndarray, list[list[int]]]:
    """Scores of 30 queries over 60 products without ties, and 1 to 14 answers each."""
    rng = np.random.default_rng(5)
    scores = rng.permuted(np.tile(np.linspace(-1, 1, 60), (30, 1)), axis=1)
    return scores, [rng.choice(60, size=rng.integers(1, 15), replace=False).tolist() for _ in range(30)]


@pytest.mark.parametrize(
    "ours, theirs",
    [
        ("recall@1", "hit_rate@1"),
        ("recall@5", "hit_rate@5"),
        ("recall@10", "hit_rate@10"),
        ("map", "map"),
        ("ndcg@10", "ndcg@10"),
    ],
)
def test_ranx_agrees(asked: tuple[np.ndarray, list[list[int]]], ours: str, theirs: str) -> None:
    scores, relevant = asked
    run = Run({f"q{q}": {f"d{d}": float(s) for d, s in enumerate(row)} for q, row in enumerate(scores)})
    qrels = Qrels({f"q{q}": {f"d{d}": 1 for d in wanted} for q, wanted in enumerate(relevant)})
    evaluate(qrels, run, theirs)
    found = retrieval("x", scores, relevant)[f"x_{ours}"]
    expected = [run.scores[theirs][f"q{q}"] for q in range(len(scores))]
    assert found == pytest.approx(expected, abs=1e-9)


def test_equal_scores_keep_the_order_of_the_gallery() -> None:
    scores = np.array([[0.5, 0.9, 0.5, 0.5]])
    assert ranks(scores, [[3, 0]])[0].tolist() == [1, 3]
    assert retrieval("x", scores, [[2]])["x_map"].tolist() == [pytest.approx(1 / 3)]


def test_retrieval_by_hand() -> None:
    # answers stand at ranks 1 and 3 of 4: precision 1/1 and 2/3; gains 1 + 1/log2(4) of at best 1 + 1/log2(3)
    items = retrieval("x", np.array([[4.0, 3.0, 2.0, 1.0]]), [[0, 2]])
    assert items["x_map"].tolist() == [pytest.approx((1 + 2 / 3) / 2)]
    assert items["x_ndcg@10"].tolist() == [pytest.approx((1 + 1 / 2) / (1 + 1 / np.log2(3)))]
    assert items["x_recall@1"].tolist() == [1.0]


def test_levels_of_a_category_path() -> None:
    true = ["Furniture > Seating > Sofas", "Furniture > Seating > Sofas", "Furniture > Tables", "Lamps"]
    predicted = ["Furniture > Seating > Chairs", "Furniture > Tables", "Furniture > Tables", "Furniture"]
    items = categorization(true, predicted)
    assert items["leaf_accuracy"].tolist() == [0, 0, 1, 0]
    assert items["level_1_accuracy"].tolist() == [1, 1, 1, 0]
    assert items["level_2_accuracy"].tolist() == [1, 0, 1, 0]
    assert set(items) == {"leaf_accuracy", "level_1_accuracy", "level_2_accuracy"}


def test_macro_f1_by_hand() -> None:
    # a: precision 1, recall 1/2; b: precision 1/2, recall 1: each F1 2/3
    assert macro_f1(["a", "a", "b"], ["a", "b", "b"]) == pytest.approx(2 / 3)
    # a category that only a prediction names has no F1 of its own
    assert macro_f1(["a", "a"], ["a", "c"]) == pytest.approx(2 / 3)


def test_means_leaves_out_what_was_not_measured() -> None:
    assert means({"x": np.array([1.0, 0.0]), "none": np.array([])}) == {"x": 0.5}


def test_the_most_frequent_category_is_the_guess() -> None:
    assert most_frequent(["b", "a", "a"], 2) == ["a", "a"]


def test_words_alone_name_the_category() -> None:
    known = {"red sofa": "seat", "corner sofas": "seat", "desk lamp": "light", "lamps of brass": "light"}
    assert categories_by_words(list(known), list(known.values()), ["a lamp", "sofa bed"]) == ["light", "seat"]


@pytest.mark.parametrize("documents", [["", " ", ""], ["a sofa", "a lamp", "a bed"]], ids=["no words", "one category"])
def test_without_anything_to_learn_from_the_most_frequent_category_is_the_guess(documents: list[str]) -> None:
    categories = ["b", "a", "a"] if not documents[0] else ["a", "a", "a"]
    assert categories_by_words(documents, categories, ["a sofa", ""]) == ["a", "a"]


def test_word_matching_finds_the_document_with_the_words() -> None:
    scores = tfidf_scores(["red sofa", "unheard"], ["blue chair", "a red sofa", "red lamp"])
    assert scores[0].argmax() == 1
    assert scores[0, 0] == 0
    assert not scores[1].any()


def test_calibration_error_by_hand() -> None:
    confidence, correct = np.array([0.95, 0.95, 0.95, 0.95, 0.15]), np.array([1.0, 1.0, 1.0, 0.0, 0.0])
    assert calibration_error(confidence, correct) == pytest.approx((abs(4 * 0.95 - 3) + 0.15) / 5)
    assert calibration_error(np.array([1.0, 1.0]), np.array([1.0, 1.0])) == 0.0


def test_same_category_by_hand() -> None:
    """Query a1's list is b1, a2, a3: one hit at 2 and one at 3; the last product is alone in its category."""
    scores = np.array([[0, 3, 2, 1, 0], [3, 0, 1, 2, 0], [2, 1, 0, 3, 0], [1, 2, 3, 0, 0], [0, 0, 0, 0, 0]], dtype=float)
    labels = ["a", "b", "a", "a", "c"]
    values, vectors = np.linalg.eigh(scores + 10 * np.eye(5))  # a Gram matrix with these off-diagonal values
    items = same_category(vectors * np.sqrt(values), labels, cutoffs=(1, 5))
    assert items["category_prec@1"].tolist() == [0, 1, 1]  # of a1, a2 and a3; b and c have no other of their category
    assert items["category_prec@5"].tolist() == [0.5, 1, 0.5]  # lists of two, as many as there are others
    assert items["scale_map@5"].tolist() == [0.5, 1, 1]


def test_clusters_of_separate_heaps_are_pure() -> None:
    heaps = np.repeat(np.eye(3), 5, axis=0) + 0.01 * np.random.default_rng(0).normal(size=(15, 3))
    assert clusters(heaps, [name for name in "abc" for _ in range(5)]) == pytest.approx({"cluster_nmi": 1.0, "cluster_purity": 1.0})
    mixed = clusters(heaps, list("abc" * 5))
    assert mixed["cluster_nmi"] < 0.2


def test_among_random_takes_all_when_there_are_few() -> None:
    scores = np.array([[0.5, 0.9, 0.1], [0.2, 0.3, 0.1], [0.9, 0.8, 0.7]])
    everyone = [np.array([1, 2]), np.array([0, 2]), np.array([0, 1])]
    assert among_random(scores, [0, 1, 2], everyone) == {1: pytest.approx(1 / 3), 5: 1.0, 10: 1.0}


def test_among_random_draws_a_hundred() -> None:
    scores = np.tile(np.arange(301.0), (50, 1))
    found = among_random(scores, [0] * 50, [np.arange(1, 301)] * 50)
    assert found == {1: 0.0, 5: 0.0, 10: 0.0}
    middle = among_random(scores, [299] * 50, [np.setdiff1d(np.arange(301), [299])] * 50)
    assert middle[1] == pytest.approx(2 / 3, abs=0.1)  # the one better item is drawn a third of the time
    assert middle[5] == 1.0
