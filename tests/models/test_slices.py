"""Slices: who is in which, and figures of the members alone."""

from __future__ import annotations

import numpy as np
import pytest

from models.slices import FEWEST, by_slice, product_slices
from tests.models.made import shop


def test_a_product_is_in_the_slices_of_its_facts() -> None:
    data = shop(no_image=(2,), no_text=(10,))
    data.sources = ["shelf" if row == 5 else "web" for row in range(24)]
    found = product_slices(data)
    test = {"p2", "p5", "p10", "p13", "p18", "p21"}
    assert found["no image"] == {"p2"}
    assert found["no text"] == {"p10"}
    assert found["source=shelf"] == {"p5"}
    assert found["source=web"] == test - {"p5"}
    assert found["tail"] == test  # no category has more than 20 training products here
    assert found["depth=2"] | found["depth=3"] == test
    assert all(members <= test for members in found.values())


def test_a_figure_of_a_slice_is_the_mean_of_its_members() -> None:
    ids = [f"p{row}" for row in range(3 * FEWEST)]
    values = np.arange(3.0 * FEWEST)
    slices = {"low": set(ids[:FEWEST]), "few": set(ids[: FEWEST - 1]), "all": set(ids)}
    found = by_slice({"accuracy": (ids, values), "of queries": (["q1"], np.array([1.0]))}, slices)
    assert set(found) == {"low", "all"}
    assert found["low"] == {"accuracy": pytest.approx((FEWEST - 1) / 2), "items": FEWEST}
    assert found["all"]["accuracy"] == pytest.approx(values.mean())
