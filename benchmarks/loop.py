"""A year of a shop in minutes: the loop that watches, decides and retrains, beside retraining every day and never.

    python benchmarks/loop.py                                # the embedded sample
    python benchmarks/loop.py --catalogue FOLDER             # a catalogue of yours; of a large one some 3,000 products

New categories arrive, a camera darkens photos, a season shifts queries, categories get other names, a bad supplier file and
one with wrong categories come in (`loop_world`). A retraining really trains heads on features of the real towers (`loop_model`) and is
judged by the gate; decisions and drift are those of the room monitoring with the policies of the release (`loop_watch`).
Writes `benchmarks/results/loop-<catalogue>.json` and the plot of the same name.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from loop_features import FURNITURE, MOST_PRODUCTS, Features, features_of, read_shop
from loop_model import Known, Model, pretrained
from loop_plot import plot
from loop_runs import Runs, refusals, snapshots
from loop_summary import summary
from loop_traffic import Answered, Gallery, Traffic
from loop_watch import Serving, Watch, newest_change
from loop_world import YEAR, Calendar, World, time_of
from machine import described

from monitoring.policy import RetrainingPolicy

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent / ".goodsight" / "loop"


@dataclass
class Strategy:
    """How one way to keep a model fresh fared: right answers by day, its runs, and its CPU seconds."""

    days: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("training", "judging", "validation", "watching"), 0.0))
    diary: list[dict[str, Any]] = field(default_factory=list)

    def add(self, day: int, found: Answered, version: int) -> None:
        parts = {"categories": found.categories, "queries": found.queries, "photos": found.photos}
        shares = {name: round(float(values.mean()), 4) for name, values in parts.items()}
        self.days.append({"day": day, "right": found.right, "of": found.count, **shares, "version": version})


@dataclass
class Year:
    """The world, its traffic and its runs, which every strategy shares."""

    world: World
    traffic: Traffic
    runs: Runs
    first: Model
    galleries: dict[tuple[str, str], Gallery] = field(default_factory=dict)

    def gallery(self, model: Model, day: int, version: int) -> Gallery:
        """The index of a day."""
        key = (model.digest, self.world.digest(day))
        if key not in self.galleries:
            self.galleries = dict(list(self.galleries.items())[-2:])
            self.galleries[key] = Gallery.of(self.world.features, model, self.world.known(day), str(version))
        return Gallery(str(version), *(getattr(self.galleries[key], name) for name in ("vectors", "place", "documents")))

    def never(self) -> Strategy:
        """The first model answers all year; its index is kept up to date."""
        found = Strategy()
        for day in range(self.world.calendar.days):
            found.add(day, self.traffic.answered(self.first, self.gallery(self.first, day, 1), day), 1)
        return found

    def daily(self, checked: bool) -> Strategy:
        """A run on every day with a new snapshot; not `checked`: nothing validates the data, and every model serves."""
        found, model, version, last = Strategy(), self.first, 1, self.world.digest(0)
        for day in range(self.world.calendar.days):
            found.add(day, self.traffic.answered(model, self.gallery(model, day, version), day), version)
            known = self.world.known(day, checked=checked)
            refused = checked and self.world.refused(day)
            if refused or known.digest != last:
                told = self._refused(found, day) if refused else self._retrain(found, known, model, day, checked)
                last = last if refused else known.digest
                found.runs.append({key: value for key, value in told.items() if key != "model"})
                if told["promoted"]:
                    model, version = told["model"], version + 1
        return found

    def _refused(self, found: Strategy, day: int) -> dict[str, Any]:
        data = self.runs.data_verdict(day)
        found.cpu["validation"] += data["seconds"]
        return {"day": day, "data": data["decision"], "verdict": "", "why": [data["reason"]], "promoted": False}

    def _retrain(self, found: Strategy, known: Known, champion: Model, day: int, checked: bool) -> dict[str, Any]:
        candidate = self.runs.candidate(known)
        found.cpu["training"] += candidate.cpu_seconds
        if not checked:
            return {"day": day, "data": "", "verdict": "", "why": [], "promoted": True, "model": candidate}
        data = self.runs.data_verdict(day)  # of a file with wrong categories: it passes, or the run would have ended there
        found.cpu["validation"] += data["seconds"]
        verdict, seconds = self.runs.verdict(known, candidate, champion)
        found.cpu["judging"] += seconds
        promoted = verdict["decision"] == "promote"
        told = {"day": day, "data": data["decision"], "verdict": verdict["decision"], "why": refusals(verdict)}
        return {**told, "promoted": promoted, "model": candidate}

    def loop(self, policy: RetrainingPolicy) -> Strategy:
        """What the controller does by the policy."""
        known = self.world.known(0)
        serving = Serving(1, self.first, known, newest_change(self.world, 0, False), time_of(0))
        serving.reference = self.traffic.reference(self.first, self.gallery(self.first, 0, 1), known)
        watch, found = Watch(self.world, self.traffic, self.runs, policy, serving), Strategy()
        for day in range(self.world.calendar.days):
            champion = watch.champion
            found.add(day, watch.day(day, self.gallery(champion.model, day, champion.version)), champion.version)
        found.cpu, found.diary = watch.cpu, watch.diary
        told = [
            {"day": entry["day"], "fired": entry["fired"], "reason": entry["reason"], **entry["run"]}
            for entry in watch.diary
            if entry["run"]
        ]
        found.runs = [{**run, "promoted": run["version"] is not None} for run in told]
        return found


def year(features: Features, calendar: Calendar, cache: Path, models: Path, seed: int, processes: int) -> Year:
    """Everything that the strategies share: the first model, and every candidate that one of them may ask for."""
    world = World(features, calendar, seed)
    with contextlib.redirect_stdout(io.StringIO()):
        parent, world.features = pretrained(features, world.known(0), seed)
    runs = Runs(world, parent, models)
    runs.train(snapshots(world), processes)
    return Year(world, Traffic(world, cache), runs, runs.candidate(world.known(0)))


def simulated(made: Year, policy: RetrainingPolicy) -> dict[str, Strategy]:
    """All four strategies in the same year."""
    found = {}
    for name, run in {
        "loop": lambda: made.loop(policy),
        "daily": lambda: made.daily(True),
        "daily, nothing checked": lambda: made.daily(False),
        "never": made.never,
    }.items():
        started = time.perf_counter()
        found[name] = run()
        right = sum(day["right"] for day in found[name].days) / sum(day["of"] for day in found[name].days)
        print(f"{name}: {right:.1%} right, {len(found[name].runs)} runs ({time.perf_counter() - started:.0f} s)", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalogue", type=Path, default=FURNITURE)
    parser.add_argument("--policy", type=Path, help="a retraining policy; without it that of the release")
    parser.add_argument("--days", type=int, default=YEAR)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--cache", type=Path, default=CACHE, help="where features of photos are kept")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--name", default="", help="of the result, beside the catalogue's")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    policy = RetrainingPolicy.load(chosen.policy) if chosen.policy else RetrainingPolicy.load()
    shop = read_shop(chosen.catalogue)
    with contextlib.redirect_stdout(io.StringIO()):
        features = features_of(shop, chosen.cache)
    print(f"{len(shop.products)} of {shop.whole} products, features after {time.perf_counter() - started:.0f} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        made = year(features, Calendar.of(chosen.days), chosen.cache, Path(folder), chosen.seed, chosen.processes)
        print(f"candidates after {time.perf_counter() - started:.0f} s", flush=True)
        found = simulated(made, policy)
    report = {
        "benchmark": "loop",
        **described(),
        "catalogue": {
            "name": shop.name,
            "products": len(shop.products),
            "of": shop.whole,
            "most": MOST_PRODUCTS,
            "queries": len(shop.queries),
        },
        "seed": chosen.seed,
        "policy": policy.digest,
        "events": asdict(made.world.calendar),
        **summary(made.world, found, made.runs.verdicts),
        "seconds": round(time.perf_counter() - started, 1),
    }
    stem = HERE / "results" / f"loop-{shop.name}{chosen.name}"
    stem.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
    plot(report, stem.with_suffix(".png"))


if __name__ == "__main__":
    main()
