"""Two weeks of the simulated year, on a made catalogue with tiny towers: the same events, decisions, validation and gate."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from goodsight.digests import HOUSE
from monitoring.policy import RetrainingPolicy

COLOURS = {
    "Chairs": (200, 40, 40),
    "Tables": (40, 160, 60),
    "Lamps": (230, 210, 60),
    "Sofas": (40, 70, 200),
    "Beds": (150, 60, 170),
    "Stools": (60, 170, 190),
    "Shelves": (120, 80, 30),
    "Rugs": (170, 170, 170),
}
OF_EACH = {"Rugs": 10}
DAYS = 14


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the benchmark, and those beside it."""
    monkeypatch.syspath_prepend(HOUSE / "benchmarks")
    for name in [name for name in sys.modules if name.startswith("loop")]:
        monkeypatch.delitem(sys.modules, name)
    import loop

    return loop


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """Products that their colour and their words tell apart."""
    folder, dice = tmp_path / "made", np.random.default_rng(5)
    (folder / "images").mkdir(parents=True)
    products: list[dict[str, Any]] = []
    for category, colour in COLOURS.items():
        for number in range(OF_EACH.get(category, 30)):
            name = f"{category.lower()}-{number}"
            noise = dice.integers(-25, 25, (32, 32, 3)) + dice.integers(-20, 20, 3)
            Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(folder / "images" / f"{name}.png")
            title = f"{category[:-1]} model {number} {['oak', 'steel', 'pine'][number % 3]}"
            split = "test" if number % 3 == 0 else "val" if number % 3 == 1 and number % 2 else "train"
            row = {
                "id": name,
                "source": "made",
                "title": title,
                "description": "",
                "category_path": [category],
                "group": name,
                "split": split,
            }
            products.append({**row, "attributes": {"number": number}, "images": [f"images/{name}.png"]})
    queries = [{"qid": f"q-{row['id']}", "text": row["title"].lower(), "relevant": [row["id"]]} for row in products]
    for file, rows in (("products", products), ("queries_text", queries)):
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_two_weeks_of_the_loop_beside_every_day_and_never(loop: ModuleType, catalogue: Path, tmp_path: Path) -> None:
    features = loop.features_of(loop.read_shop(catalogue), tmp_path / "cache", "tiny")
    made = loop.year(features, loop.Calendar.of(DAYS), tmp_path / "cache", tmp_path / "models", seed=17, processes=1)
    found = loop.simulated(made, RetrainingPolicy.load())
    told = loop.summary(made.world, found, made.runs.verdicts)

    assert {name: len(each.days) for name, each in found.items()} == dict.fromkeys(found, DAYS)
    asked = {name: [day["of"] for day in each.days] for name, each in found.items()}
    assert len({str(each) for each in asked.values()}) == 1  # everybody was asked the same

    bad_file = told["happened"]["bad_file"]
    assert bad_file["in_time"] and bad_file["new_model_after_days"] is None
    assert told["validations"]["bad file"]["decision"] == "failed" and told["validations"]["poison"]["decision"] == "passed"
    assert told["happened"]["new_categories"]["noticed_after_days"] is not None

    runs = {name: figures["runs"] for name, figures in told["strategies"].items()}
    assert runs["never"] == 0 < runs["loop"] <= runs["daily"]
    spent = {name: figures["cpu_seconds"]["training"] for name, figures in told["strategies"].items()}
    assert spent["never"] == 0 < spent["loop"] <= spent["daily"]
    last = {name: values[-1] for name, values in told["categories_by_day"].items()}
    assert last["loop"] >= last["never"]  # two weeks of a tiny shop prove no more
    for run in found["loop"].runs:
        assert run["promoted"] == (run["verdict"] == "promote")
        assert (run["verdict"] == "") == (run["data"] == "failed")


def test_the_world_is_the_same_for_the_same_seed_and_does_what_its_calendar_says(loop: ModuleType, catalogue: Path, tmp_path: Path) -> None:
    features = loop.features_of(loop.read_shop(catalogue), tmp_path / "cache", "tiny")
    world, again = (loop.World(features, loop.Calendar(), 17) for _ in range(2))
    assert [world.digest(day) for day in range(0, 365, 30)] == [again.digest(day) for day in range(0, 365, 30)]
    assert world.digest(300) != loop.World(features, loop.Calendar(), 18).digest(300)

    when = world.calendar
    seen = {day: set(world.known(day).categories) for day in (when.new_categories - 1, when.labels - 1, 364)}
    assert not seen[when.new_categories - 1] & set(world.fresh) and set(world.fresh) <= seen[when.labels - 1]
    assert not set(world.renamed) & seen[364] and set(world.renamed.values()) <= seen[364]
    assert not world.known(when.camera - 1).camera.any() and 0.4 < world.known(364).camera.mean() < 1
    assert world.known(when.bad_file, checked=False).blank.any() and not world.known(when.bad_file).blank.any()
    poisoned = world.known(when.poison)
    assert len(poisoned.rows) > 1.2 * len(world.known(when.poison + when.poison_lasts).rows)
    assert set(poisoned.categories) <= seen[364]
