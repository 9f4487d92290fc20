"""ECLIP: no title leaks into what it sees, queries share the picture out, and second pictures are of the same product."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.pretraining.eclip import SecondPictures, mosaic
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
def test_a_fresh_decoder_looks_where_the_cells_are_like_the_title() -> None:
    model, data = tiny_model(architecture="eclip"), shop(architecture="eclip")
    model.image_position.zero_()
    page = data.products(torch.arange(6))
    titles = model.text_embedding(page)
    like = torch.einsum("bgd,bd->bg", model.image_project(model.image_norm(page["image_tokens"])), titles)
    seen = model.instances(page, titles).map
    for row in range(6):
        assert torch.corrcoef(torch.stack([like[row], seen[row]]))[0, 1] > 0.5, row


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
def test_a_mosaic_shows_the_product_in_one_quarter_and_the_next_three_in_the_others(seed: int, grid: int) -> None:
    pictures = torch.arange(6.0)[:, None, None].expand(6, grid**2, 3)  # the cells of a picture tell its number
    made = mosaic(pictures, grid, generator(seed))[..., 0].unflatten(1, (grid, grid))
    for row, plane in enumerate(made):
        quarters = [part for band in plane.tensor_split([grid // 2], dim=0) for part in band.tensor_split([grid // 2], dim=1)]
        assert sorted(int(number) for part in quarters for number in part.unique()) == sorted((row + step) % 6 for step in range(4))


def test_a_smaller_picture_is_the_whole_picture() -> None:
    pictures = torch.rand(5, 16, 3, generator=generator(0))
    quarters = mosaic(pictures, 4, generator(2)).unflatten(1, (2, 2, 2, 2)).transpose(2, 3).flatten(3, 4).mean(dim=3)
    for row in range(5):
        distances = (quarters[row] - pictures[row].mean(dim=0)).abs().amax(dim=-1)
        assert distances.min() < 1e-5


def test_a_second_picture_is_a_view_of_the_same_product_or_a_quarter_of_a_mosaic() -> None:
    data = shop(architecture="eclip")
    rows = data.whole_pages("train", "catalogue")
    views = dict(zip(data.view_pairs.product.tolist(), data.view_pairs.query.tolist(), strict=True))
    page = data.products(rows)
    found, made = SecondPictures(data).of(page, rows, 4, generator(1)), mosaic(page["image_tokens"], 4, generator(1))
    for place, row in enumerate(rows.tolist()):
        if data.view_split[views[row]] == "train":
            assert torch.equal(found["image_tokens"][place], data.views.tokens[views[row]].float())
        else:  # a view that is held out is never seen
            assert torch.equal(found["image_tokens"][place], made[place])
    assert torch.equal(found["text_tokens"], page["text_tokens"])
