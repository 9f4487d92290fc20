"""InterBERT's wrong texts: of other products, a fifth of them near ones; and losses of matched pairs alone."""

from __future__ import annotations

import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

import models.pretraining.interbert
from models.draws import generator
from models.pretraining.interbert import HARD_LIMIT, HARD_SHARE, Mismatches, interbert_update, mix
from models.recipes import Recipe
from tests.models.made import preprocess, shop, tiny_model

THINGS = ("sofa", "lamp", "table", "bed")
COLOURS = ("red", "blue", "green", "white", "black", "gold")


def test_wrong_texts_are_of_other_groups_and_a_fifth_are_near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.pretraining.interbert, "HARD_POOL", 3)
    data = shop(architecture="interbert")
    data.titles = [f"{COLOURS[row % 6]} {THINGS[row // 6]} with number{row} parts{row}" for row in range(24)]
    pages = torch.arange(24)
    rows = pages.repeat(100)
    drawn = Mismatches(data, pages).draw(rows, generator(3))
    assert (data.groups[drawn] != data.groups[rows]).all()
    words = TfidfVectorizer().fit_transform(data.titles)
    alike = (words @ words.T).toarray()
    assert (alike[rows.numpy(), drawn.numpy()] < HARD_LIMIT).all()
    foreign = (data.groups[:, None] != data.groups[None]).numpy() & (alike < HARD_LIMIT)
    third = [sorted(row[kept], reverse=True)[2] for row, kept in zip(alike, foreign, strict=True)]
    near = [alike[row, text] >= third[row] - 1e-9 for row, text in zip(rows.tolist(), drawn.tolist(), strict=True)]
    ties = [float((row[kept] >= least - 1e-9).mean()) for row, kept, least in zip(alike, foreign, third, strict=True)]
    by_chance = sum(ties) / len(ties)
    assert sum(near) / len(near) == pytest.approx(HARD_SHARE + (1 - HARD_SHARE) * by_chance, abs=0.04)


def test_masked_parts_of_wrong_pairs_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """With texts that are all wrong there is nothing to reconstruct, only a match to deny."""
    model, data = tiny_model(architecture="interbert"), shop(architecture="interbert")
    pages = data.whole_pages("train", "catalogue")
    recipe = Recipe(steps=1, batch=8, fused=8, learning_rate=1e-3)
    monkeypatch.setattr(models.pretraining.interbert, "MATCHED", 0.0)
    rng = generator(1)
    mixed = mix(data, pages[:8], Mismatches(data, pages), rng)
    page = {**data.products(mixed.rows), **data.texts.take(mixed.texts)}
    losses = interbert_update(model, page, mixed.matched, recipe, preprocess(), rng)
    assert losses["msm"] == losses["mrm"] == 0.0
    assert losses["itm"] > 0
