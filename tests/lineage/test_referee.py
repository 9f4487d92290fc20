"""A verdict in words: the figures of its checks, what could not be shown and why, and what to do next."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lineage import plots
from lineage.gate import decide
from lineage.overrides import Override
from lineage.referee import lines, review, shown
from tests.lineage.evaluations import evaluation, hits, policy

RUN = {
    "run_id": "20270131T120000-7",
    "steps": [
        {"name": "pretrain", "cached": False, "seconds": 400.0},
        {"name": "finetune categorize", "cached": False, "seconds": 150.0},
        {"name": "evaluate", "cached": False, "seconds": 50.0},
        {"name": "index", "cached": False, "seconds": 1000.0},
    ],
}
RULES = policy(
    slices=[{"metrics": ["leaf_accuracy"], "within": ["source=*"], "margin": 0.1, "min_items": 100}],
    ceilings={"embed_ms": {"ceiling": 100}, "bundle_bytes": {"ceiling": 2**30, "growth": 0.5}},
    leaf_accuracy={"floor": 0.5, "baseline": "words", "margin": 0.05},
    macro_f1={"required": False, "floor": 0.9},
    query_to_product_map={"required": False, "margin": 0.02},
).model_copy(update={"primary": "leaf_accuracy"})


@pytest.fixture
def verdict(tmp_path: Path) -> dict[str, Any]:
    """Better on the whole by 3 points, with a source that lost, too few queries, no memory measured, and one check overridden."""
    names = list(hits(1000, 0))
    slices = {name: ["source=shelf" if place < 200 else "source=few" if place < 250 else "source=web"] for place, name in enumerate(names)}
    ours = {name: float(place >= 60) for place, name in enumerate(names)}
    theirs = {name: float(10 <= place < 920) for place, name in enumerate(names)}
    common: dict[str, Any] = {"baselines": {"words": 0.6}, "vectors": {"a": [1.0, 0.0]}}
    champion = evaluation(tmp_path / "champion", {"leaf_accuracy": theirs, "query_to_product_map": hits(35, 5)}, **common)
    candidate = evaluation(
        tmp_path / "candidate",
        {"leaf_accuracy": ours, "query_to_product_map": hits(34, 6)},
        slices=slices,
        costs={"embed_ms": 14.26, "bundle_bytes": 2.0**31},
        metrics={"macro_f1": 0.5},
        **common,
    )
    allowed = Override("macro_f1/floor", "", "rare categories come in spring", "ada", "2027-01-31")
    return decide(candidate, champion, RULES, [allowed])


def test_it_reads_like_a_report(verdict: dict[str, Any]) -> None:
    text = "\n".join(lines(review(verdict, RUN)))
    assert text.startswith(
        "Run 20270131T120000-7. The candidate candidatecan may not serve: 3 of 10 checks that could be judged did not pass "
        "(bundle_bytes/ceiling, leaf_accuracy/non_inferiority/source=shelf, query_to_product_map/non_inferiority)."
    )
    headings = [line for line in text.splitlines() if re.search(r" \(\d+\)$", line)]
    assert headings == ["What failed, and what to do (3)", "What was overridden (1)", "What could not be judged (1)", "What passed (6)"]
    for words in (
        "leaf_accuracy/floor: 94.0 %; the floor is 50.0 %.",
        "embed_ms/ceiling: 14.3 ms; the ceiling is 100.0 ms.",
        "bundle_bytes/ceiling: 2,048 MiB; the ceiling is 1,024 MiB.",
        "94.0 % against the champion's 91.0 % on 1,000 items: +3.0 points, between ",
        "That it is not worse by 5 points or more is shown (adjusted p ",
        "70.0 % against the champion's 95.0 % on 200 items: -25.0 points, between ",
        "It is worse: no difference is ruled out.",
        "Too little data, which is not the same as no difference: so few items cannot tell a difference below ",
        " items would show the margin.",
        "source=few: 50 items in common, 100 needed: ",
        "Overridden by ada until 2027-01-31: rare categories come in spring",
        "Index. The champion's index can be kept: embeddings of the same products agree (by up to 0 of their length on 1 products; ",
        "Cost. Training and evaluation took 600 s in this run: 200 s for each of the +3.0 points of leaf_accuracy over the champion.",
        "      -> Hold out more products or queries",
        "goodsight gate override --run 20270131T120000-7 --check CHECK",
    ):
        assert words in text, words


def test_what_a_gain_outweighs_is_said_apart(tmp_path: Path) -> None:
    rules = policy(leaf_accuracy={"margin": 0.05}, query_to_product_map={"margin": 0.05}).model_copy(update={"undecided": "weigh"})
    champion = evaluation(tmp_path / "champion", {"leaf_accuracy": hits(800, 200), "query_to_product_map": hits(60, 0)})
    candidate = evaluation(tmp_path / "candidate", {"leaf_accuracy": hits(900, 100), "query_to_product_map": hits(58, 2)})
    verdict = decide(candidate, champion, rules)
    report = review(verdict, RUN)
    assert report.promoted and not report.failed and not report.appeal
    assert report.decision.endswith("1 that too few items can decide are outweighed by the gain in leaf_accuracy.")
    assert "What too few items can rule out, and a gain outweighs (1)" in "\n".join(lines(report))
    assert plots.comparisons(verdict["checks"])


def test_a_first_run_and_one_from_the_cache_say_so(tmp_path: Path) -> None:
    verdict = decide(evaluation(tmp_path / "candidate", {"leaf_accuracy": hits(80, 20)}), None, policy(leaf_accuracy={"floor": 0.5}))
    run = {"run_id": "one", "steps": [{"name": "pretrain", "cached": True, "seconds": 0.0}]}
    text = "\n".join(lines(review(verdict, run)))
    assert "may serve: all 2 checks that could be judged passed." in text
    assert "Nothing serves yet: there is no champion to compare with" in text
    assert "must be embedded anew: nothing serves yet." in text
    assert "1 of 1 steps from the cache; no gain over a champion is known." in text
    nothing = decide(tmp_path / "candidate", None, policy(macro_f1={"required": False}))
    assert "may not serve: no check could be judged." in review(nothing, run).decision


def test_every_check_of_a_verdict_is_told_once(verdict: dict[str, Any]) -> None:
    told = [finding.check for _, findings in review(verdict, RUN).sections for finding in findings]
    assert sorted(told) == sorted(check["id"] for check in verdict["checks"])
    again = review(json.loads(json.dumps(verdict)), RUN)
    assert again == review(verdict, RUN)


def test_plots_are_pictures_of_what_there_is(verdict: dict[str, Any], tmp_path: Path) -> None:
    for draw in (plots.comparisons, plots.figures):
        assert draw(verdict["checks"]).startswith("data:image/svg+xml;base64,")
        assert draw(verdict["checks"]) == draw(verdict["checks"])
        assert draw([]) == ""


@pytest.mark.parametrize(
    ("figure", "value", "words"), [("x", 0.1234, "12.3 %"), ("a_ms", 1234.56, "1,234.6 ms"), ("a_bytes", 2**20, "1 MiB")]
)
def test_figures_have_their_unit(figure: str, value: float, words: str) -> None:
    assert shown(figure, value) == words
