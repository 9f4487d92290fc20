"""The main job measured as a user meets it: `goodsight run` in a fresh home, with its baselines measured in the same run.

    python benchmarks/main_job.py                         # the embedded sample
    python benchmarks/main_job.py --catalogue FOLDER      # a catalogue of yours

Writes `benchmarks/results/main-job-<catalogue>.json`: figures, baselines, seconds a step, peak memory, the seconds of the same
run again (all cache hits), versions, machine and commit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import described

HERE = Path(__file__).resolve().parent
KEPT = ("snapshot", "architecture", "products", "quarantined", "metrics", "baselines", "verdict", "seconds", "peak_rss_bytes", "steps")


def run(arguments: list[str], home: Path) -> tuple[dict[str, Any], float]:
    """One `goodsight run` to its end: its JSON result and its wall seconds."""
    command = [str(Path(sys.executable).with_name("goodsight")), "run", "--json", *arguments]
    started = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, "GOODSIGHT_HOME": str(home)}, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1]), time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalogue", type=Path)
    chosen = parser.parse_args()
    arguments = ["--catalogue", str(chosen.catalogue)] if chosen.catalogue else []
    with tempfile.TemporaryDirectory() as folder:
        first, _ = run(arguments, Path(folder) / "home")
        again, seconds = run(arguments, Path(folder) / "home")
    name = chosen.catalogue.resolve().name if chosen.catalogue else "sample"
    report = {
        "benchmark": f"main-job-{name}",
        **described(),
        "first_run": {key: first[key] for key in KEPT},
        "same_again": {"seconds": round(seconds, 1), "all_cached": all(step["cached"] for step in again["steps"])},
    }
    out = HERE / "results" / f"main-job-{name}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(report, indent=2) + "\n")
    print(f"Wrote {out.relative_to(Path.cwd()) if out.is_relative_to(Path.cwd()) else out}")


if __name__ == "__main__":
    main()
