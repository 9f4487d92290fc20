"""Incremental import: the changes to a version make the next one, whole, with tombstones, for the storage of the changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalogue.importer import import_catalogue
from catalogue.snapshot import Snapshot
from catalogue.update import import_update
from tests.catalogue.made import PRODUCTS, Make, Record, product, query, write_lines

GONE = {"deleted": True}


@pytest.fixture
def parent(make_catalogue: Make, tmp_path: Path) -> Path:
    import_catalogue(make_catalogue(name="first"), tmp_path / "parent")
    return tmp_path / "parent"


def updated(make_catalogue: Make, parent: Path, products: list[Record | str], queries: list[Record], name: str = "changes") -> Snapshot:
    out = parent.with_name(f"out-{name}")
    import_update(make_catalogue(products, queries, name=name), parent, out)
    return Snapshot.open(out)


def titles(snapshot: Snapshot) -> dict[str, str]:
    return dict(zip(*snapshot.products(["id", "title"]).to_pydict().values(), strict=True))


def test_changes_make_the_next_version(make_catalogue: Make, parent: Path) -> None:
    changes = [product(1) | {"title": "Red chair"}, product(99) | {"images": []}, {"id": "p2"} | GONE]
    snapshot = updated(make_catalogue, parent, changes, [query(99), {"qid": "q3"} | GONE])
    before = titles(Snapshot.open(parent))
    assert titles(snapshot) == {**{id: title for id, title in before.items() if id != "p2"}, "p1": "Red chair", "p99": "Chair number 99"}
    assert set(snapshot.queries(["id"])["id"].to_pylist()) == {f"q{index}" for index in range(PRODUCTS) if index != 3} | {"q99"}
    assert [(row["kind"], row["id"]) for row in snapshot.read("tombstones").to_pylist()] == [("product", "p2"), ("query", "q3")]
    assert snapshot.manifest["parent"] == Snapshot.open(parent).digest and snapshot.manifest["source"] == "first"
    kept = next(row for row in snapshot.products().to_pylist() if row["id"] == "p0")
    assert kept == next(row for row in Snapshot.open(parent).products().to_pylist() if row["id"] == "p0")


def test_same_parent_and_changes_same_digest(make_catalogue: Make, parent: Path) -> None:
    changes = [product(1) | {"title": "Red chair"}, {"id": "p2"} | GONE]
    one, two = (updated(make_catalogue, parent, changes, [], name) for name in ("one", "two"))
    assert one.digest == two.digest


def test_what_is_untouched_costs_nothing(make_catalogue: Make, parent: Path) -> None:
    snapshot = updated(make_catalogue, parent, [product(50) | {"images": []}], [])
    files, before = snapshot.manifest["files"], Snapshot.open(parent).manifest["files"]
    assert before.items() <= files.items() and set(files) - set(before) == {"products/00001.parquet"}


def test_a_deleted_product_may_come_back(make_catalogue: Make, parent: Path) -> None:
    gone = updated(make_catalogue, parent, [{"id": "p2"} | GONE], [], "gone")
    back = updated(make_catalogue, gone.folder, [product(2)], [], "back")
    assert back.read("tombstones").num_rows == 0 and "p2" in titles(back)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([{"id": "p77"} | GONE], "is to be deleted, but the catalogue does not have it"),
        ([product(1), {"id": "p1"} | GONE], "is to be deleted, and given in the same changes"),
    ],
)
def test_a_tombstone_that_means_nothing_is_told(make_catalogue: Make, parent: Path, changes: list[Record], words: str) -> None:
    snapshot = updated(make_catalogue, parent, changes, [])
    [bad] = snapshot.read("unreadable").to_pylist()
    assert words in bad["reason"] and bad["line"] == len(changes)
    assert snapshot.read("tombstones").num_rows == 0 and len(titles(snapshot)) == PRODUCTS


def test_queries_follow_the_split_of_products_that_stay(make_catalogue: Make, parent: Path) -> None:
    splits = dict(zip(*Snapshot.open(parent).products(["id", "split"]).to_pydict().values(), strict=True))
    queries = [{"qid": f"new{index}", "text": "x", "relevant": [f"p{index}"]} for index in range(PRODUCTS)]
    snapshot = updated(make_catalogue, parent, [], queries)
    rows = {row["id"]: row["split"] for row in snapshot.queries(["id", "split"]).to_pylist()}
    assert all(rows[f"new{index}"] == splits[f"p{index}"] for index in range(PRODUCTS))


CHANGE = st.sampled_from(["change", "delete", "add", "nothing"])


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.lists(CHANGE, min_size=PRODUCTS, max_size=PRODUCTS), min_size=1, max_size=3))
def test_updates_end_where_one_import_would(
    make_catalogue: Make, parent: Path, tmp_path_factory: pytest.TempPathFactory, steps: list[list[str]]
) -> None:
    wanted: dict[str, Any] = titles(Snapshot.open(parent))
    folder, current = tmp_path_factory.mktemp("steps"), parent
    for number, step in enumerate(steps):
        changes: list[Record | str] = []
        for index, change in enumerate(step):
            name, title = f"p{index}" if change != "add" else f"new{number}-{index}", f"{change} in step {number}"
            if change == "delete" and name in wanted:
                changes.append({"id": name} | GONE)
                del wanted[name]
            elif change in ("change", "add"):
                changes.append({"id": name, "title": title, "category_path": ["Furniture"]})
                wanted[name] = title
        source = folder / f"changes-{number}"
        source.mkdir()
        if not changes:
            changes.append({"id": "p0", "title": wanted.setdefault("p0", "back"), "category_path": ["Furniture"]})
        write_lines(source / "products.jsonl", changes)
        import_update(source, current, folder / f"out-{number}")
        current = folder / f"out-{number}"
    assert titles(Snapshot.open(current)) == wanted
