"""Policies of the gate: the one of the repository loads, and a wrong one says what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from goodsight.errors import InputError
from lineage.policy import POLICY, Policy
from tests.lineage.evaluations import SETTINGS


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
        ({"metrics": {"leaf_accuracy": {"comparison": "superiority"}}}, "metrics.leaf_accuracy"),
        ({"slices": [{"metrics": ["leaf_accuracy"], "within": [], "margin": 0.1, "min_items": 9}]}, "slices.0.within"),
        ({"ceilings": {"embed_ms": {"ceiling": -1}}}, "ceilings.embed_ms.ceiling"),
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
