"""The plots of an evaluation: real pictures, also where little was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.evaluate import Evaluation
from models.plots import SHOWN, confusion, save_plots

CURVES = {
    "pretraining": [{"step": 0.0, "itc": 3.0, "t->i": 2.0, "loss": 5.0}, {"step": 1.0, "itc": 2.0, "loss": 2.0}],
    "categorize": [{"step": 0.0, "category": 1.0, "loss": 1.0}],
}


def evaluation(classes: int = 3) -> Evaluation:
    names = [f"Furniture > Kind {index}" for index in range(classes)]
    rows = [(f"p{index}", names[index % classes], names[index // 2 % classes]) for index in range(4 * classes)]
    return Evaluation(
        metrics={"leaf_accuracy": 0.5, "query_to_product_recall@1": 0.4, "query_to_product_map": 0.3},
        baselines={"query_to_product_recall@1_tfidf": 0.2},
        counts={},
        items={"leaf_accuracy": (["p0"], np.array([1.0]))},
        categories=rows,
    )


@pytest.mark.parametrize("classes", [1, 3, 40])
def test_four_pictures(classes: int, tmp_path: Path) -> None:
    save_plots(evaluation(classes), CURVES, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "categories.png",
        "confusion.png",
        "retrieval.png",
        "training.png",
    ]
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            image.load()
            assert image.format == "PNG"
            assert min(image.size) > 100
            assert len(image.convert("L").histogram()) and image.convert("L").getextrema() != (255, 255)


def test_where_nothing_was_measured(tmp_path: Path) -> None:
    save_plots(Evaluation({}, {}, {}, {}, []), {}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["retrieval.png"]


def test_the_same_figures_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_plots(evaluation(), CURVES, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_confusion_counts() -> None:
    names, matrix = confusion(evaluation(2))
    # true a b a b a b a b; predicted a a b b a a b b
    assert names == ["Furniture > Kind 0", "Furniture > Kind 1", "(others)"]
    assert matrix == [[2, 2, 0], [2, 2, 0], [0, 0, 0]]


def test_rare_categories_are_one_last_class() -> None:
    names, matrix = confusion(evaluation(SHOWN + 5))
    assert len(names) == len(matrix) == SHOWN + 1
    assert sum(map(sum, matrix)) == 4 * (SHOWN + 5)
    assert sum(matrix[-1]) == 4 * 5
