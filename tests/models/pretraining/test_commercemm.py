"""CommerceMM: 14 objectives, two updates a step, the stack called once in each, at a depth drawn for both."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch

from models.pretraining.commercemm import updates
from models.recipes import Recipe
from tests.models.made import close, preprocess, shop, tiny_model

RECIPE = Recipe(steps=12, batch=8, fused=4, learning_rate=1e-3)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each update gave, and the depths at which the stack was called meanwhile."""
    model, data = tiny_model(), shop()
    whole, calls = type(model).fuse, []

    def counted(self: Any, *arguments: Any, **options: Any) -> torch.Tensor:
        calls.append(self.text_layers)
        return whole(self, *arguments, **options)

    monkeypatch.setattr(type(model), "fuse", counted)
    found = []
    for step in range(RECIPE.steps):
        parts = []
        for update in updates(model, data, data.whole_pages("train", "catalogue"), preprocess(), RECIPE)(step):
            losses = update()
            parts.append({"losses": set(losses), "depths": calls.copy()})
            calls.clear()
        found.append({"updates": parts, "turn": ("query", "view", "post")[step % 3]})
    assert model.text_layers == model.config.text_layers
    return found


def test_two_updates_of_one_call_each(seen: list[dict[str, Any]]) -> None:
    for step in seen:
        assert [len(part["depths"]) for part in step["updates"]] == [1, 1]
        first, second = step["updates"]
        assert first["losses"] == {"itc", "itm", "mlm", "mim_kl", "mim_fr"}
        terms = Counter(name.split()[0] for name in second["losses"])
        without_m, whole = {"query": 2, "view": 2, "post": 4}, {"query": 3, "view": 3, "post": 9}
        assert [source for source, count in terms.items() if count == whole[source]] == [step["turn"]]
        assert all(count == without_m[source] for source, count in terms.items() if source != step["turn"])
        assert first["depths"] == second["depths"]


def test_towers_that_learn_see_one_source_a_step_and_as_many_pictures_in_both_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data, pictures = tiny_model(), shop(), Counter[str]()
    model.config = replace(model.config, trained_towers=True)
    for name in ("products", "view_queries", "posts"):

        def counted(rows: torch.Tensor, *others: torch.Tensor, take: Any = getattr(data, name)) -> Any:
            pictures["seen"] += len(rows)
            return take(rows, *others)

        monkeypatch.setattr(data, name, counted)
    found = updates(model, data, data.whole_pages("train", "catalogue"), preprocess(), RECIPE)
    for step, turn in enumerate(("query", "view", "post")):
        seen = []
        for update in found(step):
            losses = update()
            seen.append((pictures["seen"], {name.split()[0] for name in losses}))
            pictures.clear()
        assert seen[1][1] == {turn}
        assert seen[1][0] <= seen[0][0] == RECIPE.batch


def test_fourteen_objectives_and_every_depth(seen: list[dict[str, Any]]) -> None:
    names = {name.split()[-1] for step in seen for part in step["updates"] for name in part["losses"]}
    assert len(names) == 14
    depths = {part["depths"][0] for step in seen for part in step["updates"]}
    assert depths == set(range(len(tiny_model().layers)))


@torch.inference_mode()
def test_a_text_only_layer_sees_no_image() -> None:
    """At the largest K the image enters last; the answer still depends on it, and differs from K = 0."""
    model, data = tiny_model(), shop()
    page = model.encode(data.products(torch.tensor([0, 2, 4])))
    by_depth = []
    for depth in range(len(model.layers)):
        with model.split_at(depth):
            by_depth.append(model.embeddings(page).multimodal)
    assert not close(by_depth[0], by_depth[-1], within=1e-4)
    other = {**page, "image_tokens": page["image_tokens"].flip(0)}
    with model.split_at(len(model.layers) - 1):
        assert not close(model.embeddings(other).multimodal, by_depth[-1], within=1e-4)


@pytest.mark.parametrize("depth", [-1, 3])
def test_a_depth_that_the_stack_has_not_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match="0 to 2"), tiny_model().split_at(depth):
        pass
