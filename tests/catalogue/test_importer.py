"""Importing: same input same digest, bad lines beside good ones, media only from inside the folder."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from catalogue.importer import import_catalogue
from catalogue.snapshot import Snapshot
from goodsight.digests import sha256_files
from goodsight.errors import InputError
from tests.catalogue.made import PRODUCTS, Make, product, query, write_lines


def test_a_catalogue_becomes_a_snapshot(make_catalogue: Make, tmp_path: Path) -> None:
    folder = make_catalogue()
    manifest = import_catalogue(folder, tmp_path / "out")
    assert {table: count for table, count in manifest["counts"].items() if count} == {"products": PRODUCTS, "queries": PRODUCTS}
    assert manifest["licences"] == {"CC0": PRODUCTS} and manifest["source"] == "shop" and manifest["parent"] is None
    [first] = Snapshot.open(tmp_path / "out").products().slice(0, 1).to_pylist()
    assert first["images"] == [(folder / "images/p0.jpg").read_bytes()]
    assert first["video"] == (folder / "video/p0.jpg").read_bytes()
    assert json.loads(first["attributes"]) == {"width_cm": 40.5}
    assert first["group"] == "p0" and first["split"] in ("train", "val", "test") and first["problems"] == []


def test_same_input_same_bytes(make_catalogue: Make, tmp_path: Path) -> None:
    one, two = make_catalogue(name="one"), make_catalogue(name="two")
    first, second = (import_catalogue(folder, tmp_path / f"out-{folder.name}") for folder in (one, two))
    assert first["digest"] == second["digest"]
    for name in ("one", "two"):
        files = sha256_files(tmp_path / f"out-{name}")
        del files["manifest.json"]
        assert files == first["files"]
    assert first["files"] == second["files"]


def test_another_byte_another_digest(make_catalogue: Make, tmp_path: Path) -> None:
    before = import_catalogue(make_catalogue(name="one"), tmp_path / "out1")["digest"]
    changed = [product(0) | {"title": "Chair number 0!"}, *(product(index) for index in range(1, PRODUCTS))]
    assert import_catalogue(make_catalogue(changed, name="two"), tmp_path / "out2")["digest"] != before


def test_bad_lines_do_not_stop_the_good_ones(make_catalogue: Make, tmp_path: Path) -> None:
    lines = [
        product(0),
        '{"id": "p1", "title": ',
        "[1, 2]",
        json.dumps({"title": "no id"}),
        product(2),
        "",
        "\udcff".encode("utf-8", "surrogatepass").decode("latin1"),
    ]
    folder = make_catalogue(lines)
    with open(folder / "products.jsonl", "ab") as file:
        file.write(b'{"id": "\xff"}\n' + b"[" * 100_000 + b"\n")
    manifest = import_catalogue(folder, tmp_path / "out")
    snapshot = Snapshot.open(tmp_path / "out")
    assert snapshot.products(["id", "line"]).to_pylist() == [{"id": "p0", "line": 1}, {"id": "p2", "line": 5}]
    bad = snapshot.read("unreadable").to_pylist()
    assert manifest["counts"]["unreadable"] == len(bad) == 6
    assert [row["line"] for row in bad] == [2, 3, 4, 7, 8, 9]
    reasons = " ".join(row["reason"] for row in bad)
    for words in (
        "broken JSON",
        "not a JSON object but [1, 2]",
        "no id: 'id' is null",
        "not UTF-8",
        "nested too deeply",
    ):
        assert words in reasons


def test_an_overlong_line_is_unreadable(make_catalogue: Make, tmp_path: Path) -> None:
    long = json.dumps(product(1) | {"description": "x" * 9_000_000})
    folder = make_catalogue([product(0), long, product(2)])
    assert import_catalogue(folder, tmp_path / "out")["counts"]["products"] == 2
    assert "longer than" in Snapshot.open(tmp_path / "out").read("unreadable")["reason"][0].as_py()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"price": "cheap"}, "price: 'cheap' is no number"),
        ({"price": True}, "price: true is no number"),
        ({"price": 10**400}, "price: 1000"),
        ({"title": ["a"]}, 'title: ["a"] is no text'),
        ({"category_path": {"a": 1}}, 'category_path: {"a": 1} is no list of texts'),
        ({"attributes": [1]}, "attributes: [1] is no JSON object"),
        ({"updated": "yesterday"}, "updated: 'yesterday' is no ISO 8601 time"),
        ({"images": ["images/none.jpg"]}, "images: the file 'images/none.jpg' is missing"),
        ({"images": ["images"]}, "images: 'images' is no file"),
        ({"audio": "audio/none.flac"}, "audio: the file 'audio/none.flac' is missing"),
        ({"title": "\ud800"}, "title: '\\ud800' holds half a character"),
        ({"title": math.nan}, "title: NaN is no text"),
        ({"category_path": [math.nan]}, "category_path: [NaN] is no list of texts"),
        ({"images": ["x" * 300]}, f"images: the file '{'x' * 59}... cannot be read: File name too long"),
    ],
)
def test_what_cannot_be_kept_is_named(make_catalogue: Make, tmp_path: Path, change: dict, problem: str) -> None:
    import_catalogue(make_catalogue([product(0) | change]), tmp_path / "out")
    [problems] = Snapshot.open(tmp_path / "out").products(["problems"])["problems"].to_pylist()
    assert len(problems) == 1 and problems[0].startswith(problem)


@pytest.mark.parametrize(
    "name", ["../secret.jpg", "/etc/passwd", "images/../../secret.jpg", "", "a\0b", "link.jpg", "linked/secret.jpg"]
)
def test_media_outside_the_folder_are_not_read(make_catalogue: Make, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    folder = make_catalogue([product(0) | {"images": [name]}])
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "linked").symlink_to(tmp_path)
    import_catalogue(folder, tmp_path / "out")
    [row] = Snapshot.open(tmp_path / "out").products(["images", "problems"]).to_pylist()
    assert row["images"] == [] and "catalogue folder" in row["problems"][0]


def test_a_pipe_or_a_large_file_is_not_read(make_catalogue: Make, tmp_path: Path) -> None:
    folder = make_catalogue([product(0) | {"images": ["pipe.jpg", "large.jpg"]}])
    os.mkfifo(folder / "pipe.jpg")
    with open(folder / "large.jpg", "wb") as file:
        file.truncate(33 * 2**20)
    import_catalogue(folder, tmp_path / "out")
    [problems] = Snapshot.open(tmp_path / "out").products(["problems"])["problems"].to_pylist()
    assert problems == [
        "images: 'pipe.jpg' is no file",
        "images: the file 'large.jpg' is larger than 33,554,432 bytes (GOODSIGHT_MAX_MEDIA_BYTES)",
    ]


def test_splits_follow_group_and_relevant_products(make_catalogue: Make, tmp_path: Path) -> None:
    products = [product(index) | {"group": "g"} for index in range(6)]
    products += [product(index) | {"split": "catalogue"} for index in range(6, PRODUCTS)]
    queries = [
        query(0),
        query(7),
        query(1) | {"split": "val"},
        {"id": "v", "kind": "photo on a shelf", "image": "images/p0.jpg", "relevant": ["p0"]},
    ]
    import_catalogue(make_catalogue(products, queries), tmp_path / "out")
    snapshot = Snapshot.open(tmp_path / "out")
    [split] = set(snapshot.products(["split"])["split"].to_pylist()[:6])
    rows = snapshot.queries(["kind", "split"]).to_pylist()
    assert rows[0] == {"kind": "text", "split": split} and rows[2]["split"] == "val"
    assert rows[1]["split"] in ("train", "val", "test")
    assert rows[3] == {"kind": "image", "split": split}


def test_categories_and_events_come_along(make_catalogue: Make, tmp_path: Path) -> None:
    folder = make_catalogue()
    (folder / "categories.txt").write_text("Furniture > Tables\n\nFurniture > Chairs\n")
    write_lines(folder / "events.jsonl", [{"product": "p1", "kind": "click", "time": "2026-01-02", "value": "two"}, "broken"])
    manifest = import_catalogue(folder, tmp_path / "out")
    assert manifest["categories"] == ["Furniture > Chairs", "Furniture > Tables"]
    assert manifest["counts"]["events"] == manifest["counts"]["unreadable"] == 1
    [event] = Snapshot.open(tmp_path / "out").read("events").to_pylist()
    assert (event["product"], event["kind"], event["created"]) == ("p1", "click", event["time"])
    assert (event["file"], event["line"], event["problems"]) == ("events.jsonl", 1, ["value: 'two' is no number"])


def test_a_wrong_folder_is_told_in_one_sentence(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder, words in ((tmp_path / "none", "does not exist"), (empty, "is no catalogue")):
        with pytest.raises(InputError, match=words):
            import_catalogue(folder, tmp_path / "out")
    (empty / "products.jsonl").write_text("\n\n")
    with pytest.raises(InputError, match=r"has no records: products\.jsonl is empty"):
        import_catalogue(empty, tmp_path / "out")
    with pytest.raises(InputError, match="no layout 'shopify'"):
        import_catalogue(empty, tmp_path / "out", "shopify")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["events.jsonl", "products.parquet", "categories.txt"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")], ids=["folder", "pipe", "link"])
def test_what_is_no_file_is_refused_with_its_name(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    (tmp_path / "shop").mkdir()
    if not name.startswith("products"):
        write_lines(tmp_path / "shop/products.jsonl", [product(0)])
    make(tmp_path / "shop" / name)
    with pytest.raises(InputError, match=f"{name} is no file"):
        import_catalogue(tmp_path / "shop", tmp_path / "out")


def test_what_is_nested_too_deeply_costs_one_line(make_catalogue: Make, tmp_path: Path) -> None:
    deep = json.dumps(product(1)).replace('{"width_cm": 41.5}', '{"a": ' * 400 + "1" + "}" * 400)
    manifest = import_catalogue(make_catalogue([product(0), deep, product(2)]), tmp_path / "out")
    assert manifest["counts"]["products"] == 2
    [row] = Snapshot.open(tmp_path / "out").read("unreadable").to_pylist()
    assert row["reason"] == "the JSON is nested too deeply: more than 100 levels" and row["text"].startswith('{"id": "p1"')
