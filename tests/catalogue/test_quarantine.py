"""Quarantine and release: a person lets a row back in, by name and reason, and nothing that training could not do with."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalogue.quarantine import QUARANTINE_SCHEMA, release
from catalogue.snapshot import Snapshot
from catalogue.suites import SUITES, releasable
from catalogue.validations import folder_of, quarantine_of, validate_version
from catalogue.versions import describe, import_version, list_versions, opened, release_version
from goodsight.errors import InputError
from goodsight.files import read_json
from tests.catalogue.made import PRODUCTS, Make, product, query, write_lines

BAD = {1: {"price": -1}, 2: {"category_path": ["Garden"]}, 3: {"images": ["images/none.jpg"]}, 4: {"price": -1, "title": ""}}


@pytest.fixture
def home(make_catalogue: Make, tmp_path: Path) -> Path:
    """A home with a validated version of a catalogue with four bad rows."""
    products = [product(index) | BAD.get(index, {}) for index in range(PRODUCTS)]
    folder = make_catalogue(products, [query(0), query(0)])
    write_lines(folder / "events.jsonl", [{"product": "p1", "kind": "view"}])  # without a time
    revision = import_version(folder, "shop", tmp_path / "home")
    kept = validate_version(revision, tmp_path / "home")
    assert read_json(kept / "verdict.json")["quarantined"] == 4 and (kept / "report/index.html").is_file()
    return tmp_path / "home"


def let_in(home: Path, *ids: str, reason: str = "returns are booked so", by: str = "Ada") -> str:
    version = describe("shop", home)
    return release_version(version["revision"], home, quarantine_of(version["digest"], home), ids, reason, by)


def test_released_rows_come_back_and_the_others_do_not(home: Path) -> None:
    before = read_json(folder_of(describe("shop", home)["digest"], home) / "verdict.json")
    released = let_in(home, "p1", "p2")
    verdict = read_json(validate_version("shop", home) / "verdict.json")
    assert (verdict["kept"], verdict["quarantined"]) == (before["kept"] + 2, 2)
    assert verdict["products_in"] == verdict["kept"] + verdict["quarantined"]
    assert {row["id"] for row in quarantine_of(describe(released, home)["digest"], home)} == {"p1", "p3", "p4", "q0"}  # p1: the event
    assert verdict["compared"]["with"] == before["raw_digest"] and verdict["compared"]["products"] == [8, 10]
    with opened("shop", home) as (snapshot, _):
        assert snapshot.read("releases").to_pylist()[0] == {
            "kind": "product", "id": "p1", "labels": ["negative price"], "reason": "returns are booked so", "by": "Ada",
        }  # fmt: skip


def test_a_second_release_adds_to_the_first(home: Path) -> None:
    let_in(home, "p1")
    validate_version("shop", home)
    let_in(home, "p2")
    assert read_json(validate_version("shop", home) / "verdict.json")["quarantined"] == 2


@pytest.mark.parametrize(
    ("ids", "given", "words"),
    [
        (["p3"], {}, r"p3 \(broken image\) cannot be released, only corrected"),
        (["p1", "p4"], {}, r"p4 \(empty title\) cannot be released"),
        (["p0", "p1"], {}, "p0 is not in quarantine"),
        (["p1"], {"reason": " "}, "needs a reason and a name"),
        (["p1"], {"by": ""}, "needs a reason and a name"),
    ],
)
def test_what_cannot_be_released_is_refused(home: Path, ids: list[str], given: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        let_in(home, *ids, **given)
    assert len(list_versions(home)) == 1


def test_an_older_version_is_not_released_into(home: Path, make_catalogue: Make) -> None:
    old = describe("shop", home)
    import_version(make_catalogue(name="newer"), "shop", home)
    with pytest.raises(InputError, match="is not the newest version of shop"):
        release_version(old["revision"], home, quarantine_of(old["digest"], home), ["p1"], "right", "Ada")


def test_a_version_that_was_not_validated_has_no_quarantine(home: Path, make_catalogue: Make) -> None:
    import_version(make_catalogue(name="newer"), "shop", home)
    with pytest.raises(InputError, match="has not been validated here"):
        quarantine_of(describe("shop", home)["digest"], home)


def test_labels_are_unique_and_releasable_ones_are_critical() -> None:
    for path in SUITES.glob("*.json"):
        rules = read_json(path)["expectations"]
        labels = [rule["meta"]["label"] for rule in rules]
        assert len(set(labels)) == len(labels)
        assert all(rule["severity"] == "critical" for rule in rules if rule["meta"].get("releasable"))
    assert releasable() and "labels" in QUARANTINE_SCHEMA.names


def test_a_release_of_nothing_changes_nothing(home: Path, tmp_path: Path) -> None:
    with opened("shop", home) as (snapshot, _):
        assert release(snapshot, [], [], "none", "Ada", tmp_path / "out")["digest"] == snapshot.digest
        assert Snapshot.open(tmp_path / "out").read("releases").num_rows == 0
