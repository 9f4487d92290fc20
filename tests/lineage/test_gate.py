"""The gate: verdicts on small made evaluations whose answer is known, and policies that say what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from goodsight.errors import InputError
from lineage.gate import POLICY, Policy, bootstrap_means, compare, decide

SETTINGS = {"confidence": 0.95, "power": 0.8, "resamples": 2000, "seed": 0, "min_items_in_common": 30}


def policy(**metrics: dict[str, Any]) -> Policy:
    return Policy.model_validate({**SETTINGS, "metrics": metrics})


def evaluation(
    folder: Path, items: dict[str, dict[str, float]], snapshot: str = "s" * 64, **figures: dict[str, float]
) -> Path:
    """An evaluation folder whose metrics are the means of `items` (metric -> item -> value), and `figures`."""
    folder.mkdir(parents=True)
    means = {metric: float(np.mean(list(values.values()))) for metric, values in items.items()}
    written = {
        "metrics": means | figures.get("metrics", {}),
        "baselines": figures.get("baselines", {}),
        "counts": {},
        "snapshot": snapshot,
        "candidate": folder.name * 8,
    }
    (folder / "metrics.json").write_text(json.dumps(written))
    rows = [
        {"metric": metric, "item": item, "value": value}
        for metric, values in items.items()
        for item, value in values.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "items.parquet")
    return folder


def hits(right: int, wrong: int, start: int = 0) -> dict[str, float]:
    return {f"item {start + place}": float(place < right) for place in range(right + wrong)}


def only(verdict: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [check for check in verdict["checks"] if check["name"] == name]
    return found


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
    assert only(same, "non_inferiority")["confidence_interval"] == (0.0, 0.0)
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
    assert check["rule"].startswith("champion not comparable: 10 items in common")
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
    assert only(new, "non_inferiority")["rule"] == "not in the champion's evaluation: floors only"


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
        "confidence_interval", "p", "minimum_detectable_effect", "rule", "pass",
    }  # fmt: skip


def test_bootstrap_golden_numbers() -> None:
    """Numbers of this numpy's generator; a change of its stream or of ours shows here."""
    found = compare(np.array([1.0, 0, 0, -1, 1, 1, 0, 1]), margin=0.25, policy=policy(leaf_accuracy={}))
    assert found.difference == 0.375
    assert found.confidence_interval == (-0.125, 0.875)
    assert found.p == pytest.approx(28 / 2001)
    assert found.minimum_detectable_effect == pytest.approx((1.95996 + 0.84162) * np.sqrt(0.484375 / 8), rel=1e-5)


def test_the_bootstrap_has_the_spread_of_the_mean_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=400)
    means = bootstrap_means(values, 4000, seed=1)
    assert means.mean() == pytest.approx(values.mean(), abs=0.005)
    assert means.std() == pytest.approx(values.std() / 20, rel=0.05)
    monkeypatch.setattr("lineage.gate.BLOCK_NUMBERS", 400 * 7)
    assert np.allclose(bootstrap_means(values, 4000, seed=1), means, atol=1e-12)


def test_the_policy_in_the_repository_loads() -> None:
    assert Policy.load().metrics["leaf_accuracy"].floor is not None
    assert Policy.load().digest == Policy.load(POLICY).digest


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"metrics": {"leaf_accuracy": {"flor": 0.5}}}, "metrics.leaf_accuracy.flor"),
        ({"metrics": {"leaf_accuracy": {"margin": 0}}}, "metrics.leaf_accuracy.margin"),
        ({"metrics": {"leaf_accuracy": {"floor": "high"}}}, "metrics.leaf_accuracy.floor"),
        ({"metrics": {}}, "metrics"),
        ({"confidence": 95}, "confidence"),
    ],
)
def test_a_wrong_policy_names_the_key(tmp_path: Path, change: dict[str, Any], key: str) -> None:
    written = {**SETTINGS, "metrics": {"leaf_accuracy": {"floor": 0.5}}, **change}
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(written))
    with pytest.raises(InputError, match=f"wrong at {key}:"):
        Policy.load(tmp_path / "policy.yaml")


@pytest.mark.parametrize("text", ["metrics: [", "", "just text"])
def test_a_file_that_is_no_policy_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(InputError, match="The gate's policy"):
        Policy.load(tmp_path / "policy.yaml")


@pytest.mark.parametrize("damage", ["metrics.json", "items.parquet", "twice"])
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
