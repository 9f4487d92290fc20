"""What a candidate takes to serve, measured in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalogue.importer import import_catalogue
from goodsight.errors import GoodsightError
from models.bundle import Bundle
from models.candidate import assemble
from models.costs import costs
from tests.catalogue.made import jpeg, product, write_lines
from tests.models.made import CATEGORIES, preprocess, tiny_model


def test_latency_memory_and_size_of_a_candidate(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    (shop / "images").mkdir(parents=True)
    (shop / "images/p0.jpg").write_bytes(jpeg(80, 60))
    pages = [{name: product(index)[name] for name in ("id", "title", "category_path")} for index in range(3)]
    write_lines(shop / "products.jsonl", [pages[0] | {"images": ["images/p0.jpg"]}, *pages[1:]])
    import_catalogue(shop, tmp_path / "snapshot")
    Bundle(tiny_model(1, len(CATEGORIES)), preprocess(), "categorize", list(CATEGORIES)).save(tmp_path / "categorize")
    Bundle(tiny_model(2), preprocess(), "retrieve").save(tmp_path / "retrieve")
    assemble([tmp_path / "categorize", tmp_path / "retrieve"], tmp_path / "candidate")
    found = costs(tmp_path / "candidate", tmp_path / "snapshot")
    assert found.keys() == {"categorize_ms", "embed_ms", "peak_memory_bytes", "bundle_bytes"}
    assert 0 < found["categorize_ms"] < 10_000 and 0 < found["embed_ms"] < 10_000
    assert 2**26 < found["peak_memory_bytes"] < 2**34
    assert found["bundle_bytes"] == sum(file.stat().st_size for file in (tmp_path / "candidate").rglob("*") if file.is_file())
    with pytest.raises(GoodsightError, match=r"could not be measured: .*elsewhere"):
        costs(tmp_path / "elsewhere", tmp_path / "snapshot")
