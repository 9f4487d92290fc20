"""Drift: nothing where nothing changed, what changed by its name, and only what is both certain and large enough."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from lineage.traffic import table
from monitoring.drift import DriftReport, Finding, compare, confirmed
from monitoring.drift_policy import DriftPolicy, Window
from tests.monitoring.traffic import BEGIN, Row, traffic

POLICY = DriftPolicy()
REFERENCE = traffic(2_000, 1)


def darker(by: float) -> Any:
    def change(row: Row, _: np.random.Generator) -> Row:
        return {**row, "brightness": row["brightness"] - by} if "brightness" in row else row

    return change


def drifted(report: DriftReport) -> set[tuple[str, str]]:
    return {(each.name, each.group) for each in report.drifted}


def test_equal_traffic_and_traffic_of_the_same_kind_do_not_drift() -> None:
    same = compare(REFERENCE, REFERENCE, POLICY)
    assert same.state == "compared" and not same.drifted and max(each.effect for each in same.findings) == 0
    for seed in range(2, 12):
        assert not compare(REFERENCE, traffic(1_000, seed), POLICY).drifted


def test_darker_photos_are_found_and_nothing_else_and_more_of_it_has_a_larger_effect() -> None:
    reports = [compare(REFERENCE, traffic(1_000, 3, darker(by)), POLICY) for by in (0.0, 0.02, 0.05, 0.1, 0.2)]
    effects = [next(each.effect for each in report.findings if each.name == "brightness") for report in reports]
    assert effects == sorted(effects)
    assert drifted(reports[0]) == drifted(reports[1]) == set()
    assert drifted(reports[3]) == drifted(reports[4]) == {("brightness", "input")}
    [finding] = reports[3].drifted
    assert finding.slice == "task=categorize" and finding.before and finding.now
    assert finding.before["p50"] - finding.now["p50"] == pytest.approx(0.1, abs=0.03)
    assert "brightness of task=categorize drifted" in reports[3].explanation


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda row, dice: {**row, "language": "fi"} if dice.random() < 0.2 else row, ("language", "input")),
        (lambda row, dice: {**row, "oov": 1.0} if dice.random() < 0.4 else row, ("oov", "input")),
        (lambda row, dice: {**row, "category": "c1"} if dice.random() < 0.4 else row, ("category", "prediction")),
        (lambda row, dice: {**row, "score": row["score"] - 0.2}, ("score", "prediction")),
        (lambda row, dice: {**row, "sketch": [v + 0.1 for v in row["sketch"]]}, ("embedding", "embedding")),
        (lambda row, dice: {**row, "results": 0} if dice.random() < 0.2 else row, ("zero_results", "feedback")),
        (lambda row, dice: {**row, "text_chars": row["text_chars"] + 6}, ("text_chars", "input")),
    ],
)
def test_each_modality_has_its_test(change: Any, found: tuple[str, str]) -> None:
    assert found in drifted(compare(REFERENCE, traffic(1_000, 4, change), POLICY))


def test_what_is_certain_and_small_does_not_drift_and_a_bound_can_be_its_own() -> None:
    current = traffic(8_000, 5, lambda row, dice: {**row, "text_chars": row["text_chars"] + 1})
    report = compare(traffic(8_000, 1), current, POLICY)
    finding = next(each for each in report.findings if each.name == "text_chars")
    assert finding.adjusted_p < 1e-6 and finding.effect < finding.bound and not report.drifted
    strict = compare(traffic(8_000, 1), current, POLICY.model_copy(update={"bound_of": {"text_chars": 0.05}}))
    assert ("text_chars", "input") in drifted(strict)
    without = compare(REFERENCE, current, POLICY.model_copy(update={"ignored": ["text_chars"]}))
    assert without.findings and "text_chars" not in {each.name for each in without.findings}


def test_a_difference_that_was_there_from_the_start_is_no_drift() -> None:
    baseline, later = traffic(1_500, 6, darker(0.2)), traffic(1_000, 7, darker(0.2))
    assert compare(REFERENCE, later, POLICY).drifted and not compare(REFERENCE, later, POLICY, baseline).drifted
    report = compare(REFERENCE, traffic(1_000, 8, darker(0.4)), POLICY, baseline)
    [finding] = report.drifted
    assert finding.against == "baseline" and finding.gap is not None and finding.gap > finding.effect > finding.bound


def test_traffic_that_comes_nearer_to_the_reference_is_no_drift() -> None:
    report = compare(REFERENCE, traffic(1_000, 9), POLICY, traffic(1_500, 6, darker(0.2)))
    finding = next(each for each in report.findings if each.name == "brightness")
    assert finding.effect > finding.bound and finding.adjusted_p < 1e-6 and not report.drifted


def test_clicks_are_compared_with_the_first_days_alone() -> None:
    def clicks(share: float) -> Any:
        return lambda row, dice: {**row, "clicked": bool(dice.random() < share)} if row["task"] == "search" else row

    first = traffic(1_500, 6, clicks(0.4))
    assert ("no_click", "feedback") in drifted(compare(REFERENCE, traffic(1_500, 7, clicks(0.15)), POLICY, first))
    assert not compare(REFERENCE, traffic(1_500, 8, clicks(0.4)), POLICY, first).drifted
    assert not [each for each in compare(REFERENCE, traffic(1_500, 8, clicks(0.4)), POLICY).findings if each.name == "no_click"]


def test_the_same_request_again_and_again_counts_once() -> None:
    rows = traffic(1_000, 10).to_pylist()
    dark = next(row for row in traffic(50, 11, darker(0.3)).to_pylist() if row["task"] == "categorize")
    hammered = [*rows, *({**dark, "id": f"again-{number}"} for number in range(2_000))]
    assert not compare(REFERENCE, table(hammered), POLICY).drifted
    apart = [*rows, *({**dark, "id": f"again-{number}", "input": f"again-{number}"} for number in range(2_000))]
    assert compare(REFERENCE, table(apart), POLICY).drifted, "the test above passes for this reason alone"


def test_a_slice_is_compared_apart() -> None:
    def change(row: Row, dice: np.random.Generator) -> Row:
        photo = row["task"] == "categorize" and dice.random() < 0.3
        return {**row, "modalities": "image", "brightness": row["brightness"] - 0.2} if photo else row

    def quiet(row: Row, dice: np.random.Generator) -> Row:
        return {**row, "modalities": "image"} if row["task"] == "categorize" and dice.random() < 0.3 else row

    report = compare(traffic(3_000, 1, quiet), traffic(3_000, 12, change), POLICY)
    places = {each.slice for each in report.drifted if each.name == "brightness"}
    assert "task=categorize,modalities=image" in places and "task=categorize,modalities=text,image" not in places


def test_too_little_traffic_is_not_compared() -> None:
    report = compare(REFERENCE, traffic(120, 2), POLICY)
    assert report.state == "few" and not report.findings and "Too little traffic" in report.explanation
    empty = compare(REFERENCE, table([]), POLICY)
    assert (empty.state, empty.current_n, empty.until) == ("few", 0, None)


def test_a_report_comes_back_from_json() -> None:
    report = compare(REFERENCE, traffic(1_000, 3, darker(0.2)), POLICY, traffic(1_000, 2))
    assert DriftReport.from_json(json.loads(json.dumps(report.to_json(), allow_nan=False))) == report
    assert [each.drifted for each in report.findings] == sorted((each.drifted for each in report.findings), reverse=True)


def reported(hours: float, *names: str, state: str = "compared") -> DriftReport:
    finding = Finding("", "input", "task=search", "t", 1.0, 0.1, 0.0, 0.0, True, 500, 500)
    until = (BEGIN + timedelta(hours=hours)).isoformat()
    return DriftReport(state, tuple(replace(finding, name=name) for name in names), 500, 500, None, until, "")


def test_a_finding_is_confirmed_by_windows_in_a_row_that_lie_apart() -> None:
    newest = reported(48, "oov", "language")
    assert [each.name for each in confirmed([reported(24, "oov"), newest], POLICY)] == ["oov"]
    assert [each.name for each in confirmed([newest, reported(40), reported(24, "language", "oov")], POLICY)] == ["oov", "language"]
    assert confirmed([newest, reported(30, "oov")], POLICY) == () == confirmed([newest], POLICY) == confirmed([], POLICY)
    assert confirmed([newest, reported(24), reported(0, "oov")], POLICY) == ()
    assert confirmed([reported(48, "oov", state="learning"), reported(24, "oov")], POLICY) == ()
    assert confirmed([newest], POLICY.model_copy(update={"consecutive": 1})) == newest.drifted


def test_the_policy_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="alpha"):
        DriftPolicy(alpha=0.7)
    with pytest.raises(ValueError, match="extra"):
        DriftPolicy.model_validate({"alpa": 0.01})
    with pytest.raises(ValueError, match="fewest"):
        Window(fewest=3)
    assert DriftPolicy().digest == DriftPolicy().digest != DriftPolicy(alpha=0.02).digest
