"""The page of the training's speed: both loops with their ranges, each objective with its cost."""

from __future__ import annotations

import runpy
from typing import Any

from goodsight.digests import HOUSE

GIB = 2**30
MADE = {
    "commit": "a1",
    "date": "2026-11-26",
    "machine": {"processor": "Abacus"},
    "threads": 2,
    "precision": "bf16-mixed",
    "versions": {"torch": "2.14", "open-clip-torch": "3.3"},
}


def around(value: float) -> dict[str, float]:
    return {"median": value, "min": 0.9 * value, "max": 1.1 * value}


def loop(speed: float, mfu: float | None) -> dict[str, Any]:
    return {"samples_a_second": around(speed), "peak_bytes": around(2 * GIB), "bytes_before": around(GIB), "mfu": mfu}


def cost(families: tuple[str, ...], speed: float) -> dict[str, Any]:
    return {"families": families, "samples_a_second": speed, "peak_bytes": 3 * GIB, "flops_a_step": 32e9, "mfu": None}


FAILED = {"families": ["mlm"], "failed": "out of memory: 80 GiB"}
COSTS = [cost(("itc",), 20.0), cost(("itc", "itm"), 10.0)]
REPORT: dict[str, Any] = {
    "benchmark": "training",
    "loops": MADE
    | {"model": "ViT-B-32", "batch": 1024, "repeats": 3, "steps": 20, "warm": 5}
    | {"losses": {"apart": 0.0005}, "speed_up": around(1.05), "loops": {"ours": loop(1050.0, 0.4), "open_clip": loop(1000.0, None)}},
    "objectives": MADE
    | {
        "architectures": {
            name: {"size": "small", "batch": 16, "steps": 5, "rows": rows}
            for name, rows in {"commercemm": COSTS, "eclip": [], "scale": [FAILED], "interbert": []}.items()
        }
    },
}


def test_the_page_has_both_loops_and_every_objective() -> None:
    lines = runpy.run_path(str(HOUSE / "benchmarks" / "training_page.py"))["page"]([REPORT]).splitlines()
    assert [line for line in lines if line.startswith("## ")] == [
        "## Our loop and open_clip's, on 2 threads of Abacus",
        "## The cost of each objective, on 2 threads of Abacus",
    ]
    assert [line for line in lines if line.startswith(("| ours", "| open", "| commercemm", "| scale"))] == [
        "| ours | 1,050.0 (945.0 to 1,155.0) | 2.00 (1.80 to 2.20) | 1.00 (0.90 to 1.10) | 40.0 |",
        "| open_clip's | 1,000.0 (900.0 to 1,100.0) | 2.00 (1.80 to 2.20) | 1.00 (0.90 to 1.10) | - |",
        "| commercemm | itc | 20.0 | 3.00 | 2.0 | - |",
        "| commercemm | all 2 | 10.0 | 3.00 | 2.0 | - |",
        "| scale | mlm | out of memory | - | - | - |",
    ]
    text = " ".join(lines)
    assert "batches of 1,024 in memory" in text and "at most 0.05 % apart" in text and "1.050 times open_clip's" in text
    for line, rule in zip(lines, lines[1:], strict=False):
        if rule.startswith("|---"):
            assert line.count("|") == rule.count("|")
