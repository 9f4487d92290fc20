"""Fine-tuning: what it learns from, and the weights of the retrieval terms that search uses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from goodsight.errors import InputError
from models.architectures.commercemm import CommerceMM
from models.bundle import PRETRAINED, Bundle
from models.dataset import ProductData, answers
from models.draws import generator
from models.finetune import (
    FEWEST_QUERIES,
    TERM_EARNS,
    WEIGHTS,
    Weights,
    drop_modalities,
    finetune_task,
    fit_term_weights,
    labels_of,
    simplest_best,
    start_from_names,
)
from models.metrics import retrieval
from models.zero_shot import named
from tests.models.made import CATEGORIES, SHORT, preprocess, shop, tiny_model

EVEN = 8 * FEWEST_QUERIES  # products of which so many are of `val` that their queries are enough


def found_by(model: CommerceMM, data: ProductData, kind: str) -> float:
    """Mean average precision of the validation queries by what serving does: inner products of `embed`."""
    gallery = data.rows("val", "catalogue")
    pairs, split, batch = {
        "image": (data.view_pairs, data.view_split, data.view_queries),
        "text": (data.query_pairs, data.query_split, data.text_queries),
    }[kind]
    asked = answers(pairs, split, gallery, "val")
    with torch.inference_mode():
        scores = model.embed(batch(torch.tensor(list(asked)))) @ model.embed(data.products(gallery)).T
    return float(retrieval("x", scores.numpy(), list(asked.values()))["x_map"].mean())


@pytest.mark.parametrize("no_image", [(), range(0, EVEN, 3)])
@pytest.mark.parametrize("row, kind", [(0, "image"), (1, "text")])
def test_the_weights_of_the_terms_are_the_simplest_good_ones_for_search(row: int, kind: str, no_image: range) -> None:
    model, data = tiny_model(3), shop(count=EVEN, no_image=no_image)
    fit_term_weights(model, data)
    if row == 0:  # they were fitted first, while the text weights were those of a new model
        model.term_weights[1] = tiny_model(3).term_weights[1]
    chosen = tuple(model.term_weights[row].tolist())
    found = {}
    for weights in WEIGHTS:
        model.term_weights[row] = torch.tensor(weights)
        found[weights] = found_by(model, data, kind)
    near = {weights for weights, value in found.items() if value >= max(found.values()) - TERM_EARNS}
    assert chosen in near, found
    assert all(sum(map(bool, chosen)) <= sum(map(bool, weights)) for weights in near)


def test_an_extra_term_must_earn_its_place() -> None:
    choices: list[Weights] = [(1.0, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)]
    assert simplest_best(choices, [0.5, 0.5, 0.4, 0.3]) == (1.0, 0.0, 1.0)
    assert simplest_best(choices, [0.5, 0.4, 0.4, 0.3]) == (1.0, 1.0, 1.0)
    assert simplest_best(choices, [0.5, 0.5, 0.497, 0.498]) == (0.0, 0.0, 1.0)


def test_few_validation_queries_change_no_weight() -> None:
    model = tiny_model()
    before = model.term_weights.clone()
    fit_term_weights(model, shop())
    assert torch.equal(model.term_weights, before)


def test_labels_are_what_training_sees() -> None:
    data = shop()
    assert labels_of(data) == sorted(set(CATEGORIES) - {"Furniture > Tables"})  # tables are held out, as `shop` goes
    data.split = ["train" if category == "Lamps" else "test" for category in data.categories]
    assert labels_of(data) == ["Lamps"]


def test_a_row_never_loses_all_its_modalities() -> None:
    data = shop(no_image=(1,), no_text=(2,))
    batch = data.products(torch.arange(24)[torch.arange(2400) % 24])
    dropped = drop_modalities(batch, generator(1))
    image, text = dropped["image_tokens_mask"].any(dim=1), dropped["text_mask"].any(dim=1)
    assert (image | text).all()
    assert (~image).float().mean().item() == pytest.approx(0.2 * 22 / 24 + 1 / 24, abs=0.03)
    assert (~text).float().mean().item() == pytest.approx(0.2 * 22 / 24 + 1 / 24, abs=0.03)


def test_an_unknown_task_is_told(tmp_path: Path) -> None:
    parent = Bundle(tiny_model(), preprocess(), PRETRAINED)
    with pytest.raises(InputError, match="'rank'"):
        finetune_task("rank", parent, shop(), SHORT, tmp_path)


@pytest.mark.parametrize("objectives, levels", [((), {"level 1", "level 2"}), (("leaf",), set())])
def test_categorization_learns_the_levels_above_the_leaf_or_the_leaf_alone(
    objectives: tuple[str, ...], levels: set[str], tmp_path: Path
) -> None:
    data, parent = shop(), Bundle(tiny_model(seed=4), preprocess(), PRETRAINED, provenance={}, digest="d")
    _, history = finetune_task("categorize", parent, data, replace(SHORT, objectives=objectives), tmp_path)
    assert all(set(row) == {"step", "loss", "category", *levels} for row in history)


@pytest.mark.parametrize("architecture, fuses", [("commercemm", False), ("scale", True)])
def test_retrieval_of_a_dual_encoder_trains_i_and_t_alone(architecture: str, fuses: bool, tmp_path: Path) -> None:
    model = tiny_model(seed=4, architecture=architecture)
    parent = Bundle(model, preprocess(), PRETRAINED, provenance={}, digest="d")
    _, history = finetune_task("retrieve", parent, shop(architecture=architecture), SHORT, tmp_path)
    terms = {name.split()[1] for row in history for name in row if "->" in name}
    assert {"t->t", "i->i"} <= terms
    assert any("m" in term for term in terms) == fuses


@pytest.mark.parametrize("family, first", [("image_text", "itc"), ("query", "query"), ("view", "view"), ("product", "product")])
def test_retrieval_can_be_trained_for_one_kind_of_search(family: str, first: str, tmp_path: Path) -> None:
    parent = Bundle(tiny_model(seed=4), preprocess(), PRETRAINED, provenance={}, digest="d")
    _, history = finetune_task("retrieve", parent, shop(), replace(SHORT, objectives=(family,)), tmp_path)
    assert {name.split()[0] for row in history for name in row} - {"step", "loss"} == {first}
    assert history[-1]["loss"] < history[0]["loss"]


@torch.inference_mode()
def test_the_class_head_starts_from_the_categories_names() -> None:
    """An untrained head already prefers the category whose name the text is."""
    model, labels = tiny_model(5, classes=len(CATEGORIES)), sorted(CATEGORIES)
    start_from_names(model, preprocess(), labels)
    logits = model.classify(named(preprocess(), labels))
    assert logits.argmax(dim=1).tolist() == list(range(len(labels)))
