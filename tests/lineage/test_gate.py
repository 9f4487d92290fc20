"""The gate: verdicts on small made evaluations whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from goodsight.errors import InputError
from lineage.gate import decide
from tests.lineage.evaluations import evaluation, hits, only, policy

GOLDEN = Path(__file__).with_name("golden_verdict.json")

def test_the_first_candidate_is_judged_by_floors_alone(tmp_path: Path) -> None:
    rules = policy(leaf_accuracy={"floor": 0.5, "baseline": "most_frequent", "margin": 0.02})
    folder = evaluation(tmp_path / "candidate", {"leaf_accuracy": hits(80, 20)}, baselines={"most_frequent": 0.4})
    verdict = decide(folder, None, rules)
    assert verdict["decision"] == "promote"
    assert [check["name"] for check in verdict["checks"]] == ["measured", "floor", "baseline"]
    assert verdict["champion"] is None
    assert verdict["policy"] == rules.digest
    assert verdict["candidate"]["digest"] == "candidate" * 8


@pytest.mark.parametrize(
    ("rule", "baseline", "failed"),
    [({"floor": 0.81}, 0.4, "floor"), ({"baseline": "b"}, 0.8, "baseline"), ({"baseline": "missing"}, 0.4, "baseline")],
)
def test_a_candidate_below_a_floor_is_rejected(
    tmp_path: Path, rule: dict[str, Any], baseline: float, failed: str
) -> None:
    folder = evaluation(tmp_path / "candidate", {"leaf_accuracy": hits(80, 20)}, baselines={"b": baseline})
    verdict = decide(folder, None, policy(leaf_accuracy=rule))
    assert verdict["decision"] == "reject"
    assert only(verdict, failed)["pass"] is False


def test_a_candidate_as_good_as_the_champion_passes_and_a_worse_one_does_not(tmp_path: Path) -> None:
    rules = policy(leaf_accuracy={"margin": 0.02})
    champion = evaluation(tmp_path / "champion", {"leaf_accuracy": hits(800, 200)})
    same = decide(evaluation(tmp_path / "same", {"leaf_accuracy": hits(800, 200)}), champion, rules)
    worse = decide(evaluation(tmp_path / "worse", {"leaf_accuracy": hits(760, 240)}), champion, rules)
    better = decide(evaluation(tmp_path / "better", {"leaf_accuracy": hits(840, 160)}), champion, rules)
    assert [verdict["decision"] for verdict in (same, worse, better)] == ["promote", "reject", "promote"]
    low, high = only(same, "non_inferiority")["confidence_interval"]
    assert -0.005 < low < 0 < high < 0.005  # a thousand equal answers leave room for a few that differ
    assert [only(verdict, "non_inferiority")["superior"] for verdict in (same, worse, better)] == [False, False, True]
    check = only(worse, "non_inferiority")
    assert check["difference"] == pytest.approx(-0.04)
    assert check["items"] == 1000
    assert check["p"] > 0.9


def test_too_few_items_in_common_leave_floors_only_and_say_so(tmp_path: Path) -> None:
    champion = evaluation(tmp_path / "champion", {"leaf_accuracy": hits(100, 0, start=90)}, snapshot="t" * 64)
    candidate = evaluation(tmp_path / "candidate", {"leaf_accuracy": hits(60, 40)})
    verdict = decide(candidate, champion, policy(leaf_accuracy={"floor": 0.5, "margin": 0.02}))
    check = only(verdict, "non_inferiority")
    assert check["rule"].startswith("10 items in common, 30 needed")
    assert check["outcome"] == "unjudged"
    assert (check["pass"], check["candidate"], check["champion"]) == (None, 0.6, 1.0)
    assert verdict["decision"] == "promote"


def test_missing_metrics_are_reported_and_fail_when_they_were_owed(tmp_path: Path) -> None:
    items = {"leaf_accuracy": hits(60, 40)}
    candidate = evaluation(tmp_path / "candidate", items, metrics={"macro_f1": float("nan")})
    champion = evaluation(tmp_path / "champion", items | {"query_to_product_map": hits(5, 5)})
    optional = {"required": False, "floor": 0.1, "margin": 0.05}
    reject = decide(candidate, None, policy(macro_f1={"floor": 0.1}, leaf_accuracy={}))
    promote = decide(candidate, None, policy(macro_f1=optional, leaf_accuracy={}))
    dropped = decide(candidate, champion, policy(query_to_product_map=optional, leaf_accuracy={}))
    new = decide(champion, candidate, policy(query_to_product_map=optional, leaf_accuracy={}))
    assert [reject["decision"], promote["decision"]] == ["reject", "promote"]
    assert [dropped["decision"], new["decision"]] == ["reject", "promote"]
    assert promote["checks"][0]["pass"] is None
    assert promote["checks"][0]["rule"] == "not in the candidate's evaluation"
    assert only(new, "non_inferiority")["rule"].startswith("not in the champion's evaluation")


def test_nothing_judged_is_no_promotion(tmp_path: Path) -> None:
    candidate = evaluation(tmp_path / "candidate", {"leaf_accuracy": hits(60, 40)})
    assert decide(candidate, None, policy(macro_f1={"required": False}))["decision"] == "reject"


def test_the_same_evaluations_give_the_same_verdict_as_plain_json(tmp_path: Path) -> None:
    values = np.random.default_rng(1).random((2, 50))
    folders = [
        evaluation(tmp_path / name, {"query_to_product_map": {str(place): value for place, value in enumerate(row)}})
        for name, row in zip(("candidate", "champion"), values, strict=True)
    ]
    rules = policy(query_to_product_map={"margin": 0.05})
    first, second = (decide(folders[0], folders[1], rules) for _ in range(2))
    assert json.dumps(first, allow_nan=False) == json.dumps(second)
    assert set(only(first, "non_inferiority")) >= {
        "name", "metric", "slice", "candidate", "champion", "difference",
        "confidence_interval", "p", "adjusted_p", "minimum_detectable_effect", "rule", "pass",
    }  # fmt: skip


@pytest.mark.parametrize("damage", ["metrics.json", "items.parquet", "vectors.parquet", "twice"])
def test_a_damaged_evaluation_is_refused(tmp_path: Path, damage: str) -> None:
    folder = evaluation(tmp_path / "candidate", {"leaf_accuracy": hits(6, 4)})
    if damage == "twice":
        rows = pq.read_table(folder / "items.parquet")
        pq.write_table(pa.concat_tables([rows, rows]), folder / "items.parquet")
    else:
        (folder / damage).write_bytes(b"{}")
    with pytest.raises(InputError, match="Evaluate the candidate again"):
        decide(folder, None, policy(leaf_accuracy={}))


@pytest.mark.parametrize(("allowance", "passed"), [(0.0, False), (0.02, False), (0.05, True)])
def test_a_baseline_may_be_missed_by_no_more_than_the_allowance(tmp_path: Path, allowance: float, passed: bool) -> None:
    rules = policy(leaf_accuracy={"baseline": "words", "allowance": allowance})
    folder = evaluation(tmp_path / "candidate", {"leaf_accuracy": hits(77, 23)}, baselines={"words": 0.8})
    assert only(decide(folder, None, rules), "baseline")["pass"] is passed


def test_no_difference_and_too_little_data_are_told_apart(tmp_path: Path) -> None:
    """The same share of answers lost, on 2,000 items and on 40: shown to be bad, and not shown at all."""
    rules = policy(leaf_accuracy={"margin": 0.02})
    outcomes = {}
    for name, lost, count in (("worse", 120, 2000), ("few", 2, 40), ("same", 0, 2000)):
        champion = evaluation(tmp_path / f"{name}-champion", {"leaf_accuracy": hits(count, 0)})
        verdict = decide(evaluation(tmp_path / name, {"leaf_accuracy": hits(count - lost, lost)}), champion, rules)
        check = only(verdict, "non_inferiority")
        outcomes[name] = (check["outcome"], check["pass"], check["minimum_detectable_effect"] > 0.02)
    assert outcomes == {"worse": ("failed", False, False), "few": ("no evidence", False, True), "same": ("passed", True, False)}


@pytest.mark.parametrize(
    ("undecided", "queries", "leaf", "decision", "outcome"),
    [
        ("weigh", 58, 900, "promote", "outweighed"),  # 2 of 60 queries lost, a gain of 10 points shown
        ("weigh", 58, 800, "reject", "no evidence"),  # no gain
        ("weigh", 57, 900, "reject", "no evidence"),  # the loss seen is the margin
        ("weigh", 40, 900, "reject", "failed"),  # shown to be worse
        ("reject", 58, 900, "reject", "no evidence"),
    ],
)
def test_a_gain_outweighs_what_too_few_items_decide(
    tmp_path: Path, undecided: Any, queries: int, leaf: int, decision: str, outcome: str
) -> None:
    rules = policy(leaf_accuracy={"margin": 0.05}, query_to_product_map={"margin": 0.05}).model_copy(update={"undecided": undecided})
    champion = evaluation(tmp_path / "champion", {"leaf_accuracy": hits(800, 200), "query_to_product_map": hits(60, 0)})
    answers = {"leaf_accuracy": hits(leaf, 1000 - leaf), "query_to_product_map": hits(queries, 60 - queries)}
    verdict = decide(evaluation(tmp_path / "candidate", answers), champion, rules)
    check = next(each for each in verdict["checks"] if each["metric"] == "query_to_product_map" and each["p"] is not None)
    assert (verdict["decision"], check["outcome"]) == (decision, outcome)
    assert check["pass"] is (None if outcome == "outweighed" else False)
    assert verdict["gains"] == (["leaf_accuracy"] if leaf > 800 else [])


def test_a_gain_outweighs_no_missing_superiority(tmp_path: Path) -> None:
    rules = policy(leaf_accuracy={"margin": 0.05}, query_to_product_map={"comparison": "superiority", "margin": 0.05})
    champion = evaluation(tmp_path / "champion", {"leaf_accuracy": hits(800, 200), "query_to_product_map": hits(50, 10)})
    candidate = evaluation(tmp_path / "candidate", {"leaf_accuracy": hits(900, 100), "query_to_product_map": hits(51, 9)})
    verdict = decide(candidate, champion, rules.model_copy(update={"undecided": "weigh"}))
    assert (verdict["decision"], only(verdict, "superiority")["outcome"]) == ("reject", "no evidence")


def test_superiority_must_be_shown(tmp_path: Path) -> None:
    rules = policy(leaf_accuracy={"comparison": "superiority", "margin": 0.02})
    champion = evaluation(tmp_path / "champion", {"leaf_accuracy": hits(800, 200)})
    found = {
        name: only(decide(evaluation(tmp_path / name, {"leaf_accuracy": hits(right, 1000 - right)}), champion, rules), "superiority")
        for name, right in (("same", 800), ("better", 820), ("worse", 780))
    }
    assert {name: check["pass"] for name, check in found.items()} == {"same": False, "better": True, "worse": False}
    assert found["same"]["rule"] == "better than the champion"
    assert found["better"]["confidence_interval"][0] > 0


def test_items_of_one_cluster_count_once(tmp_path: Path) -> None:
    """Ten views of each of 30 products agree: as much evidence as 30 items, not as 300."""
    names = list(hits(300, 0))
    answers = {name: float(place // 10 != 0) for place, name in enumerate(names)}
    rules = policy(leaf_accuracy={"margin": 0.1})
    verdicts = {}
    for kind, clusters in (("alone", {}), ("together", {name: str(place // 10) for place, name in enumerate(names)})):
        champion = evaluation(tmp_path / kind / "champion", {"leaf_accuracy": hits(300, 0)})
        candidate = evaluation(tmp_path / kind / "candidate", {"leaf_accuracy": answers}, clusters=clusters)
        verdicts[kind] = only(decide(candidate, champion, rules), "non_inferiority")
    assert [verdicts[kind]["clusters"] for kind in ("alone", "together")] == [300, 30]
    assert [verdicts[kind]["pass"] for kind in ("alone", "together")] == [True, False]
    assert verdicts["together"]["outcome"] == "no evidence"


def test_a_good_mean_does_not_hide_a_bad_slice(tmp_path: Path) -> None:
    """Half of the shelf's products are lost; the whole is 2 points better all the same."""
    names = list(hits(1000, 0))
    slices = {name: ["source=shelf"] if place < 200 else ["source=web"] for place, name in enumerate(names)}
    for name in names[:20]:
        slices[name].append("no text")
    ours = {name: float(place % 2) if place < 200 else 1.0 for place, name in enumerate(names)}
    theirs = {name: float(place < 880) for place, name in enumerate(names)}
    rule = {"metrics": ["leaf_accuracy"], "within": ["source=*", "no text"], "margin": 0.1, "min_items": 100}
    champion = evaluation(tmp_path / "champion", {"leaf_accuracy": theirs})
    candidate = evaluation(tmp_path / "candidate", {"leaf_accuracy": ours}, slices=slices)
    verdict = decide(candidate, champion, policy(slices=[rule], leaf_accuracy={"margin": 0.05}))
    assert verdict["decision"] == "reject"
    assert only(verdict, "non_inferiority")["pass"] is True
    shelf, web = (only(verdict, "non_inferiority", f"source={name}") for name in ("shelf", "web"))
    assert (shelf["outcome"], shelf["candidate"], shelf["champion"], shelf["items"]) == ("failed", 0.5, 1.0, 200)
    assert web["pass"] is True
    few = only(verdict, "non_inferiority", "no text")
    assert (few["pass"], few["rule"][:34]) == (None, "20 items in common, 100 needed: no")


def test_the_decision_is_by_the_adjusted_p_and_the_interval_agrees(tmp_path: Path) -> None:
    """Twelve slices of which each alone would pass: together some do not, and each interval says the same as its check."""
    rng = np.random.default_rng(3)
    names = [f"{part}-{place}" for part in range(12) for place in range(150)]
    slices = {name: [f"source={name.split('-')[0]}"] for name in names}
    theirs = dict.fromkeys(names, 1.0)
    ours = {name: float(rng.random() > 0.02) for name in names}
    rule = {"metrics": ["leaf_accuracy"], "within": ["source=*"], "margin": 0.06, "min_items": 100}
    champion = evaluation(tmp_path / "champion", {"leaf_accuracy": theirs})
    candidate = evaluation(tmp_path / "candidate", {"leaf_accuracy": ours}, slices=slices)
    checks = decide(candidate, champion, policy(slices=[rule], leaf_accuracy={"margin": 0.05}))["checks"]
    compared = [check for check in checks if check["p"] is not None]
    assert len(compared) == 13
    for check in compared:
        bound = -0.05 if check["slice"] == "all" else -0.06
        assert check["pass"] == (check["adjusted_p"] <= 0.05) == (check["confidence_interval"][0] >= bound)
        assert check["p"] <= check["adjusted_p"]
    assert any(check["p"] <= 0.05 and not check["pass"] for check in compared)


def test_ceilings_are_kept_alone_and_beside_the_champion(tmp_path: Path) -> None:
    ceilings = {
        "category_calibration_error": {"ceiling": 0.2, "worsening": 0.02},
        "embed_ms": {"ceiling": 100, "growth": 0.5},
        "peak_memory_bytes": {"ceiling": 1e9},
    }
    items = {"leaf_accuracy": hits(60, 40)}
    champion = evaluation(tmp_path / "champion", items, metrics={"category_calibration_error": 0.1}, costs={"embed_ms": 50.0})
    candidate = evaluation(tmp_path / "candidate", items, metrics={"category_calibration_error": 0.13}, costs={"embed_ms": 70.0})
    verdict = decide(candidate, champion, policy(ceilings=ceilings, leaf_accuracy={}))
    found = {check["id"]: check["pass"] for check in verdict["checks"] if check["metric"] != "leaf_accuracy"}
    assert found == {
        "category_calibration_error/ceiling": True,
        "category_calibration_error/worsening": False,
        "embed_ms/ceiling": True,
        "embed_ms/growth": True,
        "peak_memory_bytes/ceiling": None,
    }
    assert verdict["decision"] == "reject"
    first = decide(candidate, None, policy(ceilings=ceilings, leaf_accuracy={}))
    assert first["decision"] == "promote" and not [check for check in first["checks"] if check["name"] in ("worsening", "growth")]


@pytest.mark.parametrize(
    ("vectors", "bundle", "decision", "reason"),
    [
        ({"a": [1.0, 0.0], "b": [0.0, 2.0]}, "r1", "keep", "the same retrieve bundle"),
        ({"a": [1.0, 0.0005], "b": [0.0, 2.0]}, "r2", "keep", "embeddings of the same products agree"),
        ({"a": [1.0, 0.0], "b": [0.1, 2.0]}, "r2", "reindex", "embeddings of the same products differ"),
        ({"a": [1.0, 0.0, 0.0]}, "r2", "reindex", "embeddings of 3 numbers, the champion's of 2"),
        ({"c": [1.0, 0.0]}, "r2", "reindex", "no embeddings of the same products"),
    ],
)
def test_the_index_is_kept_or_made_again(
    tmp_path: Path, vectors: dict[str, list[float]], bundle: str, decision: str, reason: str
) -> None:
    items = {"leaf_accuracy": hits(60, 40)}
    known = {"a": [1.0, 0.0], "b": [0.0, 2.0]}
    champion = evaluation(tmp_path / "champion", items, vectors=known, bundles={"retrieve": "r1"})
    candidate = evaluation(tmp_path / "candidate", items, vectors=vectors, bundles={"retrieve": bundle})
    found = decide(candidate, champion, policy(leaf_accuracy={}))["index"]
    assert (found["decision"], found["reason"]) == (decision, reason)
    if bundle == "r2" and "b" in vectors:
        assert found["products"] == 2 and found["largest_difference"] == pytest.approx(0.0005 if decision == "keep" else 0.05, rel=1e-3)
    assert decide(candidate, None, policy(leaf_accuracy={}))["index"]["reason"] == "nothing serves yet"


def test_the_golden_verdict(tmp_path: Path) -> None:
    """A whole verdict, number by number: a change of what the gate says or of numpy's random stream shows here."""
    names = list(hits(400, 0))
    slices = {name: [f"depth={1 + place % 2}"] for place, name in enumerate(names)}
    clusters = {name: str(place // 2) for place, name in enumerate(names)}
    theirs = {name: float(place % 10 != 0) for place, name in enumerate(names)}
    ours = {name: float(place % 11 != 0) for place, name in enumerate(names)}
    rules = policy(
        slices=[{"metrics": ["leaf_accuracy"], "within": ["depth=*"], "margin": 0.1, "min_items": 100}],
        ceilings={"embed_ms": {"ceiling": 100, "growth": 0.5}},
        leaf_accuracy={"floor": 0.5, "baseline": "words", "margin": 0.05},
        query_to_product_map={"required": False, "comparison": "superiority", "margin": 0.02},
    )
    half = {"leaf_accuracy": theirs, "query_to_product_map": {name: value / 2 for name, value in theirs.items()}}
    better = {name: value / 2 + 0.1 * (place % 3) for place, (name, value) in enumerate(ours.items())}
    more: dict[str, Any] = {"clusters": clusters, "slices": slices, "vectors": {"a": [1.5]}, "baselines": {"words": 0.6}}
    champion = evaluation(tmp_path / "champion", half, costs={"embed_ms": 10.0}, vectors={"a": [1.0]})
    candidate = evaluation(
        tmp_path / "candidate", {"leaf_accuracy": ours, "query_to_product_map": better}, costs={"embed_ms": 14.0}, **more
    )
    verdict = decide(candidate, champion, rules)
    for side in ("candidate", "champion"):
        assert len(verdict[side].pop("evaluation")) == 64  # Parquet's bytes change with its writer
    assert rounded(verdict) == json.loads(GOLDEN.read_text())


def rounded(value: Any) -> Any:
    """The JSON value with four decimals."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list | tuple) else value
