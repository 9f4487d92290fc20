"""What the command shows as tables."""

from __future__ import annotations

import pytest

from pipelines.report import quarantine_table


def test_of_many_rows_in_quarantine_some_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"kind": "product", "id": f"p{number}", "file": "products.jsonl", "line": number, "reasons": ["cut"]} for number in range(1500)]
    quarantine_table("shop-1", rows, 2)
    told = capsys.readouterr().out
    assert "1,500 rows" in told and "p1" in told and "p2" not in told and "and 1,498 more" in told
    quarantine_table("shop-1", rows[:2], 2)
    assert "more" not in capsys.readouterr().out
