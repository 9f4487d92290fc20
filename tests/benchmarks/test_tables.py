"""The page of the benchmark's tables: every variant with its means and intervals, and nothing that was not measured."""

from __future__ import annotations

import runpy
from typing import Any

from goodsight.digests import HOUSE


def measured(mean: float, half: float | None = None) -> dict[str, float | None]:
    return {"mean": mean, "half_width": half}


CURVE = {"text_layers": 1, "ms_a_page": 2.5, "query_to_product_map": 0.5, "image_to_product_recall@1": 0.25, "leaf_accuracy": 0.125}
RANKED = {"k": 10, "pages": 500, "image_to_text_recall@1": 0.2, "image_to_text_recall@1_reranked": 0.3, "ms_a_query": 7.25}
BACK = {"text_to_image_recall@1": 0.5, "text_to_image_recall@1_reranked": 0.4}
REPORT: dict[str, Any] = {
    "benchmark": "pretraining-shop",
    "order": ["itc", "eclip"],
    "variants": {
        "itc": {
            "seeds": 2,
            "commits": ["a1", "b2"],
            "steps": 5,
            "seconds_a_step": 1.5,
            "pretrained": {"leaf_accuracy": measured(0.9, 0.01)},
        },
        "eclip": {
            "seeds": 1,
            "commits": ["b2"],
            "steps": 5,
            "seconds_a_step": 2.0,
            "pretrained": {"leaf_accuracy": measured(0.8), "pointing_chance": measured(0.0625)},
            "finetuned": {"leaf_accuracy": measured(0.95)},
        },
    },
    "runs": {
        "itc": [],
        "eclip": [{"seed": 17, "machine": {"processor": "Abacus"}, "curve": [CURVE], "reranking": [RANKED, RANKED | BACK]}],
    },
}


def test_a_page_has_a_row_for_each_variant_in_each_table_that_has_its_figures() -> None:
    lines = runpy.run_path(str(HOUSE / "benchmarks" / "tables.py"))["page"](REPORT).splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        "# pretraining-shop",
        "## As pretrained; the category by a ridge classifier on the vectors of the pages",
        "## Fine-tuned for each task alone",
        "## eclip: cost against quality of one set of weights",
        "## Re-ranking by matching: R@1 before and after; all pages re-ranked is matching alone",
    ]
    assert [line for line in lines if line.startswith(("| itc", "| eclip", "| 17"))] == [
        "| itc | 2 | a1, b2 | 5 | 1.50 | 90.0 ± 1.0 |",
        "| eclip | 1 | b2 | 5 | 2.00 | 80.0 |",
        "| eclip | 1 | b2 | 5 | 2.00 | 6.2 |",
        "| eclip | 1 | b2 | 5 | 2.00 | 95.0 |",
        "| 17 | 1 | 2.50 | 50.0 | 25.0 | 12.5 |",
        "| eclip | 17 | 500 | 10 | 20.0, 30.0 | - | 7.2 |",
        "| eclip | 17 | 500 | 10 | 20.0, 30.0 | 50.0, 40.0 | 7.2 |",
    ]
    assert lines[3] == "in %, mean ± half of the 95 % interval over the seeds; measured on a thread of Abacus."
    for line, rule in zip(lines, lines[1:], strict=False):
        if rule.startswith("|---"):
            assert line.count("|") == rule.count("|")
