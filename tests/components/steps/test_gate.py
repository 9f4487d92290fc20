"""The gate's step: a first run by floors, and the overrides of the ledger, newest state each time."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from components.steps.gate import gate
from goodsight.settings import settings
from lineage.ledger import Ledger
from lineage.overrides import Override, record
from tests.lineage.evaluations import evaluation, hits

POLICY = """
confidence: 0.95
power: 0.8
resamples: 200
seed: 0
min_items_in_common: 10
metrics:
  leaf_accuracy: {floor: 0.9}
"""


def test_an_override_in_the_ledger_lets_a_failed_check_pass(tmp_path: Path) -> None:
    candidate = evaluation(tmp_path / "candidate", {"leaf_accuracy": hits(80, 20)})
    (tmp_path / "champion").mkdir()
    arguments = (candidate, tmp_path / "champion", POLICY, tmp_path / "verdict.json")
    assert gate(*arguments) == "reject"
    before = (tmp_path / "verdict.json").read_bytes()
    assert gate(*arguments) == "reject" and (tmp_path / "verdict.json").read_bytes() == before
    said = Override("leaf_accuracy/floor", "candidate" * 8, "photos of spring are missing", "ada", "2999-01-31")
    record(Ledger(settings().ledger_url), said, datetime.now(UTC))
    assert gate(*arguments) == "promote"
    floor = json.loads((tmp_path / "verdict.json").read_text())["checks"][1]
    assert (floor["outcome"], floor["override"]["reason"]) == ("overridden", "photos of spring are missing")
