"""Words are found whatever their case, script and place, and the same texts give the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from goodsight.digests import sha256_folder
from serving.words import Words, words_of, write_words

TEXTS = ["Red SOFA, 3-seat", "blue sofa bed", "Stehlampe für Räume", "木製の椅子と机", "", "sofa sofa sofa red red"]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Words:
    folder = tmp_path_factory.mktemp("words")
    write_words(TEXTS, folder)
    return Words.open(folder)


@pytest.mark.parametrize(
    ("query", "found"),
    [("sofa", {0, 1, 5}), ("RED", {0, 5}), ("stehlampe räume", {2}), ("椅子", {3}), ("3", {0}), ("bed unknown", {1})],
)
def test_products_with_a_word_have_a_score(words: Words, query: str, found: set[int]) -> None:
    scores = words.scores(query)
    assert scores is not None and set(np.flatnonzero(scores > 0).tolist()) == found


@pytest.mark.parametrize("query", ["", "?!", "unknown words", "さ"])
def test_no_product_has_such_words(words: Words, query: str) -> None:
    assert words.scores(query) is None


def test_a_rare_word_weighs_more(words: Words) -> None:
    scores = words.scores("sofa bed")
    assert scores is not None and scores.argmax() == 1


def test_words_of_scripts_without_spaces_are_pairs() -> None:
    assert list(words_of("木製椅 A1_b")) == ["木製", "製椅", "a1", "b"]


def test_the_same_texts_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_words(TEXTS, tmp_path / name)
    assert sha256_folder(tmp_path / "one") == sha256_folder(tmp_path / "two")


def test_texts_without_a_word_can_be_indexed(tmp_path: Path) -> None:
    write_words(["", "!"], tmp_path)
    assert Words.open(tmp_path).scores("sofa") is None
