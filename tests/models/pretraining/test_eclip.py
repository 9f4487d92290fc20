"""ECLIP: no title leaks into what it sees, it looks where the title's cells are, and scenes teach it where."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from goodsight.errors import InputError
from models.draws import generator
from models.pretraining.eclip import Views, instance_update, outside, updates
from tests.models.made import SHORT, close, preprocess, shop, tiny_model


@torch.inference_mode()
def test_a_picture_that_is_the_same_everywhere_shows_no_trace_of_the_title() -> None:
    """The prompt can only choose where to look: where all cells are alike, any title gives the same instance."""
    model, data = tiny_model(architecture="eclip"), shop(architecture="eclip")
    model.image_position.zero_()
    page = model.encode(data.products(torch.tensor([0, 2, 4])))
    page["image_tokens"] = page["image_tokens"][:1, :1].expand(3, 16, -1).contiguous()
    titles = model.text_embedding(page)
    assert not close(titles[0], titles[1], within=0.1)
    seen = model.instances(page, titles)
    assert close(seen.product[0], seen.product[1], within=1e-4)
    assert close(seen.product[0], seen.product[2], within=1e-4)


@torch.inference_mode()
def test_the_title_chooses_where_to_look() -> None:
    model, data = tiny_model(architecture="eclip"), shop(architecture="eclip")
    page = model.encode(data.products(torch.tensor([0, 0])))
    titles = model.text_embedding(model.encode(data.products(torch.tensor([0, 2]))))
    seen = model.instances(page, titles)
    assert not close(seen.map[0], seen.map[1], within=1e-4)
    assert not close(seen.product[0], seen.product[1], within=1e-4)


@torch.inference_mode()
def test_a_fresh_decoder_looks_where_the_cells_are_like_the_title() -> None:
    model, data = tiny_model(architecture="eclip"), shop(architecture="eclip")
    model.image_position.zero_()
    page = model.encode(data.products(torch.arange(6)))
    titles = model.text_embedding(page)
    like = torch.einsum("bgd,bd->bg", model.image_project(model.image_norm(page["image_tokens"])), titles)
    seen = model.instances(page, titles).map
    for row in range(6):
        assert torch.corrcoef(torch.stack([like[row], seen[row]]))[0, 1] > 0.5, row


@torch.inference_mode()
def test_hidden_cells_are_never_looked_at() -> None:
    model, data = tiny_model(architecture="eclip"), shop(architecture="eclip")
    page = model.encode(data.products(torch.tensor([0, 2])))
    page["image_tokens_mask"] = torch.arange(16).expand(2, -1) < 5
    seen = model.instances(page, model.text_embedding(page))
    assert not seen.map[:, 5:].any()
    assert close(seen.map.sum(dim=1), torch.ones(2), within=1e-3)


def test_half_of_the_products_with_a_further_view_show_it() -> None:
    data = shop(architecture="eclip", count=80)
    rows = data.whole_pages("train", "catalogue")
    view_of = dict(zip(data.view_pairs.product.tolist(), data.view_pairs.query.tolist(), strict=True))
    model = tiny_model(architecture="eclip")
    page = model.encode(data.products(rows))
    found, viewed = Views(data).shown(model, page, rows, generator(1)), 0
    for place, row in enumerate(rows.tolist()):
        if not torch.equal(found["image_tokens"][place], page["image_tokens"][place]):
            assert data.view_split[view_of[row]] == "train"  # a view that is held out is never seen
            assert torch.equal(found["image_tokens"][place], data.views.tokens[view_of[row]].float())
            viewed += 1
    assert 0.3 * len(rows) < viewed < 0.7 * len(rows)
    assert torch.equal(found["text_tokens"], page["text_tokens"])


def test_the_share_of_a_map_outside_the_box_by_hand() -> None:
    maps = torch.tensor([[0.5, 0.25, 0.25, 0.0], [0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0]])
    cells = torch.tensor([[True, True, False, False], [False, False, False, True], [False] * 4])  # the last box holds no middle
    assert float(outside(maps, cells)) == pytest.approx(-(math.log(0.75) + math.log(0.4)) / 2)
    assert float(outside(maps[2:], cells[2:])) == 0.0


def test_scenes_teach_where_the_product_is() -> None:
    """On the scenes themselves the map's mass moves into the box of the named product."""
    model, data = tiny_model(seed=1, architecture="eclip"), shop(architecture="eclip")
    scenes = data.scenes
    assert scenes is not None
    places, optimizer = torch.arange(len(scenes.product)), torch.optim.Adam(model.parameters(), lr=3e-3)

    def inside() -> float:
        page = model.encode({**data.products(scenes.product), **scenes.images.take(scenes.scene)})
        with torch.no_grad():
            return float((model.instances(page, model.text_embedding(page)).map * scenes.cells).sum(dim=1).mean())

    before = inside()
    for step in range(30):
        optimizer.zero_grad()
        torch.stack(list(instance_update(model, data, scenes, places, Views(data), generator(step)).values())).sum().backward()
        optimizer.step()
    assert inside() > before + 0.1
    assert inside() > 0.75


def test_towers_that_learn_are_not_sharded() -> None:
    model, data = tiny_model(architecture="eclip"), shop(architecture="eclip")
    model.config = replace(model.config, trained_towers=True)
    with pytest.raises(InputError, match="cannot learn sharded"):
        updates(model, data, data.whole_pages("train"), preprocess(), replace(SHORT, sharded=True))


def test_without_scenes_the_decoder_is_not_left_out_in_silence() -> None:
    model, data = tiny_model(architecture="eclip"), shop(architecture="eclip")
    data.scenes, pages = None, data.whole_pages("train", "catalogue")
    with pytest.raises(InputError, match="No two training products"):
        updates(model, data, pages, preprocess(), SHORT)
    contrast = updates(model, data, pages, preprocess(), replace(SHORT, objectives=("itc",)))
    assert set(contrast(SHORT.steps)[0]()) == {"itc"}
