"""Which rows a step sees: the same whenever it is asked, all of them once an epoch, none that is held out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.dataset import ProductData
from models.draws import generator
from models.sampling import PairSampler, epoch_rows
from tests.models.made import PRODUCTS, shop

SIZES = {"count": st.integers(1, 40), "batch": st.integers(1, 50), "seed": st.integers(0, 2**31)}


@pytest.fixture(scope="module")
def data() -> ProductData:
    return shop()


@given(epochs=st.integers(1, 4), **SIZES)
def test_every_epoch_is_a_permutation(count: int, batch: int, seed: int, epochs: int) -> None:
    steps = -(-epochs * count // batch)
    seen = torch.cat([epoch_rows(count, batch, step, seed) for step in range(steps)])
    for epoch in range(epochs):
        assert sorted(seen[epoch * count : (epoch + 1) * count].tolist()) == list(range(count))


@given(step=st.integers(0, 10**6), **SIZES)
def test_a_step_is_a_function_of_its_number_and_the_seed(count: int, batch: int, seed: int, step: int) -> None:
    torch.manual_seed(step)
    first = epoch_rows(count, batch, step, seed)
    torch.manual_seed(seed)
    assert torch.equal(epoch_rows(count, batch, step, seed), first)
    assert first.shape == (batch,)
    assert first.dtype == torch.long


def test_another_seed_is_another_order() -> None:
    assert not torch.equal(epoch_rows(100, 50, 0, 1), epoch_rows(100, 50, 0, 2))
    assert not torch.equal(epoch_rows(100, 100, 0, 1), epoch_rows(100, 100, 1, 1))


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=4), st.lists(st.integers(0, 2**40), min_size=1, max_size=4))
def test_a_generator_is_of_all_its_keys(one: list[int], other: list[int]) -> None:
    assert generator(*one).initial_seed() == generator(*one).initial_seed()
    assert one == other or generator(*one).initial_seed() != generator(*other).initial_seed()


@pytest.mark.parametrize("source", ["query", "view", "post"])
def test_pairs_are_relevant_and_of_training_alone(data: ProductData, source: str) -> None:
    sampler = PairSampler(data)
    known = {
        "query": set(zip(data.query_pairs.query.tolist(), data.query_pairs.product.tolist(), strict=True)),
        "view": set(zip(data.view_pairs.query.tolist(), data.view_pairs.product.tolist(), strict=True)),
    }
    for step in range(30):
        drawn = sampler.draw(source, 7, step, 5)
        assert {len(rows) for rows in drawn.values()} == {7}
        products = drawn["product"].tolist()
        assert {data.split[row] for row in products} <= {"train", "catalogue"}
        for name, splits in (("query", data.query_split), ("view", data.view_split)):
            if name in drawn:
                rows = drawn[name].tolist()
                assert {splits[row] for row in rows} == {"train"}
                assert set(zip(rows, products, strict=True)) <= known[name]


@pytest.mark.parametrize("source", ["query", "view", "post"])
def test_a_drawn_batch_is_a_function_of_step_and_seed(data: ProductData, source: str) -> None:
    one, again, later = (PairSampler(data).draw(source, 8, step, 5) for step in (3, 3, 4))
    assert all(torch.equal(rows, again[name]) for name, rows in one.items())
    assert any(not torch.equal(rows, later[name]) for name, rows in one.items())


def test_a_batch_is_no_larger_than_what_there_is(data: ProductData) -> None:
    sampler = PairSampler(data)
    assert len(sampler.draw("query", 1000, 0, 0)["product"]) == sampler.count("query")


def test_a_shop_without_views_has_no_posts(data: ProductData) -> None:
    data = shop()
    data.view_split = ["test"] * PRODUCTS
    assert PairSampler(data).sources == ("query",)
