"""Two versions compared: every change is found and counted, and reads like a code review, as text and as a page."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalogue.diff import CategoryShift, Diff, diff
from catalogue.importer import import_catalogue
from catalogue.review import lines, page
from catalogue.snapshot import Snapshot
from tests.catalogue.made import PRODUCTS, Make, Record, product, query

HOSTILE = '<script>alert("x")</script>'


@pytest.fixture
def found(make_catalogue: Make, tmp_path: Path) -> Diff:
    """p1 retitled and repriced, p2 with another picture, p3 removed, a hostile p99 added in a category of its own; q0 removed."""
    changed = {1: {"title": "Chair number one", "price": 99.5}, 2: {"images": ["images/p5.jpg"]}}
    products = [product(index) | changed.get(index, {}) for index in range(PRODUCTS) if index != 3]
    products.append({"id": "p99", "title": HOSTILE, "category_path": ["Garden"], "images": ["images/p9.jpg"]})
    import_catalogue(make_catalogue(name="before"), tmp_path / "before")
    import_catalogue(make_catalogue(products, [query(index) for index in range(1, PRODUCTS)], name="after"), tmp_path / "after")
    return diff(Snapshot.open(tmp_path / "before"), Snapshot.open(tmp_path / "after"))


def test_every_change_is_found(found: Diff) -> None:
    products = found.products
    assert (products.before, products.after) == (PRODUCTS, PRODUCTS)
    assert [row["id"] for row in products.added_rows] == ["p99"] and [row["id"] for row in products.removed_rows] == ["p3"]
    assert [(change.after["id"], change.fields) for change in products.changed_rows] == [("p1", ["title", "price"]), ("p2", ["images"])]
    assert products.by_field == {"title": 1, "price": 1, "images": 1}
    assert (found.queries.added, found.queries.removed, found.queries.changed) == (0, 1, 0)
    assert found.categories.counts == [("Furniture > Chairs", 6, 5), ("Garden", 0, 1)]
    assert found.categories.moved == pytest.approx(1 / 12)


def test_it_reads_like_a_code_review(found: Diff) -> None:
    assert list(lines(found, "shop-1", "shop-2")) == [
        "shop-1 -> shop-2",
        "products: 12 -> 12; 1 added, 1 removed, 2 changed (title 1, price 1, images 1)",
        f"  + p99  {HOSTILE} (Garden)",
        "  - p3  Chair number 3 (Furniture > Chairs)",
        "  ~ p1  Chair number one (Furniture > Chairs)",
        "      title: 'Chair number 1' -> 'Chair number one'",
        "      price: 11.0 -> 99.5",
        "  ~ p2  Chair number 2 (Furniture > Tables)",
        "      images: 1 -> 1 (1 new, 1 gone)",
        "queries: 12 -> 11; 0 added, 1 removed, 0 changed",
        "  - q0  chair 0",
        "categories: 8.3 % of the products moved",
        "  Furniture > Chairs: 6 -> 5",
        "  Garden: 0 -> 1 (new)",
    ]


class Tags(HTMLParser):
    """The tags of a page that are not empty by themselves must close in order; sources of pictures are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pictures: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attributes)["src"] or "")
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_shows_pictures_and_marks_words(found: Diff) -> None:
    html = page(found, "shop-1", "shop-2")
    tags = Tags()
    tags.feed(html)
    assert tags.open == [] and "<script" not in html and "&lt;script&gt;" in html
    assert len(tags.pictures) == 4 and all(source.startswith("data:image/jpeg;base64,") for source in tags.pictures)
    assert "Chair number <del>1</del> <ins>one</ins>" in html and "<del>11.0</del> <ins>99.5</ins>" in html


def test_only_the_first_rows_are_shown_and_the_others_counted(make_catalogue: Make, tmp_path: Path) -> None:
    import_catalogue(make_catalogue(name="before"), tmp_path / "before")
    changed: list[Record | str] = [product(index) | {"price": 1} for index in range(PRODUCTS)]
    import_catalogue(make_catalogue(changed, name="after"), tmp_path / "after")
    found = diff(Snapshot.open(tmp_path / "before"), Snapshot.open(tmp_path / "after"), shown=3)
    assert len(found.products.changed_rows) == 3 and found.products.changed == PRODUCTS
    assert f"  ... and {PRODUCTS - 3} more changed" in list(lines(found, "a", "b"))
    assert "and 9 more changed" in page(found, "a", "b")


def test_only_the_first_categories_are_shown_and_the_others_counted(found: Diff) -> None:
    many = replace(found, categories=CategoryShift([(f"c{number}", 0, 1200) for number in range(60)], 0.5))
    assert list(lines(many, "a", "b"))[-2:] == ["  c19: 0 -> 1,200 (new)", "  ... and 40 more categories"]
    html = page(many, "a", "b")
    assert "<td>c49</td>" in html and "<td>c50</td>" not in html and "and 10 more categories" in html and "1,200" in html


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fate=st.lists(st.sampled_from(["stay", "go", "change"]), min_size=PRODUCTS, max_size=PRODUCTS))
def test_counts_add_up(make_catalogue: Make, tmp_path_factory: pytest.TempPathFactory, fate: list[str]) -> None:
    folder = tmp_path_factory.mktemp("fates")
    products = [product(index) | ({"title": "new"} if fate[index] == "change" else {}) for index in range(PRODUCTS) if fate[index] != "go"]
    first, second = (make_catalogue(rows, [], name=f"{folder.name}-{place}") for place, rows in enumerate((None, [*products, product(50)])))
    import_catalogue(first, folder / "before")
    import_catalogue(second, folder / "after")
    found = diff(Snapshot.open(folder / "before"), Snapshot.open(folder / "after")).products
    assert (found.added, found.removed, found.changed) == (1, fate.count("go"), fate.count("change"))
    assert found.before + found.added - found.removed == found.after


def test_a_snapshot_and_itself_do_not_differ(make_catalogue: Make, tmp_path: Path) -> None:
    import_catalogue(make_catalogue(), tmp_path / "out")
    same = Snapshot.open(tmp_path / "out")
    assert list(lines(diff(same, same), "a", "a"))[1:] == [
        "products: 12 -> 12; 0 added, 0 removed, 0 changed",
        "queries: 12 -> 12; 0 added, 0 removed, 0 changed",
        "categories: 0.0 % of the products moved",
    ]


def test_values_that_hash_alike_differ_and_no_number_is_itself(make_catalogue: Make, tmp_path: Path) -> None:
    before: list[Record | str] = [product(0) | {"price": -1}, product(1) | {"price": float("nan")}]
    after: list[Record | str] = [product(0) | {"price": -2}, product(1) | {"price": float("nan")}]
    for name, rows in (("before", before), ("after", after)):
        import_catalogue(make_catalogue(rows, [], name=name), tmp_path / name)
    found = diff(Snapshot.open(tmp_path / "before"), Snapshot.open(tmp_path / "after")).products
    assert [(change.after["id"], change.fields) for change in found.changed_rows] == [("p0", ["price"])]
