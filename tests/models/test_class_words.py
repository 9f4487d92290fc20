"""The category by the words alone, against scikit-learn's own pipeline."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from models.class_words import BUCKETS, SHARE, ClassWords

TEXTS = ["red sofa", "green sofa", "red red lamp", "lamp of brass", "oak table", "table of oak and brass"]
CLASSES = torch.tensor([0, 0, 1, 1, 2, 2])
PIECES = {word: 7 + place for place, word in enumerate(sorted({word for text in TEXTS for word in text.split()}))}


def pieces(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.zeros(len(texts), 6, dtype=torch.long)
    mask = torch.zeros(len(texts), 6, dtype=torch.bool)
    for row, text in enumerate(texts):
        words = text.split()
        ids[row, : len(words)] = torch.tensor([PIECES[word] for word in words], dtype=torch.long)
        mask[row, : len(words)] = True
    return ids, mask


def fitted() -> ClassWords:
    head = ClassWords(classes=3)
    head.fit(*pieces(TEXTS), CLASSES)
    return head


def test_it_is_ridge_regression_on_tfidf() -> None:
    peer = make_pipeline(TfidfVectorizer(), Ridge(fit_intercept=False, solver="cholesky"))
    peer.fit(TEXTS, np.eye(3)[CLASSES])
    asked = [*TEXTS, "brass lamp", "green table", "oak"]
    np.testing.assert_allclose(fitted()(*pieces(asked)).numpy(), SHARE * peer.predict(asked), atol=1e-3)


def test_words_name_the_category_whatever_stands_around_them() -> None:
    assert fitted()(*pieces(["green red lamp", "brass table", "sofa"])).argmax(dim=1).tolist() == [1, 2, 0]


@pytest.mark.parametrize("head", [ClassWords(classes=3), fitted()], ids=["before it is fitted", "a row without a text"])
def test_it_adds_nothing(head: ClassWords) -> None:
    ids, mask = pieces(["red sofa", ""])
    rows = slice(1, 2) if head.weight.any() else slice(0, 2)
    assert not head(ids[rows], mask[rows]).any()


def test_training_products_without_any_text_leave_it_at_nothing() -> None:
    head = ClassWords(classes=2)
    ids, mask = pieces(["", ""])
    head.fit(ids, mask, torch.tensor([0, 1]))
    assert not head(*pieces(["red sofa"])).any()


def test_pieces_of_a_large_vocabulary_share_columns() -> None:
    head = fitted()
    ids, mask = pieces(["red sofa"])
    assert torch.equal(head(ids, mask), head(ids + BUCKETS, mask))
