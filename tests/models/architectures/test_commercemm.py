"""The architecture: three embeddings, whatever a row lacks, and the same answer whoever else is in the batch."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from models.architectures.commercemm import CommerceMM
from models.dataset import ProductData
from models.draws import generator
from models.pretraining.batches import cross_pairs, draw_pages, omni_losses, omni_update
from models.pretraining.commercemm import image_text_update
from models.sampling import PairSampler
from tests.models.made import PRODUCTS, SHORT, close, preprocess, shop, tiny_model, without


@pytest.fixture(scope="module")
def model() -> CommerceMM:
    return tiny_model(classes=4)


@pytest.fixture(scope="module")
def data() -> ProductData:
    """Product 3 has no image, product 6 no text, product 7 neither."""
    return shop(no_image=(3, 7), no_text=(6, 7))


@pytest.fixture(scope="module")
def raw() -> dict[str, Tensor]:
    """Three rows as serving gets them: both modalities, a text alone, an image alone."""
    red, blue = Image.new("RGB", (50, 40), "red"), Image.new("RGB", (32, 32), "blue")
    return preprocess().batch([red, None, blue], ["a red sofa", "blue chair with four legs", None])


def rows(*numbers: int) -> Tensor:
    return torch.tensor(numbers)


@torch.inference_mode()
def test_three_embeddings_of_every_row(model: CommerceMM, data: ProductData) -> None:
    found = model.embeddings(model.encode(data.products(torch.arange(PRODUCTS))))
    for vectors, there in (
        (found.image, found.has_image),
        (found.text, found.has_text),
        (found.multimodal, found.has_image & found.has_text),
    ):
        assert vectors.shape == (PRODUCTS, 32)
        assert close(vectors[there].norm(dim=-1), torch.ones(int(there.sum())))
    assert found.has_image.logical_not().nonzero().flatten().tolist() == [3, 7]
    assert found.has_text.logical_not().nonzero().flatten().tolist() == [6, 7]


@torch.inference_mode()
def test_a_row_with_both_is_its_three_embeddings_side_by_side(model: CommerceMM, data: ProductData) -> None:
    batch = model.encode(data.products(rows(0, 2, 4)))
    parts = model.embeddings(batch)
    together = torch.cat([parts.image, parts.text, parts.multimodal], dim=1)
    assert close(model.embed(batch), F.normalize(together, dim=1))
    assert not close(parts.multimodal, parts.image, within=0.01)


@torch.inference_mode()
@pytest.mark.parametrize("name, missing, row", [("image", "text", 0), ("text", "image", 1)])
def test_a_row_with_one_modality_is_that_by_the_weights_of_its_terms(
    data: ProductData, name: str, missing: str, row: int
) -> None:
    model = tiny_model()
    model.term_weights[row] = torch.tensor([1.0, 0.0, 0.5])
    batch = without(model.encode(data.products(rows(0, 2, 4))), missing)
    part = getattr(model.embeddings(batch), name)
    assert close(model.embed(batch), F.normalize(torch.cat([part, 0 * part, part / 2], dim=1), dim=1))
    assert torch.equal(getattr(model.unimodal(batch), name), part)


@torch.inference_mode()
def test_a_score_is_the_weighted_sum_of_the_terms(model: CommerceMM, data: ProductData) -> None:
    queries, pages = model.encode(data.text_queries(rows(0, 1))), model.encode(data.products(rows(0, 2, 4)))
    text, page, weights = model.unimodal(queries).text, model.embeddings(pages), model.term_weights[1]
    terms = torch.stack([text @ part.T for part in (page.image, page.text, page.multimodal)])
    expected = torch.einsum("w,wqn->qn", weights, terms) / weights.norm() / 3**0.5
    assert close(model.embed(queries) @ model.embed(pages).T, expected)


@torch.inference_mode()
def test_raw_tensors_of_serving(model: CommerceMM, raw: dict[str, Tensor]) -> None:
    vectors, logits = model.embed(raw), model.classify(raw)
    assert vectors.shape == (3, 3 * 32)
    assert logits.shape == (3, 4)
    assert close(vectors.norm(dim=-1), torch.ones(3))


@torch.inference_mode()
def test_several_views_of_one_product(model: CommerceMM) -> None:
    views = torch.rand(2, 3, 3, 32, 32)
    one = preprocess().batch([None, None], ["sofa", "chair"]) | {
        "image": views,
        "image_mask": torch.tensor([[True] * 3, [True, False, False]]),
    }
    first = one | {"image": views[:, :1], "image_mask": torch.tensor([[True], [True]])}
    assert model.embed(one).shape == (2, 3 * 32)
    assert close(model.embed(one)[1], model.embed(first)[1])  # the masked views are not seen
    assert not close(model.embed(one)[0], model.embed(first)[0], within=1e-3)


@torch.inference_mode()
def test_padding_changes_nothing(model: CommerceMM, data: ProductData, raw: dict[str, Tensor]) -> None:
    cached = model.encode(data.products(rows(0, 2, 3)))
    cached_longer = {
        name: F.pad(value, (0, 0, 0, 5)) if name == "text_tokens" else value for name, value in cached.items()
    }
    raw_longer = dict(raw)
    for batch, longer in ((cached, cached_longer), (raw, raw_longer)):
        longer |= {name: F.pad(batch[name], (0, 5)) for name in ("text_ids", "text_mask")}
        assert close(model.embed(longer), model.embed(batch))
        assert close(model.classify(longer), model.classify(batch))


@torch.inference_mode()
def test_a_row_answers_alone_as_among_others(model: CommerceMM, data: ProductData, raw: dict[str, Tensor]) -> None:
    together = model.embed(model.encode(data.products(torch.arange(PRODUCTS))))
    alone = torch.cat([model.embed(model.encode(data.products(rows(row)))) for row in range(PRODUCTS)])
    assert close(together, alone)
    for row in range(3):
        one = {name: value[row : row + 1] for name, value in raw.items()}
        assert close(model.embed(one), model.embed(raw)[row : row + 1])
        assert close(model.classify(one), model.classify(raw)[row : row + 1])


@torch.inference_mode()
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_short_last_layer_gives_what_the_whole_one_does(model: CommerceMM, data: ProductData, depth: int) -> None:
    tokens = model.encode(data.products(rows(0, 1, 3, 6)))
    found = model.unimodal(tokens)
    first = model.first_token(tokens, found.image, found.text)
    with model.split_at(depth):
        by_whole = [model.fuse(tokens, first, whole=count) for count in range(5)]
    T, G = tokens["text_mask"].shape[1], tokens["image_tokens"].shape[1]
    for count, (state, states) in enumerate(by_whole):
        assert states.shape == (count, 1 + T + G, model.config.width)
        assert close(state, by_whole[4][0])
        assert torch.allclose(states, by_whole[4][1][4 - count :], atol=1e-5)
        assert torch.equal(state[4 - count :], states[:, 0])


@pytest.mark.parametrize("missing", [(), ("image",), ("text",), ("image", "text")])
def test_a_missing_modality_is_never_nan(model: CommerceMM, data: ProductData, missing: tuple[str, ...]) -> None:
    batch = without(model.encode(data.products(rows(0, 1, 2))), *missing)
    found = model.embeddings(batch)
    logits = model.classify(batch)
    vectors = model.embed(batch)
    for value in (found.image, found.text, found.multimodal, vectors, logits):
        assert value.isfinite().all()
    total = found.multimodal.sum() + vectors.sum() + logits.sum()
    gradients = torch.autograd.grad(total, list(model.layers.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)


@torch.inference_mode()
def test_classes_see_no_trace_of_a_modality_that_is_masked(model: CommerceMM, data: ProductData) -> None:
    batch = without(model.encode(data.products(rows(0, 1))), "image")
    other = batch | {"image_tokens": torch.rand_like(batch["image_tokens"])}
    assert torch.equal(model.classify(batch), model.classify(other))
    assert torch.equal(model.embed(batch), model.embed(other))


def test_a_model_without_classes_says_so() -> None:
    with pytest.raises(ValueError, match="fine-tune"):
        tiny_model().classify(shop().products(rows(0)))


def test_gradients_reach_every_weight_and_never_the_towers() -> None:
    model, data = tiny_model(classes=4), shop()
    pairs = PairSampler(data)
    updates = [image_text_update(model, draw_pages(data, data.rows("train")), SHORT, preprocess(), generator(1))]
    updates += [omni_update(model, cross_pairs(data, pairs.draw(source, 8, 0, 1)), fused=8) for source in pairs.sources]
    logits = model.classify(model.encode(data.products(rows(0, 1, 2, 3))))
    updates.append({"category": F.cross_entropy(logits, rows(0, 1, 2, 3))})
    torch.stack([loss for update in updates for loss in update.values()]).sum().backward()
    for name, value in model.named_parameters():
        if name.startswith("towers."):
            assert value.grad is None
            assert not value.requires_grad
        else:
            assert value.grad is not None, name
            # a constant added to all scores of a softmax changes nothing
            assert value.grad.any() or name == "text_pool.bias", name


def test_update_a_has_its_five_objectives() -> None:
    model, data = tiny_model(), shop()
    losses = image_text_update(model, draw_pages(data, data.rows("train")), SHORT, preprocess(), generator(2))
    assert set(losses) == {"itc", "itm", "mlm", "mim_kl", "mim_fr"}
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())


@pytest.mark.parametrize("source, left", [("query", "t"), ("view", "i"), ("post", "itm")])
def test_omni_terms_of_each_source(source: str, left: str) -> None:
    model, data = tiny_model(), shop()
    losses = omni_update(model, cross_pairs(data, PairSampler(data).draw(source, 8, 0, 1)), fused=8)
    assert set(losses) == {f"{x}->{y}" for x in left for y in "itm"}
    assert Counter(term[0] for term in losses) == dict.fromkeys(left, 3)


def test_terms_of_m_are_of_the_first_rows_and_the_others_of_all() -> None:
    model, data = tiny_model().eval(), shop()
    drawn = PairSampler(data).draw("post", 8, 0, 1)
    none, some, whole = (omni_update(model, cross_pairs(data, drawn), fused) for fused in (0, 3, 8))
    first = omni_update(model, cross_pairs(data, {name: value[:3] for name, value in drawn.items()}), fused=3)
    assert set(none) == {f"{x}->{y}" for x in "it" for y in "it"}
    assert set(some) == set(whole)
    for term, loss in some.items():
        expected = first if "m" in term else whole
        assert loss.item() == pytest.approx(expected[term].item(), abs=1e-5), term


def test_an_omni_term_is_of_the_rows_that_have_both_sides() -> None:
    model, data = tiny_model(), shop(no_image=(2, 3))
    scale, positives = model.scale, torch.eye(5, dtype=torch.bool)
    left = model.unimodal(model.encode(data.text_queries(rows(0, 1, 2, 3, 4))))
    right = model.embeddings(model.encode(data.products(rows(0, 1, 2, 3, 4))))
    kept_left, kept_right = (
        model.unimodal(model.encode(data.text_queries(rows(0, 1, 4)))),
        model.embeddings(model.encode(data.products(rows(0, 1, 4)))),
    )
    some = omni_losses(left, right, positives, scale)
    only = omni_losses(kept_left, kept_right, positives[:3, :3], scale)
    assert some["t->i"].item() == pytest.approx(only["t->i"].item(), abs=1e-5)
    assert some["t->m"].item() == pytest.approx(only["t->m"].item(), abs=1e-5)
    assert some["t->t"].item() != pytest.approx(only["t->t"].item(), abs=1e-3)


def test_the_temperature_stays_within_bounds() -> None:
    model = tiny_model()
    for start, scale in ((-50.0, 2.0), (50.0, 100.0)):
        model.log_scale.data.fill_(start)
        assert model.scale.item() == pytest.approx(scale)


@torch.inference_mode()
def test_effort_is_the_depth_of_the_fusion(model: CommerceMM, raw: dict[str, Tensor]) -> None:
    """The row with both modalities changes with every level, those of one alone stay as they are in search."""
    found = {}
    for effort in model.efforts:
        with model.at_effort(effort) as done:
            assert done == effort
            found[effort] = model.embed(raw)
    with model.split_at(len(model.layers) - 1):
        assert torch.equal(found["medium"], model.embed(raw))
    assert torch.equal(found["high"], model.embed(raw))
    parts = model.unimodal(model.encode(raw))
    together = F.normalize(parts.image[0] + parts.text[0], dim=0)
    assert close(found["low"][0], F.normalize(torch.cat([parts.image[0], parts.text[0], together]), dim=0))
    for one, other in (("low", "medium"), ("medium", "high")):
        assert not close(found[one][0], found[other][0], within=1e-4)
        assert close(found[one][1:], found[other][1:])


@torch.inference_mode()
def test_a_category_at_low_effort_needs_no_layer(raw: dict[str, Tensor]) -> None:
    model = tiny_model(classes=4)
    high = model.classify(raw)
    with model.at_effort("low"):
        before = model.classify(raw)
        for layer in model.layers:
            layer.register_forward_hook(lambda *_: pytest.fail("a layer ran"))
        assert torch.equal(model.classify(raw), before)
    assert not close(before, high, within=1e-4)


def test_effort_ends_with_the_block_also_when_it_fails(model: CommerceMM) -> None:
    with pytest.raises(RuntimeError), model.at_effort("low"):
        raise RuntimeError
    assert (model.fuses, model.text_layers) == (True, model.config.text_layers)
