"""Erasure: a product is gone from the next version for good, and what still knows it is listed and recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from catalogue.remote import BUNDLE, pull, push
from catalogue.validations import validate_version
from catalogue.versions import describe, import_version, opened, resolve
from goodsight.errors import InputError
from goodsight.files import read_json
from goodsight.settings import settings
from lineage.ledger import Ledger
from pipelines import erasure
from tests.catalogue.made import PRODUCTS, product, query, write_lines


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("GOODSIGHT_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    yield tmp_path / "home"
    settings.cache_clear()


def folder(tmp_path: Path, name: str, count: int = PRODUCTS) -> Path:
    """A catalogue without media, its last line broken and telling of p1."""
    made = tmp_path / name
    made.mkdir()
    media = ("images", "video", "audio")
    bare = [{field: value for field, value in product(index).items() if field not in media} for index in range(count)]
    write_lines(made / "products.jsonl", [*bare, '{"id": "p1", "title": '])
    write_lines(made / "queries_text.jsonl", [query(index) for index in range(count)])
    write_lines(made / "events.jsonl", [{"product": "p1", "kind": "view"}, {"product": "p11", "kind": "view"}])
    return made


def test_an_erased_product_is_gone_listed_recorded_and_does_not_come_back(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = import_version(folder(tmp_path, "first"), "shop", home)
    second = import_version(folder(tmp_path, "second", PRODUCTS - 1), "shop", home)
    judged = validate_version(second, home)
    monkeypatch.setattr(erasure, "trained_on", lambda revisions: ["4"] if first in revisions else [])
    found = erasure.erase("shop", "p1", "request 4711", "Ada", home)
    assert not judged.exists()
    assert found == {"revision": resolve("shop", home), "versions": [first, second], "models": ["4"]}
    with opened("shop", home) as (snapshot, _):
        assert "p1" not in snapshot.products(["id"])["id"].to_pylist() and snapshot.read("unreadable").num_rows == 0
        assert snapshot.read("events")["product"].to_pylist() == ["p11"]
    [event] = Ledger(settings().ledger_url).events("erasure")
    assert event.actor == "Ada" and event.payload["models"] == ["4"] and "p1" not in event.payload["product"]
    assert event.subjects == [describe(version, home)["digest"] for version in (found["revision"], first, second)]

    again = import_version(folder(tmp_path, "again"), "shop", home)
    with opened(again, home) as (snapshot, _):
        assert "p1" not in snapshot.products(["id"])["id"].to_pylist()
        assert [row["text"] for row in snapshot.read("unreadable").to_pylist() if "erased" in row["reason"]] == [""]
    verdict = read_json(validate_version(again, home) / "verdict.json")
    assert verdict["products_in"] == verdict["kept"] + verdict["quarantined"] == PRODUCTS + 1
    changes = tmp_path / "changes"
    changes.mkdir()
    write_lines(changes / "products.jsonl", [{"id": "p1", "title": "Back again", "category_path": ["Furniture"]}])
    update = import_version(changes, "shop", home, update=True)
    with opened(update, home) as (snapshot, _):
        assert "p1" not in snapshot.products(["id"])["id"].to_pylist()


def test_another_catalogue_may_have_that_id(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "trained_on", lambda revisions: [])
    for name in ("shop", "garden"):
        import_version(folder(tmp_path, name), name, home)
    erasure.erase("shop", "p1", "request 4711", "Ada", home)
    with opened(import_version(folder(tmp_path, "again"), "garden", home), home) as (snapshot, _):
        assert "p1" in snapshot.products(["id"])["id"].to_pylist()


def test_no_catalogue_takes_the_name_under_which_erasures_are_kept(tmp_path: Path, home: Path) -> None:
    with pytest.raises(InputError, match="cannot be called 'erased'"):
        import_version(folder(tmp_path, "first"), "erased", home)


@pytest.mark.parametrize(("product_id", "reason", "words"), [("p77", "right", "No version of shop has"), ("p1", " ", "needs a reason")])
def test_an_erasure_of_nothing_or_for_no_reason_is_refused(tmp_path: Path, home: Path, product_id: str, reason: str, words: str) -> None:
    import_version(folder(tmp_path, "first"), "shop", home)
    with pytest.raises(InputError, match=words):
        erasure.erase("shop", product_id, reason, "Ada", home)
    assert not (home / "data/erased").exists()


def test_an_erased_product_leaves_the_remote_with_the_versions_that_held_it(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = tmp_path / "storage"
    storage.mkdir()
    monkeypatch.setenv("GOODSIGHT_DATA_REMOTE", str(storage))
    settings.cache_clear()
    monkeypatch.setattr(erasure, "trained_on", lambda revisions: [])
    first = import_version(folder(tmp_path, "first"), "shop", home)
    digest = describe(first, home)["digest"]
    push(home)
    old = {path for path in storage.rglob("*") if path.is_file() and path.name != BUNDLE}
    found = erasure.erase("shop", "p1", "request 4711", "Ada", home)
    push(home)
    assert erasure.remove(1, "Ada", home) == found["versions"] == [first]
    [event] = Ledger(settings().ledger_url).events("removal")
    assert event.actor == "Ada" and event.subjects == [digest] and event.payload == {"versions": [first], "remote": str(storage)}
    gone = {path for path in old if not path.exists()}
    assert len(gone) >= 4  # the manifest, the list of shards, the shards of products and of events
    assert pull(tmp_path / "other") == [found["revision"]]
    with opened("shop", tmp_path / "other") as (snapshot, _):
        assert "p1" not in snapshot.products(["id"])["id"].to_pylist()
