"""The weight of words is what finds most; where nothing was measured, vectors count alone."""

from __future__ import annotations

import numpy as np
import pytest

from serving.fusion import METHODS, measured

NEAR, WORDS = np.array([0.9, 0.8, 0.1], np.float32), np.array([0.0, 5.0, 9.0], np.float32)


@pytest.mark.parametrize("method", list(METHODS))
def test_the_ends_are_vectors_alone_and_words_alone(method: str) -> None:
    assert np.argsort(-METHODS[method](NEAR, WORDS, 0.0)).tolist() == [0, 1, 2]
    assert np.argsort(-METHODS[method](NEAR, WORDS, 1.0)).tolist() == [2, 1, 0]


def test_without_words_scores_are_those_of_vectors() -> None:
    assert np.array_equal(METHODS["scores"](NEAR, np.zeros(3, np.float32), 0.0), NEAR)


@pytest.mark.parametrize(("right", "lexical"), [([True, False, False], 0.0), ([False, False, True], 1.0)])
def test_what_finds_most_is_chosen(right: list[bool], lexical: float) -> None:
    found = measured([(NEAR, WORDS, np.array(right))] * 30)
    assert found["mrr"]["both"] == 1.0 and found["queries"] == 30
    assert abs(found["lexical"] - lexical) <= 0.5


def test_both_together_can_find_more_than_each_alone() -> None:
    found = measured([(NEAR, WORDS, np.array([False, True, False]))] * 30)
    assert 0 < found["lexical"] < 1
    assert found["mrr"]["both"] == 1.0 and found["mrr"]["vectors"] == found["mrr"]["words"] == 0.5


def test_few_queries_show_nothing() -> None:
    found = measured([(NEAR, WORDS, np.array([False, False, True]))] * 19)
    assert found == {"method": "scores", "lexical": 0.0, "queries": 19}
