"""Slices: who is in which, who stands or falls together, and figures of the members alone."""

from __future__ import annotations

import numpy as np
import pytest

from models.slices import FEWEST, Subjects, about, alone, by_slice
from tests.models.made import shop


def test_an_item_is_in_the_slices_of_its_product() -> None:
    data = shop(no_image=(2,), no_text=(10,))
    data.sources = ["shelf" if row == 5 else "web" for row in range(24)]
    rows = data.rows("test").tolist()
    found = about(data, [f"q{row}" for row in rows], rows)
    assert found.ids == ["q2", "q5", "q10", "q13", "q18", "q21"]
    members: dict[str, set[str]] = {}
    for id, names in zip(found.ids, found.slices, strict=True):
        for name in names:
            members.setdefault(name, set()).add(id)
    assert members["no image"] == {"q2"}
    assert members["no text"] == {"q10"}
    assert members["source=shelf"] == {"q5"}
    assert members["source=web"] == set(found.ids) - {"q5"}
    assert members["tail"] == set(found.ids)  # no category has more than 20 training products here
    assert members["depth=2"] | members["depth=3"] == set(found.ids)


def test_items_of_one_leak_group_are_one_cluster() -> None:
    data = shop()
    assert about(data, ["a", "b", "c"], [0, 1, 2]).clusters == ["0", "0", "2"]
    assert alone(["a", "b"]) == Subjects(["a", "b"], ["a", "b"], [[], []])


def test_a_figure_of_a_slice_is_the_mean_of_its_members() -> None:
    count = 3 * FEWEST
    names = [["all", *(["low"] if row < FEWEST else []), *(["few"] if row < FEWEST - 1 else [])] for row in range(count)]
    subjects = Subjects([f"p{row}" for row in range(count)], ["one"] * count, names)
    found = by_slice({"accuracy": (subjects, np.arange(float(count))), "of queries": (alone(["q1"]), np.array([1.0]))})
    assert set(found) == {"low", "all"}
    assert found["low"] == {"accuracy": pytest.approx((FEWEST - 1) / 2), "items": FEWEST}
    assert found["all"]["accuracy"] == pytest.approx((count - 1) / 2)
