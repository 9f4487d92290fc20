"""What audit commands take at a million logged predictions, each in a process of its own, and what the log itself costs.

    python benchmarks/audit.py --home FOLDER [--predictions 1000000]

FOLDER is the home of a finished `goodsight run`, whose served version, index and products the predictions name; the log is a database
aside. They go through the log's own queue and writer, ten products a search, popular ones more often (by Zipf's law). Commands are
timed from start to exit, in turn with `goodsight --version`, which is what any command needs to start, and inside the process, where
imports do not count. Writes `benchmarks/results/audit.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import described

from goodsight.files import read_json, write_json
from goodsight.settings import settings
from lineage.predictions import CAPACITY, Prediction, PredictionLog, new_id, now

OUT = Path(__file__).resolve().parent / "results" / "audit.json"
SHOWN, POOL, TURNS = 10, 20_000, 9
COMMAND = [sys.executable, "-c", "from pipelines.command import main; main()"]


def filled(log: PredictionLog, home: Path, count: int) -> dict[str, Any]:
    """Logs `count` searches by what serves in `home`: rate of the writer, what a request waited, ids to ask for."""
    from pyarrow.parquet import read_table

    served = read_json(home / "serving" / "current.json")
    products = read_table(home / "serving" / "store" / served["archive"] / "index" / "products.parquet", columns=["id"])["id"].to_pylist()
    dice = random.Random(0)
    weights = [1 / place for place in range(1, len(products) + 1)]
    pages = [list(dict.fromkeys(dice.choices(products, weights, k=4 * SHOWN)))[:SHOWN] for _ in range(POOL)]
    waited, ids, started = [], [], time.perf_counter()
    for number in range(count):
        results = [(product, 0.9 - 0.0123456 * place) for place, product in enumerate(pages[dice.randrange(POOL)])]
        row = Prediction(
            new_id(), now(), "search", ("text",), served["version"], served["candidate"], served["index"], served["archive"],
            f"{number:064x}", SHOWN, results, 23.4, "ok",
        )  # fmt: skip
        before = time.perf_counter()
        log.log(row)
        waited.append(time.perf_counter() - before)
        if number % (count // TURNS) == 0:
            ids.append(row.id)
        if number % (CAPACITY // 2) == 0:  # faster than any server: what waits is written first, so that none is lost
            assert log.flush(600)
    assert log.flush(600)
    seconds = time.perf_counter() - started
    quantiles = statistics.quantiles(waited, n=1000)
    spent = {"p50_us": round(1e6 * quantiles[499], 1), "p999_us": round(1e6 * quantiles[998], 1)}
    return {"ids": ids, "rare": products[-1], "popular": products[0], "rows_a_second": round(count / seconds), "log_call": spent}


def whole(*arguments: str) -> tuple[float, float]:
    """Wall and CPU seconds of one command, from start to exit."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*COMMAND, *arguments], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - started, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def inside(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def told(seconds: list[float]) -> dict[str, int]:
    measured = {"median_ms": statistics.median(seconds), "best_ms": min(seconds), "worst_ms": max(seconds)}
    return {name: round(1000 * value) for name, value in measured.items()}


def commands(home: Path, log: dict[str, Any]) -> dict[str, Any]:
    """Each command in turn with a bare start."""
    from lineage.passport import passport
    from pipelines.passport_command import sources, uses_of

    revision = json.loads(subprocess.run([*COMMAND, "catalogue", "list", "--json"], capture_output=True, check=True).stdout)[0]["revision"]
    asked = {
        "start": lambda turn: ["--version"],
        "show": lambda turn: ["audit", "show", log["ids"][turn]],
        "uses popular product": lambda turn: ["audit", "uses", log["popular"]],
        "uses rare product": lambda turn: ["audit", "uses", log["rare"]],
        "uses snapshot": lambda turn: ["audit", "uses", revision],
    }
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in asked}
    for turn in range(TURNS):
        for name, arguments in asked.items():
            runs[name].append(whole(*arguments(turn)))
    found = {name: {"wall": told([wall for wall, _ in each]), "cpu": told([cpu for _, cpu in each])} for name, each in runs.items()}
    for name in asked:
        after = [run[0] - start[0] for run, start in zip(runs[name], runs["start"], strict=True)]
        found[name]["wall_after_start"] = told(after)
    place = sources(home)
    found["show"]["inside"] = told([inside(lambda each=each: passport(each, place)) for each in log["ids"][:TURNS]])
    found["uses popular product"]["inside"] = told([inside(lambda: uses_of(log["popular"], home)) for _ in range(TURNS)])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--predictions", type=int, default=1_000_000)
    chosen = parser.parse_args()
    os.environ["GOODSIGHT_HOME"] = str(chosen.home.resolve())
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "predictions.db"
        os.environ["GOODSIGHT_PREDICTIONS_URI"] = f"sqlite:///{database}"
        settings.cache_clear()
        log = filled(PredictionLog(settings().predictions_url), settings().root, chosen.predictions)
        size = sum(path.stat().st_size for path in database.parent.iterdir())
        load = os.getloadavg()[0]
        report = {
            "benchmark": "audit",
            **described(),
            "predictions": chosen.predictions,
            "products_shown": SHOWN * chosen.predictions,
            "bytes_a_prediction": round(size / chosen.predictions),
            "rows_a_second": log["rows_a_second"],
            "log_call": log["log_call"],
            "load_before_the_commands": round(load, 1),
            "commands": commands(settings().root, log),
        }
    print(json.dumps(report, indent=1))
    write_json(OUT, report)


if __name__ == "__main__":
    main()
