"""The report for people: lines, our page and Evidently's, which load nothing from anywhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from monitoring.drift import compare
from monitoring.drift_policy import DriftPolicy
from monitoring.drift_report import evidently_pages, figures, lines, page
from tests.monitoring.traffic import Row, traffic

POLICY = DriftPolicy()


def changed(row: Row, dice: object) -> Row:
    return {**row, **({"brightness": row["brightness"] - 0.2} if "brightness" in row else {}), "category": "<b>Sofa</b>"}


def test_the_lines_say_what_drifted_first_and_how_much() -> None:
    said = list(lines(compare(traffic(1_500, 1), traffic(1_000, 2, changed), POLICY)))
    assert "drifted: effect" in said[0] and "1,000 answers from 2026-03-01" in said[1]
    assert "DRIFTED" in said[2] and "and " in said[-1] and "more" in said[-1]
    assert any("brightness of task=categorize" in line and "->" in line for line in said)
    assert list(lines(compare(traffic(500, 1), traffic(10, 2), POLICY)))[0].startswith("Too little traffic")
    assert figures({"en": 0.25, "de": 0.5}) == "en 25.0%, de 50.0%" and figures(None) == ""


def test_the_page_has_every_finding_and_escapes_what_traffic_brought() -> None:
    report = compare(traffic(1_500, 1), traffic(1_000, 2, changed), POLICY)
    html = page(report, POLICY, report.drifted[:1])
    assert html.count("<tr>") + html.count('<tr class="drifted">') >= len(report.findings)
    assert html.count('<tr class="drifted">') == len(report.drifted) > 0
    assert "<b>Sofa</b>" not in html and "&lt;b&gt;Sofa&lt;/b&gt;" in html
    assert "Confirmed by 2 windows" in html and not re.search(r"(src|href)=[\"']?https?:", html)


def test_evidently_draws_each_task_and_loads_nothing(tmp_path: Path) -> None:
    pytest.importorskip("evidently")
    found = evidently_pages(traffic(900, 1), traffic(700, 2, changed), POLICY, tmp_path / "pages")
    assert [path.name for path in found] == ["evidently-categorize.html", "evidently-search.html"]
    for path in found:
        html = path.read_text()
        assert "score" in html and not re.search(r"<(script|link|img)[^>]+(src|href)=[\"']?https?:", html)
    assert "brightness" in found[0].read_text()
    assert evidently_pages(traffic(100, 1), traffic(700, 2), POLICY, tmp_path / "none") == []
