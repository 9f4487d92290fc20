"""What our suites find by facts that are computed natively is what plain Great Expectations finds in the columns as they are."""

from __future__ import annotations

import random
from typing import Any

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
import pytest

from catalogue.checks import product_checks
from catalogue.importer import import_catalogue
from catalogue.snapshot import Snapshot
from catalogue.suites import Judge, Outcome
from tests.catalogue.made import write_lines

ROWS = 300
SPLITS = ["train", "val", "test", "catalogue"]
DAMAGE: list[dict[str, Any]] = [
    {"id": "x" * 201},
    {"id": "p7"},
    {"title": ""},
    {"title": "   "},
    {"title": "t" * 1001},
    {"price": -0.01},
    {"price": None},
    {"split": "holdout"},
    {"description": "d" * 20_001},
    {"description": ""},
    {"category_path": []},
]
PLAIN = {  # label of ours -> the same said to Great Expectations of a column of the snapshot
    "id too long": gxe.ExpectColumnValueLengthsToBeBetween(column="id", max_value=200),
    "empty title": gxe.ExpectColumnValueLengthsToBeBetween(column="title", min_value=1),
    "title too long": gxe.ExpectColumnValueLengthsToBeBetween(column="title", max_value=1000),
    "negative price": gxe.ExpectColumnValuesToBeBetween(column="price", min_value=0),
    "unknown split": gxe.ExpectColumnValuesToBeInSet(column="split", value_set=SPLITS),
    "long description": gxe.ExpectColumnValueLengthsToBeBetween(column="description", max_value=20_000),
    "no description": gxe.ExpectColumnValueLengthsToBeBetween(column="description", min_value=1),
    "no category": gxe.ExpectColumnValuesToNotBeNull(column="top"),
    "duplicate id": gxe.ExpectColumnValuesToBeUnique(column="id"),
}


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Products without media, of which every third is damaged in one or two ways."""
    folder, dice = tmp_path_factory.mktemp("plain"), random.Random(7)
    records = []
    for number in range(ROWS):
        record: dict[str, Any] = {"id": f"p{number}", "title": f"Chair {number}", "category_path": ["Home", "Chairs"]}
        record |= {"price": 10.0, "description": f"Chair number {number}.", "split": dice.choice(SPLITS)}
        for damage in dice.sample(DAMAGE, dice.choice([0, 0, 0, 0, 1, 2])):
            record |= damage
        records.append(record)
    (folder / "shop").mkdir()
    write_lines(folder / "shop" / "products.jsonl", records)
    import_catalogue(folder / "shop", folder / "snapshot")
    return Snapshot.open(folder / "snapshot")


@pytest.fixture(scope="module")
def ours(snapshot: Snapshot, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    found = Judge(tmp_path_factory.mktemp("report"), "run").judge("products", product_checks(snapshot))
    return {outcome.label: outcome for outcome in found.outcomes}


@pytest.fixture(scope="module")
def plain(snapshot: Snapshot) -> dict[str, list[int]]:
    """Label -> the rows that Great Expectations lists by itself."""
    frame = snapshot.products(["id", "title", "description", "price", "split", "category_path"]).to_pandas()
    frame["top"] = [path[0] if len(path) else None for path in frame["category_path"]]
    frame["title"] = frame["title"].str.strip()
    context = gx.get_context(mode="ephemeral")
    batch = context.data_sources.add_pandas("rows").add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")
    return {label: _listed(batch.get_batch({"dataframe": frame}).validate(rule, result_format="COMPLETE")) for label, rule in PLAIN.items()}


def _listed(result: Any) -> list[int]:
    return sorted(result.result["unexpected_index_list"] or [])


def test_every_kind_of_damage_is_there(plain: dict[str, list[int]]) -> None:
    assert all(plain.values())


@pytest.mark.parametrize("label", [name for name in PLAIN if name not in ("duplicate id", "long description", "no description")])
def test_the_same_rows_are_to_leave(label: str, ours: dict[str, Outcome], plain: dict[str, list[int]]) -> None:
    assert sorted(ours[label].rows) == plain[label]


@pytest.mark.parametrize("label", ["long description", "no description"])
def test_as_many_rows_are_warned_of(label: str, ours: dict[str, Outcome], plain: dict[str, list[int]]) -> None:
    assert ours[label].count == len(plain[label])


def test_of_equal_ids_the_first_stays(snapshot: Snapshot, ours: dict[str, Outcome], plain: dict[str, list[int]]) -> None:
    ids = pd.Series(snapshot.products(["id"])["id"].to_pylist())
    assert sorted(ours["duplicate id"].rows) == [row for row in plain["duplicate id"] if ids.duplicated()[row]]
