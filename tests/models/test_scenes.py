"""Scenes: training products alone, each at most once, where the boxes say, and made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.composites import FEWEST, MOST, SIDE
from models.dataset import ProductData
from models.features import FeatureCache, load_product_data
from models.scenes import cells_inside
from tests.models.made import close, preprocess, tiny_model
from tests.models.test_features import PHOTOS, QUERIES, make_snapshot, make_table

TRAINED = {"p0", "p1", "p5"}  # p2 and p3 are held out, p4 has no image


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shop")


def loaded(house: Path, cache: str, left_out: tuple[str, ...] = ()) -> ProductData:
    if not (house / "snapshot").is_dir():
        make_snapshot(house, QUERIES + PHOTOS)
    table = house / f"table{len(left_out)}"
    if not table.is_dir():
        make_table(house / "snapshot", table, left_out)
    model = tiny_model(architecture="eclip")
    return load_product_data(house / "snapshot", table, FeatureCache(house / cache, model, preprocess()), model.learns_from_scenes)


def test_training_products_with_an_image_are_in_one_scene_each(house: Path) -> None:
    data = loaded(house, "cache")
    assert data.scenes is not None
    shown = [data.product_ids[row] for row in data.scenes.product.tolist()]
    assert len(set(shown)) == len(shown) >= FEWEST
    assert set(shown) <= TRAINED
    counts = torch.bincount(data.scenes.scene, minlength=len(data.scenes))
    assert FEWEST <= int(counts.min()) <= int(counts.max()) <= MOST
    assert data.scenes.rows(torch.tensor([0])).tolist() == list(range(int(counts[0])))


def test_the_same_snapshot_gives_the_same_scenes(house: Path) -> None:
    one, other = loaded(house, "cache").scenes, loaded(house, "elsewhere").scenes
    assert one is not None
    assert other is not None
    assert close(one.images.tokens, other.images.tokens)
    assert torch.equal(one.product, other.product)
    assert torch.equal(one.cells, other.cells)


def test_one_product_makes_no_scene(house: Path) -> None:
    assert loaded(house, "cache", left_out=("p0", "p5")).scenes is None


def test_cells_inside_a_box_by_hand() -> None:
    """Middles of a grid of 4 lie at 40, 120, 200 and 280 pixels."""
    found = cells_inside((100, 30, 210, 130), 4).view(4, 4).numpy()
    assert np.argwhere(found).tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]
    assert cells_inside((0, 0, SIDE, SIDE), 5).all()
    assert not cells_inside((41, 41, 119, 119), 4).any()
