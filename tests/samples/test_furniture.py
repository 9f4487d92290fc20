"""The embedded sample is a whole, well-formed catalogue that may be passed on.

These tests need the clone alone: neither Debian's furniture libraries nor espeak-ng.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
import soundfile
from PIL import Image

from samples import furniture

FOLDER = furniture()
FRAMES, SIDE = 12, 96
FIELDS = {
    "id", "source", "title", "description", "title_i18n", "category_path", "attributes", "images", "video", "audio",
    "audio_voice", "group", "split", "licence", "library",
}  # fmt: skip
LICENCES = {"CC0", "CC BY 3.0", "CC BY 3.0 US"}


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def products() -> list[dict[str, Any]]:
    return _lines("products.jsonl")


def test_every_product_is_complete_and_has_its_own_id(products: list[dict[str, Any]]) -> None:
    assert len(products) == 783
    assert len({product["id"] for product in products}) == len(products)
    for product in products:
        assert set(product) == FIELDS
        assert product["title"]
        assert all(product["attributes"][f"{side}_cm"] > 0 for side in ("width", "depth", "height"))


def test_every_product_may_be_passed_on(products: list[dict[str, Any]]) -> None:
    notice = (FOLDER / "LICENSES.md").read_text(encoding="utf-8")
    for product in products:
        assert product["licence"] in LICENCES
        assert product["library"] in notice
        if product["licence"].startswith("CC BY"):
            assert product["attributes"]["creator"] in notice


def test_images_decode(products: list[dict[str, Any]]) -> None:
    for product in products:
        for name in product["images"]:
            with Image.open(FOLDER / name) as image:
                image.load()
                assert image.mode == "RGB"
                assert max(image.size) <= 128


def test_films_have_twelve_frames_of_something(products: list[dict[str, Any]]) -> None:
    for product in products:
        with Image.open(FOLDER / product["video"]) as strip:
            assert strip.size == (FRAMES * SIDE, SIDE)
            assert min(strip.convert("L").tobytes()) < 250, product["id"]


def test_titles_are_spoken(products: list[dict[str, Any]]) -> None:
    for product in products:
        samples, rate = soundfile.read(FOLDER / product["audio"])
        assert rate == 16_000
        assert samples.ndim == 1
        assert 0.2 < len(samples) / rate < 10
        assert abs(samples).max() > 0.05


def test_taxonomy_is_the_one_in_use(products: list[dict[str, Any]]) -> None:
    known = (FOLDER / "categories.txt").read_text(encoding="utf-8").splitlines()
    assert known == sorted({" > ".join(product["category_path"]) for product in products})


def test_splits_are_near_their_shares_and_leak_nothing(products: list[dict[str, Any]]) -> None:
    counts = Counter(product["split"] for product in products)
    for split, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        assert counts[split] / len(products) == pytest.approx(share, abs=0.03)
    for key in ("group", "title"):
        splits: dict[str, set[str]] = defaultdict(set)
        for product in products:
            splits[product[key]].add(product["split"])
        assert all(len(found) == 1 for found in splits.values())


def test_queries_name_products_that_exist(products: list[dict[str, Any]]) -> None:
    known = {product["id"] for product in products}
    queries = _lines("queries_text.jsonl")
    assert len({query["qid"] for query in queries}) == len(queries)
    for query in queries:
        assert query["text"]
        assert query["rule"] in ("name", "tag")
        assert query["relevant"]
        assert set(query["relevant"]) <= known


def test_folder_is_small_and_holds_nothing_else(products: list[dict[str, Any]]) -> None:
    media = {name for product in products for name in (*product["images"], product["video"], product["audio"])}
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    texts = {"LICENSES.md", "categories.txt", "products.jsonl", "queries_text.jsonl"}
    assert {_relative(path) for path in files} == media | texts
    assert sum(path.stat().st_size for path in files) < 20_000_000


def _relative(path: Path) -> str:
    return path.relative_to(FOLDER).as_posix()
