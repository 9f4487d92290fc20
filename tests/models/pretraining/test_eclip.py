"""ECLIP: no title leaks into what it sees, queries share the picture out, and second pictures are of the same product."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.pretraining.eclip import KEPT, SecondPictures, crops
from models.sampling import generator
from tests.models.made import close, shop, tiny_model


@torch.inference_mode()
def test_a_picture_that_is_the_same_everywhere_shows_no_trace_of_the_title() -> None:
    """The prompt can only choose where to look: where all cells are alike, any title gives the same instance."""
    model, data = tiny_model(architecture="eclip"), shop(architecture="eclip")
    model.image_position.zero_()
    page = data.products(torch.tensor([0, 2, 4]))
    page["image_tokens"] = page["image_tokens"][:1, :1].expand(3, 16, -1).contiguous()
    titles = model.text_embedding(page)
    assert not close(titles[0], titles[1], within=0.1)
    seen = model.instances(page, titles)
    assert close(seen.product[0], seen.product[1], within=1e-4)
    assert close(seen.product[0], seen.product[2], within=1e-4)


@torch.inference_mode()
def test_the_title_chooses_where_to_look() -> None:
    model, data = tiny_model(architecture="eclip"), shop(architecture="eclip")
    page = data.products(torch.tensor([0, 0]))
    titles = model.text_embedding(data.products(torch.tensor([0, 2])))
    seen = model.instances(page, titles)
    assert not close(seen.map[0], seen.map[1], within=1e-4)
    assert not close(seen.product[0], seen.product[1], within=1e-4)


@torch.inference_mode()
def test_hidden_cells_are_never_looked_at() -> None:
    model, data = tiny_model(architecture="eclip"), shop(architecture="eclip")
    page = data.products(torch.tensor([0, 2]))
    page["image_tokens_mask"] = torch.arange(16).expand(2, -1) < 5
    seen = model.instances(page, model.text_embedding(page))
    assert not seen.map[:, 5:].any()
    assert close(seen.map.sum(dim=1), torch.ones(2), within=1e-3)


@given(seed=st.integers(0, 10_000), grid=st.integers(2, 7))
@settings(max_examples=40, deadline=None)
def test_a_crop_is_a_rectangle_of_enough_of_the_picture(seed: int, grid: int) -> None:
    for plane in crops(5, grid, generator(seed)).view(5, grid, grid):
        high, wide = plane.any(dim=1), plane.any(dim=0)
        assert torch.equal(plane, high[:, None] & wide[None, :])
        for line in (high, wide):
            assert int(line.sum()) >= max(1, round(KEPT * grid))
            assert int((line.int().diff() != 0).sum()) <= 2  # one run


def test_a_second_picture_is_a_view_of_the_same_product_or_a_crop() -> None:
    data = shop(architecture="eclip")
    rows = data.whole_pages("train", "catalogue")
    views = dict(zip(data.view_pairs.product.tolist(), data.view_pairs.query.tolist(), strict=True))
    page = data.products(rows)
    found = SecondPictures(data).of(page, rows, 4, generator(1))
    for place, row in enumerate(rows.tolist()):
        if data.view_split[views[row]] == "train":
            assert torch.equal(found["image_tokens"][place], data.views.tokens[views[row]].float())
        else:  # a view that is held out is never seen
            assert torch.equal(found["image_tokens"][place], page["image_tokens"][place])
    assert torch.equal(found["text_tokens"], page["text_tokens"])
