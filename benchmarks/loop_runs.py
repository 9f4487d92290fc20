"""What a run of the simulated year does: its candidate, trained once whoever asks for it, the real validation, the real gate."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from loop_model import Heads, Known, Model, evaluated, load, retrained, save
from loop_world import World

from lineage.gate import judge
from lineage.policy import Policy

KEPT_MODELS = 4  # in memory


@dataclass
class Runs:
    """Candidates by the digest of what they learned from, in `folder`. Training takes as much CPU time for each who asks as it did."""

    world: World
    parent: Heads
    folder: Path
    policy: Policy = field(default_factory=Policy.load)
    models: dict[str, Model] = field(default_factory=dict)
    verdicts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def train(self, wanted: dict[str, Known], processes: int) -> None:
        """Trains every candidate that the year may ask for."""
        missing = [known for digest, known in wanted.items() if not (self.folder / digest).is_dir()]
        if processes < 2:
            for known in missing:
                self._train(known)
            return
        with ProcessPoolExecutor(processes, get_context("fork"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for number, _ in enumerate(pool.map(self._train, missing)):
                if number % 10 == 0:
                    print(f"{number + 1} of {len(missing)} candidates", flush=True)

    def _train(self, known: Known) -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            save(retrained(self.world.features, known, self.parent, self.world.seed), self.folder / known.digest)

    def candidate(self, known: Known) -> Model:
        """The model that a run on `known` makes."""
        digest = known.digest
        if digest not in self.models:
            if not (self.folder / digest).is_dir():
                self._train(known)
            while len(self.models) >= KEPT_MODELS:
                self.models.pop(next(iter(self.models)))
            self.models[digest] = load(self.folder / digest, self.parent)
        return self.models[digest]

    def verdict(self, known: Known, candidate: Model, champion: Model) -> tuple[dict[str, Any], float]:
        """The gate's verdict on the snapshot `known`, and the CPU seconds of evaluating both and judging."""
        started = time.process_time()
        sides = [evaluated(self.world.features, known, model) for model in (candidate, champion)]
        found = judge(*sides, self.policy)
        return found, time.process_time() - started

    def data_verdict(self, day: int) -> dict[str, Any]:
        """The verdict of the real validation on the delivery of a day that has one of its own."""
        why = "bad file" if self.world.refused(day) else "poison" if self.world.poisoned(day) else ""
        if why not in self.verdicts:
            self.verdicts[why] = validated(self.world, day) if why else {"decision": "passed", "reason": "", "seconds": 0.0}
        return self.verdicts[why]


def refusals(verdict: dict[str, Any]) -> list[str]:
    """The checks that did not pass, with their outcomes."""
    return [f"{check['id']}: {check['outcome']}" for check in verdict["checks"] if check["pass"] is False]


def validated(world: World, day: int) -> dict[str, Any]:
    """Imports the catalogue of a day, with its bad file, and validates it as a run does."""
    from catalogue.importer import import_catalogue
    from catalogue.validation import validate

    started = time.process_time()
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        folder = Path(name)
        _write_catalogue(world, day, folder / "catalogue")
        import_catalogue(folder / "catalogue", folder / "raw")
        found = validate(folder / "raw", folder / "snapshot", folder / "quarantine.parquet", folder / "report").to_json()
    told = {name: found[name] for name in ("decision", "reason", "products_in", "kept", "quarantined", "by_reason")}
    return {**told, "seconds": round(time.process_time() - started, 2)}


def _write_catalogue(world: World, day: int, folder: Path) -> None:
    shop = world.features.shop
    folder.mkdir()
    lines = []
    for number, record in enumerate(world.at(day, checked=False)):
        row = shop.products[record.row]
        image = folder / row["images"][0]
        if not image.exists():
            image.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(shop.folder / row["images"][0], image)
        line = {name: row[name] for name in ("id", "source", "title", "attributes", "images", "group")}
        line |= {"description": row.get("description") or "", "category_path": record.category.split(" > "), "split": record.split}
        if record.why:
            line["id"] = f"{row['id']}-{number}"
        if record.why == "bad file":
            line |= {"title": "", "description": "", "price": row["title"], "images": [f"{row['title'] or 'image'}.jpg"]}
        lines.append(json.dumps(line))
    (folder / "products.jsonl").write_text("\n".join(lines) + "\n")


def snapshots(world: World) -> dict[str, Known]:
    """Every snapshot of the year by its digest, and those that a run without validation would take."""
    found: dict[str, Known] = {}
    for day in range(world.calendar.days):
        for checked in (True, False) if world.refused(day) else (True,):
            known = world.known(day, checked)
            found.setdefault(known.digest, known)
    return found
