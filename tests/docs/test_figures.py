"""Figures in the README and in the tables of the benchmarks are those of the result files, to the digit."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

from monitoring.policy import RetrainingPolicy

HOUSE = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (?P<name>[^|]+) \| (?P<cells>.+) \|$", re.M)


def table() -> dict[str, list[str]]:
    """First cell -> the other cells, of the table between the README's `figures` marks."""
    block = (HOUSE / "README.md").read_text().split("<!-- figures -->")[1].split("<!-- /figures -->")[0]
    rows = {row["name"].strip(): [cell.strip() for cell in row["cells"].split("|")] for row in ROW.finditer(block)}
    return {name: cells for name, cells in rows.items() if not set(name) <= {"-"}}


def expected(catalogue: str) -> dict[str, str]:
    report = json.loads((HOUSE / "benchmarks" / "results" / f"main-job-{catalogue}.json").read_text())
    run, metrics, baselines = report["first_run"], report["first_run"]["metrics"], report["first_run"]["baselines"]

    def percent(value: float) -> str:
        return f"{100 * value:.1f}"

    def beside(metric: str, baseline: str) -> str:
        return f"{percent(metrics[metric])} ({percent(baselines[f'{metric}_{baseline}'])})"

    return {
        "products": f"{run['products']:,}",
        "leaf category (TF-IDF)": beside("leaf_accuracy", "tfidf"),
        "query -> product R@1 (TF-IDF)": beside("query_to_product_recall@1", "tfidf"),
        "query -> product mAP (TF-IDF)": beside("query_to_product_map", "tfidf"),
        "photo -> product R@1": percent(metrics["image_to_product_recall@1"]),
        "image -> text R@1": percent(metrics["image_to_text_recall@1"]),
        "minutes": f"{run['seconds'] / 60:.1f}",
        "peak memory, GiB": f"{run['peak_rss_bytes'] / 2**30:.1f}",
        "seconds, the same again": f"{report['same_again']['seconds']:.0f}",
    }


@pytest.mark.parametrize("column, catalogue", [(0, "sample"), (1, "shop")])
def test_the_readme_tells_what_was_measured(column: int, catalogue: str) -> None:
    found = {name: cells[column] for name, cells in table().items() if name in expected(catalogue)}
    assert found == expected(catalogue)


def test_the_figures_of_the_gate_are_those_of_its_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HOUSE / "benchmarks")
    benchmark = runpy.run_path(str(HOUSE / "benchmarks" / "gate.py"))
    told = (HOUSE / "docs" / "platform" / "README.md").read_text().split("<!-- gate figures -->")[1].split("<!-- /gate figures -->")[0]
    assert told.strip() == benchmark["table"](json.loads((HOUSE / "benchmarks" / "results" / "gate.json").read_text()))


def test_the_false_alarms_of_drift_are_those_of_its_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HOUSE / "benchmarks")
    benchmark = runpy.run_path(str(HOUSE / "benchmarks" / "false_alarms.py"))
    told = (HOUSE / "docs" / "platform" / "drift.md").read_text().split("<!-- drift figures -->")[1].split("<!-- /drift figures -->")[0]
    report = json.loads((HOUSE / "benchmarks" / "results" / "false-alarms.json").read_text())
    assert told.strip() == benchmark["table"](report)
    first, *_ = report["unchanged"].values()
    assert first["months"] >= 1_000 and first["alarms_a_month_at_most_95"] <= 1


def test_the_simulated_years_are_told_as_they_came_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HOUSE / "benchmarks")
    benchmark = runpy.run_path(str(HOUSE / "benchmarks" / "loop_table.py"))
    told = (HOUSE / "docs" / "platform" / "retraining.md").read_text().split("<!-- year figures -->")[1].split("<!-- /year figures -->")[0]
    results = {name: HOUSE / "benchmarks" / "results" / f"loop-{name}.json" for name in ("furniture", "shop")}
    reports = {name: json.loads(path.read_text()) for name, path in results.items()}
    assert told.strip() == benchmark["tables"](reports)
    digest = RetrainingPolicy.load().digest
    assert {report["policy"] for report in reports.values()} == {digest}, "of another policy than the default: run benchmarks/loop.py again"


def test_the_sizes_of_the_images_are_those_that_were_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HOUSE / "benchmarks")
    benchmark = runpy.run_path(str(HOUSE / "benchmarks" / "images.py"))
    told = (HOUSE / "k8s" / "README.md").read_text().split("<!-- image figures -->")[1].split("<!-- /image figures -->")[0]
    report = json.loads((HOUSE / "benchmarks" / "results" / "images.json").read_text())
    assert told.strip() == benchmark["table"](report)
    assert {each["revision"] for each in report["images"].values()} == {report["images"]["serve"]["revision"]}, "all of one commit"


REPORTS = sorted((HOUSE / "benchmarks" / "results").glob("pretraining-*.json"))


@pytest.mark.parametrize("path", REPORTS, ids=[path.stem for path in REPORTS])
def test_the_pages_of_the_benchmark_are_made_of_its_results(path: Path) -> None:
    tables = runpy.run_path(str(HOUSE / "benchmarks" / "tables.py"))
    assert (HOUSE / "docs" / "models" / f"{path.stem}.md").read_text() == tables["page"](json.loads(path.read_text()))


def test_the_page_of_the_speed_of_training_is_made_of_its_results() -> None:
    tables = runpy.run_path(str(HOUSE / "benchmarks" / "training_page.py"))
    assert (HOUSE / "docs" / "models" / "training.md").read_text() == tables["page"](tables["known"]())


def test_the_claims_of_the_papers_are_judged_by_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HOUSE / "benchmarks")
    claims = runpy.run_path(str(HOUSE / "benchmarks" / "claims.py"))
    assert (HOUSE / "docs" / "models" / "claims.md").read_text() == claims["page"](claims["known_results"]())


def test_a_claim_needs_seeds_that_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HOUSE / "benchmarks")
    verdict = runpy.run_path(str(HOUSE / "benchmarks" / "claims.py"))["verdict"]
    assert verdict([], 0.0) == "not measured yet"
    assert verdict([9.0], 0.0) == "1 seed, no verdict yet"
    assert verdict([2.0, 2.1], 0.0) == "2 seeds, no verdict yet"
    assert verdict([2.0, 2.1, 1.9], 0.0) == "*reproduced*"
    assert verdict([2.0, -1.0, 1.5], 0.0) == verdict([-2.0, -2.1, -1.9], 0.0) == "*not reproduced*"
    assert verdict([-0.2, -0.1, -0.3], -1.0) == "*reproduced*"
