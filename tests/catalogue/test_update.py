"""Incremental import: the changes to a version make the next one, whole, with tombstones, for the storage of the changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalogue.importer import import_catalogue
from catalogue.quarantine import release
from catalogue.snapshot import Snapshot
from catalogue.update import import_update, inherit_releases
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


def released(parent: Path, out: Path) -> Snapshot:
    """The parent with a release of p1 and of q2, as if both had been in quarantine."""
    bad = (("product", "p1", "negative price"), ("query", "q2", "text too long"))
    rows = [{"kind": kind, "id": id, "labels": [label]} for kind, id, label in bad]
    release(Snapshot.open(parent), rows, ["p1", "q2"], "it is right", "Ada", out)
    return Snapshot.open(out)


def test_a_release_goes_when_its_row_changes(make_catalogue: Make, parent: Path) -> None:
    old = released(parent, parent.with_name("released"))
    assert [row["id"] for row in old.read("releases").to_pylist()] == ["p1", "q2"]
    untouched = updated(make_catalogue, old.folder, [product(5) | {"title": "New"}], [], "untouched")
    assert untouched.read("releases").num_rows == 2
    changed = updated(make_catalogue, old.folder, [product(1) | {"price": -2}], [{"qid": "q2"} | GONE], "changed")
    assert changed.read("releases").num_rows == 0


def test_a_whole_import_keeps_the_releases_of_rows_that_stay(make_catalogue: Make, parent: Path, tmp_path: Path) -> None:
    old = released(parent, parent.with_name("released"))
    products = [product(index) | ({"price": -2} if index == 1 else {}) for index in range(PRODUCTS)]
    import_catalogue(make_catalogue(products, name="again"), tmp_path / "again")
    inherit_releases(old, Snapshot.open(tmp_path / "again"), tmp_path / "out")
    assert [row["id"] for row in Snapshot.open(tmp_path / "out").read("releases").to_pylist()] == ["q2"]
