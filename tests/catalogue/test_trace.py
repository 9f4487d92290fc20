"""A version is found by its digest and by a product in it, and an altered or absent one is told from a whole one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from catalogue import trace
from catalogue.data_repo import git, root_of
from catalogue.validations import validate_version
from catalogue.versions import describe, import_version
from tests.catalogue.made import PRODUCTS, product, write_lines


def shop(folder: Path, count: int) -> Path:
    """A catalogue of so many products without media."""
    folder.mkdir()
    media = ("images", "video", "audio")
    write_lines(folder / "products.jsonl", [{k: v for k, v in product(n).items() if k not in media} for n in range(count)])
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two versions of a shop, the later with one product less, and a garden."""
    work = tmp_path_factory.mktemp("trace")
    for name, count in (("shop", PRODUCTS), ("shop", PRODUCTS - 1), ("garden", 2)):
        import_version(shop(work / f"{name}{count}", count), name, work / "home")
    return work / "home"


def imported(home: Path) -> list[trace.Version]:
    """The three versions: the whole shop, the shop with one product less, the garden."""
    return sorted(trace.versions(home), key=lambda version: -version.manifest["counts"]["products"])


def test_versions_are_found_by_revision_and_by_the_start_of_a_digest(home: Path) -> None:
    every = imported(home)
    assert [version.revision.split("-")[0] for version in every] == ["shop", "shop", "garden"]
    assert all(version.whole for version in every)
    first = every[0]
    assert trace.versions(home, first.revision) == trace.versions(home, first.digest) == trace.versions(home, first.digest[:10]) == [first]
    assert first.manifest == {k: v for k, v in describe(first.revision, home).items() if k not in ("revision", "name")}
    assert first.commit == git(root_of(home), "rev-parse", f"{first.revision}^{{commit}}").strip()
    assert trace.versions(home, "f" * 12) == [] and trace.versions(home / "none") == []


def test_the_versions_that_have_a_product(home: Path) -> None:
    first, second, garden = imported(home)
    found, unknown = trace.having("p1", home)
    assert {each.version.revision for each in found} == {each.revision for each in (first, second, garden)} and not unknown
    assert trace.having(f"p{PRODUCTS - 1}", home) == ([trace.Holding(first, 1, 0)], [])
    assert trace.having("nobody", home) == ([], [])


def test_a_product_in_quarantine_is_not_kept_and_one_of_which_a_copy_is_there_is(tmp_path: Path) -> None:
    folder = shop(tmp_path / "shop", PRODUCTS)
    rows = [json.loads(line) for line in (folder / "products.jsonl").read_text().splitlines()]
    write_lines(folder / "products.jsonl", [*rows[:-1], rows[1], rows[-1] | {"title": ""}])
    validate_version(import_version(folder, "shop", tmp_path / "home"), tmp_path / "home")
    held = {name: trace.having(name, tmp_path / "home")[0][0] for name in ("p0", "p1", f"p{PRODUCTS - 1}")}
    assert [(each.rows, each.quarantined, each.kept) for each in held.values()] == [(1, 0, True), (2, 1, True), (1, 1, False)]


def test_of_a_version_whose_bytes_are_elsewhere_nobody_can_say(home: Path) -> None:
    first, _, garden = imported(home)
    kept = trace._kept(home, garden.pointer)
    aside = kept.rename(kept.with_suffix(".aside"))
    try:
        assert trace.having(f"p{PRODUCTS - 1}", home) == ([trace.Holding(first, 1, 0)], [garden])
    finally:
        aside.rename(kept)


def test_a_manifest_that_was_changed_in_the_repository_is_not_whole(tmp_path: Path) -> None:
    import_version(shop(tmp_path / "shop", 3), "shop", tmp_path / "home")
    root, [version] = root_of(tmp_path / "home"), trace.versions(tmp_path / "home")
    altered = version.manifest | {"files": {"products/00000.parquet": "0" * 64}}
    (root / "shop.json").write_text(json.dumps(altered))
    git(root, "commit", "--quiet", "--all", "--message", f"{version.revision}: 3 products")
    git(root, "tag", "--force", "--annotate", "--message", version.digest, version.revision)
    [found] = trace.versions(tmp_path / "home", version.digest)
    assert found.manifest == altered and not found.whole
    (root / "shop.json").write_text("[")
    git(root, "commit", "--quiet", "--all", "--message", "broken")
    git(root, "tag", "--force", "--annotate", "--message", version.digest, version.revision)
    assert [(each.manifest, each.whole) for each in trace.versions(tmp_path / "home")] == [({}, False)]
